#!/bin/sh
# Makes sure that the programs the tests talk to are there: real SIP phones, a SIP tester, databases, strace, a schema
# validator. No server among them is left running but what the distribution starts itself.
#
#   tools/test-peers.sh           install what is missing, where that is allowed (root or passwordless sudo, and apt)
#   tools/test-peers.sh --check   only say what is missing; exit 1 if anything is
#
# Quiet and without network when everything is there. Where nothing may be installed it says what is missing and
# exits 1; IMCD_SKIP_PEERS=1 makes that exit 0, and the tests in question skip themselves.
set -eu

# OpenSIPS, Asterisk and FreeSWITCH are run too where they are found; Debian 12 has no packages of them.
# program : Debian package
peers='curl:curl sipp:sip-tester baresip:baresip-core linphonec:linphone-cli strace:strace kamailio:kamailio xmllint:libxml2-utils'

missing_packages() {
    for peer in $peers; do
        command -v "${peer%%:*}" >/dev/null 2>&1 || printf '%s ' "${peer##*:}"
    done
    ls /usr/lib/*/kamailio/modules/db_sqlite.so >/dev/null 2>&1 || printf 'kamailio-sqlite-modules '
    # Servers are in nobody's search path.
    [ -x /usr/sbin/mariadbd ] || printf 'mariadb-server-core '
    [ -x /usr/bin/mariadb-dump ] || printf 'mariadb-client '
    ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || printf 'postgresql '
}

# opensips-cli is on PyPI alone. Where it cannot be had from there, the test with it skips itself.
python_peers=${CARGO_TARGET_DIR:-$(dirname "$0")/../target}/peers

opensips_cli() {
    command -v opensips-cli >/dev/null 2>&1 && return
    [ -x "$python_peers/bin/opensips-cli" ] && return
    if [ "${1:-}" != --check ] && python3 -m venv "$python_peers" >/dev/null 2>&1 &&
        "$python_peers/bin/pip" install --quiet --disable-pip-version-check opensipscli==0.4.1 >/dev/null 2>&1; then
        return
    fi
    echo "test-peers: no opensips-cli (pip install opensipscli): the tests with it will be skipped" >&2
}
opensips_cli "${1:-}"

missing=$(missing_packages)
[ -z "$missing" ] && exit 0

give_up() {
    echo "test-peers: missing for the tests: $missing" >&2
    echo "test-peers: $1" >&2
    if [ "${IMCD_SKIP_PEERS:-}" = 1 ]; then
        echo "test-peers: IMCD_SKIP_PEERS=1: the tests that need them will be skipped" >&2
        exit 0
    fi
    echo "test-peers: install them, or set IMCD_SKIP_PEERS=1 to run the other tests alone" >&2
    exit 1
}

[ "${1:-}" = --check ] && give_up "(only checked, nothing installed)"
command -v apt-get >/dev/null 2>&1 || give_up "there is no apt-get here"

if [ "$(id -u)" = 0 ]; then
    as_root=''
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root='sudo -n'
else
    give_up "installing them needs root: sudo apt-get install --no-install-recommends $missing"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 "$@" >>"$log" 2>&1
}

# The tests make a database of their own; the package need not.
case $missing in
*postgresql*)
    cluster=/etc/postgresql-common/createcluster.conf
    [ -e "$cluster" ] || $as_root sh -c "mkdir -p ${cluster%/*} && echo create_main_cluster = false >$cluster"
    ;;
esac

echo "test-peers: installing $missing" >&2
# shellcheck disable=SC2086 # the list is meant to be split
if ! { apt update && apt install --no-install-recommends $missing; }; then
    tail -n 20 "$log" >&2
    give_up "apt-get failed (its last lines are above)"
fi

missing=$(missing_packages)
[ -z "$missing" ] || give_up "apt-get succeeded, but these are still not found"
