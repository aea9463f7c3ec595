"""Sizes of an exported MLP in every format, and its latency on one thread: ONNX by onnxruntime, safetensors by PyTorch,
whose links are compressed rows in the sparse format. Prints a Markdown table.

    cargo build --release --example export
    python benches/peers/export.py --run runs/mnist/chts-1

Needs numpy, onnxruntime, safetensors and torch. The dense network is the whole one, every matrix at full size.
"""

import argparse
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy
import onnxruntime
import torch
from safetensors.torch import load_file

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--run", required=True, type=pathlib.Path, help="folder of a run of mlp")
arguments.add_argument("--export", default="target/release/examples/export", help="the built example")
arguments.add_argument("--last", action="store_true", help="the newest checkpoint in place of the best one")
arguments.add_argument("--seconds", type=float, default=1.0, help="how long a cell is measured")
arguments.add_argument("--turns", type=int, default=3, help="how often every format has its turn; the best counts")
options = arguments.parse_args()

BATCHES = [1, 32]
FORMATS = [
    ("dense network, ONNX", "onnx", ["--all-units"]),
    ("dense network, safetensors", "safetensors", ["--all-units"]),
    ("without inactive units, ONNX", "onnx", []),
    ("without inactive units, ONNX, sparse initializers", "onnx", ["--sparse-initializers"]),
    ("without inactive units, safetensors", "safetensors", []),
    ("without inactive units, sparse safetensors", "sparse", []),
]


def onnx_model(file):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"input": images})[0]


def weight(tensors, path):
    """`[outputs, inputs]`, dense or as compressed rows."""
    if path in tensors:
        return tensors[path].T.contiguous()
    names = ["crow_indices", "col_indices", "values", "shape"]
    crow, columns, values, shape = (tensors[f"{path}.{name}"] for name in names)
    rows = torch.sparse_csr_tensor(crow.long(), columns.long(), values, shape.tolist())
    return rows.to_sparse_coo().T.coalesce().to_sparse_csr()


def torch_model(file):
    tensors = load_file(file)
    layers = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("hidden."))
    paths = [f"hidden.{index}" for index in range(layers)] + ["output"]
    layers = [(weight(tensors, f"{path}.weight"), tensors[f"{path}.bias"]) for path in paths]

    def run(images):
        # Columns are images: compressed rows are multiplied from the left.
        hidden = torch.from_numpy(images).T
        for index, (matrix, bias) in enumerate(layers):
            hidden = matrix @ hidden + bias[:, None]
            if index + 1 < len(layers):
                hidden = hidden.relu()
        return hidden.T.numpy()

    return run


def latency(model, images):
    end, times = time.perf_counter() + options.seconds, []
    while time.perf_counter() < end:
        start = time.perf_counter()
        model(images)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


torch.set_num_threads(1)
torch.set_grad_enabled(False)
generator = numpy.random.default_rng(1)
with tempfile.TemporaryDirectory() as folder:
    models, sizes = {}, {}
    for name, kind, flags in FORMATS:
        file = pathlib.Path(folder) / name.replace(" ", "-")
        flags = flags + ["--last"] * options.last
        command = [options.export, "--run", options.run, "--format", kind, "--out", file, *flags]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        models[name] = onnx_model(file) if kind == "onnx" else torch_model(file)
        sizes[name] = file.stat().st_size
    inputs = load_file(pathlib.Path(folder) / FORMATS[1][0].replace(" ", "-"))["hidden.0.weight"].shape[0]
    images = {batch: generator.standard_normal((batch, inputs), dtype=numpy.float32) for batch in BATCHES}
    expected = models[FORMATS[0][0]](images[32])
    for name, model in models.items():
        difference = numpy.abs(model(images[32]) - expected).max()
        assert difference < 1e-4, (name, difference)
    best = {}
    for _ in range(options.turns):
        for name, model in models.items():
            for batch in BATCHES:
                found = latency(model, images[batch])
                best[name, batch] = min(found, best.get((name, batch), found))

print(f"onnxruntime {onnxruntime.__version__}, PyTorch {torch.__version__}, one thread\n")
print("| | kB | " + " | ".join(f"µs, batch {batch}" for batch in BATCHES) + " |")
print("|---|---|" + "---|" * len(BATCHES))
for name in models:
    cells = " | ".join(f"{1e6 * best[name, batch]:.0f}" for batch in BATCHES)
    print(f"| {name} | {sizes[name] / 1000:.0f} | {cells} |")
