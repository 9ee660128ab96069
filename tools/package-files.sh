#!/bin/sh
# Makes what the package holds beside the binaries and the files of the repository.
#
#   tools/package-files.sh BINARIES OUT    BINARIES: directory of imcctl; OUT: directory to write to
#
# OUT gets the configuration with the package's directories, the manual pages, the completions, the changelogs and the
# copyright file. All of it follows from one source each, so that nothing here can grow old.
set -eu

binaries=$1
out=$2
cd "$(dirname "$0")/.."
mkdir -p "$out"

# The one rule by which the package's configuration differs from etc/imcd.toml: two directories; and the alias of the
# built-in domain is no more than the default, so that it goes when somebody sets his own domains.
sed -e 's|^data_dir = .*|data_dir = "/var/lib/imcd"|' \
    -e 's|^run_dir = .*|run_dir = "/run/imcd"|' \
    -e 's|^aliases = |#aliases = |' \
    -e '/^# This file holds every key/s|.*|# This file holds every key with its built-in default, but for the two directories, which are those of the package.|' \
    etc/imcd.toml >"$out/imcd.toml"

"$binaries/imcctl" man "$out" | xargs gzip -9 -n -f
"$binaries/imcctl" completion bash >"$out/imcctl.bash"
"$binaries/imcctl" completion zsh >"$out/_imcctl"
"$binaries/imcctl" completion fish >"$out/imcctl.fish"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
maintainer=$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)
# The day of the last change, or of the sources where there is no git: the same sources make the same package.
day=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)}
gzip -9 -n >"$out/changelog.Debian.gz" <<TEXT
imcd ($version-1) unstable; urgency=medium

  * What is new in this version is told in /usr/share/doc/imcd/changelog.gz.

 -- $maintainer  $(date -u -R -d "@$day")
TEXT
gzip -9 -n -c CHANGELOG.md >"$out/changelog.gz"

{
    cat packaging/copyright
    echo 'License: Expat'
    # The text under its title and the line of copyright, as a field of Debian's copyright file.
    sed -n '/^Permission/,$p' LICENSE-MIT | sed -e 's/^$/./' -e 's/^/ /'
} >"$out/copyright"
