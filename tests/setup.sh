#!/usr/bin/env bash
# Checks that the programs for building and testing are installed.
# As root, installs missing Debian packages. Otherwise, names them and fails.
# `tests/setup.sh skipped` lists what `make test` skips on this system.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$([ "$(id -u)" -eq 0 ] && echo yes || echo)
has() { command -v "$1" >/dev/null; }

if [ "${1:-}" = skipped ]; then
    skip() { echo "SKIPPED: $1"; }
    [ -n "$root" ] || skip 'tests that change the user, mount a file system or need a pid namespace (tests/e2e): they need root'
    [ -n "$root" ] || skip 'the package under systemd (tests/systemd): it needs root'
    script -qec true /dev/null >/dev/null 2>&1 || skip 'colours on a terminal (supervisor/tests/check): script(1) or a pseudo-terminal is missing'
    has cargo-mutants || skip 'the mutants of changed lines: cargo-mutants is missing: cargo install --locked cargo-mutants'
    has cargo-deny || skip 'licences and sources of the dependencies: cargo-deny is missing: cargo install --locked cargo-deny'
    exit 0
fi

missing=($(deploy/prerequisites packages))
need() { # COMMAND PACKAGE
    has "$1" || missing+=("$2")
}
# The tests under systemd need root.
if [ -n "$root" ]; then
    need systemd-nspawn systemd-container
    need lintian lintian
    need pgrep procps
fi
if [ ${#missing[@]} -gt 0 ] && [ -n "$root" ]; then
    echo "installing missing Debian packages: ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
deploy/prerequisites
if [ -n "$root" ] && ! has cargo-deb; then
    echo "installing cargo-deb to build the package for the tests under systemd"
    cargo install --quiet --locked cargo-deb --version '^3'
fi
if ! has cargo-mutants; then
    echo "installing cargo-mutants to test the mutants of changed lines (3 minutes)"
    cargo install --quiet --locked cargo-mutants --version '^27' || echo "cargo-mutants cannot be installed"
fi
