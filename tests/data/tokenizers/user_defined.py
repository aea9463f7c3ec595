"""Writes user_defined.model and user_defined.ids.json: a unigram model with user-defined pieces of several lengths, and
what SentencePiece 0.2.3 makes of texts with it. Scores lie close to those of user-defined pieces, so that a slightly
different one gives other pieces.

python user_defined.py
"""

import json
import pathlib
import random

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model

HERE = pathlib.Path(__file__).parent
USER_DEFINED = ["stern", "st", "lä", "▁▁", "\n\n", "en", "<sep>"]
WORDS = ["▁der", "▁st", "ste", "ern", "ster", "tern", "sterne", "▁sterne", "länder", "än", "▁l", "de", "nd", "er", "rn", "nen"]

rng = random.Random(4)
proto = model.ModelProto()


def add(piece, score, kind):
    proto.pieces.add(piece=piece, score=score, type=kind)


Piece = model.ModelProto.SentencePiece
add("<unk>", 0, Piece.UNKNOWN)
add("<s>", 0, Piece.CONTROL)
add("</s>", 0, Piece.CONTROL)
for piece in USER_DEFINED:
    add(piece, rng.choice([0, -3, 2]), Piece.USER_DEFINED)
for piece in WORDS:
    add(piece, round(rng.uniform(-1, 0.5), 1), Piece.NORMAL)
for character in "▁derstnläi":
    add(character, round(rng.uniform(-1.5, 0.2), 1), Piece.NORMAL)
proto.trainer_spec.model_type = model.TrainerSpec.UNIGRAM
proto.normalizer_spec.name = "identity"
proto.normalizer_spec.remove_extra_whitespaces = False
(HERE / "user_defined.model").write_bytes(proto.SerializeToString())

processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
texts = ["", "stern", "sterne", "der stern", "steren", "länder", "der  stern\n\nen", "<sep>", "a<sep>b", "st st  st", "lä lä"]
parts = USER_DEFINED + WORDS + list(" derstnläix")
texts += ["".join(rng.choice(parts) for _ in range(rng.randint(1, 9))).replace("▁", " ") for _ in range(120)]
cases = [{"text": text, "ids": processor.encode(text), "decoded": processor.decode(processor.encode(text))} for text in texts]
drawn = [[rng.randrange(3, len(proto.pieces)) for _ in range(6)] for _ in range(20)]
drawn = [{"ids": ids, "decoded": processor.decode(ids)} for ids in drawn]
found = {
    "sentencepiece": sentencepiece.__version__,
    "vocabulary_size": processor.vocab_size(),
    "bos": processor.bos_id(),
    "eos": processor.eos_id(),
    "cases": cases,
    "drawn": drawn,
}
(HERE / "user_defined.ids.json").write_text(json.dumps(found, ensure_ascii=False, indent=None) + "\n")
