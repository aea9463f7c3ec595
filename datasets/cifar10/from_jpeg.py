#!/usr/bin/env python3
"""Turn a tar archive of the CIFAR-10 images as JPEG files into CIFAR-10's binary batches.

    pip install pillow
    python3 from_jpeg.py ARCHIVE FOLDER

ARCHIVE holds train/CLASS/*.jpg and test/CLASS/*.jpg, 5,000 and 1,000 of each class. FOLDER
receives data_batch_1.bin to data_batch_5.bin and test_batch.bin: 10,000 records each of one
label byte and 3 x 32 x 32 pixel bytes (red, green, blue plane). Images of equal rank in their
class stand together, so that every batch holds 1,000 of each class. JPEG is lossy: pixels
differ a little from the original data set's.
"""

import io
import os
import sys
import tarfile

from PIL import Image

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PER_CLASS = {"train": 5000, "test": 1000}
BATCH = 10_000


def record(label, jpeg, name):
    image = Image.open(io.BytesIO(jpeg))
    if image.size != (32, 32) or image.mode != "RGB":
        sys.exit(f"{name}: {image.size} {image.mode}, expected (32, 32) RGB")
    return bytes([label]) + b"".join(plane.tobytes() for plane in image.split())


def read(archive):
    found = {(part, label): [] for part in PER_CLASS for label in range(len(CLASSES))}
    with tarfile.open(archive) as tar:
        for member in tar:
            path = member.name.removeprefix("./").split("/")
            if not member.isfile() or not member.name.endswith(".jpg"):
                continue
            if len(path) < 3 or path[-3] not in PER_CLASS or path[-2] not in CLASSES:
                sys.exit(f"{archive}: {member.name} is neither train/CLASS/ nor test/CLASS/")
            label = CLASSES.index(path[-2])
            content = record(label, tar.extractfile(member).read(), member.name)
            found[path[-3], label].append((path[-1], content))
    for (part, label), images in found.items():
        if len(images) != PER_CLASS[part]:
            sys.exit(f"{archive}: {part}/{CLASSES[label]} has {len(images)} images, expected {PER_CLASS[part]}")
        images.sort()
    return found


def main(archive, folder):
    found = read(archive)
    batches = {}
    for part, count in PER_CLASS.items():
        records = [found[part, label][rank][1] for rank in range(count) for label in range(len(CLASSES))]
        for start in range(0, len(records), BATCH):
            name = "test_batch.bin" if part == "test" else f"data_batch_{start // BATCH + 1}.bin"
            batches[name] = b"".join(records[start : start + BATCH])

    os.makedirs(folder, exist_ok=True)
    for name in batches:
        if os.path.exists(os.path.join(folder, name)):
            sys.exit(f"{os.path.join(folder, name)} exists: move it away first")
    for name, content in batches.items():
        path = os.path.join(folder, name)
        with open(path + ".part", "wb") as file:
            file.write(content)
        os.rename(path + ".part", path)
        print(path)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
