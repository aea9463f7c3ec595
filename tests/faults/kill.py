"""Kills training processes at random times and compares what they come to with a run that was never interrupted.

A run is begun, killed by SIGKILL, resumed, killed again, and so on until it ends; then the next one begins. Half of the
kills come at a time drawn evenly from the length of the whole run, half while a checkpoint is being written: a
millisecond at most after a file of it has been begun. At the end of a run these must be equal:

- `history.jsonl`, but for seconds and throughput;
- `topology.jsonl`, but for milliseconds;
- the weights, links and biases of every checkpoint that is left, to the bit, and the optimizer's state;
- `summary.json`, but for what the clock decides.

`--compare FOLDER FOLDER` compares two finished runs and nothing else.

Environment: BIN, the folder of the examples; SEED, of the times of the kills (1); KEEP, to keep the folders.
"""

import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

EXAMPLES = {
    "mlp": "--methods chts --epochs 6 --layers 2 --width 48 --sparsity 0.9 --batch 100 --update-interval 17",
    "translation": "--methods chtss --steps 24 --evaluate-every 4 --accumulate 2 --dropout 0.1 --d-model 32 --d-ff 32 "
    "--layers 1 --heads 2 --vocabulary 300 --batch-tokens 256 --warmup 5 --update-interval 5 --longest 8 --beam 1",
    "language_model": "--methods chts --steps 24 --evaluate-every 4 --accumulate 2 --tokenizer bytes --length 16 "
    "--batch 2 --d-model 32 --heads 2 --layers 1 --hidden 32 --warmup 5 --update-interval 5 --validate-with 4 "
    "--longest 8",
}
CLOCK = {"seconds", "seconds_per_epoch", "milliseconds", "Throughput", "tokens_per_second", "crc32"}


def decode(data, at):
    """One value of MessagePack and where the next one begins."""
    kind = data[at]
    at += 1

    def number(form):
        size = struct.calcsize(form)
        return struct.unpack(form, data[at : at + size])[0], at + size

    def raw(length, at):
        return bytes(data[at : at + length]), at + length

    def items(count, at):
        found = []
        for _ in range(count):
            value, at = decode(data, at)
            found.append(value)
        return found, at

    def pairs(count, at):
        found, at = items(2 * count, at)
        return list(zip(found[::2], found[1::2])), at

    if kind < 0x80:
        return kind, at
    if kind < 0x90:
        return pairs(kind & 0x0F, at)
    if kind < 0xA0:
        return items(kind & 0x0F, at)
    if kind < 0xC0:
        return raw(kind & 0x1F, at)
    if kind in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[kind], at
    if kind >= 0xE0:
        return kind - 0x100, at
    sized = {0xC4: (">B", raw), 0xC5: (">H", raw), 0xC6: (">I", raw), 0xD9: (">B", raw), 0xDA: (">H", raw)}
    sized |= {0xDB: (">I", raw), 0xDC: (">H", items), 0xDD: (">I", items), 0xDE: (">H", pairs), 0xDF: (">I", pairs)}
    if kind in sized:
        form, read = sized[kind]
        length, at = number(form)
        return read(length, at)
    if kind == 0xCA:
        return raw(4, at)
    if kind == 0xCB:
        return raw(8, at)
    forms = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
    return number(forms[kind])


def by_path(value, path, ids, found):
    """The leaves of a record by their path, without the identities of parameters, which are drawn anew by each run, and
    the checksums of sparse weights, which are over the identity too."""
    if isinstance(value, list) and value and all(isinstance(item, tuple) for item in value):
        for key, item in value:
            name = key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
            if name == "id":
                ids.append((item, path))
            elif name in ("milliseconds", "checksum"):
                continue
            else:
                by_path(item, f"{path}/{name}", ids, found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            by_path(item, f"{path}/{index}", ids, found)
    else:
        found.append((path, value))


def checkpoint(file, ids):
    data = memoryview(file.read_bytes())[52:]
    value, end = decode(data, 0)
    assert end == len(data), file
    found = []
    own = []
    by_path(value, "", own, found)
    ids |= {identity.decode(): path for identity, path in own if isinstance(identity, bytes)}
    named = []
    for path, leaf in found:
        named.append(("/".join(ids.get(part, part) for part in path.split("/")), leaf))
    return sorted(named, key=repr)


def without_clock(value):
    if isinstance(value, dict):
        return {key: without_clock(item) for key, item in value.items() if key not in CLOCK}
    return value


def lines(file):
    text = file.read_text()
    assert text.endswith("\n"), f"{file} has a last line without an end"
    return [without_clock(json.loads(line)) for line in text.splitlines()]


def differences(run, whole):
    for name in ["history.jsonl", "topology.jsonl"]:
        if lines(run / name) != lines(whole / name):
            yield name
    summaries = [without_clock(json.loads((folder / "summary.json").read_text())) for folder in (run, whole)]
    if summaries[0] != summaries[1]:
        yield "summary.json"
    left = [sorted(file.name for file in (folder / "checkpoint").glob("*.sealed")) for folder in (run, whole)]
    # What is superseded is deleted when the next checkpoint is made, and by then it may not yet be complete.
    both = [name for name in left[0] if name in left[1]]
    newest = max(int(name.split("-")[1].split(".")[0]) for name in left[1])
    if [name for name in left[0] if f"-{newest}." in name] != [name for name in left[1] if f"-{newest}." in name]:
        yield f"the files of checkpoint {newest}"
    ids = [{}, {}]
    # Models first: they say which parameter an identity stands for.
    for name in sorted(both):
        if checkpoint(run / "checkpoint" / name, ids[0]) != checkpoint(whole / "checkpoint" / name, ids[1]):
            yield f"checkpoint/{name}"


def command(example, out):
    arguments = [f"{os.environ['BIN']}/{example}", *EXAMPLES[example].split(), "--out", str(out)]
    # A run that was killed before it had its folder is begun anew.
    return arguments + (["--resume"] if (out / ".lock").exists() else [])


def start(example, out, log):
    return subprocess.Popen(command(example, out), stdout=log, stderr=log)


def unfinished_checkpoint(out):
    """Whether a file of a checkpoint is half written, or an epoch has some of its three files and not yet all."""
    try:
        names = os.listdir(out / "checkpoint")
    except FileNotFoundError:
        return False
    whole = [name.rsplit("-", 1)[1] for name in names if not name.startswith(".")]
    return len(whole) < len(names) or any(whole.count(epoch) < 3 for epoch in whole)


def begun_checkpoint(out, process):
    """Waits until a file of a checkpoint is begun, or the process ends."""
    while process.poll() is None and not unfinished_checkpoint(out):
        time.sleep(0.00005)


def passed(process, seconds):
    """Waits so long, or until the process ends."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass


def kill_runs(example, count, folder, rng):
    whole = folder / "whole"
    log = open(folder / f"{example}.log", "w+")
    began = time.monotonic()
    assert start(example, whole, log).wait() == 0, f"the uninterrupted {example} failed: {log.name}"
    length = time.monotonic() - began
    print(f"{example}: {length:.2f} s without a kill", flush=True)
    kills = while_writing = runs = 0
    while kills < count:
        out = folder / f"run-{runs}"
        while True:
            process = start(example, out, log)
            writing = rng.random() < 0.5
            # For a checkpoint as well: one of those of this run, not always the first.
            passed(process, rng.random() * length if kills < count else None)
            if writing and kills < count:
                begun_checkpoint(out, process)
                time.sleep(rng.random() * 0.001)
            code = process.poll()
            if code is None:
                process.kill()
                process.wait()
                kills += 1
                while_writing += unfinished_checkpoint(out)
                continue
            if code != 0:
                log.flush()
                sys.exit(f"{example}, after {kills} kills: exit code {code}\n{pathlib.Path(log.name).read_text()[-3000:]}")
            break
        wrong = list(differences(out, whole))
        if wrong:
            sys.exit(f"{example}, after {kills} kills, in {out}: {', '.join(wrong)} differ from {whole}")
        runs += 1
        if "KEEP" not in os.environ:
            shutil.rmtree(out)
    print(f"{example}: {kills} kills, {while_writing} of them with a checkpoint half written; "
          f"{runs} runs, all equal to the uninterrupted one", flush=True)


def main():
    if sys.argv[1] == "--compare":
        wrong = list(differences(*map(pathlib.Path, sys.argv[2:4])))
        sys.exit(f"{sys.argv[2]}: {', '.join(wrong)} differ" if wrong else 0)
    count, examples = int(sys.argv[1]), sys.argv[2:] or list(EXAMPLES)
    rng = random.Random(int(os.environ.get("SEED", "1")))
    for example in examples:
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f"kill-{example}-"))
        kill_runs(example, count, folder, rng)
        if "KEEP" not in os.environ:
            shutil.rmtree(folder)


main()
