"""Writes tokenizers.json: what sacreBLEU 2.6.0 makes of cases.json, and of text without spaces, under its tokenizers
intl, char and none.

python tokenizers.py
"""

import json
import pathlib
import random
import sys

# This file has the name of a package that others import.
sys.path.pop(0)

import sacrebleu
from sacrebleu.metrics import BLEU

HERE = pathlib.Path(__file__).parent
TOKENIZERS = ["intl", "char", "none"]

cases = json.loads((HERE / "cases.json").read_text())["cases"]
cases = {name: (case["hypotheses"], case["references"]) for name, case in cases.items()}
cases["japanese"] = (
    ["犬が雪の中を走っています。", "二人の子供が公園で遊ぶ。", "女性が「バス」を待っている、一人で。"],
    [["犬が雪の上を走っている。", "二人の子供が公園で遊んでいる。", "女性が一人でバスを待っています。"]],
)
cases["chinese and thai"] = (
    ["一只狗在雪地里奔跑，很快。", "สุนัขวิ่งในหิมะ"],
    [["一只狗在雪中奔跑。", "สุนัขกำลังวิ่งในหิมะ"]],
)

WORDS = ["der", "Hund", "läuft", "犬", "。", "、", "「", "」", "…", "–", "„", "“", "€", "$", "3", "½", "٣", "Ⅳ", "₂", "x²", "%", ",", ".", "-", "'", "\"", "(", ")", "!", "?", "¿", "🐕", "a\u0301", "\u00a0", "\u2028", "&quot;", "&", "_", "^", "`", "+"]
rng = random.Random(3)
lines = [
    "".join(rng.choice(WORDS) + rng.choice(["", "", " "]) for _ in range(rng.randint(1, 14))) for _ in range(150)
]
lines += ["1.5", "Am 3. Mai 2016.", ".5 5. ,7 7,", "a.,5 b,.6 ...7,,8", "(1,000.5)", "$5", "5€ mehr", "x=½;y=Ⅳ.", "", " ", "-"]


def figures(score, metric):
    return {
        "score": score.score,
        "signature": metric.get_signature().format(),
        "precisions": score.precisions,
        "printed": str(score),
        "counts": score.counts,
        "totals": score.totals,
        "bp": score.bp,
        "sys_len": score.sys_len,
        "ref_len": score.ref_len,
    }


found = {"source": f"sacreBLEU {sacrebleu.__version__}", "cases": {}, "lines": []}
for name, (hypotheses, references) in cases.items():
    scores = {}
    for tokenizer in TOKENIZERS:
        metric = BLEU(tokenize=tokenizer, force=True)
        scores[tokenizer] = figures(metric.corpus_score(hypotheses, references), metric)
    found["cases"][name] = {"hypotheses": hypotheses, "references": references, "bleu": scores}
for line in lines:
    split = {name: BLEU(tokenize=name, force=True).tokenizer(line.rstrip()).split() for name in TOKENIZERS}
    found["lines"].append([line, split])
(HERE / "tokenizers.json").write_text(json.dumps(found, ensure_ascii=False) + "\n")
