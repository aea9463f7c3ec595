"""Whether onnxruntime computes the logits of our models from the files that we write; prints the graphs, which the test
`the_graphs_are_those_that_onnxruntime_computes_our_logits_with` compares with those that it finds.

    pip install onnx onnxruntime
    cargo test --release --test interchange -- --ignored files_for_onnxruntime --nocapture
    python tests/data/interchange/onnx.py FOLDER > tests/data/interchange/onnx.txt
"""

import json
import struct
import sys
from pathlib import Path

# This file has the name of a package.
sys.path.pop(0)

import numpy
import onnx
import onnxruntime

TYPES = {"tensor(float)": numpy.float32, "tensor(int64)": numpy.int64, "tensor(bool)": numpy.bool_}


def attribute(found):
    tensor = ""
    if found.HasField("t"):
        tensor = f"{found.t.data_type} {list(found.t.dims)} {found.t.raw_data.hex()}"
    return f"{found.name}={struct.pack('<f', found.f).hex()} {found.i} {list(found.ints)} {tensor}"


def line(node):
    parts = [f"{node.op_type} {' '.join(node.input)} -> {' '.join(node.output)}"]
    return "; ".join(parts + [attribute(found) for found in node.attribute])


folder = Path(sys.argv[1])
cases = json.loads((folder / "cases.json").read_text())
for name in ["mlp", "llama", "llama-tied", "transformer", "transformer-tied"]:
    for suffix in ["", "-sparse"]:
        file = folder / f"{name}{suffix}.onnx"
        onnx.checker.check_model(onnx.load(file), full_check=not suffix)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        kinds = {wanted.name: TYPES[wanted.type] for wanted in session.get_inputs()}
        inputs = {
            key: numpy.array(value["values"], dtype=kinds[key]).reshape(value["shape"])
            for key, value in cases[name]["inputs"].items()
        }
        (logits,) = session.run(["logits"], inputs)
        difference = numpy.abs(logits.ravel() - numpy.array(cases[name]["logits"], dtype=numpy.float32)).max()
        assert logits.size == len(cases[name]["logits"]) and difference < 1e-5, (file, difference)
        print(f"{file.name}: {difference:.1e}", file=sys.stderr)
    print(f"# {name}")
    print("\n".join(map(line, onnx.load(folder / f"{name}.onnx").graph.node)))
