#!/usr/bin/env python3
"""Draws the validation perplexity of language models, or the validation loss of translation, against the tokens they have
been trained on so far and against the operations that these took, from the results that table.py has left, and prints
the figures.

    python3 benches/tables/curves.py benches/tables/results/wikitext-2.jsonl --tokens 2048 --out docs/wikitext-2.svg

Each row's longest runs alone, one line a row, the mean over its seeds, which must not differ in anything else. Operations
are the run's own count: 6 for each link and token, 6 for each weight of the output projection, attention's products, at the
density of every step; updates of the topology and the optimizer are not counted. They are linear in the density, so that
those of a row whose density changes are shared among its validations by it, given what the row named dense, a model of the
same shape, has at density 1. Needs matplotlib."""

import argparse
import itertools
import re
import statistics
import sys
from collections import Counter, defaultdict
from pathlib import Path

sys.dont_write_bytecode = True  # the folder is part of the package
from plot import COLOURS, method, panels  # noqa: E402
from table import Refused, into, results, status  # noqa: E402

LINES = ["-", "--", ":", "-."]
MEASURES = {"language_model": "perplexity per token", "translation": "loss per token"}


def longest_runs(file):
    """What is measured; of every row, its runs with the most validations."""
    rows, measures = defaultdict(list), set()
    for result in results(file):
        measures.add(MEASURES.get(result["command"].split(" ")[0]))
        if "figures" in result:
            rows[result["row"]].append(result)
    if not rows or len(measures) != 1 or None in measures:
        raise Refused(f"{file}: not of one table of {' or '.join(MEASURES)} whose runs have ended")
    most = max(len(result["validation"]) for ended in rows.values() for result in ended)
    long = {row: runs for row, ended in rows.items() if (runs := [one for one in ended if len(one["validation"]) == most])}
    for row, runs in long.items():
        if len({re.sub(r" --seeds \d+", "", run["command"]) for run in runs}) > 1:
            raise Refused(f"{file}: runs of `{row}` differ in more than their seeds")
    return measures.pop(), long


def length(file, runs, given):
    """Steps of the longest runs: as given, else as their commands say."""
    steps = {int(step) for of_row in runs.values() for run in of_row for step in re.findall(r"--steps (\d+)", run["command"])}
    steps |= {given} - {None}
    if len(steps) != 1:
        raise Refused(f"{file}: the longest runs have {sorted(steps)} steps; allowed: one number, by --steps if their commands have none")
    return steps.pop()


def operations(run, dense):
    """Of the training up to each validation. `dense`: those of the whole training at density 1."""
    total, densities = run["figures"]["training_operations"], run["densities"]
    if max(densities) - min(densities) < 1e-6:
        return [total * one / len(densities) for one in range(1, len(densities) + 1)]
    if dense is None:
        raise Refused(f"the density of `{run['row']}` changes, and there is no row `dense` to share its operations by")
    slope = (dense - total) / sum(1 - density for density in densities)
    return list(itertools.accumulate(dense / len(densities) - slope * (1 - density) for density in densities))


def curves(rows):
    """Of every row: name, operations at each validation, mean perplexity there, seeds."""
    dense = rows["dense"][0]["figures"]["training_operations"] if "dense" in rows else None
    for row, runs in rows.items():
        of_seeds = list(zip(*(run["validation"] for run in runs)))
        yield row, operations(runs[0], dense), [statistics.mean(one) for one in of_seeds], len(runs)


def draw(measure, found, tokens, out):
    axes, save = panels()
    from matplotlib import ticker

    perplexities = [40, 45, 50, 60, 70, 80, 100]

    drawn = Counter()
    for row, cost, values, _ in found:
        name = method(row)
        look = {"label": row, "color": COLOURS.get(name), "marker": ".", "linestyle": LINES[drawn[name] % len(LINES)]}
        drawn[name] += 1
        axes[0].plot([one / 1e6 for one in tokens], values, **look)
        axes[1].plot([one / 1e12 for one in cost], values, **look)
    for axis, label in zip(axes, ("million tokens seen", "operations of the training so far, 10¹²")):
        if measure.startswith("perplexity"):
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(ticker.FixedLocator(perplexities))
            axis.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axis.yaxis.set_minor_locator(ticker.NullLocator())
        axis.set_xlabel(label)
        axis.grid(alpha=0.25)
    axes[1].set_xscale("log")
    axes[1].xaxis.set_major_locator(ticker.FixedLocator([10, 20, 50, 100, 200, 500, 1000]))
    axes[1].xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes[1].xaxis.set_minor_locator(ticker.NullLocator())
    axes[0].set_ylabel(f"validation {measure}")
    axes[0].legend(frameon=False, loc="upper right")
    save(out)


def make(given):
    """The table and the drawing that are asked for."""
    measure, rows = longest_runs(given.results)
    last = length(given.results, rows, given.steps)
    found = sorted(curves(rows), key=lambda one: one[2][-1])
    validations = len(found[0][2])
    steps = [last * one // validations for one in range(1, validations + 1)]
    lines = ["| method | " + " | ".join(f"{step:,}" for step in steps) + " | operations | seeds |", "|---" * (validations + 3) + "|"]
    digits = 1 if measure.startswith("perplexity") else 3
    for row, cost, values, seeds in found:
        lines.append(f"| {row} | " + " | ".join(f"{value:.{digits}f}" for value in values) + f" | {cost[-1]:.2e} | {seeds} |")
    print("\n".join(lines))
    if given.into:
        into(given.into, {f"{given.results.stem}: curves": "\n".join(lines) + "\n"})
    if given.out:
        draw(measure, found, [step * given.tokens for step in steps], given.out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results of a table of language models or translation")
    parser.add_argument("--tokens", type=int, required=True, help="tokens of a step")
    parser.add_argument("--steps", type=int, help="steps of the longest runs [default: as their commands say]")
    parser.add_argument("--into", type=Path, metavar="FILE", help="Markdown file whose block `<!-- NAME: curves -->` is renewed, by the name of the results")
    parser.add_argument("--out", type=Path, help="SVG to write")
    return status(make, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
