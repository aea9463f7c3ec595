"""Zero-shot figures of stories260K, computed in PyTorch: `python pytorch.py SHARED > stories260k.json`.

Model, tokeniser, prompts and sums are written here anew, from the formats' descriptions alone. Every sequence is read
by itself, in double precision.
"""

import gzip
import json
import math
import struct
import sys
import tarfile

import torch

torch.set_num_threads(1)
shared = sys.argv[1]

# llama2.c's legacy checkpoint: seven integers, then the tensors, those of one kind for all layers together.
raw = open(f"{shared}/data/stories260K/stories260K.bin", "rb").read()
dim, hidden, layers, heads, kv_heads, vocabulary, context = struct.unpack("<7i", raw[:28])
numbers = torch.frombuffer(bytearray(raw[28:]), dtype=torch.float32).double()
at = 0


def take(*shape):
    global at
    size = math.prod(shape)
    part = numbers[at : at + size].reshape(shape)
    at += size
    return part


width = dim // heads
embedding = take(vocabulary, dim)
norm_attention = take(layers, dim)
wq = take(layers, dim, dim)
wk = take(layers, kv_heads * width, dim)
wv = take(layers, kv_heads * width, dim)
wo = take(layers, dim, dim)
norm_hidden = take(layers, dim)
w1 = take(layers, hidden, dim)
w2 = take(layers, dim, hidden)
w3 = take(layers, hidden, dim)
norm_last = take(dim)

angles = torch.outer(
    torch.arange(context).double(), 10000.0 ** (-torch.arange(0, width, 2).double() / width)
)
turns = torch.polar(torch.ones_like(angles), angles)


def norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight


def rotate(x):
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], width // 2, 2).contiguous())
    return torch.view_as_real(pairs * turns[: x.shape[0], None]).flatten(-2)


def log_probabilities(ids):
    length = len(ids)
    x = embedding[ids]
    mask = torch.full((length, length), -math.inf).triu(1).double()
    for layer in range(layers):
        h = norm(x, norm_attention[layer])
        q = rotate((h @ wq[layer].T).reshape(length, heads, width))
        k = rotate((h @ wk[layer].T).reshape(length, kv_heads, width))
        v = (h @ wv[layer].T).reshape(length, kv_heads, width)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        scores = torch.einsum("qhw,khw->hqk", q, k) / math.sqrt(width) + mask
        x = x + torch.einsum("hqk,khw->qhw", scores.softmax(-1), v).flatten(1) @ wo[layer].T
        h = norm(x, norm_hidden[layer])
        x = x + (torch.nn.functional.silu(h @ w1[layer].T) * (h @ w3[layer].T)) @ w2[layer].T
    return (norm(x, norm_last) @ embedding.T).log_softmax(-1)


# The tokeniser: a maximum length, then score, length and bytes of each piece.
raw = open(f"{shared}/data/stories260K/tok512.bin", "rb").read()
pieces, scores, at = [], [], 4
while at < len(raw):
    score, size = struct.unpack("<fi", raw[at : at + 8])
    pieces.append(raw[at + 8 : at + 8 + size])
    scores.append(score)
    at += 8 + size
number = {}
for index, piece in enumerate(pieces):
    number.setdefault(piece, index)


def encode(text):
    if not text:
        return []
    ids = [number[b" "]]
    for character in text:
        piece = character.encode()
        ids += [number[piece]] if piece in number else [byte + 3 for byte in piece]
    while True:
        best = None
        for left in range(len(ids) - 1):
            joined = number.get(pieces[ids[left]] + pieces[ids[left + 1]])
            if joined is not None and (best is None or scores[joined] > best[0]):
                best = (scores[joined], left, joined)
        if best is None:
            return ids
        ids[best[1] : best[1] + 2] = [best[2]]


def score(given, continuation):
    """Log-likelihood, tokens, whether greedy, and tokens cut off."""
    spaces = len(given) - len(given.rstrip())
    if spaces:
        given, continuation = given[:-spaces], given[-spaces:] + continuation
    start = 1 + len(encode(given))
    ids = [1] + encode(given + continuation)
    targets = ids[start:]
    read = ids[:-1]
    cut = max(0, len(read) - context)
    rows = log_probabilities(read[cut:])[-len(targets) :]
    chosen = rows[torch.arange(len(targets)), targets]
    return chosen.sum().item(), len(targets), bool((rows.argmax(-1) == torch.tensor(targets)).all()), cut


def lines(name):
    with gzip.open(f"{shared}/data/superglue/{name}.val.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def lower(text):
    return text[0].lower() + text[1:]


def task(items):
    """Of (given, choices, right) every figure that is compared."""
    all_scores, right, right_norm, predicted = [], 0, 0, [0, 0]
    for given, choices, gold in items:
        found = [score(given, " " + choice) for choice in choices]
        sums = [one[0] for one in found]
        normed = [one / len(choice) for one, choice in zip(sums, choices)]
        answer = sums.index(max(sums))
        right += answer == gold
        right_norm += normed.index(max(normed)) == gold
        predicted[answer] += 1
        all_scores.append(found)
    return {
        "items": len(items),
        "right": right,
        "right_norm": right_norm,
        "predicted": predicted,
        "truncated": sum(one[3] > 0 for found in all_scores for one in found),
        "tokens_cut": sum(one[3] for found in all_scores for one in found),
        "tokens": sum(one[1] for found in all_scores for one in found),
        "log_likelihoods": [[round(one[0], 5) for one in found] for found in all_scores],
    }


copa = [
    (
        f"{d['premise'].strip()[:-1]} {'because' if d['question'] == 'cause' else 'therefore'}",
        [lower(d["choice1"]), lower(d["choice2"])],
        d["label"],
    )
    for d in lines("COPA")
]
rte = [
    (
        f"{d['premise']}\nQuestion: {d['hypothesis']} True or False?\nAnswer:",
        ["True", "False"],
        int(d["label"] == "not_entailment"),
    )
    for d in lines("RTE")
]

blimp = {}
with tarfile.open(f"{shared}/data/blimp/blimp.tar.gz") as archive:
    for name in sorted(n for n in archive.getnames() if n.endswith(".jsonl")):
        text = archive.extractfile(name).read().decode().splitlines()[:5]
        blimp[name.split("/")[-1].removesuffix(".jsonl")] = [
            [round(score("", json.loads(line)[f"sentence_{kind}"])[0], 5) for kind in ("good", "bad")]
            for line in text
        ]

print(json.dumps({"copa": task(copa), "rte": task(rte), "blimp": blimp}, separators=(",", ":")))
