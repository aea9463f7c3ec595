"""Times a training step of our translation model and of PyTorch's dense nn.Transformer in turns, and prints the ratios.

Both: 6+6 layers of width 512 and 1024, 8 heads, vocabularies of 10,000, 64 pairs of 16 tokens, dropout and label
smoothing 0.1, Adam. `cargo bench --bench translation` is our side; `--torch` makes this program the other.
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
arguments.add_argument("--ours", default="cargo bench --quiet --bench translation --", help="how our side is run")
arguments.add_argument("--sparsity", default="95,90,0", help="percent, separated by commas")
arguments.add_argument("--threads", type=int, default=2)
arguments.add_argument("--turns", type=int, default=2, help="how often both sides have their turn")
arguments.add_argument("--rounds", type=int, default=4, help="steps of a turn")
arguments.add_argument("--memory", action="store_true", help="compare peak memory as well")
arguments.add_argument("--torch", action="store_true", help="train in PyTorch and print what it took, as JSON")
options = arguments.parse_args()

VOCABULARY, SENTENCES, LENGTH, WIDTH = 10_000, 64, 16, 512


def resident(name):
    """A line of this process's status, in MiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024


def torch_training():
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    import torch
    from torch import nn

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)

    class Model(nn.Module):
        def __init__(self, width, layers):
            super().__init__()
            self.source = nn.Embedding(VOCABULARY, width)
            self.target = nn.Embedding(VOCABULARY, width)
            self.positions = nn.Parameter(torch.randn(LENGTH, width), requires_grad=False)
            self.dropout = nn.Dropout(0.1)
            self.transformer = nn.Transformer(
                width, 8, layers, layers, 2 * width, 0.1, batch_first=True, norm_first=True
            )
            self.generator = nn.Linear(width, VOCABULARY)
            self.scale = width**0.5

        def forward(self, source, target, padding, causal):
            source = self.dropout(self.source(source) * self.scale + self.positions)
            target = self.dropout(self.target(target) * self.scale + self.positions)
            hidden = self.transformer(
                source,
                target,
                tgt_mask=causal,
                src_key_padding_mask=padding,
                memory_key_padding_mask=padding,
                tgt_is_causal=True,
            )
            return self.generator(hidden)

    source = torch.randint(4, VOCABULARY, (SENTENCES, LENGTH))
    target = torch.randint(4, VOCABULARY, (SENTENCES, LENGTH + 1))
    padding = torch.zeros(SENTENCES, LENGTH, dtype=torch.bool)
    causal = torch.triu(torch.ones(LENGTH, LENGTH, dtype=torch.bool), 1)

    def trainer(width, layers):
        model = Model(width, layers).train()
        optimizer = torch.optim.Adam(model.parameters(), 1e-4, (0.9, 0.998), 1e-9, fused=True)
        loss = nn.CrossEntropyLoss(label_smoothing=0.1)

        def step():
            logits = model(source, target[:, :-1], padding, causal)
            value = loss(logits.reshape(-1, VOCABULARY), target[:, 1:].reshape(-1))
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()

        return step

    # Code that is loaded when first used, threads and buffers of the libraries belong to the base.
    trainer(64, 1)()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    base = resident("VmRSS:")
    step = trainer(WIDTH, 6)
    for _ in range(2):
        step()
    times = []
    for _ in range(options.rounds):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({"times": times, "peak_mib": resident("VmHWM:") - base, "torch": torch.__version__}))


def ours(*more):
    """What `benches/translation.rs` leaves when run with these arguments."""
    with tempfile.TemporaryDirectory() as folder:
        found = pathlib.Path(folder) / "translation.json"
        command = shlex.split(options.ours) + ["--threads", str(options.threads), "--json", str(found)]
        command += ["--sparsity", options.sparsity, *more]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads(found.read_text())


def theirs():
    command = [sys.executable, __file__, "--torch", "--threads", str(options.threads), "--rounds", str(options.rounds)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def median(times):
    return sorted(times)[len(times) // 2]


def compare():
    peer, cells = [], {}
    for _ in range(options.turns):
        peer.append(theirs())
        for cell in ours("--rounds", str(options.rounds))["steps"]:
            cells.setdefault(cell["sparsity"], []).append(cell["median_ms"])
    # The turn with the smallest median: the one that the rest of the machine disturbed least.
    dense = min(median(turn["times"]) for turn in peer)
    tokens = 1e3 * SENTENCES * LENGTH
    print(f"PyTorch {peer[0]['torch']}, {options.threads} threads; medians of the best turn\n")
    print("| | ms a step | target tokens a second | PyTorch dense / ours |\n|---|---|---|---|")
    print(f"| PyTorch dense | {dense:.0f} | {tokens / dense:.0f} | |")
    for sparsity, medians in cells.items():
        own = min(medians)
        name = f"ours, {sparsity:g} %" if sparsity else "ours, dense"
        print(f"| {name} | {own:.0f} | {tokens / own:.0f} | {dense / own:.2f}× |")
    if options.memory:
        print("\nMiB that training adds to the process at its peak\n\n| | MiB | ours / PyTorch dense |\n|---|---|---|")
        print(f"| PyTorch dense | {peer[0]['peak_mib']:.0f} | |")
        for cell in ours("--memory")["memory"]:
            print(f"| ours, {cell['sparsity']:g} % | {cell['peak_mib']:.0f} | {cell['peak_mib'] / peer[0]['peak_mib']:.2f}× |")


torch_training() if options.torch else compare()
