#!/usr/bin/env bash
# Mutants: cargo-mutants changes one expression or one function, and a test must fail. See tests/README.md, "Mutants".
#
#   tests/mutants.sh all        all mutants, or the part SHARD=k/n of them (0/n to n-1/n); continues where it was interrupted
#   tests/mutants.sh changed    the mutants of changed lines, for at most LIMIT seconds
#   tests/mutants.sh report     the results of all shards that ran
#
# PACKAGE=bulkhead-proto selects a package, BASE=COMMIT the commit before the changes. Mutants are built in a copy of the tree, never in the tree itself.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/mutants
tree=$target/tree
results=$root/results/mutants
packages=(${PACKAGE:-bulkhead-proto bulkhead-worker-analytics bulkhead-supervisor bulkhead-worker-api})
# The number of mutants in a slice. An interrupted slice is repeated.
slice_size=25

export CARGO_TARGET_DIR=$target/build RUST_BACKTRACE=0
# The simulator finds most mutants of the core with the first few seeds. proptest need not shrink.
export SEEDS=${SEEDS:-500} PROPTEST_MAX_SHRINK_ITERS=0

# Which tests run against a mutant of a package.
test_args() { # PACKAGE
    case $1 in
    bulkhead-supervisor) echo --lib --test simulation ;;
    *) echo --lib ;;
    esac
}

# Copies files whose content differs, so that cargo rebuilds only these.
copy_tree() {
    mkdir -p "$tree"
    (cd "$tree" && find . -type f -print0) | while IFS= read -r -d '' file; do
        [ -e "$root/$file" ] || rm "$tree/$file"
    done
    git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        if [ -e "$file" ] && ! cmp -s "$file" "$tree/$file"; then
            mkdir -p "$(dirname "$tree/$file")"
            cp "$file" "$tree/$file"
        fi
    done
}

list() { # PACKAGE ARGUMENT…
    (cd "$tree" && cargo mutants --package "$1" --list "${@:2}")
}

# Runs the tests of a package without a mutant. A test that fails without a mutant would find every mutant.
test_unchanged() { # PACKAGE
    local log=$target/$1.log
    # shellcheck disable=SC2046 # the arguments are words
    (cd "$tree" && cargo test --locked --profile mutants --package "$1" $(test_args "$1")) >"$log" 2>&1 || {
        cat "$log"
        echo "the tests of $1 fail without a mutant" >&2
        exit 1
    }
}

# Ends the tests of mutants that were interrupted: cargo-mutants leaves them running, and a mutant may loop without end.
end_tests() {
    local process program
    for process in /proc/[0-9]*; do
        program=$(readlink "$process/exe" 2>/dev/null) || continue
        case $program in "$CARGO_TARGET_DIR"/*) kill -KILL "${process#/proc/}" 2>/dev/null || true ;; esac
    done
}
trap end_tests EXIT

# Tests the mutants of a package for at most SECONDS (0: without a bound). A mutant that makes a loop endless is ended after
# 60 s, which is many times what the tests take.
test_mutants() { # PACKAGE OUTPUT SECONDS ARGUMENT…
    local arguments=() argument status=0
    for argument in $(test_args "$1"); do arguments+=("--cargo-arg=$argument"); done
    mkdir -p "$2"
    (cd "$tree" && timeout --signal=INT "$3" cargo mutants --colors never --package "$1" --in-place --baseline skip \
        --timeout 60 --output "$2" "${arguments[@]}" "${@:4}") || status=$?
    # 2: a mutant survived. 3: a mutant timed out. 124: the bound stopped the tests.
    case $status in 0 | 2 | 3 | 124) ;; *) return "$status" ;; esac
}

results_of() { # FOLDER NAME: the lines of NAME.txt in all results in a folder
    find "$1" -path "*/mutants.out/$2.txt" -exec cat {} + | sort
}

# Prints the counts of the results in a folder and the mutants that survived. Fails if there are any.
report() { # FOLDER
    local package name counts=()
    for package in "$1"/*/; do
        counts=()
        for name in caught missed timeout unviable; do counts+=("$(results_of "$package" "$name" | wc -l)"); done
        printf '%-26s %4d found, %d survived, %d timed out, %d do not compile\n' "$(basename "$package")" "${counts[@]}"
    done
    if [ -n "$(results_of "$1" missed)" ]; then
        echo 'no test fails with these mutants:'
        results_of "$1" missed
        return 1
    fi
}

all() {
    local package slices slice output shard=${SHARD:-0/1}
    copy_tree
    for package in "${packages[@]}"; do
        test_unchanged "$package"
        slices=$(($(list "$package" | wc -l) / slice_size + 1))
        for ((slice = ${shard%/*}; slice < slices; slice += ${shard#*/})); do
            output=$results/$package/$slice-of-$slices
            [ ! -e "$output/finished" ] || continue
            rm -rf "$output"
            test_mutants "$package" "$output" 0 --shard "$slice/$slices"
            touch "$output/finished"
        done
    done
    report "$results"
}

# The commit before the changes: where this branch left the main branch; on the main branch, the first parent of its last
# commit.
base() {
    local main fork
    [ -z "${BASE:-}" ] || { echo "$BASE" && return; }
    for main in origin/main main; do
        fork=$(git merge-base HEAD "$main" 2>/dev/null) || continue
        [ "$fork" = "$(git rev-parse HEAD)" ] || { echo "$fork" && return; }
    done
    git rev-parse --quiet --verify HEAD~1
}

changed() {
    local package count start base diff=$target/changed.diff output=$target/changed total=0 left=${LIMIT:-120}
    if ! command -v cargo-mutants >/dev/null; then
        echo 'NOT CHECKED: mutants of changed lines: cargo-mutants is not installed'
        return
    fi
    base=$(base) || { echo 'NOT CHECKED: mutants of changed lines: there is no commit to compare with' && return; }
    copy_tree
    rm -rf "$output"
    git diff "$base" -- '*.rs' >"$diff"
    for package in "${packages[@]}"; do
        count=$(list "$package" --in-diff "$diff" | wc -l)
        total=$((total + count))
        if [ "$count" -gt 0 ] && [ "$left" -gt 0 ]; then
            test_unchanged "$package"
            start=$SECONDS
            test_mutants "$package" "$output/$package" "$left" --in-diff "$diff" >"$target/changed.log" 2>&1 || {
                cat "$target/changed.log"
                return 1
            }
            left=$((left - SECONDS + start))
        fi
    done
    echo "mutants of the lines that changed since $(git rev-parse --short "$base"): $total"
    [ "$total" -gt 0 ] || return 0
    count=$(find "$output" -name outcomes.json -exec cat {} + | grep -c '"summary"' || true)
    [ "$count" -ge "$total" ] || echo "NOT TESTED: $((total - count)) of them, because of the bound of ${LIMIT:-120} s: LIMIT=3600 tests/mutants.sh changed"
    # Which mutants fit into the bound depends on the speed of the machine, so a survivor is named and is no failure.
    report "$output" || echo 'kill each by a test, or exclude it with its reason: tests/README.md, "Mutants"'
}

case ${1:-} in
all | changed) "$1" ;;
report) report "$results" ;;
*)
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
