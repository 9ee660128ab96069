# One command checks everything: make test. It stays under 30 minutes from a clean clone on two cores.

CARGO ?= cargo

.PHONY: test proof check docs bench deny peers deb test-package

# Where cargo builds, and the package with it.
TARGET := $(or $(CARGO_TARGET_DIR),target)
# The package is of this profile; what tests the packaging takes the binaries of the test suite.
DEB_PROFILE ?= release
DEB_BINARIES := $(TARGET)/$(DEB_PROFILE)
CARGO_DEB_VERSION := 3.8.0
CARGO_DEB := $(TARGET)/tools/bin/cargo-deb

# Everything a fresh machine needs for the tests, then all of them in their short form.
test: peers check docs
	$(CARGO) test --locked --profile proof

# The long forms: more kills, longer fuzzing, more seeds.
proof: peers check docs
	IMCD_PROOF=1 $(CARGO) test --locked --profile proof

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --lib

bench:
	$(CARGO) bench --locked

# Licences and advisories of what we build on; needs cargo-deny.
deny:
	$(CARGO) deny check

# The phones and tools that the tests talk to (sipp, baresip, linphonec, strace, xmllint, kamailio, opensips-cli,
# MariaDB, PostgreSQL).
peers:
	tools/test-peers.sh

# The Debian package: $(TARGET)/debian/imcd_VERSION_ARCHITECTURE.deb. Installs cargo-deb beside it if it is missing.
deb: $(CARGO_DEB)
	$(CARGO) build --locked --profile $(DEB_PROFILE) --bins
	tools/package-files.sh $(DEB_BINARIES) $(DEB_BINARIES)/package
	$(CARGO_DEB) --locked --no-build --strip --profile $(DEB_PROFILE) --output $(TARGET)/debian/

$(CARGO_DEB):
	$(CARGO) install cargo-deb --locked --version $(CARGO_DEB_VERSION) --root $(TARGET)/tools

# Installs, upgrades, removes and purges the package in a throw-away Debian, checks it with lintian, runs its unit under a
# real systemd, and follows docs/first-steps.md with two phones in network namespaces. Needs root, and minutes at its first run; what is
# not possible on this machine it skips, and says why.
test-package:
	$(MAKE) deb DEB_PROFILE=proof
	tools/test-package.sh $(TARGET)
