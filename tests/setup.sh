#!/usr/bin/env bash
# Checks that the programs for building and testing are installed.
# As root, installs missing Debian packages. Otherwise, names them and fails.
set -euo pipefail

missing=()
need() { # COMMAND PACKAGE
    command -v "$1" >/dev/null || missing+=("$2")
}
need cc gcc
need unshare util-linux
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)

if ! command -v cargo >/dev/null; then
    echo "cargo is missing: install stable Rust (1.91 or later), for example from https://rustup.rs" >&2
    exit 1
fi
# The tests under systemd need root. Without root, they are skipped.
if [ "$(id -u)" -eq 0 ]; then
    need systemd-nspawn systemd-container
    need lintian lintian
    need pgrep procps
fi
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "missing Debian packages: ${missing[*]}" >&2
        echo "install them first: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    echo "installing missing Debian packages: ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "note: not root: the tests of the supervisor as PID 1 (in a pid namespace) and under systemd (in a container) are SKIPPED"
elif ! command -v cargo-deb >/dev/null; then
    echo "installing cargo-deb to build the package for the tests under systemd"
    cargo install --quiet --locked cargo-deb --version '^3'
fi
if ! command -v cargo-mutants >/dev/null; then
    echo "installing cargo-mutants to test the mutants of changed lines (3 minutes)"
    cargo install --quiet --locked cargo-mutants --version '^27' ||
        echo "note: cargo-mutants cannot be installed: the mutants of changed lines are SKIPPED"
fi
