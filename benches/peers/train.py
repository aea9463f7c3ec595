"""Trains the MLP 784-1568³-10 in one of the Python peers and prints what a step takes, as JSON.

The step is that of `benches/step.rs`: bytes to normalised floats, forward, cross-entropy, backward, SGD with momentum 0.9
and weight decay 5e-4 (or AdamW); topology updates left out. The digits are those of the repository.
"""

import argparse
import gzip
import json
import os
import pathlib
import time
import warnings

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--peer", choices=["dense", "masked", "sparselab", "sparseprop"], required=True)
arguments.add_argument("--sparsity", type=float, required=True, help="percent of positions without a link")
arguments.add_argument("--batch", type=int, required=True)
arguments.add_argument("--threads", type=int, default=2)
arguments.add_argument("--seconds", type=float, default=1.5, help="how long to measure")
arguments.add_argument("--optimizer", choices=["sgd", "adamw"], default="sgd")
options = arguments.parse_args()

# Read when the libraries are loaded.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(options.threads)

import numpy  # noqa: E402
import torch  # noqa: E402

# SparseLab makes its layers of these.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
torch.set_num_threads(options.threads)
torch.manual_seed(1)
WIDTHS = [784, 1568, 1568, 1568]
CLASSES = 10


def digits():
    folder = pathlib.Path(__file__).resolve().parents[2] / "datasets" / "mnist-5k"
    with gzip.open(folder / "images-idx3-ubyte.gz") as file:
        images = numpy.frombuffer(file.read(), numpy.uint8, offset=16).reshape(-1, 784)
    with gzip.open(folder / "labels-idx1-ubyte.gz") as file:
        labels = numpy.frombuffer(file.read(), numpy.uint8, offset=8)
    order = numpy.random.default_rng(1).permutation(len(labels))
    return torch.from_numpy(images[order]), torch.from_numpy(labels[order].astype(numpy.int64))


def sparse_dense_layer(inputs, outputs):
    """A `Linear` with exactly the wanted number of random weights, and the mask of them."""
    layer = torch.nn.Linear(inputs, outputs)
    links = round(inputs * outputs * (1 - options.sparsity / 100))
    mask = torch.zeros(outputs * inputs)
    mask[torch.randperm(outputs * inputs)[:links]] = 1
    mask = mask.view(outputs, inputs)
    with torch.no_grad():
        layer.weight.mul_(mask).mul_((inputs * outputs / links) ** 0.5)
    return layer, mask


def hidden_layer(inputs, outputs):
    """A layer of the peer, and its mask if masking is the peer's way."""
    if options.peer == "dense":
        return torch.nn.Linear(inputs, outputs), None
    if options.peer == "masked":
        return sparse_dense_layer(inputs, outputs)
    if options.peer == "sparselab":
        import sparselab

        return sparselab.SparseLinear(inputs, outputs, sparsity=options.sparsity / 100), None
    from sparseprop.modules import SparseLinear

    return SparseLinear.from_dense(sparse_dense_layer(inputs, outputs)[0]), None


def resident(name):
    """A line of this process's status, in MiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024


class Training:
    def __init__(self, widths):
        layers, self.masks = [], []
        for inputs, outputs in zip(widths, widths[1:]):
            layer, mask = hidden_layer(inputs, outputs)
            layers += [layer, torch.nn.ReLU()]
            if mask is not None:
                self.masks.append((layer.weight, mask))
        self.model = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], CLASSES))
        parameters = self.model.parameters()
        if options.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(
                parameters, lr=0.025, momentum=0.9, weight_decay=5e-4, fused=True
            )
        else:
            self.optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)

    def step(self, images, labels):
        pixels = images.float().div_(255).sub_(0.1307).div_(0.3081)
        loss = torch.nn.functional.cross_entropy(self.model(pixels), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        with torch.no_grad():
            for weight, mask in self.masks:
                weight.grad.mul_(mask)
            self.optimizer.step()
            for weight, mask in self.masks:
                weight.mul_(mask)
                for moment in self.optimizer.state[weight].values():
                    if moment is not None and moment.shape == weight.shape:
                        moment.mul_(mask)
        return loss


def main():
    images, labels = digits()
    starts = range(0, len(labels) - options.batch + 1, options.batch)
    batches = [(images[start : start + options.batch], labels[start : start + options.batch]) for start in starts]
    # Code that is loaded when first used, threads and buffers of the libraries belong to the base.
    Training([784, 64]).step(*batches[0])
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    base = resident("VmRSS:")

    training = Training(WIDTHS)
    first = float(training.step(*batches[0]).detach())
    for at in range(20):
        training.step(*batches[at % len(batches)])
    times, losses = [], []
    begin = time.perf_counter()
    while time.perf_counter() - begin < options.seconds or len(times) < 10:
        batch = batches[len(times) % len(batches)]
        start = time.perf_counter()
        losses.append(training.step(*batch).detach())
        times.append(1e3 * (time.perf_counter() - start))
    last = float(torch.stack(losses[-10:]).mean())
    if not last < first:
        raise SystemExit(f"{options.peer}: the loss went from {first} to {last}: this is no training")
    print(
        json.dumps(
            {
                "median_ms": float(numpy.median(times)),
                "minimum_ms": min(times),
                "peak_mib": resident("VmHWM:") - base,
                "torch": torch.__version__,
            }
        )
    )


main()
