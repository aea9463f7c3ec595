#!/usr/bin/env python3
"""Makes a table of results from one file: for every row the best of one small grid of rates, chosen on validation data
by one seed and shorter runs, then the row's runs with all seeds, then Markdown with means and standard deviations.

    cargo build --release --examples
    python3 benches/tables/table.py benches/tables/mnist-5k.toml --out runs/tables/mnist-5k

It may be stopped at any time and called again: runs that have ended are kept, one that had begun is resumed. --dry-run
prints the commands of the search. Needs Python 3.11 and nothing else. The format of the file is that of the tables
beside this script; see FORMAT below."""

FORMAT = """
title       heading of the table
example     mlp, translation or language_model
config      file of options that all rows share (relative to the repository)
options     further options of all rows
seeds       seeds of the rows
[search]    seed; by = the figure of summary.json that decides, of validation data; lowest = whether less is better;
            length = what the shorter runs are, in words; options = those that make them so
[search.grid]   option = its values; every combination is tried. An option's value may be a list: it is given each.
[[columns]] name, figure (of summary.json), digits, and percent = true for shares
[[rows]]    name, options; grid = its own grid, where an option of the common one does not apply.
            {row:NAME} in an option stands for the folder of that row's run with the same seed: that row comes first.
"""

import argparse
import itertools
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# What `Error::NotFinite` and the metric that watches the loss say: a rate too high, not a mistake in a file.
DIVERGED = re.compile(r"\b(NaN|inf|-inf)\b")


class Refused(Exception):
    """An input that is wrong; its text says where."""


def read(file):
    try:
        with open(file, "rb") as handle:
            table = tomllib.load(handle)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Refused(f"{file}: {error}") from error
    required = {"title", "example", "seeds", "search", "columns", "rows"}
    known = required | {"config", "options"}
    for missing in required - table.keys():
        raise Refused(f"{file}: `{missing}` is missing")
    for unknown in table.keys() - known:
        raise Refused(f"{file}: `{unknown}` is unknown; allowed: {', '.join(sorted(known))}")
    search = table["search"]
    for missing in {"seed", "by", "lowest", "length", "options", "grid"} - search.keys():
        raise Refused(f"{file}: `search.{missing}` is missing")
    names = [row.get("name") for row in table["rows"]]
    if None in names or len(set(names)) != len(names):
        raise Refused(f"{file}: every row needs a name of its own, found {names}")
    for row in table["rows"]:
        grid = row.get("grid", search["grid"])
        points = 1
        for option, values in grid.items():
            if not isinstance(values, list) or not 1 <= len(values) <= 4:
                raise Refused(f"{file}: row `{row['name']}`: grid of `{option}` is {values}; allowed: 1 to 4 values")
            points *= len(values)
        if points > 16:
            raise Refused(f"{file}: row `{row['name']}`: {points} points of the grid; allowed: at most 16")
    return table


def arguments(options):
    """Options as they stand on a command line."""
    found = []
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            if one is True:
                found.append(f"--{name}")
            elif one is not False:
                found += [f"--{name}", str(one)]
    return found


def slug(text):
    return re.sub(r"[^a-z0-9.]+", "-", str(text).lower()).strip("-")


class Table:
    def __init__(self, given):
        self.given = given
        self.table = read(given.table)
        self.out = given.out
        self.rows = {row["name"]: row for row in self.table["rows"]}
        target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
        self.program = given.bin or target / "release/examples"
        self.program = self.program / self.table["example"]
        if not self.program.exists():
            raise Refused(f"{self.program}: not built; `cargo build --release --examples` makes it, --bin names its folder")

    def command(self, row, seed, point, further):
        options = dict(self.table.get("options", {})) | row.get("options", {}) | further | point
        command = [str(self.program)]
        if "config" in self.table:
            command += ["--config", str(REPOSITORY / self.table["config"])]
        if self.given.data:
            command += ["--data", str(self.given.data)]
        for name, value in options.items():
            if isinstance(value, str) and (other := re.fullmatch(r"\{row:(.+)\}", value)):
                options[name] = str(self.run_of(self.rows[other[1]], seed))
        return command + arguments(options) + ["--seeds", str(seed)]

    def run(self, folder, command):
        """Runs to the end, or does nothing if that has been done; the summary, None if the loss was not finite."""
        folder.mkdir(parents=True, exist_ok=True)
        kept, run = folder / "command", folder / "run"
        told = shlex.join(part for part in command if part != str(self.program))
        if kept.exists() and kept.read_text() != told:
            raise Refused(f"{folder}: holds another run ({kept.read_text()}), not {told}")
        if (folder / "diverged").exists():
            return None
        summary = run / "summary.json"
        if not summary.exists():
            kept.write_text(told)
            whole = command + ["--out", str(run)] + (["--resume"] if (run / "config.json").exists() else [])
            print("+", shlex.join(whole), flush=True)
            if self.given.dry_run:
                return None
            with open(folder / "log", "a", encoding="utf-8") as log:
                process = subprocess.run(whole, stdout=log, stderr=subprocess.PIPE, text=True, check=False)
                log.write(process.stderr)
            if process.returncode != 0:
                error = process.stderr.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
                if DIVERGED.search(error[0]) and process.returncode == 1:
                    (folder / "diverged").write_text(error[0])
                    return None
                raise Refused(f"{folder}: {error[0]}")
        return json.loads(summary.read_text())

    def best(self, row):
        """The point of the grid that this row is at its best with, and the value of every point."""
        search = self.table["search"]
        grid = row.get("grid", search["grid"])
        tried = []
        for values in itertools.product(*grid.values()):
            point = dict(zip(grid.keys(), values))
            name = slug("-".join(f"{option}-{value}" for option, value in point.items())) or "only"
            folder = self.out / "search" / slug(row["name"]) / name
            command = self.command(row, search["seed"], point, search["options"])
            summary = self.run(folder, command)
            tried.append((point, None if summary is None else summary[search["by"]]))
        ended = [(value, point) for point, value in tried if value is not None]
        if self.given.dry_run:
            return tried[0][0], tried
        if not ended:
            raise Refused(f"row `{row['name']}`: no point of the grid ended with a finite loss")
        choose = min if search["lowest"] else max
        return choose(ended, key=lambda one: one[0])[1], tried

    def run_of(self, row, seed):
        return self.out / "rows" / slug(row["name"]) / f"seed-{seed}" / "run"

    def make(self):
        found = []
        for name, row in self.rows.items():
            if self.given.only and name not in self.given.only:
                continue
            point, tried = self.best(row)
            summaries = []
            for seed in self.table["seeds"]:
                if self.given.dry_run:
                    continue
                folder = self.run_of(row, seed).parent
                summary = self.run(folder, self.command(row, seed, point, {}))
                if summary is not None:
                    summaries.append(summary)
                found_so_far = found + [(row, point, tried, summaries)]
                self.write(found_so_far)
            found.append((row, point, tried, summaries))
        if not self.given.dry_run:
            print(self.write(found))

    def write(self, found):
        table, search = self.table, self.table["search"]
        lines = [f"### {table['title']}", ""]
        columns = table["columns"]
        lines.append("| method | chosen | seeds | " + " | ".join(column["name"] for column in columns) + " |")
        lines.append("|---" * (3 + len(columns)) + "|")
        for row, point, _, summaries in found:
            chosen = ", ".join(f"{option} {value}" for option, value in point.items())
            cells = [row["name"], chosen, str(len(summaries)) if summaries else "diverged"]
            for column in columns:
                scale = 100 if column.get("percent") else 1
                values = [scale * one[column["figure"]] for one in summaries if column["figure"] in one]
                cells.append(mean(values, column.get("digits", 2)) + (" %" if values and column.get("percent") else ""))
            lines.append("| " + " | ".join(cells) + " |")
        direction = "lowest" if search["lowest"] else "highest"
        lines += ["", f"Chosen for every row by the {direction} `{search['by']}` of seed {search['seed']} at {search['length']}:", ""]
        lines.append("| method | " + "every point of the grid: " + f"`{search['by']}` |")
        lines.append("|---|---|")
        for row, point, tried, _ in found:
            told = [
                ("**" if one == point else "")
                + ", ".join(f"{option} {value}" for option, value in one.items())
                + ": " + ("diverged" if value is None else f"{value:.4g}")
                + ("**" if one == point else "")
                for one, value in tried
            ]
            lines.append(f"| {row['name']} | {'; '.join(told)} |")
        file = self.given.table.resolve()
        file = file.relative_to(REPOSITORY) if file.is_relative_to(REPOSITORY) else file.name
        lines += ["", f"{machine()}, commit {commit()}:", "", "```console",
                  f"python3 benches/tables/table.py {file}" + (" --data DIR" if self.given.data else "") + " --out DIR", "```", ""]
        text = "\n".join(lines)
        part = self.out / "table.md.part"
        part.write_text(text)
        part.replace(self.out / "table.md")
        return text


def mean(values, digits):
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def machine():
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        names = []
    threads = os.environ.get("RAYON_NUM_THREADS") or str(len(os.sched_getaffinity(0)))
    return f"{names[0] if names else platform.processor()}, {threads} threads"


def commit():
    told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog=FORMAT, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="the table's file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and table.md")
    parser.add_argument("--data", type=Path, help="folder of the data, where the example needs one")
    parser.add_argument("--bin", type=Path, help="folder of the built examples [default: the target's release/examples]")
    parser.add_argument("--only", action="append", metavar="ROW", help="make this row only; may be given several times")
    parser.add_argument("--dry-run", action="store_true", help="print the commands of the search and run nothing")
    given = parser.parse_args()
    try:
        table = Table(given)
        for unknown in set(given.only or []) - table.rows.keys():
            raise Refused(f"--only {unknown}: no such row; allowed: {', '.join(table.rows)}")
        given.out.mkdir(parents=True, exist_ok=True)
        table.make()
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
