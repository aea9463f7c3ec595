"""Times training and generation of ours and of PyTorch's dense LLaMA in turns, and prints the ratios as Markdown.

The model is that of `benches/language.rs`: the 10M size over 8192 tokens, AdamW, random tokens; PyTorch's side uses its
fused attention, norm, loss and optimizer. `--peer` is what this script calls itself for PyTorch's turn.
"""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--ours", default="cargo bench --quiet --bench language --", help="how our side is run")
arguments.add_argument("--sparsity", default="0,70,90,95", help="percent, separated by commas")
arguments.add_argument("--batch", type=int, default=8)
arguments.add_argument("--length", type=int, default=128)
arguments.add_argument("--vocabulary", type=int, default=8192)
arguments.add_argument("--generated", type=int, default=64)
arguments.add_argument("--threads", type=int, default=2)
arguments.add_argument("--rounds", type=int, default=6)
arguments.add_argument("--turns", type=int, default=2)
arguments.add_argument("--peer", action="store_true")
arguments.add_argument("--json", type=pathlib.Path, help="where the numbers are left")
options = arguments.parse_args()

SHAPE = dict(d_model=256, hidden=688, layers=8, heads=8)


def peer():
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    width = SHAPE["d_model"] // SHAPE["heads"]
    context = max(options.length, options.generated + 8)
    angles = torch.outer(torch.arange(context).float(), 1e4 ** (-torch.arange(0, width, 2).float() / width))
    cosines, sines = angles.cos(), angles.sin()

    def turn(heads, start):
        rows = slice(start, start + heads.shape[2])
        first, second = heads.chunk(2, -1)
        return torch.cat(
            [first * cosines[rows] - second * sines[rows], second * cosines[rows] + first * sines[rows]], -1
        )

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            d, hidden = SHAPE["d_model"], SHAPE["hidden"]
            self.norms = nn.ModuleList([nn.RMSNorm(d, 1e-5), nn.RMSNorm(d, 1e-5)])
            self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))
            self.gate, self.up = (nn.Linear(d, hidden, bias=False) for _ in range(2))
            self.down = nn.Linear(hidden, d, bias=False)

        def forward(self, x, start, cache):
            split = lambda y: y.unflatten(-1, (SHAPE["heads"], width)).transpose(1, 2)
            y = self.norms[0](x)
            q, k, v = turn(split(self.q(y)), start), turn(split(self.k(y)), start), split(self.v(y))
            if cache is not None:
                for kept, new in zip(cache, (k, v)):
                    kept[:, :, start : start + new.shape[2]] = new
                k, v = (kept[:, :, : start + x.shape[1]] for kept in cache)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=x.shape[1] > 1)
            x = x + self.o(y.transpose(1, 2).flatten(2))
            y = self.norms[1](x)
            return x + self.down(F.silu(self.gate(y)) * self.up(y))

    class Llama(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(options.vocabulary, SHAPE["d_model"])
            self.layers = nn.ModuleList(Block() for _ in range(SHAPE["layers"]))
            self.norm = nn.RMSNorm(SHAPE["d_model"], 1e-5)
            self.head = nn.Linear(SHAPE["d_model"], options.vocabulary, bias=False)
            for parameter in self.parameters():
                if parameter.dim() == 2:
                    nn.init.normal_(parameter, std=0.02)

        def forward(self, tokens, start=0, caches=None):
            x = self.embedding(tokens)
            for index, layer in enumerate(self.layers):
                x = layer(x, start, None if caches is None else caches[index])
            return self.head(self.norm(x))

    model = Llama()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
    steps, texts = [], []
    for _ in range(options.rounds + 1):
        tokens = torch.randint(options.vocabulary, (options.batch, options.length + 1))
        start = time.perf_counter()
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        steps.append(time.perf_counter() - start)
    with torch.inference_mode():
        for _ in range(options.rounds + 1):
            start = time.perf_counter()
            caches = [torch.zeros(2, 1, SHAPE["heads"], context, width) for _ in model.layers]
            caches = [list(pair.unbind(0)) for pair in caches]
            logits = model(torch.ones(1, 8, dtype=torch.long), 0, caches)
            token = logits[:, -1].argmax(-1, keepdim=True)
            for position in range(8, 8 + options.generated - 1):
                token = model(token, position, caches)[:, -1].argmax(-1, keepdim=True)
            token.item()
            texts.append(time.perf_counter() - start)
    median = lambda times: sorted(times[1:])[(len(times) - 1) // 2]
    print(
        json.dumps(
            {
                "training": options.batch * options.length / median(steps),
                "generation": options.generated / median(texts),
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "torch": torch.__version__,
            }
        )
    )


def ours():
    with tempfile.TemporaryDirectory() as folder:
        found = pathlib.Path(folder) / "language.json"
        command = shlex.split(options.ours) + ["--json", str(found), "--sparsity", options.sparsity]
        for name in ["batch", "length", "vocabulary", "generated", "threads", "rounds"]:
            command += [f"--{name}", str(getattr(options, name))]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads(found.read_text())


def main():
    own, peers = [], []
    for _ in range(options.turns):
        own.append(ours())
        command = [sys.executable, __file__, "--peer"]
        for name in ["batch", "length", "vocabulary", "generated", "threads", "rounds"]:
            command += [f"--{name}", str(getattr(options, name))]
        peers.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    print(f"torch {peers[0]['torch']}, {peers[0]['parameters']} parameters dense, {options.threads} threads")
    found = {"torch": peers[0]["torch"], "threads": options.threads}
    for what in ["training", "generation"]:
        # The turn that the rest of the machine disturbed least.
        torch = max(turn[what] for turn in peers)
        cells = [max(turn[what][index]["median"] for turn in own) for index in range(len(own[0][what]))]
        found[what] = {"torch": torch, "ours": dict(zip(options.sparsity.split(","), cells))}
        print(f"\nTokens a second, {what}; medians of the best turn\n")
        print("| | tokens/s | against PyTorch dense | against our first |\n|---|---|---|---|")
        print(f"| PyTorch dense | {torch:.0f} | 1.00× | {torch / cells[0]:.2f}× |")
        for sparsity, cell in zip(options.sparsity.split(","), cells):
            print(f"| {sparsity} % sparse | {cell:.0f} | {cell / torch:.2f}× | {cell / cells[0]:.2f}× |")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if options.peer:
    peer()
else:
    main()
