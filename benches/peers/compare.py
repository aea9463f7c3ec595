"""Times a training step of ours and of the Python peers in turns, and prints the ratios as Markdown tables."""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
from importlib.metadata import version

PEERS = ["dense", "masked", "sparselab", "sparseprop"]
NAMES = {
    "dense": "PyTorch dense",
    "masked": "PyTorch masked",
    "sparselab": "SparseLab",
    "sparseprop": "SparseProp",
}

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--step", default="cargo bench --quiet --bench step --", help="how our side is run")
arguments.add_argument("--sparsity", default="99,95,90", help="percent, separated by commas")
arguments.add_argument("--batch", default="32,128")
arguments.add_argument("--threads", type=int, default=2)
arguments.add_argument("--turns", type=int, default=3, help="how often every program has its turn in a cell")
arguments.add_argument("--seconds", type=float, default=1.5, help="how long a turn of a peer is")
arguments.add_argument("--json", type=pathlib.Path, help="where the numbers are left")
options = arguments.parse_args()


def ours(*more):
    """What `benches/step.rs` leaves when run with these arguments."""
    with tempfile.TemporaryDirectory() as folder:
        found = pathlib.Path(folder) / "step.json"
        command = shlex.split(options.step) + ["--threads", str(options.threads), "--json", str(found), *more]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads(found.read_text())


def peer(name, sparsity, batch, optimizer, seconds):
    script = str(pathlib.Path(__file__).with_name("train.py"))
    command = [sys.executable, script, "--peer", name, "--sparsity", sparsity, "--batch", batch]
    command += ["--threads", str(options.threads), "--optimizer", optimizer, "--seconds", str(seconds)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def best(turns):
    """The turn with the smallest median: the one that the rest of the machine disturbed least."""
    return min(turns, key=lambda turn: turn["median_ms"])


def row(cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def head(cells):
    row(cells)
    row(["---"] * len(cells))


def steps(cells):
    print(f"\nMilliseconds a training step (times ours), {options.threads} threads; medians of the best turn\n")
    head(["sparsity", "batch", "ours", *NAMES.values(), "times ours: faster of SparseLab and SparseProp"])
    for batch in options.batch.split(","):
        for sparsity in options.sparsity.split(","):
            turns = {name: [] for name in ["ours", *PEERS]}
            for _ in range(options.turns):
                arguments = ["--layout", "auto", "--sparsity", sparsity, "--batch", batch]
                turns["ours"] += ours(*arguments)["steps"]
                for name in PEERS:
                    turns[name].append(peer(name, sparsity, batch, "sgd", options.seconds))
            cell = {name: best(turn) for name, turn in turns.items()}
            cells.append({"sparsity": sparsity, "batch": batch, **cell})
            own = cell["ours"]["median_ms"]
            times = [f"{cell[name]['median_ms']:.2f} ({cell[name]['median_ms'] / own:.1f}×)" for name in PEERS]
            rival = min(cell["sparselab"]["median_ms"], cell["sparseprop"]["median_ms"]) / own
            row([f"{sparsity} %", batch, f"{own:.3f}", *times, f"{rival:.2f}×"])


def memory(cells):
    print("\nMiB that training adds to the process at its peak (times ours)\n")
    head(["optimizer", "sparsity", "batch", "ours", *NAMES.values()])
    batch = options.batch.split(",")[0]
    for optimizer in ["sgd", "adamw"]:
        for sparsity in options.sparsity.split(","):
            found = ours("--memory", "--sparsity", sparsity, "--batch", batch)["memory"]
            own = next(c["peak_mib"] for c in found if (c["optimizer"], c["layout"]) == (optimizer, "auto"))
            peaks = {name: peer(name, sparsity, batch, optimizer, 0)["peak_mib"] for name in PEERS}
            cells.append({"optimizer": optimizer, "sparsity": sparsity, "batch": batch, "ours": own, **peaks})
            peaks = [f"{peaks[name]:.1f} ({peaks[name] / own:.1f}×)" for name in PEERS]
            row([optimizer, f"{sparsity} %", batch, f"{own:.2f}", *peaks])


def main():
    versions = {name: version(name) for name in ["torch", "sparselab", "sparseprop", "numpy", "scipy"]}
    print("Python", sys.version.split()[0] + ",", ", ".join(f"{name} {number}" for name, number in versions.items()))
    found = {"threads": options.threads, "versions": versions, "steps": [], "memory": []}
    for part in (steps, memory):
        part(found[part.__name__])
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")


main()
