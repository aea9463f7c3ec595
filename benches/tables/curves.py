#!/usr/bin/env python3
"""Draws the validation perplexity of language models, while they train, against the tokens they have seen and against the
operations that these took, from the results that table.py has left, and prints the figures.

    python3 benches/tables/curves.py benches/tables/results/wikitext-2-90.jsonl --tokens 2048 --out docs/wikitext-2-90.svg

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
from table import Refused, into, results  # noqa: E402

LINES = ["-", "--", ":", "-."]


def longest_runs(file):
    """Of every row, its runs with the most validations, and their steps."""
    rows = defaultdict(list)
    for result in results(file):
        if not result["command"].startswith("language_model "):
            raise Refused(f"{file}: not of a table of language models: {result['command']}")
        if "figures" in result:
            rows[result["row"]].append(result)
    most = max((len(result["validation"]) for ended in rows.values() for result in ended), default=0)
    long = {row: runs for row, ended in rows.items() if (runs := [one for one in ended if len(one["validation"]) == most])}
    for row, runs in long.items():
        if len({re.sub(r" --seeds \d+", "", run["command"]) for run in runs}) > 1:
            raise Refused(f"{file}: runs of `{row}` differ in more than their seeds")
    commands = [run["command"] for runs in long.values() for run in runs]
    steps = {step for command in commands for step in re.findall(r"--steps (\d+)", command)}
    if len(steps) != 1:
        raise Refused(f"{file}: the longest runs have {sorted(steps)} steps; allowed: one number")
    return long, int(steps.pop())


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


def draw(found, tokens, out):
    axes, save = panels()
    from matplotlib import ticker

    drawn = Counter()
    for row, cost, values, _ in found:
        name = method(row)
        look = {"label": row, "color": COLOURS.get(name), "marker": ".", "linestyle": LINES[drawn[name] % len(LINES)]}
        drawn[name] += 1
        axes[0].plot([one / 1e6 for one in tokens], values, **look)
        axes[1].plot([one / 1e12 for one in cost], values, **look)
    for axis, label in zip(axes, ("million tokens seen", "operations of the training so far, 10¹²")):
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(ticker.FixedLocator([40, 45, 50, 60, 70, 80, 100]))
        axis.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.yaxis.set_minor_locator(ticker.NullLocator())
        axis.set_xlabel(label)
        axis.grid(alpha=0.25)
    axes[1].set_xscale("log")
    axes[1].xaxis.set_major_locator(ticker.FixedLocator([10, 20, 50, 100, 200]))
    axes[1].xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes[1].xaxis.set_minor_locator(ticker.NullLocator())
    axes[0].set_ylabel("validation perplexity per token")
    axes[0].legend(frameon=False, loc="upper right")
    save(out)


def make(given):
    """The table and the drawing that are asked for."""
    rows, length = longest_runs(given.results)
    found = sorted(curves(rows), key=lambda one: one[2][-1])
    validations = len(found[0][2])
    steps = [length * one // validations for one in range(1, validations + 1)]
    lines = ["| method | " + " | ".join(f"{step:,}" for step in steps) + " | operations | seeds |", "|---" * (validations + 3) + "|"]
    for row, cost, values, seeds in found:
        lines.append(f"| {row} | " + " | ".join(f"{value:.1f}" for value in values) + f" | {cost[-1]:.2e} | {seeds} |")
    print("\n".join(lines))
    if given.into:
        into(given.into, {f"{given.results.stem}: curves": "\n".join(lines) + "\n"})
    if given.out:
        draw(found, [step * given.tokens for step in steps], given.out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results of a table of language models")
    parser.add_argument("--tokens", type=int, required=True, help="tokens of a step")
    parser.add_argument("--into", type=Path, metavar="FILE", help="Markdown file whose block `<!-- NAME: curves -->` is renewed, by the name of the results")
    parser.add_argument("--out", type=Path, help="SVG to write")
    given = parser.parse_args()
    try:
        make(given)
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
