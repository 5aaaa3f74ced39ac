# Needs Rust (rustup reads rust-toolchain.toml), a C compiler, make and perl, and the package
# registries. One profile everywhere, so that every dependency is compiled once.

CARGO ?= cargo
CUSTODY := target/release/custody

.PHONY: help demo build test servers servers-stop check format interop bench soak

help:
	@echo 'make demo     from real audit records to a checked log, then a tampered copy refused'
	@echo 'make test     every test; some start real servers: make servers first, once'
	@echo 'make servers  installs PostgreSQL, MariaDB and Kafka, and starts them under .cache/servers'
	@echo '              (make servers-stop stops them)'
	@echo 'make check    format, lints and docs, with warnings denied'
	@echo 'make format   formats the sources'
	@echo 'make interop  checks by programs that others wrote (needs Go and Python as well)'
	@echo 'make soak     the fault farm of Kafka for long: CUSTODY_SOAK_MINUTES=30'
	@echo 'make bench    measures appending, parsing and collecting, beside raw loops of this machine'

demo: build
	$(CUSTODY) demo

# Everything that is shipped, with the features that the program has.
build:
	$(CARGO) build --release --locked -p api-cli

# The tests run the built program, so it is built first.
test: build
	bash scripts/test.sh

# Says what it installs, where the servers listen and where their audit files lie.
servers:
	bash scripts/servers.sh install
	bash scripts/servers.sh up

servers-stop:
	bash scripts/servers.sh down

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --release --locked --workspace --no-deps

format:
	$(CARGO) fmt --all

interop: build
	bash scripts/interop.sh

bench: build
	$(CUSTODY) bench append --json
	$(CUSTODY) bench parse --json
	$(CUSTODY) bench collect --json
	$(CUSTODY) bench pipeline --json

# Rows of random faults between an agent, a broker and a ledger; the seed is printed.
soak: build
	CUSTODY_SOAK_MINUTES=$${CUSTODY_SOAK_MINUTES:-30} $(CARGO) test --release --locked -p tests -- \
	    --include-ignored --nocapture kafka::farm
