#!/bin/sh
# Boots the systemd of a throw-away Debian in namespaces and a cgroup of its own, and installs the package there as an
# administrator does: the unit is what runs the daemon, not something that imitates it.
#
#   tools/test-systemd.sh ROOT    ROOT: the Debian with systemd, not mounted anywhere, and /imcd_new.deb in it
#
# What is not possible on this machine it skips, and says why. Nothing outside of ROOT changes; all ends with the script.
set -eu

root=$1
say() { echo "test-package: $*" >&2; }
skip() { say "skipped: systemd: $*"; exit 0; }
fail() { say "FAILED: systemd: $*"; exit 1; }

command -v nsenter >/dev/null || skip "there is no nsenter here"
[ -x "$root/lib/systemd/systemd" ] || skip "there is none in the throw-away Debian"
unified=$(sed -n 's/^[^ ]* \([^ ]*\) cgroup2 .*/\1/p' /proc/mounts | head -n 1)
[ -n "$unified" ] || skip "no cgroup2 is mounted here"
group=$unified/imcd-test-$$
mkdir "$group" 2>/dev/null || skip "no cgroup can be made in $unified"

outer=
end() {
    if [ -n "$outer" ]; then
        # Its namespaces end with it, and all that runs in them.
        kill -9 "$outer" 2>/dev/null || true
        wait "$outer" 2>/dev/null || true
    fi
    for _ in $(seq 100); do
        # What systemd made below it goes first.
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
        [ -d "$group" ] || return 0
        sleep 0.1
    done
    say "$group stays: something still runs in it"
}
trap end EXIT
trap 'exit 1' INT TERM

log=$(dirname "$root")/systemd.log
sh -c 'echo $$ >"$1/cgroup.procs" && exec unshare --cgroup --mount --pid --net --uts --ipc --fork --kill-child sh -eu -c "$2" sh "$3"' \
    sh "$group" '
    mount --make-rprivate /
    mount --bind "$1" "$1"
    cd "$1"
    mount -t proc proc proc
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=755 tmpfs dev
    mkdir dev/pts dev/shm old
    mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    for device in null zero full random urandom tty; do
        touch "dev/$device"
        mount --bind "/dev/$device" "dev/$device"
    done
    pivot_root . old
    umount -l /old
    exec env -i container=imcd-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system' \
    "$root" >"$log" 2>&1 </dev/null &
outer=$!

# unshare forks: its child is process 1 of the Debian.
init=
inside() { nsenter --target "$init" --all -- "$@"; }
up() {
    kill -0 "$outer" 2>/dev/null || skip "it ended at once: $(tail -n 3 "$log" | tr '\n' ' ')"
    init=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null | tr -d ' ')
    [ -n "$init" ] && case $(inside systemctl is-system-running 2>/dev/null) in
    running | degraded) true ;;
    *) false ;;
    esac
}
tries=600
until up; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || skip "it did not come up within a minute: $(tail -n 3 "$log" | tr '\n' ' ')"
    sleep 0.1
done

inside sh -s <<'INSIDE' || fail "the unit"
set -eu
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
fail() {
    echo "test-package: FAILED: systemd: $*" >&2
    systemctl status --no-pager --full --lines=40 imcd >&2 || true
    exit 1
}
value() { systemctl show --value --property "$1" imcd; }
# Waits until a command succeeds, 30 s at most.
await() {
    tries=300
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.1
    done
}
active() { [ "$(systemctl is-active imcd)" = active ]; }
other() { active && [ "$(value MainPID)" != "$1" ]; }
logged() { journalctl --quiet --unit imcd --output cat --no-pager | grep -q "$1"; }

apt-get -y install /imcd_new.deb </dev/null >/tmp/log 2>&1 || { cat /tmp/log >&2; fail "apt install"; }
# systemctl start comes back when the daemon has said that it is ready.
active || fail "it is not active after the installation"
[ "$(value Type)" = notify ] || fail "Type=$(value Type)"
imcctl rooms >/dev/null || fail "it is active and does not answer"
# The journal knows how much a line matters, and what time it is.
started() { journalctl --quiet --unit imcd --priority "$1" --output cat --no-pager | grep -q '^started '; }
await started info || fail "its first line is not in the journal as it is"
started notice && fail "the journal takes every line for more than it is"
[ "$(value NRestarts)" = 0 ] || fail "it needed $(value NRestarts) restarts"

# The sandbox: no right of root's but for low ports, nothing of the system writable.
pid=$(value MainPID)
status() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status"; }
[ "$(status CapBnd) $(status CapEff)" = "0000000000000400 0000000000000400" ] || fail "it may more than bind: $(status CapBnd)"
[ "$(status NoNewPrivs) $(status Seccomp)" = "1 2" ] || fail "its system calls are not filtered"
id imcd >/dev/null && [ "$(stat -c %U "/proc/$pid")" = imcd ] || fail "it runs as $(stat -c %U "/proc/$pid")"
systemd-analyze security --threshold=25 imcd >/dev/null || fail "systemd-analyze security finds it exposed"

# Whoever manages by FIFO gets his reply in the common /tmp.
mkfifo -m 666 /tmp/imcd_reply
timeout 20 cat /tmp/imcd_reply >/tmp/answer &
printf ':which:imcd_reply\n\n' >/run/imcd/imcd_fifo
wait $! || fail "no reply came through /tmp"
grep -q '^200 OK' /tmp/answer || fail "the reply through /tmp: $(head -n 1 /tmp/answer)"

systemctl reload imcd || fail "reload"
await logged 'configuration reloaded' || fail "the reload is not in the journal"
[ "$(value MainPID)" = "$pid" ] || fail "a reload is no restart"
systemctl restart imcd || fail "restart"
other "$pid" || fail "it is not another after a restart"

pid=$(value MainPID)
kill -9 "$pid"
await other "$pid" || fail "it is not there again after a kill"

# It gives its signs of life, and one that gives none is started anew.
mkdir -p /run/systemd/system/imcd.service.d
printf '[Service]\nWatchdogSec=2\n' >/run/systemd/system/imcd.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart imcd
pid=$(value MainPID)
first=$(value WatchdogTimestampMonotonic)
signs() { [ "$(value WatchdogTimestampMonotonic)" -gt "$((first + 4000000))" ]; }
await signs || fail "no signs of life"
[ "$(value MainPID)" = "$pid" ] || fail "the watchdog ended one that works"
kill -STOP "$pid"
await other "$pid" || fail "the watchdog does not end one that hangs"

systemctl stop imcd || fail "stop"
[ "$(value ActiveState) $(value Result) $(value ExecMainStatus)" = "inactive success 0" ] ||
    fail "it stopped as $(value ActiveState) $(value Result) $(value ExecMainStatus)"
systemctl start imcd
apt-get -y purge imcd </dev/null >/tmp/log 2>&1 || { cat /tmp/log >&2; fail "apt purge"; }
active && fail "it runs after the purge"
echo "test-package: systemd starts, reloads, restarts, watches and stops it, in its sandbox"
INSIDE
