#!/usr/bin/env python3
"""Draws the test accuracy of dense and sparse MLPs against the operations of their training and against their parameters,
from the results that table.py has left, and prints the figures.

    python3 benches/tables/plot.py benches/tables/results/sizes-fashion-mnist.jsonl --out docs/sizes-fashion-mnist.svg

Operations: 6 for each link and image (2 forwards, 4 for both gradients), at the mean density of every epoch; the output
layer is dense in all networks; biases, activations, updates of the topology and the optimizer are not counted. A point is
the mean over the seeds of a row, its bar from the lowest to the highest. Needs matplotlib."""

import argparse
import re
import statistics
import sys
from collections import defaultdict
from pathlib import Path

sys.dont_write_bytecode = True  # the folder is part of the package
from table import Refused, operations, results, status  # noqa: E402

COLOURS = {"dense": "#222222", "CHTs": "#0072b2", "CHTss": "#009e73", "RigL": "#d55e00", "SET": "#cc79a7", "GraNet": "#e69f00"}
MARKERS = {"dense": "s", "CHTs": "o", "CHTss": "^", "RigL": "D", "SET": "v", "GraNet": "P"}


def points(file):
    """Of every row: name, operations, parameters, test accuracies."""
    rows = defaultdict(list)
    for result in results(file):
        if not result["command"].startswith("mlp "):
            raise Refused(f"{file}: not of a table of MLPs: {result['command']}")
        if "figures" in result:
            rows[result["row"]].append(result)
    for row, ended in rows.items():
        longest = max(result["figures"]["epochs"] for result in ended)
        runs = [result for result in ended if result["figures"]["epochs"] == longest]
        if len(runs) == len(ended):
            continue  # the search alone
        yield (
            row,
            statistics.mean(map(operations, runs)),
            runs[0]["figures"]["parameters"],
            [run["figures"]["test_accuracy"] for run in runs],
        )


def method(row):
    """Of a row by its name, which begins with it."""
    return re.split(r"[ ,']", row)[0]


def panels():
    """Two panels side by side, and how they are written: by the same figures, to the same bytes."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "burn-cht", "font.size": 10})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    return axes, lambda out: figure.savefig(out, metadata={"Date": None})


def draw(found, out):
    axes, save = panels()
    for axis, which, label in ((axes[0], 1, "operations of the whole training"), (axes[1], 2, "parameters at the end")):
        by_method = defaultdict(list)
        for one in found:
            by_method[method(one[0])].append(one)
        for name, ones in by_method.items():
            ones.sort(key=lambda one: one[which])
            means = [statistics.mean(one[3]) for one in ones]
            bars = [[mean - min(one[3]) for mean, one in zip(means, ones)], [max(one[3]) - mean for mean, one in zip(means, ones)]]
            axis.errorbar(
                [one[which] for one in ones], means, bars, label=name, color=COLOURS.get(name), marker=MARKERS.get(name, "x"),
                linestyle="-" if name == "dense" else "none", capsize=2,
            )
        # Networks of one shape that are at one place have one label, below the lowest.
        labels = {}
        for one in found:
            text = ", ".join(re.findall(r"width \d+|\d+ % of the links", one[0])).replace("width ", "").replace(" of the links", "")
            place, mean = (text, f"{one[which]:.2e}"), statistics.mean(one[3])
            labels[place] = min(labels.get(place, (one[which], mean)), (one[which], mean))
        for (text, _), place in labels.items():
            axis.annotate(text, place, xytext=(4, -10), textcoords="offset points", fontsize=7, color="#555555")
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("test accuracy, %")
    axes[0].legend(frameon=False, loc="lower right")
    save(out)


def make(given):
    """The table and the drawing that are asked for."""
    found = list(points(given.results))
    print("| network | operations | parameters | test accuracy | seeds |\n|---|---|---|---|---|")
    for row, cost, parameters, accuracies in found:
        spread = f" ± {statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
        print(f"| {row} | {cost:.2e} | {parameters:,} | {statistics.mean(accuracies):.2f}{spread} | {len(accuracies)} |")
    if given.out:
        draw(found, given.out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results of a table of MLPs")
    parser.add_argument("--out", type=Path, help="SVG to write")
    return status(make, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
