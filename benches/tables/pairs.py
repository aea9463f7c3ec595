#!/usr/bin/env python3
"""Says what the differences between rows of a table of translation are worth: by paired bootstrap over the sentences of
each test set, rows of the same seed side by side, the best checkpoints of the runs that table.py has left in --out.

    cargo build --release --examples
    python3 benches/tables/pairs.py benches/tables/multi30k-paper.toml --than dense --data DIR --out runs/tables/multi30k-paper \\
        --pairs benches/tables/results/multi30k-paper.pairs.jsonl --into docs/results.md

Each pair is a call of `translation --compare`, which translates the test sets anew. Pairs outlive the folders of the runs
as results do; what is there already is not compared again. --than may be given several times. --no-runs makes the table of
what is there. Needs Python 3.11 and nothing else."""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # the folder is part of the package
from table import REPOSITORY, Refused, commit, into, machine, read, slug, status  # noqa: E402

KEYS = ["row", "than", "seed", "test", "score"]
VALUES = ["value", "value_than", "difference", "half_width", "p"]
# The names that summary.json has for what `translation --compare` prints.
FIGURES = {"BLEU": "bleu", "chrF2": "chrf"}


def pairs(file):
    """The comparisons of a file, one a line of JSON, by what was compared."""
    found = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{file}: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            pair = json.loads(line)
            found[tuple(pair[key] for key in KEYS)] = {value: float(pair[value]) for value in VALUES}
        except (ValueError, TypeError, KeyError) as error:
            raise Refused(f"{file}:{number}: not a comparison: {error}") from error
    return found


def printed(text):
    """What `translation --compare` has printed: test set, score, and the values of the comparison."""
    test, values = None, {}
    for line in text.splitlines():
        if told := re.match(r"\d+ sentences of (\S+)", line):
            test = Path(told[1]).stem
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5 or cells[0] not in FIGURES:
            continue
        values.setdefault(cells[0], []).append(cells)
        if cells[1] == "difference":
            than, one, difference = values.pop(cells[0])
            mean, half_width = re.fullmatch(r"(\S+) ± (\S+)", difference[3]).groups()
            found = [one[2], than[2], mean, half_width, difference[4]]
            yield test, cells[0], dict(zip(VALUES, map(float, found)))


class Pairs:
    def __init__(self, given):
        self.given = given
        self.table = read(given.table)
        if self.table["example"] != "translation":
            raise Refused(f"{given.table}: example `{self.table['example']}`; allowed: translation")
        self.rows = [row["name"] for row in self.table["rows"]]
        for unknown in set(given.than) - set(self.rows):
            raise Refused(f"--than {unknown}: no such row; allowed: {', '.join(self.rows)}")
        self.found = pairs(given.pairs)

    def folder(self, row, seed):
        """Of a run that has ended, or None."""
        folder = self.given.out / "rows" / slug(row) / f"seed-{seed}" / "run"
        return folder if (folder / "summary.json").exists() else None

    def asked(self):
        for than in self.given.than:
            for row in self.rows:
                # Of two rows that are both compared with, the one comparison is enough.
                if row == than or (row in self.given.than and self.given.than.index(row) < self.given.than.index(than)):
                    continue
                for seed in self.table["seeds"]:
                    yield row, than, seed

    def compare(self, row, than, seed):
        folders = [self.folder(row, seed), self.folder(than, seed)]
        if None in folders or any(key[:3] == (row, than, seed) for key in self.found):
            return
        target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
        command = [str((self.given.bin or target / "release/examples") / "translation"), "--out", str(folders[0]), "--compare", str(folders[1])]
        command += ["--data", str(self.given.data)] if self.given.data else []
        further = self.table.get("options", {}).get("test-sets")
        command += ["--test-sets", further] if further else []
        try:
            process = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise Refused(f"{command[0]}: {error}") from error
        if process.returncode != 0:
            raise Refused("".join(process.stderr.strip().splitlines()[-1:]).removeprefix("error: ") or f"{command[0]}: exit code {process.returncode}")
        lines = []
        for test, score, values in printed(process.stdout):
            self.check(folders, test, score, values)
            pair = dict(zip(KEYS, (row, than, seed, test, score))) | values
            lines.append(json.dumps(pair | {"commit": commit(), "machine": machine()}) + "\n")
        if not lines:
            raise Refused(f"{folders[0]}: nothing was compared: {process.stdout!r}")
        self.given.pairs.parent.mkdir(parents=True, exist_ok=True)
        with open(self.given.pairs, "ab", buffering=0) as handle:
            handle.write("".join(lines).encode())
        self.found = pairs(self.given.pairs)

    @staticmethod
    def check(folders, test, score, values):
        """The scores have to be those that the runs ended with."""
        for folder, value in zip(folders, (values["value"], values["value_than"])):
            summary = json.loads((folder / "summary.json").read_text())
            name = FIGURES[score]
            known = summary.get(f"{name}_{test}", summary[name])
            if abs(known - value) > 0.006:
                raise Refused(f"{folder}: {score} on {test} is {value}, but the run ended with {known:.2f}")

    def make(self):
        if not self.given.no_runs:
            for one in self.asked():
                self.compare(*one)
        block = self.block()
        print(block, end="")
        if self.given.into:
            into(self.given.into, {f"{self.given.table.stem}: pairs": block})

    def block(self):
        """The comparisons that there are, as Markdown."""
        there = [one for one in self.asked() if any(key[:3] == one for key in self.found)]
        columns = list(dict.fromkeys((test, score) for one, than, seed, test, score in self.found if (one, than, seed) in there))
        lines = ["| difference | seed | " + " | ".join(f"{score}, {test} | p" for test, score in columns) + " |", "|---" * (2 + 2 * len(columns)) + "|"]
        for row, than, seed in there:
            cells = [f"{row} less {than}", str(seed)]
            for test, score in columns:
                pair = self.found.get((row, than, seed, test, score))
                cells += [f"{pair['difference']:.2f} ± {pair['half_width']:.2f}", f"{pair['p']:.3f}"] if pair else ["", ""]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="the table's file")
    parser.add_argument("--than", action="append", required=True, metavar="ROW", help="row that the others are compared with; may be given several times")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs, as given to table.py")
    parser.add_argument("--pairs", type=Path, required=True, metavar="FILE", help="comparisons, read and added to")
    parser.add_argument("--data", type=Path, help="folder of the data, where the example needs one")
    parser.add_argument("--bin", type=Path, help="folder of the built examples [default: the target's release/examples]")
    parser.add_argument("--into", type=Path, metavar="FILE", help="Markdown file whose block `<!-- NAME: pairs -->` is renewed, by the name of the table")
    parser.add_argument("--no-runs", action="store_true", help="make the table of the comparisons that are there, compare nothing")
    return status(lambda given: Pairs(given).make(), parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
