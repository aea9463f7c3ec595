#!/usr/bin/env python3
"""Trains a dense LLaMA of Hugging Face transformers as `examples/configs/language-wikitext-2.toml` trains ours.

Same shape, tokeniser, optimizer, rate, clipping and number of tokens; prints the loss of training and validation after
every 100 steps. Needs torch, transformers and tokenizers; the tokeniser is a run's `tokenizer.json`.
"""

import argparse
import math
import pathlib

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--data", type=pathlib.Path, required=True, help="folder of train.txt and valid.txt")
arguments.add_argument("--tokenizer", required=True, help="tokenizer.json of one of our runs")
arguments.add_argument("--lr", type=float, default=3e-3)
arguments.add_argument("--std", type=float, default=0.02, help="deviation of the first weights")
arguments.add_argument("--steps", type=int, default=500)
arguments.add_argument("--threads", type=int, default=2)
options = arguments.parse_args()

LENGTH, BATCH, WARMUP, VALIDATED = 128, 16, 50, 50

torch.set_num_threads(options.threads)
torch.manual_seed(1)
tokenizer = Tokenizer.from_file(options.tokenizer)
vocabulary = tokenizer.get_vocab_size()


def sequences(name):
    """Texts of LENGTH tokens and the next, one behind the other."""
    tokens = torch.tensor([0] + tokenizer.encode((options.data / name).read_text()).ids)
    starts = range(0, len(tokens) - LENGTH, LENGTH)
    return torch.stack([tokens[start : start + LENGTH + 1] for start in starts])


def rate(step):
    if step < WARMUP:
        return options.lr * (step + 1) / WARMUP
    done = (step - WARMUP) / (options.steps - WARMUP)
    return options.lr * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))


train, valid = sequences("train.txt"), sequences("valid.txt")
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=False,
        initializer_range=options.std,
        rms_norm_eps=1e-5,
    )
)


def loss_of(batch):
    logits = model(batch[:, :-1]).logits
    return cross_entropy(logits.reshape(-1, vocabulary), batch[:, 1:].reshape(-1))


optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
order, seen = torch.randperm(len(train)), []
print(f"{sum(parameter.numel() for parameter in model.parameters())} parameters, {len(train)} sequences")
for step in range(options.steps):
    for group in optimizer.param_groups:
        group["lr"] = rate(step)
    loss = loss_of(train[order[step * BATCH : (step + 1) * BATCH]])
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    seen.append(loss.item())
    if (step + 1) % 100 == 0 or step + 1 == options.steps:
        with torch.no_grad():
            parts = [loss_of(batch).item() for batch in valid[: VALIDATED * BATCH].split(BATCH)]
        print(f"step {step + 1}: train {sum(seen) / len(seen):.3f}, valid {sum(parts) / len(parts):.3f}", flush=True)
        seen.clear()
