# One command checks everything: make test. It stays under 30 minutes from a clean clone on two cores.

CARGO ?= cargo

.PHONY: test proof check docs bench deny peers

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

# The phones and tools that the tests talk to (sipp, baresip, linphonec, strace, xmllint, kamailio, opensips-cli).
peers:
	tools/test-peers.sh
