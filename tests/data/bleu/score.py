"""Writes cases.json and tokenised_13a.json: what sacreBLEU 2.6.0 and OpenNMT-py's multi-bleu-detok.perl say of the cases below.

python score.py path/to/multi-bleu-detok.perl
"""

import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

HERE = pathlib.Path(__file__).parent
SCRIPT = sys.argv[1]

PAIRS = [
    ("Ein Mann sägt Holz vor der Hütte.", "Ein Mann sägt vor der Hütte Holz."),
    ("Zwei Kinder spielen im Schnee mit dem Hund.", "Zwei Kinder spielen mit einem Hund im Schnee."),
    ("Die Frau im roten Mantel wartet auf den Bus.", "Eine Frau in rotem Mantel wartet auf den Bus."),
]

# Hypotheses, then references of each line.
CASES = {
    "plain": ([h for h, _ in PAIRS], [[r for _, r in PAIRS]]),
    "itself": ([r for _, r in PAIRS], [[r for _, r in PAIRS]]),
    "empty lines": (["", PAIRS[0][0], "   ", PAIRS[1][0], ""], [[PAIRS[2][1], PAIRS[0][1], "", PAIRS[1][1], "\t"]]),
    "every hypothesis empty": (["", " ", "\u00a0"], [[r for _, r in PAIRS]]),
    "every reference empty": ([h for h, _ in PAIRS], [["", "", " "]]),
    "nothing at all": ([""], [[""]]),
    "entities": (
        ["&quot;Ja&quot;, sagt sie &amp; lacht.", "1 &lt; 2 &amp;lt; 3 &amp;quot; &apos; &#39;", "&QUOT;Nein&QUOT; &quot"],
        [["\"Ja\", sagt sie & lacht.", "1 < 2 < 3 &quot; &apos; &#39;", "&quot;nein&QUOT; &quot"]],
    ),
    "unicode punctuation": (
        ["„Nein“ – sagte er … – „doch“.", "¿Qué? «Sí», dijo ‚sie‘ — 3 € !", "日本語。テスト、です！"],
        [["„Nein“ – sagte er… „doch“.", "¿Qué? «Sí» , dijo ‚sie‘ — 3€!", "日本語。テスト、です!"]],
    ),
    "one token": (["Hund", "Katze", "Maus"], [["Hund", "Kater", "Maus"]]),
    "one token of one": (["Hund"], [["Hund"]]),
    "two tokens": (["Ein Hund"], [["Ein Hund"]]),
    "three tokens": (["Ein Hund bellt"], [["Ein Hund bellt"]]),
    "no four in common": (["a b c d e f g h"], [["a b c x e f g y"]]),
    "no two in common": (["a b c d e f g h"], [["h g f e d c b a"]]),
    "nothing in common": (["a b c d"], [["e f g h"]]),
    "repeated words": (["der der der der der der der"], [["der Hund ist in der Hütte"]]),
    "numbers": (
        ["1,000.5 Meter, 3-4 Tage; 5,6 kg.", "Am 3. Mai 2016, 10.30-11.30 Uhr, 50%.", "v1.2.3 .5 5. ,7 7,", "a.,5 b,.6 ...7,,8"],
        [["1,000.5 Meter, 3 - 4 Tage; 5, 6 kg.", "Am 3 . Mai 2016 , 10.30 - 11.30 Uhr, 50 %.", "v1.2.3 0.5 5 . , 7 7 ,", "a ., 5 b, .6 ... 7 , , 8"]],
    ),
    "case": (["DER HUND Läuft ÜBER die STRASSE.", "ΟΔΟΣ Σ ΑΣ. İstanbul ǅ"], [["Der Hund läuft über die Straße.", "οδος σ ας. i̇stanbul ǆ"]]),
    "tabs and other spaces": (
        ["Ein\tHund\tläuft  schnell .", "Ein\u00a0Hund\u2009läuft\u3000schnell.", "Ein\u001fHund\u001cläuft\u0085schnell.", "Ein Hund\u200bläuft\ufeff schnell.\u00a0"],
        [["Ein Hund läuft schnell.", "Ein Hund läuft schnell.", "Ein Hund läuft schnell.", "Ein Hund\u200bläuft\ufeff schnell."]],
    ),
    "skipped": (["Ein <skipped>Hund läuft <skipped> schnell.", "<SKIPPED> läuft"], [["Ein Hund läuft schnell.", "<skipped> läuft"]]),
    "symbols": (["a_b [c] {d} ~e^f` #g$h*i+j=k\\l|m", "it's o'clock 'tis (hi) @home http://x.de/y?z=1&w"], [["a_b[c]{d}~e^f`#g$h*i+j=k\\l|m", "it's o'clock 'tis ( hi ) @ home http://x.de/y?z=1&w"]]),
    "two references": (
        [h for h, _ in PAIRS],
        [[r for _, r in PAIRS], ["Vor der Hütte sägt ein Mann Holz.", "Kinder spielen im Schnee mit dem Hund.", "Auf den Bus wartet die Frau im roten Mantel, allein."]],
    ),
    "references of other lengths": (
        ["a b c d", "a b c d e f", "a b"],
        [["a b", "a b c d e f g h", ""], ["a b c d e f", "a b c d", "a b c d"], ["", "x a b c d y", "a"]],
    ),
    "three references with an empty one": ([PAIRS[0][0], ""], [[PAIRS[0][1], "x"], ["", ""], ["Ein Mann sägt Holz.", "y z"]]),
    "short hypotheses": (["Ein Mann", "Zwei"], [[PAIRS[0][1], PAIRS[1][1]]]),
    "long hypotheses": ([PAIRS[0][0] * 3, PAIRS[1][0] + " " + PAIRS[1][0]], [[PAIRS[0][1], PAIRS[1][1]]]),
    "emoji and combining marks": (["Ein Hund 🐕‍🦺 läuft!🎉", "e\u0301 é ﬁ fi"], [["Ein Hund 🐕 läuft! 🎉", "é e\u0301 fi ﬁ"]]),
    "quoted words": (["„(Ja)“ 'so' \"so\" (so) so), (so -so- .5 5. ! a !! ?!"], [["(Ja) so 'so' \"so\" so ) ( so so - .5 5 . ! a ! ! ?!"]]),
}

BLEUS = {
    "default": {},
    "lowercase": {"lowercase": True},
    "effective order": {"effective_order": True},
    "none": {"smooth_method": "none"},
    "floor": {"smooth_method": "floor"},
    "floor 0.5": {"smooth_method": "floor", "smooth_value": 0.5},
    "add-k": {"smooth_method": "add-k"},
    "add-k 0.25 effective order": {"smooth_method": "add-k", "smooth_value": 0.25, "effective_order": True},
}
CHRFS = {
    "chrF2": {},
    "chrF2 lowercase": {"lowercase": True},
    "chrF2+": {"word_order": 1},
    "chrF2++": {"word_order": 2},
    "chrF2++ lowercase": {"word_order": 2, "lowercase": True},
}


def bleu(options, hypotheses, references):
    metric = BLEU(**options)
    score = metric.corpus_score(hypotheses, references)
    found = {"score": score.score, "signature": str(metric.get_signature()), "precisions": score.precisions}
    if options.get("smooth_method") != "add-k":  # which counts what it adds
        found.update(
            printed=str(score), counts=score.counts, totals=score.totals, bp=score.bp, sys_len=score.sys_len, ref_len=score.ref_len
        )
    return found


def chrf(options, hypotheses, references):
    metric = CHRF(**options)
    score = metric.corpus_score(hypotheses, references)
    return {"score": score.score, "signature": str(metric.get_signature()), "printed": str(score)}


def multi_bleu_detok(hypotheses, references):
    """None where the script does not survive its input."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for index, lines in enumerate(references):
            (folder / f"ref{index}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
        text = "".join(f"{line}\n" for line in hypotheses).encode()
        run = subprocess.run(["perl", SCRIPT, folder / "ref"], input=text, capture_output=True, env={"LC_ALL": "C"})
        return run.stdout.decode().strip() or None


def scored(hypotheses, references):
    return {
        "hypotheses": hypotheses,
        "references": references,
        "bleu": {name: bleu(options, hypotheses, references) for name, options in BLEUS.items()},
        "chrf": {name: chrf(options, hypotheses, references) for name, options in CHRFS.items()},
        "multi_bleu_detok": multi_bleu_detok(hypotheses, references),
    }


def strange_line(rng, pieces):
    return "".join(rng.choice(pieces) for _ in range(rng.randint(0, 24)))


def main():
    assert sacrebleu.__version__ == "2.6.0"
    rng = random.Random("13a")
    pieces = list(" .,-'0123aAbéß’„–…\"!?%&;/\\()[]{}~^`#$*+=|@_:<>") + [
        "&quot;", "&amp;", "&lt;", "&gt;", "&amp;lt;", "<skipped>", "\t", "\u00a0", "\u3000", "\u001c", "\u0085", "\u200b", "..", ".,", "3-4", "1,5", "   ", "日本", "🎉",
    ]
    drawn = dict(CASES)
    words = ["der", "Hund", "Der", "läuft", "3.5", "3-4", "&quot;", "-", "x,y", "…", "a.", "(b)", "ÄÖ", "äö", "\u00a0", "I'm"]
    for index in range(12):
        lines = rng.randint(1, 6)
        text = lambda: " ".join(rng.choice(words) for _ in range(rng.randint(0, 14)))
        references = [[text() for _ in range(lines)] for _ in range(rng.randint(1, 3))]
        hypotheses = [references[0][i] if rng.random() < 0.3 else text() for i in range(lines)]
        drawn[f"drawn {index}"] = (hypotheses, references)
    for index in range(8):
        lines = rng.randint(1, 5)
        strange = lambda: re.sub(r"\n", "", strange_line(rng, pieces))
        references = [[strange() for _ in range(lines)] for _ in range(rng.randint(1, 3))]
        hypotheses = [references[-1][i][: rng.randint(0, 30)] + strange_line(rng, pieces)[:4] for i in range(lines)]
        drawn[f"strange {index}"] = (hypotheses, references)
    cases = {name: scored(*case) for name, case in drawn.items()}
    source = f"sacrebleu {sacrebleu.__version__} and multi-bleu-detok.perl of OpenNMT-py, by score.py"
    write("cases.json", {"source": source, "cases": cases})

    tokenise = Tokenizer13a()
    pieces.append("-\n")
    pieces.append("\n")
    lines = [strange_line(rng, pieces) for _ in range(600)]
    write("tokenised_13a.json", {"source": f"sacrebleu {sacrebleu.__version__}, by score.py", "lines": [[line, tokenise(line)] for line in lines]})


def write(name, value):
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    text = re.sub(r'(\],|\}\},|"cases":\{|"lines":\[)', r"\1\n", text) if name == "cases.json" else text.replace("],[", "],\n[")
    assert json.loads(text) == value
    (HERE / name).write_text(text + "\n", encoding="ascii")


main()
