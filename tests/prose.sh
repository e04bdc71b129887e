#!/usr/bin/env bash
# Finds words that comments, messages and pages do not use: see "Names and comments" in CONTRIBUTING.md.
# Prints FILE:LINE:TEXT of each finding and exits with 1. A line that contains "prose: allow" is not checked.
# Arguments: the files to check; without any, every tracked file.
set -euo pipefail
cd "$(dirname "$0")/.."

# Perl-compatible, case-insensitive, one a line. Each of them was a habit of this repository; each has a plain replacement.
words=(
    'so (many|often|much|long)\b(?! as\b)'       # a number, a bound, a duration: name it
    'as many (again|times as many)'
    '(whoever|whatever of|of whom|nobody|somebody|anybody|everybody)\b(?!\\?")'  # name the process, the client, the operator
    '((?-i:Ones?) (that|who|which)|of ones? (that|who)|those who|he who)\b'  # name the thing
    '(is|are|was|were|be|been) told\b|told (of|by|as|apart)\b|\btells (of|it|its|them|that|where|who)\b'  # reports, logs, says, distinguishes
    'it is said|what is said|is said (of|to)'
    'sets? (it |an? \w+ )?aside|setting aside'   # quarantine, quarantined
    'in hand'                                    # in flight
    'at rest'                                    # idle
    'last words'                                 # panic record
    'in force'                                   # active
    'by itself'                                  # alone
    'for want of'                                # because memory was short
    '(goes|go|went|going) on (behind|with it|as)'  # continues
    'behind (an? |the |its |their )?(event|death|loss|restart|hand-over|stop|start|commit|snapshot)'  # after
    'for ever'                                   # without limit
    'at its heels|on its heels|in the midst|in its way|in vain|holds? .{0,20}against'
    'hearts?'                                    # core
    'doors?'                                     # listening socket
    'stor(y|ies)'                                # log, sequence
    'liv(ed|es) (for|on|behind|with|in)'         # ran, exists
    '(guilty|culprits?|condemn\w*|vigils?|accus\w+|sentenced|bury|buried|remains of|funeral|knock\w*)'
    'good news|bad news|loudly|silently dropped by'
    'bells?'                                     # wake fd
    'the world'
    'errands?|strays?|strangers?'                # task, unknown, other
    'none if (it|they|there)|is one of none'     # `None` if …; "no X exists"
)

files=("$@")
if [ ${#files[@]} -eq 0 ]; then
    mapfile -t files < <(git ls-files --cached --others --exclude-standard -- \
        '*.rs' '*.md' '*.toml' '*.sh' '*.yaml' '*.snap' Makefile deploy .ci \
        ':!:tests/prose.sh' ':!:CONTRIBUTING.md' ':!:Cargo.lock' ':!:deny.toml' ':!:deploy/debian/copyright' ':!:proto/fuzz/corpus')
fi
# The index may still name files that were moved.
for i in "${!files[@]}"; do [ -f "${files[$i]}" ] || unset "files[$i]"; done

pattern=$(printf '|%s' "${words[@]}")
pattern="\\b(?:${pattern:1})\\b"
# Where prose is: in Rust, what follows "//" or a quote; in configuration and scripts, what follows "#" or a quote; elsewhere, all.
code=() marked=() text=()
for file in "${files[@]}"; do
    case $file in
        *.rs) code+=("$file") ;;
        *.md | *.snap | *.catalog) text+=("$file") ;;
        *) marked+=("$file") ;;
    esac
done
find_in() { # START FILE…
    [ $# -gt 1 ] && grep -HnPi "$1$pattern" "${@:2}" | grep -vF 'prose: allow'
}
found=$(
    find_in '(?://|").*' ${code[@]+"${code[@]}"}
    find_in '[#"].*' ${marked[@]+"${marked[@]}"}
    find_in '' ${text[@]+"${text[@]}"}
) || true
if [ -n "$found" ]; then
    printf '%s\n' "$found"
    printf '%s findings: write plainly (CONTRIBUTING.md, "Names and comments"), or add "prose: allow" to a line that is right\n' \
        "$(printf '%s\n' "$found" | wc -l)" >&2
    exit 1
fi
