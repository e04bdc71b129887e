# make run      build and start everything on 127.0.0.1:8080; Ctrl-C stops it
# make check    the quick loop: format, lints, word list, unit tests
# make test     everything, on the real binaries
# make lint     format, clippy, word list
# make mutants  SHARD=k/n: changes the code in one place at a time; a test must fail (needs cargo-mutants)
# make loom     the models of the shared memory: every interleaving, every ordering
# make campaign SEED=… EVENTS=… KILLS=… FAULTS=… BAD_DEPLOYS=…: a million events, hundreds of kills and faults, reconciled by id
# make bench    what the parts cost, compared with their peers
# make fuzz     hostile bytes for every reader (needs nightly Rust and cargo-fuzz)
# make sanitize AddressSanitizer (nightly Rust) and valgrind
# make deny     licences, sources and duplicates of the dependencies (needs cargo-deny)
# make build    the binaries as `make install` and `make deb` take them
# make install  PREFIX=/usr/local DESTDIR=: binaries, man pages, completions, units and pages
# make deb      the Debian package (needs cargo-deb)
# make clean    remove builds and the state of `make run`

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
SHARE := $(DESTDIR)$(PREFIX)/share
TARGET := $(or $(CARGO_TARGET_DIR),target)
LIBRARY := $(DESTDIR)$(PREFIX)/lib
BINARIES := bulkhead bulkhead-api bulkhead-analytics
PACKAGES := -p bulkhead-supervisor -p bulkhead-worker-api -p bulkhead-worker-analytics
# Installed with their folders, so that the links between them work.
PAGES := README.md CHANGELOG.md ARCHITECTURE.md supervisor/README.md worker-api/README.md worker-analytics/README.md deploy/README.md

# The example is a project of its own. The target directory is shared: what both build in the same way is built once.
EXAMPLE_MANIFEST := worker-analytics/example/Cargo.toml
EXAMPLE := --manifest-path $(EXAMPLE_MANIFEST) --target-dir $(TARGET) --locked

# cargo-nextest runs each test in its own process and ends a test that hangs. Without it, cargo's runner is used.
RUN_TESTS := $(if $(shell command -v cargo-nextest),$(CARGO) nextest run --locked,$(CARGO) test --locked --no-fail-fast)

.PHONY: run check lint test mutants loom deny build install deb clean prerequisites

run: prerequisites
	$(CARGO) build --release --locked $(PACKAGES) -p bulkhead-host-metrics
	exec $(TARGET)/release/bulkhead run --config deploy/demo/demo.toml

# Names what is missing for a build, and the command that installs it.
prerequisites:
	@CARGO='$(CARGO)' deploy/prerequisites

check: prerequisites lint
	$(RUN_TESTS) --workspace --exclude bulkhead-tests

lint:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path $(EXAMPLE_MANIFEST) --check
	tests/prose.sh
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# The end-to-end tests run the binaries in the target directory. Build them first, in the same profile, so that nothing is
# built twice.
test:
	tests/setup.sh
	$(CARGO) build --workspace --bins --locked
	$(CARGO) build $(EXAMPLE)
	$(RUN_TESTS) --workspace
	$(CARGO) test $(EXAMPLE)
	$(CARGO) test --workspace --doc --locked
	$(MAKE) loom
	tests/mutants.sh changed
	@if command -v cargo-deny >/dev/null; then $(MAKE) deny; fi
	@tests/setup.sh skipped

deny:
	@command -v cargo-deny >/dev/null || { echo 'cargo-deny is missing: cargo install --locked cargo-deny'; exit 1; }
	$(CARGO) deny --all-features check bans licenses sources

# As root without Rust, what an ordinary user has built with `make build` is installed: nothing is built again.
build: prerequisites
	$(CARGO) build --profile dist --locked $(PACKAGES)

install:
	if command -v $(CARGO) >/dev/null || [ ! -x $(TARGET)/dist/bulkhead ]; then $(MAKE) build; fi
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/share/doc/bulkhead'
	install -m 755 $(BINARIES:%=$(TARGET)/dist/%) '$(DESTDIR)$(PREFIX)/bin'
	install -m 644 deploy/bulkhead.toml '$(DESTDIR)$(PREFIX)/share/doc/bulkhead'
	for page in $(PAGES); do install -D -m 644 $$page '$(DESTDIR)$(PREFIX)/share/doc/bulkhead/'$$page || exit 1; done
	deploy/documents $(TARGET)/dist/bulkhead '$(SHARE)'
	install -d '$(LIBRARY)/systemd/system' '$(LIBRARY)/systemd/catalog' '$(LIBRARY)/sysusers.d'
	for unit in service socket; do \
		sed 's:/usr/bin/:$(PREFIX)/bin/:; s:/usr/share/:$(PREFIX)/share/:' deploy/bulkhead.$$unit >'$(LIBRARY)/systemd/system/'bulkhead.$$unit \
			|| exit 1; done
	install -m 644 deploy/bulkhead.sysusers '$(LIBRARY)/sysusers.d/bulkhead.conf'
	install -m 644 deploy/bulkhead.catalog '$(LIBRARY)/systemd/catalog'
	@echo 'to run it as a service: systemd-sysusers; journalctl --update-catalog; systemctl daemon-reload;' \
		'systemctl enable --now bulkhead.socket bulkhead.service'

# Needs no root. cargo-deb prints the path of the package at the end. The binaries keep their line tables: backtraces in crash
# reports are named from them.
deb: prerequisites
	@command -v cargo-deb >/dev/null || { echo 'cargo-deb is missing: cargo install --locked cargo-deb'; exit 1; }
	@command -v dpkg-shlibdeps >/dev/null || echo 'note: dpkg-dev is missing: the package depends on the libraries of Debian 12'
	$(MAKE) build
	deploy/documents $(TARGET)/dist/bulkhead $(TARGET)/dist/share
	$(CARGO) deb --no-build --no-strip --profile dist -p bulkhead-supervisor

clean:
	$(CARGO) clean
	rm -rf bulkhead-state

# All mutants, which takes hours; `make test` tests those of changed lines. Continues where it was interrupted.
mutants:
	@command -v cargo-mutants >/dev/null || { echo 'cargo-mutants is missing: cargo install --locked cargo-mutants'; exit 1; }
	SHARD=$(SHARD) tests/mutants.sh all

# The models of the shared memory. They have their own target directory, because --cfg loom rebuilds every crate.
loom:
	CARGO_TARGET_DIR=$(TARGET)/loom RUSTFLAGS='--cfg loom' $(CARGO) test --locked --release -p bulkhead-proto --test loom

# Prints tables and writes results/bench.json. ROUNDS=5, ONLY=throughput,roundtrip,…
.PHONY: bench
bench:
	$(CARGO) build --profile dist --locked $(PACKAGES)
	$(CARGO) bench --profile dist --locked -p bulkhead-bench --features peers

# Kills at random moments, on the real binaries and in the simulator: SEED=… EVENTS=1000000 KILLS=200 SEEDS=10000.
# FAULTS=panic,segv,… adds poison events and commands of each kind. BAD_DEPLOYS=every,half,grows,series deploys wrong programs
# in the middle; BAD_DEPLOYS= deploys none. Requests, answers, kills and the checker's report are in results/campaign-SEED.
BAD_DEPLOYS ?= every,half,grows,series
.PHONY: campaign
campaign:
	$(CARGO) build --release --locked $(PACKAGES)
	$(CARGO) build --release --locked -p bulkhead-tests --bin bulkhead-campaign --bin bulkhead-misbehave
	$(TARGET)/release/bulkhead-campaign $(SEED:%=--seed=%) $(EVENTS:%=--events=%) $(KILLS:%=--kills=%) $(FAULTS:%=--faults=%) \
		$(BAD_DEPLOYS:%=--bad-deploys=%)
	$(CARGO) test --release --locked -p bulkhead-supervisor --test simulation -- --nocapture

# Hostile bytes for every reader, each target for TIME=60 seconds: ONLY='state consumer'. Needs nightly Rust and cargo-fuzz.
# Findings are in proto/fuzz/artifacts. New inputs are in proto/fuzz/target, not in the committed corpus.
.PHONY: fuzz
fuzz:
	@cargo fuzz --version >/dev/null || { echo 'cargo-fuzz is missing: cargo install --locked cargo-fuzz'; exit 1; }
	cd proto/fuzz && for target in $(or $(ONLY),$$(cargo +nightly fuzz list)); do \
		mkdir -p target/learnt/$$target && cargo +nightly fuzz run $$target target/learnt/$$target corpus/$$target -- \
			-max_total_time=$(or $(TIME),60) -max_len=512 -timeout=30 -verbosity=0 -print_final_stats=1 || exit 1; \
	done

# The tests of shared memory under AddressSanitizer (nightly Rust) and valgrind. One test needs a real SIGSEGV: handle_segv=0.
.PHONY: sanitize
sanitize:
	CARGO_TARGET_DIR=$(TARGET)/asan RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=handle_segv=0 \
		cargo +nightly test --locked --target x86_64-unknown-linux-gnu -p bulkhead-proto -p bulkhead-hostile --lib --tests
	@command -v valgrind >/dev/null || { echo 'valgrind is missing: apt-get install valgrind'; exit 1; }
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='valgrind --quiet --error-exitcode=9 --leak-check=no' \
		$(CARGO) test --locked -p bulkhead-proto --lib
