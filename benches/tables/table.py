#!/usr/bin/env python3
"""Makes a table of results from one file: for every row the best of one small grid of rates, chosen on validation data
by one seed and shorter runs, then the row's runs with all seeds, then Markdown with means and standard deviations.

    cargo build --release --examples
    python3 benches/tables/table.py benches/tables/mnist-5k.toml --out runs/tables/mnist-5k \\
        --results benches/tables/results/mnist-5k.jsonl

It may be stopped at any time and called again: every run that has ended is a line of the results, one that had begun is
resumed. All rows have their first seed before any has its second. Results outlive the folders of the runs: those in
benches/tables/results are kept with the code, so that a table goes on where another machine left it.
--dry-run prints the commands of the search, --no-runs makes the table of what is there. Calls side by side, each with
--only and --seed for its rows, may share a folder and results. --into FILE renews the blocks of a Markdown file that
stand between `<!-- mnist-5k: rows -->`, or `: search`, and `<!-- end -->`, named after the table's file. Needs Python
3.11 and nothing else. The format of the file is that of the tables beside this script; see FORMAT below."""

FORMAT = """
title       heading of the table
example     mlp, translation or language_model
config      file of options that all rows share (relative to the repository)
options     further options of all rows
seeds       seeds of the rows
[search]    seed; by = the figure of summary.json that decides, of validation data; lowest = whether less is better;
            length = what the shorter runs are, in words; options = those that make them so;
            labels = words for options of the grid and for the figure, where their names do not do
[search.grid]   option = its values; every combination is tried. An option's value may be a list: it is given each.
[[columns]] name, figure (of summary.json), digits, and percent = true for shares or exponent = true for large figures
[[rows]]    name, options; grid = its own grid, where an option of the common one does not apply.
            {row:NAME} in an option stands for the folder of that row's run with the same seed: that row comes first.
"""

import argparse
import datetime
import hashlib
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


# Of Linux's flags, the widest first: what sums of floats depend on, and times.
VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}


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
    if not isinstance(search, dict) or not all(isinstance(part, list) and all(isinstance(one, dict) for one in part) for part in (table["rows"], table["columns"])):
        raise Refused(f"{file}: `search` has to be a table, `rows` and `columns` lists of tables")
    parts = [("search", search, {"seed", "by", "lowest", "length", "options", "grid"}, {"labels"})]
    parts += [("rows", row, {"name"}, {"options", "grid"}) for row in table["rows"]]
    parts += [("columns", column, {"name", "figure"}, {"digits", "percent", "exponent"}) for column in table["columns"]]
    for name, part, required, further in parts:
        for missing in sorted(required - part.keys()):
            raise Refused(f"{file}: `{name}.{missing}` is missing")
        for unknown in sorted(part.keys() - required - further):
            raise Refused(f"{file}: `{name}.{unknown}` is unknown; allowed: {', '.join(sorted(required | further))}")
    names = [row["name"] for row in table["rows"]]
    if len(set(names)) != len(names):
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


def results(file):
    """The runs of a file of results that have ended, one a line of JSON."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{file}: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            result = json.loads(line)
            missing = {"command", "config", "row", "seed", "commit", "machine"} - result.keys()
        except (ValueError, AttributeError) as error:
            raise Refused(f"{file}:{number}: not a result: {error}") from error
        if missing or not {"figures", "diverged"} & result.keys():
            raise Refused(f"{file}:{number}: not a result: {', '.join(sorted(missing)) or 'figures'} missing")
        yield result


INPUTS, CLASSES, IMAGES = {"mnist": 784, "fashion-mnist": 784, "cifar10": 3072}, 10, {"mnist": 60_000, "fashion-mnist": 60_000, "cifar10": 50_000}


def operations(result):
    """Of a whole training, in floating-point operations: the run's own count, where it was made after runs had one, else
    counted the same way, for MLPs alone."""
    if "training_operations" in result["figures"]:
        return result["figures"]["training_operations"]
    words = shlex.split(result["command"])
    option = {name[2:]: value for name, value in zip(words[1::2], words[2::2])}
    data, width = option["dataset"], int(option.get("width", 1568))
    sparse = INPUTS[data] * width + 2 * width * width
    images = IMAGES[data] - int(option.get("hold-out", 0))
    densities = result["densities"] or [1.0] * int(result["figures"]["epochs"])
    return sum(6 * images * (density * sparse + CLASSES * width) for density in densities)


def into(file, blocks):
    """Renews those blocks of a Markdown file that it has: `<!-- NAME -->`, text, `<!-- end -->`."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{file}: {error}") from error
    there = False
    for name, block in blocks.items():
        head, found, rest = text.partition(f"<!-- {name} -->\n")
        _, closed, tail = rest.partition("<!-- end -->\n")
        if found and not closed:
            raise Refused(f"{file}: `<!-- {name} -->` has no `<!-- end -->` after it")
        if found:
            there, text = True, head + found + "\n" + block + "\n" + closed + tail
    if not there:
        raise Refused(f"{file}: none of these lines is in it: {', '.join(f'<!-- {name} -->' for name in blocks)}")
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)


class Results:
    """Runs that have ended; what identifies a run is its command and its configuration."""

    def __init__(self, file):
        self.file = file
        self.read()

    def read(self):
        there = results(self.file) if self.file.exists() else []
        self.found = {(result["command"], result["config"]): result for result in there}

    def get(self, command, config):
        return self.found.get((command, config))

    def add(self, result):
        self.found[result["command"], result["config"]] = result
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # One write at the end of the file: calls side by side do not mix their lines.
        with open(self.file, "ab", buffering=0) as handle:
            handle.write((json.dumps(result) + "\n").encode())


class Table:
    def __init__(self, given):
        self.given = given
        self.table = read(given.table)
        self.out = given.out
        self.rows = {row["name"]: row for row in self.table["rows"]}
        self.results = Results(given.results or given.out / "results.jsonl")
        self.config = "none"
        if "config" in self.table:
            self.config = hashlib.sha256((REPOSITORY / self.table["config"]).read_bytes()).hexdigest()[:16]
        target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
        self.program = given.bin or target / "release/examples"
        self.program = self.program / self.table["example"]
        if not self.program.exists() and not given.no_runs:
            raise Refused(f"{self.program}: not built; `cargo build --release --examples` makes it, --bin names its folder")

    def command(self, row, seed, point, further):
        """The options of a run, with other rows by name."""
        options = dict(self.table.get("options", {})) | row.get("options", {}) | further | point
        return arguments(options) + ["--seeds", str(seed)]

    def run(self, folder, row, seed, point, further, again=False):
        """Runs to the end, unless that has been done: figures of the summary, None if the loss was not finite or if the
        run is not there and none is wanted. `again` runs what the results have but the folder has not."""
        options = self.command(row, seed, point, further)
        told = shlex.join([self.table["example"]] + options)
        known = self.results.get(told, self.config)
        run = folder / "run"
        summary = run / "summary.json"
        if known and not (again and not summary.exists()):
            return known.get("figures")
        if self.given.no_runs:
            return None
        whole = [str(self.program)]
        if "config" in self.table:
            whole += ["--config", str(REPOSITORY / self.table["config"])]
        if self.given.data:
            whole += ["--data", str(self.given.data)]
        whole += [self.folder_of(option[5:-1], seed) if option.startswith("{row:") else option for option in options]
        whole += ["--out", str(run)] + (["--resume"] if (run / "config.json").exists() else [])
        kept, identity = folder / "command", f"{told}\nconfig {self.config}\n"
        if kept.exists() and kept.read_text() != identity:
            raise Refused(f"{folder}: holds another run ({kept.read_text().strip()}), not {identity.strip()}")
        print("+", shlex.join(whole), flush=True)
        if self.given.dry_run:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(identity)
        result = {"command": told, "config": self.config, "row": row["name"], "seed": seed, "commit": commit(), "machine": machine()}
        if not summary.exists():
            with open(folder / "log", "a", encoding="utf-8") as log:
                process = subprocess.run(whole, stdout=log, stderr=subprocess.PIPE, text=True, check=False)
                log.write(process.stderr)
            if process.returncode != 0:
                error = process.stderr.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
                if not DIVERGED.search(error[0]) or process.returncode != 1:
                    raise Refused(f"{folder}: {error[0]}")
                # What follows the folder, which is of this machine alone.
                reason = error[0].removeprefix(f"error: {run}: ")
                self.results.add(result | {"diverged": reason})
                return None
        figures = {name: value for name, value in json.loads(summary.read_text()).items() if type(value) in (int, float)}
        result |= {"ended": datetime.date.today().isoformat(), "figures": figures} | epochs(run)
        if known:
            self.compare(told, known, figures)
        else:
            self.results.add(result)
        return figures

    @staticmethod
    def compare(told, known, figures):
        """A run that is repeated for its links has to be the one whose figures are in the results."""
        for name, value in known.get("figures", {}).items():
            if "second" not in name and figures.get(name) != value:
                raise Refused(f"{told}: repeated, and {name} is {figures.get(name)}, not {value}: another build or machine")

    def folder_of(self, name, seed):
        """The folder of a row's run, which is run if it is not there."""
        row = self.rows.get(name)
        if row is None:
            raise Refused(f"{{row:{name}}}: no such row; allowed: {', '.join(self.rows)}")
        point, _ = self.best(row)
        folder = self.out / "rows" / slug(name) / f"seed-{seed}"
        self.run(folder, row, seed, point, {}, again=True)
        return str(folder / "run")

    def best(self, row):
        """The point of the grid that this row is at its best with, None while some have no result; the value of each."""
        search = self.table["search"]
        grid = row.get("grid", search["grid"])
        tried, missing = [], False
        for values in itertools.product(*grid.values()):
            point = dict(zip(grid.keys(), values))
            name = slug("-".join(f"{option}-{value}" for option, value in point.items())) or "only"
            folder = self.out / "search" / slug(row["name"]) / name
            figures = self.run(folder, row, search["seed"], point, search["options"])
            told = shlex.join([self.table["example"]] + self.command(row, search["seed"], point, search["options"]))
            missing |= self.results.get(told, self.config) is None
            if figures is not None and search["by"] not in figures:
                raise Refused(f"{self.given.table}: `search.by` is `{search['by']}`; allowed: {', '.join(figures)}")
            tried.append((point, None if figures is None else figures[search["by"]]))
        ended = [(value, point) for point, value in tried if value is not None]
        if self.given.dry_run:
            return tried[0][0], tried
        if missing:
            return None, tried
        if not ended:
            raise Refused(f"row `{row['name']}`: no point of the grid ended with a finite loss")
        choose = min if search["lowest"] else max
        return choose(ended, key=lambda one: one[0])[1], tried

    def make(self):
        rows = [row for name, row in self.rows.items() if not self.given.only or name in self.given.only]
        for seed in self.given.seed or self.table["seeds"]:
            for row in rows:
                point, _ = self.best(row)
                if point is None or self.given.dry_run:
                    continue
                self.run(self.out / "rows" / slug(row["name"]) / f"seed-{seed}", row, seed, point, {})
                self.write()
        if not self.given.dry_run:
            print(self.write())

    def of(self, row, point):
        """What the results have of a row's own runs."""
        told = [shlex.join([self.table["example"]] + self.command(row, seed, point, {})) for seed in self.table["seeds"]]
        return [result for one in told if (result := self.results.get(one, self.config))]

    def blocks(self):
        """The tables of the rows and of the search, of what the results have, also while others still run."""
        self.results.read()
        asked, self.given.no_runs = self.given.no_runs, True
        found = []
        for row in self.rows.values():
            point, tried = self.best(row)
            if point is not None:
                found.append((row, point, tried))
        self.given.no_runs = asked
        name = self.given.table.stem
        return {f"{name}: rows": self.rows_table(found), f"{name}: search": self.search_table(found)}

    def label(self, name):
        return self.table["search"].get("labels", {}).get(name, name)

    def varied(self):
        """The options that have more than one value in a grid."""
        grids = [self.table["search"]["grid"]] + [row["grid"] for row in self.rows.values() if "grid" in row]
        return {option for grid in grids for option, values in grid.items() if len(values) > 1}

    def header(self, several):
        """Of the points of the grid: the one option that varies, else what is given."""
        varied = self.varied()
        return self.label(*varied) if len(varied) == 1 else several

    def told(self, point):
        """A point of the grid by its options that vary, by name if there are several."""
        varied = self.varied()
        if len(varied) == 1 and varied <= point.keys():
            return str(point[varied.pop()])
        return ", ".join(f"{self.label(option)} {value}" for option, value in point.items() if option in varied)

    def at_an_end(self, row, point):
        """Whether a better point may lie beyond the row's grid: an option that varies has its first or last value."""
        grid = row.get("grid", self.table["search"]["grid"])
        return any(len(values) > 1 and point[option] in (values[0], values[-1]) for option, values in grid.items())

    def fixed(self):
        """Options of the common grid that have one value, as text."""
        one = {option: values[0] for option, values in self.table["search"]["grid"].items() if len(values) == 1}
        return ", ".join(f"{self.label(option)} {value}" for option, value in one.items())

    def rows_table(self, found):
        columns = self.table["columns"]
        lines = [f"| method | {self.header('chosen')} | seeds | " + " | ".join(column["name"] for column in columns) + " |"]
        lines.append("|---" * (3 + len(columns)) + "|")
        for row, point, _ in found:
            runs = self.of(row, point)
            ended = [run for run in runs if "figures" in run]
            diverged = len(runs) - len(ended)
            cells = [row["name"], self.told(point), str(len(ended)) + (f", {diverged} more diverged" if diverged else "")]
            lines.append("| " + " | ".join(cells + [cell(column, ended) for column in columns]) + " |")
        return "\n".join(lines) + "\n"

    def search_table(self, found):
        search = self.table["search"]
        direction = "lowest" if search["lowest"] else "highest"
        fixed = f", {fixed} for all" if (fixed := self.fixed()) else ""
        lines = [f"Chosen for every row by the {direction} {self.label(search['by'])} of seed {search['seed']} after {search['length']}{fixed}; the first of equal ones. *End*: a better one may lie beyond the grid.", ""]
        lines += [f"| method | {self.header('every point of the grid')}: {self.label(search['by'])} |", "|---|---|"]
        for row, point, tried in found:
            points = [(one == point, f"{self.told(one)}: " + ("diverged" if value is None else f"{value:.4g}")) for one, value in tried]
            end = " (*end*)" if self.at_an_end(row, point) else ""
            lines.append(f"| {row['name']} | " + "; ".join(f"**{text}**{end}" if best else text for best, text in points) + " |")
        of = [result for result in self.results.found.values() if result["row"] in self.rows]
        machines = "; ".join(sorted({result["machine"] for result in of}))
        lines += ["", f"{machines}; commits {', '.join(sorted({result['commit'] for result in of}))}."]
        return "\n".join(lines) + "\n"

    def write(self):
        """The whole table as Markdown, kept in the folder of the runs and, where that is wanted, in another file."""
        blocks = self.blocks()
        file = self.given.table.resolve()
        file = file.relative_to(REPOSITORY) if file.is_relative_to(REPOSITORY) else file.name
        call = f"python3 benches/tables/table.py {file}" + (" --data DIR" if self.given.data else "") + " --out DIR"
        text = "\n".join([f"### {self.table['title']}\n", *blocks.values(), f"```console\n{call}\n```\n"])
        part = self.out / f"table.md.{os.getpid()}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(self.out / "table.md")
        if self.given.into:
            into(self.given.into, blocks)
        return text


def cell(column, runs):
    """A figure of runs that have ended, mean ± standard deviation."""
    name, digits = column["figure"], column.get("digits", 2)
    if name == "training_operations":
        values = [operations(run) for run in runs]
    else:
        values = [run["figures"][name] for run in runs if name in run["figures"]]
    if not values:
        return ""
    if column.get("exponent"):
        return f"{statistics.mean(values):.{digits}e}"
    unit, scale = (" %", 100) if column.get("percent") else ("", 1)
    text = f"{scale * statistics.mean(values):,.{digits}f}"
    if len(values) > 1 and (digits or len(set(values)) > 1):
        text += f" ± {scale * statistics.stdev(values):,.{digits}f}"
    return text + unit


def epochs(run):
    """What the run chose its best epoch by, at every validation, and the mean density of the training before it."""
    metric = json.loads((run / "criterion.json").read_text())["metric"]
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return {
        "validation": [epoch["means"][metric] for epoch in history if epoch["split"] == "valid"],
        "densities": [epoch["means"]["Density"] / 100 for epoch in history if "Density" in epoch["means"]],
    }


def machine():
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        told = ""
    name = re.search(r"^model name\s*:\s*(.+)$", told, re.M)
    flags = re.search(r"^flags\s*:(.+)$", told, re.M)
    vectors = next((word for flag, word in VECTORS.items() if flags and flag in flags[1].split()), None)
    threads = int(os.environ.get("RAYON_NUM_THREADS") or len(os.sched_getaffinity(0)))
    return ", ".join([name[1] if name else platform.processor()] + [vectors] * bool(vectors) + [f"{threads} thread{'s' * (threads != 1)}"])


def commit():
    told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def status(make, *given):
    """Exit status of what a script does: 1 where an input is refused, with the reason as an error."""
    try:
        make(*given)
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def make(given):
    table = Table(given)
    for unknown in set(given.only or []) - table.rows.keys():
        raise Refused(f"--only {unknown}: no such row; allowed: {', '.join(table.rows)}")
    for unknown in set(given.seed or []) - set(table.table["seeds"]):
        raise Refused(f"--seed {unknown}: not a seed of {given.table}; allowed: {', '.join(map(str, table.table['seeds']))}")
    given.out.mkdir(parents=True, exist_ok=True)
    table.make()


def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog=FORMAT, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="the table's file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and table.md")
    parser.add_argument("--data", type=Path, help="folder of the data, where the example needs one")
    parser.add_argument("--bin", type=Path, help="folder of the built examples [default: the target's release/examples]")
    parser.add_argument("--only", action="append", metavar="ROW", help="make this row only; may be given several times")
    parser.add_argument("--seed", action="append", type=int, metavar="N", help="run with this seed of the table's only; may be given several times")
    parser.add_argument("--results", type=Path, metavar="FILE", help="results, read and added to [default: results.jsonl in --out]")
    parser.add_argument("--into", type=Path, metavar="FILE", help="Markdown file whose blocks of this table are renewed")
    parser.add_argument("--no-runs", action="store_true", help="make the table of the results that are there, run nothing")
    parser.add_argument("--dry-run", action="store_true", help="print the commands of the search and run nothing")
    return status(make, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
