# make run      build and start everything on 127.0.0.1:8080; Ctrl-C stops it
# make check    the contributor's quick loop: format, lints, unit tests
# make test     everything, on the real binaries
# make loom     the models of the shared memory: every interleaving, every ordering
# make campaign  SEED=… EVENTS=… KILLS=… FAULTS=…: a million events, hundreds of kills and faults, reconciled by id
# make deny     licences, sources and duplicates of the dependencies (needs cargo-deny)
# make install  PREFIX=/usr/local DESTDIR=: binaries, man pages, completions and units
# make deb      the Debian package (needs cargo-deb)
# make clean    remove what was built and the demonstration's state

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
SHARE := $(DESTDIR)$(PREFIX)/share
TARGET := $(or $(CARGO_TARGET_DIR),target)
LIBRARY := $(DESTDIR)$(PREFIX)/lib
BINARIES := bulkhead bulkhead-api bulkhead-analytics
PACKAGES := -p bulkhead-supervisor -p bulkhead-worker-api -p bulkhead-worker-analytics

# cargo-nextest runs each test in a process of its own and ends those that hang; without it cargo's own runner will do.
RUN_TESTS := $(if $(shell command -v cargo-nextest),$(CARGO) nextest run --locked,$(CARGO) test --locked --no-fail-fast)

.PHONY: run check lint test mutants loom deny install deb clean

run:
	$(CARGO) build --release --locked $(PACKAGES) -p bulkhead-host-metrics
	exec $(TARGET)/release/bulkhead run --config deploy/demo/demo.toml

check: lint
	$(RUN_TESTS) --workspace --exclude bulkhead-tests

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# The end-to-end tests run the binaries that lie beside them in the target directory: build those first, in the same
# profile, so that nothing is built twice.
test:
	tests/setup.sh
	$(CARGO) build --workspace --bins --locked
	$(RUN_TESTS) --workspace
	$(CARGO) test --workspace --doc --locked
	$(MAKE) mutants loom
	@if command -v cargo-deny >/dev/null; then $(MAKE) deny; \
	else echo 'NOT CHECKED: licences and sources of the dependencies, since cargo-deny is not installed (see "make deny")'; fi

deny:
	@command -v cargo-deny >/dev/null || { echo 'cargo-deny is missing: cargo install --locked cargo-deny'; exit 1; }
	$(CARGO) deny --all-features check bans licenses sources

install:
	$(CARGO) build --release --locked $(PACKAGES)
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/share/doc/bulkhead'
	install -m 755 $(BINARIES:%=$(TARGET)/release/%) '$(DESTDIR)$(PREFIX)/bin'
	install -m 644 deploy/bulkhead.toml README.md '$(DESTDIR)$(PREFIX)/share/doc/bulkhead'
	deploy/documents $(TARGET)/release/bulkhead '$(SHARE)'
	install -d '$(LIBRARY)/systemd/system' '$(LIBRARY)/systemd/catalog' '$(LIBRARY)/sysusers.d'
	for unit in service socket; do \
		sed 's:/usr/bin/:$(PREFIX)/bin/:; s:/usr/share/:$(PREFIX)/share/:' deploy/bulkhead.$$unit >'$(LIBRARY)/systemd/system/'bulkhead.$$unit \
			|| exit 1; done
	install -m 644 deploy/bulkhead.sysusers '$(LIBRARY)/sysusers.d/bulkhead.conf'
	install -m 644 deploy/bulkhead.catalog '$(LIBRARY)/systemd/catalog'
	@echo 'as a service: systemd-sysusers; journalctl --update-catalog; systemctl daemon-reload;' \
		'systemctl enable --now bulkhead.socket bulkhead.service'

# Where it is, is said at its end.
deb:
	@command -v cargo-deb >/dev/null || { echo 'cargo-deb is missing: cargo install --locked cargo-deb'; exit 1; }
	$(CARGO) build --release --locked $(PACKAGES)
	deploy/documents $(TARGET)/release/bulkhead $(TARGET)/release/share
	$(CARGO) deb --no-build --dbgsym -p bulkhead-supervisor

clean:
	$(CARGO) clean
	rm -rf bulkhead-state

# Faults planted in the supervisor's heart, its store, the analysis' engine and the API's replay: the simulator, or the
# tests of that part, must find each of them.
mutants:
	$(CARGO) test --locked $(PACKAGES) --lib --test simulation \
		--features bulkhead-supervisor/mutants,bulkhead-worker-analytics/mutants,bulkhead-worker-api/mutants every_planted_fault

# The models of the shared memory, in a target directory of their own: every crate is built anew with --cfg loom.
loom:
	CARGO_TARGET_DIR=$(TARGET)/loom RUSTFLAGS='--cfg loom' $(CARGO) test --locked --release -p bulkhead-proto --test loom

# What the parts cost beside their peers: tables, and results/bench.json. ROUNDS=5, ONLY=throughput,roundtrip,…
.PHONY: bench
bench:
	$(CARGO) build --release --locked $(PACKAGES)
	$(CARGO) bench --locked -p bulkhead-bench --features peers

# Kills at random moments, on the real binaries and in the simulator: SEED=… EVENTS=1000000 KILLS=200 SEEDS=10000
# FAULTS=panic,segv,…: of each kind also poison events and commands.
# Everything that was sent, answered and killed is in results/campaign-SEED, and what the checker makes of it. No planted
# faults: those are for `make mutants`.
.PHONY: campaign
campaign:
	$(CARGO) build --release --locked $(PACKAGES)
	$(CARGO) build --release --locked -p bulkhead-tests --bin bulkhead-campaign
	$(TARGET)/release/bulkhead-campaign $(SEED:%=--seed=%) $(EVENTS:%=--events=%) $(KILLS:%=--kills=%) $(FAULTS:%=--faults=%)
	$(CARGO) test --release --locked -p bulkhead-supervisor --test simulation -- --nocapture

# Hostile bytes for every reader, each target for TIME=60 seconds: ONLY='state consumer'. Needs nightly Rust and cargo-fuzz.
# What it finds is in proto/fuzz/artifacts; what it learns is in proto/fuzz/target, and not in the committed corpus.
.PHONY: fuzz
fuzz:
	@cargo fuzz --version >/dev/null || { echo 'cargo-fuzz is missing: cargo install --locked cargo-fuzz'; exit 1; }
	cd proto/fuzz && for target in $(or $(ONLY),$$(cargo +nightly fuzz list)); do \
		mkdir -p target/learnt/$$target && cargo +nightly fuzz run $$target target/learnt/$$target corpus/$$target -- \
			-max_total_time=$(or $(TIME),60) -max_len=512 -timeout=30 -verbosity=0 -print_final_stats=1 || exit 1; \
	done

# The shared memory's tests under AddressSanitizer (nightly Rust) and valgrind. A real SIGSEGV is wanted by one of them.
.PHONY: sanitize
sanitize:
	CARGO_TARGET_DIR=$(TARGET)/asan RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=handle_segv=0 \
		cargo +nightly test --locked --target x86_64-unknown-linux-gnu -p bulkhead-proto -p bulkhead-hostile --lib --tests
	@command -v valgrind >/dev/null || { echo 'valgrind is missing: apt-get install valgrind'; exit 1; }
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='valgrind --quiet --error-exitcode=9 --leak-check=no' \
		$(CARGO) test --locked -p bulkhead-proto --lib
