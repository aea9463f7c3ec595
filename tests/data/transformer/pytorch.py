"""Writes pytorch.json: a small nn.Transformer of PyTorch, what it computes, and the gradients of its smoothed loss.

Weights are rounded to three decimals, so that the file holds them exactly. Run with PyTorch 2.x; no option.
"""

import json
import pathlib

import torch
from torch import nn

torch.manual_seed(7)
VOCABULARY, WIDTH, HEADS, HIDDEN, LAYERS, POSITIONS = 9, 8, 2, 12, 2, 6
PAD, BOS, EOS = 0, 2, 3


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.source = nn.Embedding(VOCABULARY, WIDTH)
        self.target = nn.Embedding(VOCABULARY, WIDTH)
        self.source_positions = nn.Parameter(torch.randn(POSITIONS, WIDTH))
        self.target_positions = nn.Parameter(torch.randn(POSITIONS, WIDTH))
        self.transformer = nn.Transformer(
            WIDTH, HEADS, LAYERS, LAYERS, HIDDEN, 0.0, batch_first=True, norm_first=True
        )
        self.generator = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, source, target):
        length = target.shape[1]
        padding = source == PAD
        hidden = self.transformer(
            self.source(source) * WIDTH**0.5 + self.source_positions[: source.shape[1]],
            self.target(target) * WIDTH**0.5 + self.target_positions[:length],
            tgt_mask=torch.triu(torch.ones(length, length, dtype=torch.bool), 1),
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
        )
        return self.generator(hidden)


model = Model().train()
with torch.no_grad():
    for parameter in model.parameters():
        parameter.copy_(torch.round(parameter + 0.2 * torch.randn_like(parameter), decimals=3))
source = torch.tensor([[5, 6, EOS, PAD, PAD], [4, 8, 7, 6, EOS], [1, EOS, PAD, PAD, PAD]])
target = torch.tensor([[BOS, 7, 8, 4, EOS], [BOS, 5, EOS, PAD, PAD], [BOS, 6, 6, EOS, PAD]])
logits = model(source, target[:, :-1])
labels = target[:, 1:].reshape(-1)
loss = nn.functional.cross_entropy(
    logits.reshape(-1, VOCABULARY), labels, ignore_index=PAD, label_smoothing=0.1
)
loss.backward()


def numbers(tensor, digits):
    return [round(value, digits) for value in tensor.detach().flatten().tolist()]


found = {
    "source": source.tolist(),
    "target": target.tolist(),
    "logits": numbers(logits, 6),
    "loss": loss.item(),
    "nll": nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), labels, ignore_index=PAD).item(),
    "weights": {name: numbers(weight, 3) for name, weight in model.named_parameters()},
    "gradients": {
        name: numbers(weight.grad, 7)
        for name, weight in model.named_parameters()
        if name in ("source.weight", "target.weight", "generator.weight", "generator.bias", "target_positions")
    },
}
pathlib.Path(__file__).with_name("pytorch.json").write_text(json.dumps(found) + "\n")
