"""Logits that transformers computes from the folders our export writes; the test `transformers_computes_the_same_logits
_from_an_exported_model` compares them with ours.

    cargo test --release --test model -- --ignored folders_for_transformers --nocapture
    python tests/data/llama/transformers.py FOLDER > tests/data/llama/transformers.json
"""

import json
import sys
from pathlib import Path

# This file has the name of the package.
sys.path.pop(0)

import torch
import transformers
from transformers import LlamaForCausalLM

torch.set_num_threads(1)
tokens = [1, 5, 60, 42, 17, 3, 3, 0, 33, 28, 7, 59]
models = {}
for name in ["untied", "tied"]:
    model, report = LlamaForCausalLM.from_pretrained(
        Path(sys.argv[1]) / name, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    models[name] = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "logits": [[round(logit, 6) for logit in row] for row in logits.tolist()],
    }
print(json.dumps({"transformers": transformers.__version__, "input": tokens, "models": models}))
