#!/usr/bin/env bash
# Times a training step of ours and of the Python peers side by side; arguments go to compare.py.
#
# PyTorch's stock wheel brings gigabytes of GPU libraries that this comparison does not use. With PYTHON set to an
# interpreter that has torch, numpy, scipy, sparselab and sparseprop, nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"

if [ -z "${PYTHON:-}" ]; then
    venv="$CARGO_TARGET_DIR/peers-venv"
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    PYTHON="$venv/bin/python"
    "$PYTHON" -m pip install --quiet --requirement benches/peers/requirements.txt
    "$PYTHON" -m pip install --quiet --no-deps sparselab==0.2.2
    # SparseProp is compiled here, for this CPU, by the pip and pybind11 of this environment.
    PATH="$venv/bin:$PATH" "$PYTHON" -m pip install --quiet --no-deps --no-build-isolation sparseprop==0.1.14
fi

cargo bench --quiet --bench step --no-run
exec "$PYTHON" benches/peers/compare.py "$@"
