#!/bin/sh
# Does for tools/test-package.sh what systemctl does with imcd.service, where no systemd runs: as the unit says it makes
# the directories, and starts the daemon as its user, without root's rights.
#
#   systemctl start|stop|restart|reload imcd
set -eu

unit=/usr/lib/systemd/system/imcd.service
pid=/run/imcd.pid

value() { sed -n "s/^$1=//p" "$unit"; }

start() {
    user=$(value User)
    install -d -o "$user" -g "$(value Group)" -m "$(value RuntimeDirectoryMode)" "/run/$(value RuntimeDirectory)"
    install -d -o "$user" -g "$(value Group)" -m "$(value StateDirectoryMode)" "/var/lib/$(value StateDirectory)"
    cd "$(value WorkingDirectory)"
    umask "$(value UMask)"
    # Capabilities are called without CAP_ here.
    caps=-all,+$(value AmbientCapabilities | sed 's/CAP_//' | tr '[:upper:]' '[:lower:]')
    # shellcheck disable=SC2046 # a command line is meant to be split
    setsid setpriv --reuid="$user" --regid="$(value Group)" --init-groups --no-new-privs \
        --bounding-set="$caps" --inh-caps="$caps" --ambient-caps="$caps" \
        $(value ExecStart) >>/var/log/imcd.log 2>&1 </dev/null &
    echo $! >"$pid"
    # It is ready when it answers.
    for _ in $(seq 300); do
        imcctl status >/dev/null 2>&1 && return
        kill -0 "$(cat "$pid")" 2>/dev/null || break
        sleep 0.1
    done
    cat /var/log/imcd.log >&2
    exit 1
}

stop() {
    [ -e "$pid" ] || return 0
    kill "$(cat "$pid")" 2>/dev/null || true
    while kill -0 "$(cat "$pid")" 2>/dev/null; do sleep 0.1; done
    rm -f "$pid"
}

case "$1 ${2:-}" in
'start imcd') start ;;
'stop imcd') stop ;;
'restart imcd') stop; start ;;
'reload imcd') kill -HUP "$(cat "$pid")" ;;
*) echo "systemctl of the tests: not known: $*" >&2; exit 1 ;;
esac
