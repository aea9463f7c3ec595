#!/bin/sh
# tests/faults/kill.sh N [EXAMPLE...]: kills the examples N times each (mlp, translation and language_model if none is
# named), resumes them every time, and compares what each run comes to with one that was never interrupted. See kill.py.
# Builds the examples, unless BIN says in which folder they lie.
set -eu
cd "$(dirname "$0")/../.."
if [ -z "${BIN:-}" ]; then
    cargo build --release --example mlp --example translation --example language_model
    BIN="${CARGO_TARGET_DIR:-target}/release/examples"
fi
export BIN
exec python3 tests/faults/kill.py "$@"
