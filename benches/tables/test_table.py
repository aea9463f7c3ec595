#!/usr/bin/env python3
"""Tests of table.py, plot.py, curves.py and pairs.py beside a stand-in for the examples: `python3 benches/tables/test_table.py`."""

import contextlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True  # the folder is part of the package
import curves  # noqa: E402
import pairs  # noqa: E402
import plot  # noqa: E402
import table  # noqa: E402

HERE = Path(__file__).resolve().parent
STEPS = {"multi30k-paper": ["--steps", "5000"]}  # where they stand in the configuration
THAN = {"multi30k-paper": ["--than", "dense", "--than", "CHTss", "--than", "CHTs"]}

# A program whose accuracy is the rate plus a hundredth of the epochs and of the seed; a rate of 9 diverges, of 8 is refused.
# It takes no notice of what is there, and leaves a line a call.
STAND_IN = """#!{python}
import json, os, sys
words = sys.argv[1:]
option = dict(zip(words, words[1:]))
calls = open(os.environ["CALLS"], "a")
print(" ".join(words), file=calls, flush=True)
rate, epochs = float(option["--lr"]), int(option["--epochs"])
folder = option["--out"]
os.makedirs(folder, exist_ok=True)
open(folder + "/config.json", "w").write("{{}}")
if rate == 9:
    sys.exit(f"error: {{folder}}: the loss is NaN in step 3")
if rate == 8:
    sys.exit("error: lr: 8 is not allowed")
if os.environ.get("KILLED"):
    os.kill(os.getpid(), 9)
accuracy = rate + epochs / 100 + int(option["--seeds"]) / 100
figures = dict(accuracy_last=accuracy, test_accuracy=accuracy, epochs=epochs, parameters=10, training_operations=1e9, method="set")
json.dump(figures, open(folder + "/summary.json", "w"))
json.dump(dict(metric="Accuracy"), open(folder + "/criterion.json", "w"))
with open(folder + "/history.jsonl", "w") as history:
    for epoch in range(epochs):
        print(json.dumps(dict(split="valid", means=dict(Accuracy=accuracy))), file=history)
        print(json.dumps(dict(split="train", means=dict(Density=100))), file=history)
"""

TABLE = """
title = "Stand-in"
example = "mlp"
seeds = [1, 2]
[search]
seed = 1
by = "accuracy_last"
lowest = false
length = "1 of 4 epochs"
options = { epochs = 1 }
[search.grid]
lr = [0.1, 0.5, 9]
[[columns]]
name = "accuracy"
figure = "test_accuracy"
[[rows]]
name = "SET"
options = { epochs = 4, methods = "set" }
[[rows]]
name = "from SET's links"
options = { epochs = 4, methods = "static", links-from = "{row:SET}" }
"""


class Case(unittest.TestCase):
    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.folder = Path(held.name)
        self.file = self.folder / "stand-in.toml"
        self.file.write_text(TABLE)
        self.results = self.folder / "results.jsonl"
        program = self.folder / "mlp"
        program.write_text(STAND_IN.format(python=sys.executable))
        program.chmod(0o755)
        environment = mock.patch.dict(os.environ, {"CALLS": str(self.folder / "calls")})
        environment.start()
        self.addCleanup(environment.stop)

    def call(self, main, *words):
        """Exit status, what was printed, and the error."""
        out, error = io.StringIO(), io.StringIO()
        arguments = mock.patch.object(sys, "argv", ["script", *map(str, words)])
        with arguments, contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            status = main()
        return status, out.getvalue(), error.getvalue()

    def make(self, *further, out="out"):
        words = [self.file, "--bin", self.folder, "--out", self.folder / out, "--results", self.results]
        return self.call(table.main, *words, *further)

    def calls(self):
        calls = self.folder / "calls"
        return calls.read_text().splitlines() if calls.exists() else []


class Tables(Case):
    def test_a_row_is_run_with_every_seed_at_the_best_finite_point_of_its_grid(self):
        status, printed, error = self.make("--only", "SET")
        self.assertEqual((status, error), (0, ""))
        self.assertIn("| method | lr | seeds | accuracy |\n|---|---|---|---|\n| SET | 0.5 | 2 | 0.56 ± 0.01 |\n", printed)
        self.assertIn("| SET | 0.1: 0.12; **0.5: 0.52**; 9: diverged |", printed)
        self.assertEqual(len(self.calls()), 3 + 2)

    def test_the_seed_before_is_run_for_all_rows_before_the_next(self):
        self.assertEqual(self.make()[0], 0)
        runs = [call for call in self.calls() if "--epochs 4" in call]
        self.assertEqual([("static" in call, call.split("--seeds ")[1][0]) for call in runs],
                         [(False, "1"), (True, "1"), (False, "2"), (True, "2")])

    def test_a_seed_may_be_run_alone_and_the_table_has_what_there_is(self):
        _, printed, _ = self.make("--only", "SET", "--seed", "2")
        self.assertIn("| SET | 0.5 | 1 | 0.56 |", printed)
        self.assertEqual([call.split("--seeds ")[1][0] for call in self.calls() if "--epochs 4" in call], ["2"])
        status, _, error = self.make("--seed", "7")
        self.assertEqual(status, 1)
        self.assertIn("--seed 7: not a seed of", error)

    def test_what_has_ended_is_not_run_again_and_the_table_is_the_same(self):
        _, first, _ = self.make()
        calls = self.calls()
        made = "".join(line for line in first.splitlines(keepends=True) if not line.startswith("+ "))
        self.assertEqual(self.make(), (0, made, ""))
        self.assertEqual(self.calls(), calls)

    def test_results_outlive_the_folders_of_the_runs(self):
        self.make("--only", "SET")
        calls = self.calls()
        status, printed, _ = self.make("--only", "SET", out="elsewhere")
        self.assertEqual((status, self.calls()), (0, calls))
        self.assertIn("0.56 ± 0.01", printed)

    def test_a_run_that_is_gone_is_repeated_where_another_row_needs_its_links(self):
        self.make("--only", "SET")
        before = len(self.calls())
        self.assertEqual(self.make("--only", "from SET's links", out="elsewhere")[0], 0)
        repeated = [call for call in self.calls()[before:] if "--methods set" in call]
        self.assertEqual(len(repeated), 2)
        self.assertEqual(len(self.results.read_text().splitlines()), 2 * (3 + 2))

    def test_a_repeated_run_with_other_figures_is_refused(self):
        self.make("--only", "SET")
        self.results.write_text(self.results.read_text().replace('"test_accuracy": 0.55', '"test_accuracy": 0.51'))
        status, _, error = self.make("--only", "from SET's links", out="elsewhere")
        self.assertEqual(status, 1)
        self.assertIn("repeated, and test_accuracy is 0.55", error)

    def test_a_run_that_was_killed_is_resumed_and_leaves_no_result(self):
        with mock.patch.dict(os.environ, {"KILLED": "1"}):
            self.assertEqual(self.make("--only", "SET")[0], 1)
        self.assertFalse(self.results.exists())
        self.assertEqual(self.make("--only", "SET")[0], 0)
        self.assertEqual(["--resume" in call for call in self.calls()], [False, True, False, False, False, False])

    def test_a_folder_of_runs_by_another_configuration_is_refused(self):
        options = self.folder / "options.toml"
        self.file.write_text(TABLE.replace('example = "mlp"', f'example = "mlp"\nconfig = "{options}"'))
        options.write_text("batch = 32")
        self.assertEqual(self.make("--only", "SET")[0], 0)
        options.write_text("batch = 64")
        status, _, error = self.make("--only", "SET")
        self.assertEqual(status, 1)
        self.assertIn("holds another run", error)

    def test_an_error_other_than_divergence_ends_the_table(self):
        self.file.write_text(TABLE.replace("9]", "8]"))
        status, _, error = self.make()
        self.assertEqual(status, 1)
        self.assertIn("lr: 8 is not allowed", error)

    def test_a_dry_run_runs_nothing(self):
        status, printed, _ = self.make("--dry-run")
        self.assertEqual((status, self.calls()), (0, []))
        self.assertIn("--lr 0.1", printed)

    def test_a_wrong_table_is_refused_with_what_is_allowed(self):
        for old, new, told in [
            ('title = "Stand-in"\n', "", "`title` is missing"),
            ("seeds =", "seed = 1\nseeds =", "`seed` is unknown; allowed: "),
            ("[0.1, 0.5, 9]", "[1, 2, 3, 4, 5]", "allowed: 1 to 4 values"),
            ('"from SET\'s links"', '"SET"', "needs a name of its own"),
            ("{row:SET}", "{row:CHT}", "{row:CHT}: no such row; allowed: SET, from SET's links"),
            ("example =", "example", "stand-in.toml"),
            ("options = { epochs = 4, methods", "option = { epochs = 4, methods", "`rows.option` is unknown; allowed: grid, name, options"),
            ('figure = "test_accuracy"\n', "", "`columns.figure` is missing"),
            ('by = "accuracy_last"', 'by = "accuracy"', "`search.by` is `accuracy`; allowed: accuracy_last, "),
            ("[search]", "rows = 3\n[search]", "stand-in.toml"),
        ]:
            self.assertIn(old, TABLE)
            self.file.write_text(TABLE.replace(old, new))
            status, _, error = self.make()
            self.assertEqual(status, 1, told)
            self.assertIn(told, error)

    def test_a_row_that_is_best_at_an_end_of_its_grid_is_marked_and_what_does_not_vary_is_told(self):
        self.file.write_text(TABLE.replace("[0.1, 0.5, 9]", "[0.1, 0.5]\nzeta = [3]"))
        _, printed, _ = self.make("--only", "SET")
        self.assertIn("| SET | 0.1: 0.12; **0.5: 0.52** (*end*) |", printed)
        self.assertIn("after 1 of 4 epochs, zeta 3 for all; ", printed)

    def test_points_of_several_options_are_told_by_name(self):
        self.file.write_text(TABLE.replace("[search.grid]", 'labels = { lr = "rate" }\n[search.grid]\nmethods = ["set", "static"]\nzeta = [3]'))
        _, printed, _ = self.make("--only", "SET")
        self.assertIn("| method | chosen | seeds | accuracy |\n|---|---|---|---|\n| SET | methods set, rate 0.5 | 2 |", printed)

    def test_figures_are_written_as_their_column_wants_them(self):
        runs = [{"figures": {"share": share, "parameters": 1234567, "training_operations": 1.5e12}} for share in (0.25, 0.75)]
        for column, told in [
            ({"figure": "share"}, "0.50 ± 0.35"),
            ({"figure": "share", "percent": True, "digits": 1}, "50.0 ± 35.4 %"),
            ({"figure": "parameters", "digits": 0}, "1,234,567"),
            ({"figure": "training_operations", "exponent": True}, "1.50e+12"),
            ({"figure": "nothing"}, ""),
        ]:
            self.assertEqual(table.cell(column, runs), told)
        self.assertEqual(table.cell({"figure": "share"}, runs[:1]), "0.25")

    def test_operations_that_a_run_did_not_count_are_those_of_its_links(self):
        run = {"command": "mlp --dataset mnist --width 10 --hold-out 59999", "figures": {"epochs": 2}, "densities": [0.5, 0.1]}
        self.assertAlmostEqual(table.operations(run), 6 * (0.6 * (784 * 10 + 2 * 100) + 2 * 100))

    def test_the_blocks_of_a_text_are_renewed_and_nothing_else_is(self):
        text = self.folder / "text.md"
        text.write_text("before\n<!-- stand-in: rows -->\nold\n<!-- end -->\nbetween\n<!-- other: rows -->\nkept\n<!-- end -->\n")
        self.assertEqual(self.make("--only", "SET", "--into", text)[0], 0)
        rows = "| method | lr | seeds | accuracy |\n|---|---|---|---|\n| SET | 0.5 | 2 | 0.56 ± 0.01 |\n"
        renewed = f"before\n<!-- stand-in: rows -->\n\n{rows}\n<!-- end -->\nbetween\n<!-- other: rows -->\nkept\n<!-- end -->\n"
        self.assertEqual(text.read_text(), renewed)
        self.make("--only", "SET", "--into", text)
        self.assertEqual(text.read_text(), renewed)
        for wrong, told in [("", "none of these lines"), ("<!-- stand-in: rows -->\n", "has no `<!-- end -->`")]:
            text.write_text(wrong)
            status, _, error = self.make("--only", "SET", "--into", text)
            self.assertEqual((status, text.read_text()), (1, wrong))
            self.assertIn(told, error)

    def test_the_tables_of_the_documentation_are_those_of_the_results(self):
        text = self.folder / "results.md"
        here = (table.REPOSITORY / "docs/results.md").read_text()
        blocks = re.findall(r"<!-- (.+): (.+) -->\n", here)
        self.assertIn(("mnist-5k", "rows"), blocks)
        text.write_text(re.sub(r"(<!-- [^:]+: .+ -->\n).*?(<!-- end -->\n)", r"\1\2", here, flags=re.S))
        for name in sorted({name for name, _ in blocks}):
            results = HERE / f"results/{name}.jsonl"
            words = [HERE / f"{name}.toml", "--no-runs", "--out", self.folder / "out", "--results", results, "--into", text]
            self.assertEqual(self.call(table.main, *words)[::2], (0, ""))
            if (name, "curves") in blocks:
                self.assertEqual(self.call(curves.main, results, *STEPS.get(name, []), "--tokens", "1", "--into", text)[::2], (0, ""))
            if (name, "pairs") in blocks:
                words = [*words[:4], *THAN[name], "--pairs", HERE / f"results/{name}.pairs.jsonl", "--into", text]
                self.assertEqual(self.call(pairs.main, *words)[::2], (0, ""))
        self.assertEqual(text.read_text(), here)

    def test_a_damaged_line_of_results_is_named(self):
        self.make("--only", "SET")
        self.results.write_text(self.results.read_text() + '{"command": "mlp')
        status, _, error = self.make("--only", "SET")
        self.assertEqual(status, 1)
        self.assertIn("results.jsonl:6: not a result", error)

    def test_the_tables_beside_this_file_are_read_and_their_configurations_are_there(self):
        files = sorted(HERE.glob("*.toml"))
        self.assertGreater(len(files), 5)
        for file in files:
            told = table.read(file)
            self.assertTrue((table.REPOSITORY / told["config"]).exists() if "config" in told else True, file)
            for row in told["rows"]:
                for value in row.get("options", {}).values():
                    if str(value).startswith("{row:"):
                        self.assertIn(value[5:-1], [one["name"] for one in told["rows"]])


# What `translation --compare` prints of the runs in folders of rows `a`, 30 and 40, and `b`, 31 and 41.
COMPARES = """#!{python}
import os, sys
option = dict(zip(sys.argv[1:], sys.argv[2:]))
print(" ".join(sys.argv[1:]), file=open(os.environ["CALLS"], "a"))
if os.environ.get("BROKEN"):
    sys.exit("error: file: a checkpoint is missing")
value = lambda folder: 30 + ("/b/" in folder)
runs = [option["--compare"], option["--out"]]
for test in ["flickr_1.en", *filter(None, [option.get("--test-sets")])]:
    print("1000 sentences of", test)
    for score, more in [("BLEU", 0), ("chrF2", 10)]:
        for run in runs:
            print(f"| {{score}} | {{run}} | {{value(run) + more}}.00 | {{value(run) + more}}.01 ± 1.00 | |")
        print(f"| {{score}} | difference | 1.00 | {{value(runs[1]) - value(runs[0])}}.02 ± 0.70 | 0.0290 |")
    print("nrefs:1")
"""

TRANSLATES = """
title = "Stand-in"
example = "translation"
options = { test-sets = "flickr_2" }
seeds = [1, 2]
columns = []
rows = [{ name = "A" }, { name = "b" }]
[search]
seed = 1
by = "loss_last"
lowest = true
length = "all"
options = {}
grid = {}
"""


class Pairs(Case):
    def setUp(self):
        super().setUp()
        self.file.write_text(TRANSLATES)
        program = self.folder / "translation"
        program.write_text(COMPARES.format(python=sys.executable))
        program.chmod(0o755)
        self.pairs = self.folder / "pairs.jsonl"
        for row, more in [("a", 0), ("b", 1)]:
            run = self.folder / f"out/rows/{row}/seed-1/run"
            run.mkdir(parents=True)
            figures = {"bleu": 30.004 + more, "bleu_flickr_2": 29.996 + more, "chrf": 40 + more, "chrf_flickr_2": 40 + more}
            (run / "summary.json").write_text(json.dumps(figures))

    def compare(self, *further):
        words = [self.file, "--out", self.folder / "out", "--bin", self.folder, "--pairs", self.pairs, *further]
        return self.call(pairs.main, *words)

    def test_rows_of_a_seed_that_has_ended_are_compared_once(self):
        status, first, error = self.compare("--than", "A")
        self.assertEqual((status, error), (0, ""))
        self.assertEqual(first, "| difference | seed | BLEU, flickr_1 | p | chrF2, flickr_1 | p | BLEU, flickr_2 | p | chrF2, flickr_2 | p |\n"
                         + "|---" * 10 + "|\n| b less A | 1 |" + " 1.02 ± 0.70 | 0.029 |" * 4 + "\n")
        self.assertEqual(len(self.calls()), 1)
        shutil.rmtree(self.folder / "out")
        self.assertEqual(self.compare("--than", "A"), (0, first, ""))
        self.assertEqual(self.compare("--than", "A", "--than", "b"), (0, first, ""))
        self.assertEqual(len(self.calls()), 1)

    def test_scores_other_than_those_that_the_runs_ended_with_are_refused(self):
        summary = self.folder / "out/rows/b/seed-1/run/summary.json"
        summary.write_text(summary.read_text().replace("30.996", "30.2"))
        status, _, error = self.compare("--than", "A")
        self.assertEqual((status, self.pairs.exists()), (1, False))
        self.assertIn("BLEU on flickr_2 is 31.0, but the run ended with 30.20", error)

    def test_what_cannot_be_compared_is_refused_by_its_name(self):
        self.assertIn("--than c: no such row; allowed: A, b", self.compare("--than", "c")[2])
        with mock.patch.dict(os.environ, {"BROKEN": "1"}):
            self.assertEqual(self.compare("--than", "A")[::2], (1, "error: file: a checkpoint is missing\n"))
        self.pairs.write_text('{"row": "b"}\n')
        self.assertIn("pairs.jsonl:1: not a comparison", self.compare("--than", "A")[2])
        self.file.write_text(TABLE)
        self.assertIn("example `mlp`; allowed: translation", self.compare("--than", "SET")[2])

    def test_the_pairs_kept_here_are_of_the_runs_in_the_results(self):
        for file in sorted(HERE.glob("results/*.pairs.jsonl")):
            ended = [one for one in table.results(file.with_name(file.name.replace(".pairs", ""))) if "figures" in one]
            for (row, than, seed, test, score), values in pairs.pairs(file).items():
                for name, value in [(row, values["value"]), (than, values["value_than"])]:
                    known = [one["figures"] for one in ended if (one["row"], one["seed"]) == (name, seed)]
                    scores = [one.get(f"{pairs.FIGURES[score]}_{test}", one[pairs.FIGURES[score]]) for one in known]
                    self.assertTrue(any(abs(one - value) < 0.006 for one in scores), (file, name, seed, test, score))


class Drawings(Case):
    def test_what_is_no_table_of_the_kind_is_refused_by_its_file(self):
        self.make("--only", "SET")
        damaged = self.folder / "damaged.jsonl"
        damaged.write_text("{}\n")
        language = HERE / "results/wikitext-2.jsonl"
        for main, words, told in [
            (plot.main, ["nowhere.jsonl"], "nowhere.jsonl: "),
            (plot.main, [damaged], "damaged.jsonl:1: not a result: command"),
            (plot.main, [language], "not of a table of MLPs"),
            (curves.main, [self.results, "--tokens", "1"], "not of one table of language_model or translation"),
            (curves.main, [language, "--tokens", "1", "--steps", "4"], "the longest runs have [4, 5000] steps"),
        ]:
            status, _, error = self.call(main, *words)
            self.assertEqual(status, 1)
            self.assertIn(told, error)

    def test_the_figures_of_rows_are_those_of_their_longest_runs(self):
        self.make("--only", "SET")
        status, printed, _ = self.call(plot.main, self.results)
        self.assertEqual(status, 0)
        self.assertEqual(printed.splitlines()[2:], ["| SET | 1.00e+09 | 10 | 0.56 ± 0.01 | 2 |"])

    def test_operations_follow_the_density_and_end_at_the_total(self):
        run = {"row": "x", "figures": {"training_operations": 70.0}, "densities": [1.0, 0.5, 0.5]}
        for found, right in zip(curves.operations(run, 100.0), [100 / 3, 155 / 3, 70], strict=True):
            self.assertAlmostEqual(found, right)
        with self.assertRaises(table.Refused):
            curves.operations(run, None)


if __name__ == "__main__":
    unittest.main()
