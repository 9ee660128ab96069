#!/bin/sh
# Tests the Debian package in a throw-away Debian: lintian; its unit under a real systemd; install, upgrade with the data
# kept, remove, purge; and the steps of docs/first-steps.md, with two phones in network namespaces.
#
#   tools/test-package.sh TARGET    TARGET: where cargo builds; the package is in TARGET/debian
#
# Needs root, mount namespaces and debootstrap, which it installs with lintian where apt allows. What is not possible on
# this machine it skips, and says why. The throw-away Debian is fetched once, and kept as TARGET/debian-systemd-root.tar.
set -eu

target=$1
tools=$(cd "$(dirname "$0")" && pwd)
deb=$(ls -t "$target"/debian/imcd_*.deb | head -n 1)

say() { echo "test-package: $*" >&2; }
skip() { say "skipped: $*"; exit 0; }
fail() { say "FAILED: $*"; exit 1; }

[ "$(id -u)" = 0 ] || skip "it needs root"
unshare --mount true 2>/dev/null || skip "no mount namespaces can be made here"
for program in debootstrap lintian; do
    command -v "$program" >/dev/null && continue
    apt-get -qq update >/dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$program" >/dev/null 2>&1 || true
done

if command -v lintian >/dev/null; then
    # What is overridden, and why, is in packaging/lintian-overrides.
    lintian --allow-root --fail-on error,warning "$deb" || fail "lintian"
    say "lintian has nothing to say"
else
    say "skipped: there is no lintian here"
fi
if command -v systemd-analyze >/dev/null; then
    systemd-analyze security --offline=true --threshold=25 "$tools/../etc/imcd.service" >/dev/null ||
        fail "systemd finds the unit exposed: systemd-analyze security --offline=true etc/imcd.service"
fi

tar=$target/debian-systemd-root.tar
if [ ! -e "$tar" ]; then
    command -v debootstrap >/dev/null || skip "there is no debootstrap here"
    say "fetching a Debian"
    fresh=$(mktemp -d)
    if ! debootstrap --variant=minbase --include=adduser,dbus,systemd,systemd-sysv bookworm "$fresh" >"$target/debootstrap.log" 2>&1; then
        rm -rf "$fresh"
        skip "debootstrap failed, see $target/debootstrap.log"
    fi
    rm -f "$fresh"/var/cache/apt/archives/*.deb
    tar -C "$fresh" -cf "$tar.part" . && mv "$tar.part" "$tar"
    rm -rf "$fresh"
fi

work=$(mktemp -d)
root=$work/root
# A fresh one, with the package in it.
unpack() {
    rm -rf "$root"
    mkdir "$root"
    tar -C "$root" -xf "$tar"
    # It was made in a directory that is root's alone; not all in it are.
    chmod 755 "$root"
    cp "$deb" "$root/imcd_new.deb"
}
# In namespaces of its own: what is mounted and started ends with the command.
inside() { unshare --mount --pid --fork --kill-child --mount-proc="$root/proc" chroot "$root" "$@"; }
trap 'rm -rf "$work"' EXIT
unpack
"$tools/test-systemd.sh" "$root" || fail "systemd"

unpack
install -m 755 "$tools/test-unit.sh" "$root/usr/local/bin/systemctl"

# The same package of an earlier version, to upgrade from.
dpkg-deb -R "$deb" "$work/old"
sed -i 's/^Version: .*/Version: 0.0.1-1/' "$work/old/DEBIAN/control"
dpkg-deb -b "$work/old" "$root/imcd_old.deb" >/dev/null

cat >"$root/cycle.sh" <<'INSIDE'
set -eu
export DEBIAN_FRONTEND=noninteractive
fail() { echo "test-package: FAILED: $*" >&2; exit 1; }
has() { [ -e "$1" ] || fail "$1 is missing $2"; }
hasnt() { [ ! -e "$1" ] || fail "$1 is there $2"; }
quiet() { "$@" >/tmp/log 2>&1 || { cat /tmp/log >&2; fail "$*"; }; }
wants=/etc/systemd/system/multi-user.target.wants/imcd.service

quiet apt-get -y install ./imcd_old.deb
getent passwd imcd >/dev/null && getent group imcd >/dev/null || fail "no user or group imcd"
[ "$(stat -c '%U:%G %a' /var/lib/imcd)" = "imcd:imcd 700" ] || fail "the data directory is open"
for file in /etc/imcd/imcd.toml /usr/sbin/imcd /usr/bin/imcctl /usr/lib/systemd/system/imcd.service; do
    has "$file" "after the installation"
done
[ -L "$wants" ] || fail "the service is not enabled"
quiet imcd --check
echo "test-package: installed"

quiet systemctl start imcd
[ "$(stat -c '%U:%G %a' /run/imcd/imcd.sock)" = "imcd:imcd 660" ] || fail "the socket is $(stat -c '%U:%G %a' /run/imcd/imcd.sock)"
[ "$(stat -c '%U' /run/imcd/imcd_fifo)" = imcd ] || fail "the FIFO is not the daemon's"
quiet adduser --quiet --disabled-password --gecos '' admin
su admin -c 'imcctl rooms' >/dev/null 2>&1 && fail "a stranger manages the server"
quiet adduser --quiet admin imcd
su admin -c 'imcctl rooms' >/dev/null || fail "a member of the group imcd may not manage"
su admin -c 'cat /var/lib/imcd/imcd.db' >/dev/null 2>&1 && fail "the group reads the database"
echo wonderland | quiet imcctl account add alice
quiet imcctl room create team --owner alice --private
quiet systemctl stop imcd
echo '# kept' >>/etc/imcd/imcd.toml

quiet apt-get -y install ./imcd_new.deb
[ "$(tail -n 1 /etc/imcd/imcd.toml)" = '# kept' ] || fail "the upgrade overwrote the configuration"
quiet systemctl start imcd
imcctl rooms | grep -q '^team@' || fail "the upgrade lost the room"
imcctl account list | grep -q '^alice@' || fail "the upgrade lost the account"
quiet systemctl stop imcd
echo "test-package: upgraded, the data are kept"

quiet apt-get -y remove imcd
hasnt /usr/sbin/imcd "after the removal"
has /var/lib/imcd/imcd.db "after the removal"
has /etc/imcd/imcd.toml "after the removal"
quiet apt-get -y install ./imcd_new.deb
quiet systemctl start imcd
imcctl rooms | grep -q '^team@' || fail "the removal lost the room"
quiet systemctl stop imcd
echo "test-package: removed and installed again, the data are kept"

quiet apt-get -y purge imcd
for file in /var/lib/imcd /etc/imcd "$wants" /usr/lib/systemd/system/imcd.service /usr/share/doc/imcd; do
    hasnt "$file" "after the purge"
done
[ ! -L "$wants" ] || fail "the service is enabled after the purge"
echo "test-package: purged, nothing is left"
INSIDE
inside sh /cycle.sh || fail "install, upgrade, remove, purge"

"$tools/test-first-steps.sh" "$root" || fail "docs/first-steps.md"
