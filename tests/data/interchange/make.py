"""Writes dense.safetensors and sparse.safetensors, the golden files of tests/interchange, without burn-cht.

Needs numpy and safetensors; with torch there, it also reads the compact one as a sparse tensor of PyTorch.
"""

import pathlib
import zlib

import numpy
from safetensors.numpy import load_file, save_file

folder = pathlib.Path(__file__).parent

hidden = numpy.zeros((3, 4), numpy.float32)
hidden[0, 1], hidden[1, 0], hidden[1, 2], hidden[2, 3] = 0.5, -2.0, 0.0, 3.25
other = {
    "hidden.bias": numpy.array([0.25, 0.0, -0.0, 1e-30], numpy.float32),
    "head.weight": numpy.arange(8, dtype=numpy.float32).reshape(4, 2) / 8,
    "head.bias": numpy.array([-1.5, numpy.inf], numpy.float32),
}
save_file({"hidden.weight": hidden, **other}, folder / "dense.safetensors")

compact = {
    "hidden.weight.shape": numpy.array([3, 4], numpy.int64),
    "hidden.weight.crow_indices": numpy.array([0, 1, 3, 4], numpy.int32),
    "hidden.weight.col_indices": numpy.array([1, 0, 2, 3], numpy.int32),
    "hidden.weight.values": numpy.array([0.5, -2.0, 0.0, 3.25], numpy.float32),
    **other,
}
TYPES = {"float32": b"F32", "int32": b"I32", "int64": b"I64"}
checksum = 0
for name in sorted(compact, key=str.encode):
    tensor = compact[name]
    sides = numpy.array(tensor.shape, "<u8").tobytes()
    checksum = zlib.crc32(name.encode() + b"\0" + TYPES[str(tensor.dtype)] + b"\0" + sides + tensor.tobytes(), checksum)
save_file(compact, folder / "sparse.safetensors", {"burn_cht.sparse": f"1 crc32 {checksum:08x}"})

try:
    import torch
except ImportError:
    raise SystemExit("written; torch is not there to read the compact file")
found = load_file(folder / "sparse.safetensors")
crow, col, values, shape = (
    torch.from_numpy(found[f"hidden.weight.{part}"]) for part in ("crow_indices", "col_indices", "values", "shape")
)
assert (torch.sparse_csr_tensor(crow, col, values, tuple(shape)).to_dense().numpy() == hidden).all()
print("written, and read by PyTorch")
