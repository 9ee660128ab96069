#!/bin/sh
# Follows docs/first-steps.md as a newcomer does: its commands, word for word, on a server and two phones, each in a
# network namespace of its own. The server is a throw-away Debian with the package beside it.
#
#   tools/test-first-steps.sh ROOT    ROOT: the Debian, with imcd_new.deb and a systemctl in it
#
# Blocks of the page: ```sh is for the server, ```alice and ```bob are typed into their phones, and what follows
# ```alice reads must be shown by hers. A block of any other kind is a mistake.
set -eu

root=$1
page=$(cd "$(dirname "$0")/.." && pwd)/docs/first-steps.md
server=10.0.0.1

say() { echo "test-package: $*" >&2; }
skip() { say "skipped: first steps: $*"; exit 0; }

command -v ip >/dev/null || skip "there is no ip (iproute2) here"
command -v linphonec >/dev/null || skip "there is no linphonec here"
command -v nsenter >/dev/null || skip "there is no nsenter here"

work=$(mktemp -d)
name=imcd-$$
started=

# Ends what was started, by its number, and takes the namespaces away.
end() {
    for process in $started; do kill -9 "$process" 2>/dev/null || true; done
    for space in server alice bob; do ip netns delete "$name-$space" 2>/dev/null || true; done
    rm -rf "$work"
}
trap end EXIT
trap 'exit 1' INT TERM

fail() {
    say "FAILED: $*"
    for log in "$work"/*.shown "$root/var/log/imcd.log"; do
        [ -e "$log" ] && { echo "--- $log" >&2; tail -n 40 "$log" >&2; }
    done
    exit 1
}

# Waits until a command succeeds, 30 s at most.
await() {
    for _ in $(seq 300); do
        "$@" && return
        sleep 0.1
    done
    return 1
}

ip netns add "$name-server" 2>/dev/null || skip "no network namespaces can be made here"
ip -n "$name-server" link set lo up

# A cable from the server to each phone.
cable() {
    ip netns add "$name-$1"
    ip -n "$name-$1" link set lo up
    ip link add "to-$1" netns "$name-server" type veth peer name to-server netns "$name-$1" || skip "no veth can be made here"
    ip -n "$name-server" address add "$server/32" peer "$2/32" dev "to-$1"
    ip -n "$name-server" link set "to-$1" up
    ip -n "$name-$1" address add "$2/32" peer "$server/32" dev to-server
    ip -n "$name-$1" link set to-server up
    ip -n "$name-$1" route add default via "$server"
}
cable alice 10.0.0.2
cable bob 10.0.0.3

# The server's machine runs until the end; commands go into it.
mkdir -p "$root/newcomer"
rm -f "$root"/newcomer/*
cp "$root/imcd_new.deb" "$root/newcomer/imcd_0.deb"
ip netns exec "$name-server" unshare --mount --pid --fork --kill-child --mount-proc="$root/proc" \
    chroot "$root" sh -c 'while :; do sleep 1; done' &
started="$started $!"
outside=$!
first_process() { machine=$(pgrep -P "$outside"); }
await first_process || fail "the server's machine does not start"
on_server() {
    (cd / && DEBIAN_FRONTEND=noninteractive nsenter --target "$machine" --mount --pid --net --root \
        sh -c 'cd /newcomer && exec sh -eu "$0"' "$1" </dev/null)
}

switch_on() {
    mkdir -p "$work/$1/.local/share/linphone"
    mkfifo "$work/$1.typed"
    HOME=$work/$1 XDG_DATA_HOME= XDG_CONFIG_HOME= ip netns exec "$name-$1" linphonec \
        <"$work/$1.typed" >"$work/$1.shown" 2>&1 &
    started="$started $!"
}
switch_on alice
exec 3>"$work/alice.typed"
switch_on bob
exec 4>"$work/bob.typed"

types() {
    case $1 in
    alice) printf '%s\n' "$2" >&3 ;;
    bob) printf '%s\n' "$2" >&4 ;;
    esac
}
shows() { grep -qF -- "$2" "$work/$1.shown"; }
# It says that it is registered only when it is asked.
is_registered() {
    types "$1" 'status register'
    sleep 0.2
    shows "$1" 'registered, identity='
}

# Each block becomes two files: what kind it is, and what is in it.
awk -v dir="$work" '
    /^```/ {
        inside = !inside
        if (inside) { file = sprintf("%s/block%03d", dir, ++n); print substr($0, 4) >(file ".kind"); printf "" >file }
        next
    }
    inside { print >file }' "$page"

blocks=0
for kind in "$work"/block*.kind; do
    block=${kind%.kind}
    blocks=$((blocks + 1))
    case $(cat "$kind") in
    sh)
        cp "$block" "$root/block.sh"
        on_server /block.sh >"$work/server.shown" 2>&1 || fail "on the server: $(cat "$block")"
        ;;
    alice | bob)
        who=$(cat "$kind")
        while IFS= read -r line; do
            types "$who" "$line"
            case $line in register*) await is_registered "$who" || fail "$who is not registered" ;; esac
        done <"$block"
        ;;
    'alice reads' | 'bob reads')
        who=$(sed 's/ .*//' "$kind")
        await shows "$who" "$(cat "$block")" || fail "$who does not read: $(cat "$block")"
        ;;
    *) fail "a block of the kind '$(cat "$kind")' is in docs/first-steps.md" ;;
    esac
done
[ "$blocks" -gt 10 ] || fail "docs/first-steps.md has only $blocks blocks"

# The last thing asked of the server is what rooms there are, and who belongs to this one.
for word in "^team@$server .*alice@$server  *yes " "^alice@$server " "^bob@$server "; do
    grep -q "$word" "$work/server.shown" || fail "nothing of $word in: $(cat "$work/server.shown")"
done
grep -q 'auth=true' "$root/var/log/imcd.log" || fail "the server asks for no passwords"
say "first steps: $blocks blocks of docs/first-steps.md work, from the installation to two phones in a private room"
