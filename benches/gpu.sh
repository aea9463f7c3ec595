#!/usr/bin/env bash
# Tests and benchmarks for a machine that has a GPU, but neither Rust nor a network.
#
#     bash benches/gpu.sh pack FOLDER     here: builds for cuda and wgpu, strips, and leaves all that is needed in FOLDER
#     OUT=RESULTS bash FOLDER/gpu.sh      there: ten minutes at the most; results come to RESULTS as they are measured
#
# FOLDER is at most 60 MB. BACKENDS="cuda" or "wgpu" takes one of them alone; QUICK=1 takes small sizes, to try it on a
# software driver; MINUTES is the time there is, TEST_SECONDS that for the tests of a backend. FLAGS are for cargo:
# --config profile.release.opt-level=1 builds sooner.
set -uo pipefail

BACKENDS=${BACKENDS:-cuda wgpu}
LIMIT_BYTES=$((60 * 1000 * 1000))

# built KIND NAME FEATURES...: builds a test, benchmark or example and prints where the program is.
built() {
    local kind=$1 name=$2 how=(test --no-run)
    shift 2
    [ "$kind" = example ] && how=(build)
    # shellcheck disable=SC2086 # several flags
    cargo "${how[@]}" --release --locked ${FLAGS:-} --message-format=json-render-diagnostics "--$kind" "$name" "$@" |
        python3 -c '
import json, sys
found = [line for line in map(json.loads, sys.stdin) if line.get("executable") and line["target"]["name"] == sys.argv[1]]
if not found: sys.exit("no program was built")
print(found[-1]["executable"])' "$name"
}

pack() {
    local folder backend program
    folder=$(realpath -m "$1")
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit 1
    mkdir -p "$folder" || exit 1
    # What was packed here before, and nothing else.
    rm -f "$folder"/{test,bench,example}-{cuda,wgpu}{,.xz}
    cp "${BASH_SOURCE[0]}" "$folder/gpu.sh" || exit 1
    for backend in $BACKENDS; do
        # The tests hold the GPU against Flex. An example has one backend, the fastest there is.
        for target in 'test gpu' 'bench gpu' 'example translation'; do
            read -r kind name <<<"$target"
            [ "$kind" = example ] && [ "$backend" != "${BACKENDS%% *}" ] && continue
            program=$(built "$kind" "$name" --no-default-features --features "$backend,flex,text") || exit 1
            strip -o "$folder/$kind-$backend" "$program" || exit 1
        done
    done
    du -b "$folder"/* | sort -n
    local bytes
    bytes=$(du -sb "$folder" | cut -f1)
    if [ "$bytes" -gt "$LIMIT_BYTES" ]; then
        # Unpacked again on the other machine, by xz or by Python.
        xz -6 -T0 -f "$folder"/test-* "$folder"/bench-* "$folder"/example-*
        bytes=$(du -sb "$folder" | cut -f1)
    fi
    echo "$folder: $bytes bytes"
    [ "$bytes" -le "$LIMIT_BYTES" ]
}

# unpacked FILE.xz: its content.
unpacked() {
    if command -v xz >/dev/null; then xz -dc "$1"; else
        python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' "$1"
    fi
}

# seconds_left: of the time there is.
seconds_left() { echo $((START + ${MINUTES:-10} * 60 - 15 - $(date +%s))); }

# part NAME LIMIT COMMAND...: runs a command for at most LIMIT seconds, or what is left, and notes its outcome.
part() {
    local name=$1 limit=$2 left status begin
    shift 2
    left=$(seconds_left)
    [ "$limit" -gt "$left" ] && limit=$left
    if [ "$limit" -lt 5 ]; then
        echo "$name: left out, no time" | tee -a "$OUT/parts.txt"
        return
    fi
    begin=$(date +%s)
    timeout -k 5 "$limit" "$@" >"$OUT/$name.txt" 2>&1
    status=$?
    echo "$name: exit status $status after $(($(date +%s) - begin)) s of $limit" | tee -a "$OUT/parts.txt"
}

run() {
    : "${OUT:?is the folder for results}"
    START=$(date +%s)
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
    mkdir -p "$OUT" || exit 1
    OUT=$(cd "$OUT" && pwd)
    compgen -G 'bench-*' >/dev/null || { echo "no programs here: pack a folder first, see the head of this script"; exit 1; }
    local backend program quick=() steps=2000
    # What was packed may lie where nothing is to be written.
    programs=$(mktemp -d) || exit 1 # not local: it is removed when the script ends
    trap 'rm -rf "$programs"' EXIT
    for packed in test-* bench-* example-*; do
        [ -e "$packed" ] || continue
        case $packed in
        *.xz) unpacked "$packed" >"$programs/${packed%.xz}" || exit 1 ;;
        *) cp "$packed" "$programs/$packed" ;;
        esac
    done
    chmod +x "$programs"/*
    nvidia-smi >"$OUT/nvidia-smi.txt" 2>&1
    [ -n "${QUICK:-}" ] && quick=(--quick) && steps=4
    for backend in $BACKENDS; do
        [ -e "$programs/bench-$backend" ] || continue
        part "test-$backend" "${TEST_SECONDS:-150}" "$programs/test-$backend" --nocapture --test-threads 4
    done
    # One part after another, each backend its share: what is cut off is the least needed.
    for backend in $BACKENDS; do
        [ -e "$programs/bench-$backend" ] || continue
        local share=$(($(seconds_left) - 40))
        [ "$backend" = cuda ] && [ "$BACKENDS" != cuda ] && share=$((share * 6 / 10))
        part "bench-$backend" "$share" "$programs/bench-$backend" --limit $((share - 10)) --json "$OUT/bench-$backend.jsonl" "${quick[@]}"
    done
    # The translation model on the sentences that it carries, in the time that is left.
    for program in "$programs"/example-*; do
        [ -e "$program" ] || continue
        part translation 120 "$program" --steps "$steps" --evaluate-every $((steps / 4)) --layout compressed --out "$OUT/translation"
    done
    cat "$OUT/parts.txt"
}

case ${1:-run} in
pack) pack "${2:?the folder to pack into}" ;;
run) run ;;
*) sed -n '2,10s/^# \?//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
