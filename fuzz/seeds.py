#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets: small files of every kind, most of them right. Needs nothing but Python.

Those of `record` and `safetensors` are older: golden files of the tests, and records changed by hand.
"""

import gzip
import hashlib
import io
import json
import shutil
import struct
import tarfile
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"


def seed(target, name, content):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def parts(*files):
    """Files of their own as `parts` of the harness takes them: a length of two bytes before all but the last."""
    files = [file.encode() if isinstance(file, str) else file for file in files]
    return b"".join(struct.pack("<H", len(file)) + file for file in files[:-1]) + files[-1]


def packings(target, name, content, more=0):
    """The same content plain, in gzip and in Zstandard, by the kind before it; `more` are bits above those."""
    content = content.encode() if isinstance(content, str) else content
    for kind in (0, 0b1010, 0b1111):
        seed(target, f"{name}-{kind}", bytes([kind | more]) + content)


def images():
    pixels = bytes(range(0, 24))
    images = struct.pack(">4I", 0x803, 4, 2, 3) + pixels
    labels = struct.pack(">2I", 0x801, 4)
    packings("idx", "digits", parts(labels + bytes([0, 9, 3, 3]), images))
    packings("idx", "letters", parts(labels + bytes([1, 26, 3, 3]), images), 0x10)
    packings("idx", "many-classes", parts(labels + bytes([0, 255, 3, 3]), images), 0x20)
    packings("idx", "announces-more", parts(labels + bytes(4), struct.pack(">4I", 0x803, 2**31, 2, 3) + pixels))
    packings("cifar", "record", bytes([7]) + bytes(range(256)) * 12)
    packings("cifar", "label-of-no-class", bytes([10]) + bytes(3072))
    seed("cifar", "whole", bytes([0xFC, 3]) + bytes(3072) + bytes([11]))


def texts():
    text = "One line, and é.\nAnother\r\n\n  \n" + "word " * 40 + "\nno end"
    for bits in (0, 4):
        for kind in (0, 2, 3):
            seed("plain_text", f"lines-{kind | bits}", bytes([kind | bits]) + text.encode())
        seed("plain_text", f"mark-{bits}", bytes([bits]) + b"\xef\xbb\xbf" + text.encode())
        seed("plain_text", f"utf-16-{bits}", bytes([bits]) + text.encode("utf-16"))
        members = gzip.compress(b"one\n", mtime=0) + gzip.compress(b"two\n", mtime=0) + bytes(7)
        seed("plain_text", f"members-{bits}", bytes([bits]) + members)
    lines = "\n".join(
        [
            json.dumps({"text": "One é.", "meta": {"list": [1, -2.5e3, None, True], "deep": {"er": []}}}),
            "",
            json.dumps({"a": "x", "text": 'quoted "two" \n\\u00e9'}),
            '{"text": "\\ud83e\\udd80", "text": "twice"}',
        ]
    )
    for kind in (0, 2, 3):
        seed("json_lines", f"lines-{kind}", bytes([kind]) + lines.encode())
    for name, line in [("no-field", '{"other": 1}'), ("no-text", '{"text": [1]}'), ("no-object", '["text"]')]:
        seed("json_lines", name, b"\0" + line.encode())
    packings("parallel_text", "files", parts("One.\n Two\t\nThree\n", "Eins.\r\nZwei\nDrei"))
    packings("parallel_text", "columns", parts("", "One.\tEins.\nTwo\t Zwei \n"), 16)
    seed("parallel_text", "ends-early", b"\0" + parts("One\nTwo\n", "Eins\n"))


# Thrift's compact protocol, as far as Parquet's footers and page headers need it.


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def integer(value, kind=5):
    return kind, varint(value << 1 if value >= 0 else (-value << 1) - 1)


def long(value):
    return integer(value, 6)


def binary(text):
    return 8, varint(len(text)) + text.encode()


def several(items):
    kind = items[0][0]
    head = bytes([len(items) << 4 | kind])
    return 9, head + b"".join(item for _, item in items)


def group(fields):
    out, before = b"", 0
    for number, (kind, value) in sorted(fields.items()):
        out += bytes([number - before << 4 | kind]) + value
        before = number
    return 12, out + b"\0"


def page(content, codec, kind, header):
    stored = gzip.compress(content, mtime=0) if codec == 2 else content
    field = {0: 5, 2: 7, 3: 8}[kind]
    fields = {1: integer(kind), 2: integer(len(content)), 3: integer(len(stored)), field: group(header)}
    return group(fields)[1] + stored


def parquet_file(texts, codec=0, optional=False, dictionary=False, version=1, name="text"):
    """A file of one column; `codec` is 0 for none, 2 for gzip."""
    plain = lambda texts: b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)
    out, dictionary_at = b"PAR1", None
    if dictionary:
        dictionary_at = len(out)
        out += page(plain(texts), codec, 2, {1: integer(len(texts)), 2: integer(0)})
        # Width of an index in bits, then one run of bit-packed indices.
        values = bytes([2, 3, 0b11_10_01_00, 0])
    else:
        values = plain(texts)
    encoding = 8 if dictionary else 0
    # One run of ones.
    levels = varint(len(texts) << 1) + b"\1" if optional else b""
    data_at = len(out)
    if version == 1:
        before = struct.pack("<I", len(levels)) + levels if optional else b""
        header = {1: integer(len(texts)), 2: integer(encoding), 3: integer(3), 4: integer(3)}
        out += page(before + values, codec, 0, header)
    else:
        header = {1: integer(len(texts)), 2: integer(0), 3: integer(len(texts)), 4: integer(encoding)}
        header |= {5: integer(len(levels)), 6: integer(0)}
        out += page(levels + values, 0, 3, header)
    size = len(out) - 4
    column = {
        1: integer(6),
        2: several([integer(0), integer(3), integer(8)]),
        3: several([binary(name)]),
        4: integer(codec if version == 1 else 0),
        5: long(len(texts)),
        6: long(size),
        7: long(size),
        9: long(data_at),
    }
    if dictionary:
        column[11] = long(dictionary_at)
    chunk = group({2: long(4), 3: group(column)})
    schema = [
        group({4: binary("schema"), 5: integer(1)}),
        group({1: integer(6), 3: integer(int(optional)), 4: binary(name), 6: integer(0)}),
    ]
    rows = group({1: several([chunk]), 2: long(size), 3: long(len(texts))})
    footer = group({1: integer(version), 2: several(schema), 3: long(len(texts)), 4: several([rows])})[1]
    return out + footer + struct.pack("<I", len(footer)) + b"PAR1"


def parquet():
    texts = ["One é.", "", "two", "three words"]
    for name, options in {
        "plain": {},
        "gzip": {"codec": 2},
        "optional": {"optional": True},
        "dictionary": {"dictionary": True},
        "dictionary-gzip": {"dictionary": True, "optional": True, "codec": 2},
        "page-2": {"version": 2, "optional": True},
        "snappy": {"codec": 1},
        "other-column": {"name": "content"},
    }.items():
        seed("parquet", name, parquet_file(texts, **options))


def tokenizer_json(model, **settings):
    special = ["<unk>", "<s>", "</s>"]
    added = [
        {"id": id, "content": token, "special": True}
        | {key: False for key in ("single_word", "lstrip", "rstrip", "normalized")}
        for id, token in enumerate(special)
    ]
    json_of = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None}
    json_of |= {"pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model} | settings
    return json.dumps(json_of, ensure_ascii=False)


def hugging_face_tokenizers():
    pieces = ["<unk>", "<s>", "</s>"] + list("▁Helowörldthe,12½🦀ĠĊ") + ["▁t", "he", "▁the", "lo", "Ġthe", "##lo"]
    vocabulary = {piece: id for id, piece in enumerate(dict.fromkeys(pieces))}
    bpe = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": False}
    bpe |= {"vocab": vocabulary, "merges": [["▁", "t"], ["h", "e"], ["▁t", "he"], ["l", "o"]]}
    older = bpe | {"merges": ["▁ t", "h e", "▁t he"]}
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": [[piece, -float(id)] for piece, id in vocabulary.items()]}
    unigram["byte_fallback"] = False
    word_piece = {"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##", "vocab": vocabulary}
    word_piece["max_input_chars_per_word"] = 100
    word_level = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    template = {"type": "TemplateProcessing", "single": [begin, text], "pair": [begin, text]}
    template["special_tokens"] = {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
    replace = {"type": "Replace", "pattern": {"Regex": " +"}, "content": "▁"}
    prepend = {"type": "Prepend", "prepend": "▁"}
    split = {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\s+(?!\\S)|\\d"}, "behavior": "Isolated", "invert": False}
    decoders = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    truncation = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    padding = {"strategy": {"Fixed": 20}, "direction": "Right", "pad_to_multiple_of": None}
    padding |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"}
    seeds = {
        "bpe": tokenizer_json(
            bpe,
            normalizer={"type": "Sequence", "normalizers": [prepend, replace]},
            decoder={"type": "Sequence", "decoders": decoders},
            post_processor=template,
            truncation=truncation,
            padding=padding,
        ),
        "bpe-older": tokenizer_json(older, pre_tokenizer=metaspace, decoder=metaspace),
        "byte-level": tokenizer_json(
            bpe | {"byte_fallback": True},
            pre_tokenizer={"type": "Sequence", "pretokenizers": [split, byte_level]},
            post_processor=byte_level,
            decoder=byte_level,
        ),
        "unigram": tokenizer_json(unigram, normalizer={"type": "NFKC"}, pre_tokenizer=metaspace, decoder=metaspace),
        "precompiled": tokenizer_json(
            unigram, normalizer={"type": "Precompiled", "precompiled_charsmap": "CAAAAAAAAAAAAAAAYQA="}
        ),
        "word-piece": tokenizer_json(
            word_piece,
            normalizer={
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": True,
                "strip_accents": None,
                "lowercase": True,
            },
            pre_tokenizer={"type": "BertPreTokenizer"},
            post_processor={"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]},
            decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
        ),
        "word-level": tokenizer_json(word_level, pre_tokenizer={"type": "Whitespace"}),
        "roberta": tokenizer_json(
            bpe,
            post_processor={
                "type": "RobertaProcessing",
                "sep": ["</s>", 2],
                "cls": ["<s>", 1],
                "trim_offsets": True,
                "add_prefix_space": False,
            },
            decoder={"type": "CTC", "pad_token": "<unk>", "word_delimiter_token": "▁", "cleanup": True},
        ),
    }
    config = json.dumps({"bos_token": {"content": "<s>"}, "eos_token": "</s>"})
    for name, content in seeds.items():
        seed("tokenizer_json", name, parts("", content))
    seed("tokenizer_json", "with-config", parts(config, seeds["bpe-older"]))
    seed("tokenizer_json", "with-class", parts('{"tokenizer_class": "LlamaTokenizerFast"}', seeds["word-level"]))
    seed("tokenizer_json", "with-another", parts('{"bos_token": "<bos>"}', seeds["word-level"]))


# Protocol buffers, as far as SentencePiece's models need them.


def number_field(tag, value):
    return varint(tag << 3) + varint(value)


def bytes_field(tag, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(tag << 3 | 2) + varint(len(value)) + value


def sentencepiece_model(kind, pieces, fallback=False, normalizer=b""):
    out = b""
    for piece, score, type_ in pieces:
        out += bytes_field(1, bytes_field(1, piece) + b"\x15" + struct.pack("<f", score) + number_field(3, type_))
    trainer = number_field(3, kind) + number_field(35, int(fallback)) + number_field(41, 1) + number_field(42, 2)
    return out + bytes_field(2, trainer + bytes_field(44, " ⁇ ")) + bytes_field(3, normalizer)


def sentencepiece():
    pieces = [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3)]
    pieces += [(piece, -float(id), 1) for id, piece in enumerate(["▁", "▁the", "the", "t", "h", "e", "he", "lo", "Hel"])]
    defined = pieces + [("<sep>", 0, 4), ("▁wörld", 0, 4)]
    byte_pieces = [(f"<0x{byte:02X}>", 0, 6) for byte in range(256)]
    # A trie of one rule: its root leads to `a`, which is replaced by the string at 0.
    units = [4 << 10, 0, 0, 0, 0] + [0] * 96
    units += [0] * (256 - len(units))
    units[4 ^ ord("a")] = ord("a") | 1 << 8 | 1 << 10
    units[4 ^ ord("a") ^ 1] = 1 << 31
    trie = struct.pack(f"<{len(units)}I", *units)
    rules = bytes_field(2, struct.pack("<I", len(trie)) + trie + b"bb\0")
    for name, kind in [("unigram", 1), ("bpe", 2)]:
        seed("sentencepiece", name, sentencepiece_model(kind, pieces))
        seed("sentencepiece", f"{name}-defined", sentencepiece_model(kind, defined))
        seed("sentencepiece", f"{name}-rules", sentencepiece_model(kind, pieces, normalizer=rules))
    seed("sentencepiece", "bytes", sentencepiece_model(2, pieces + byte_pieces, True))
    options = b"".join(number_field(tag, 0) for tag in (3, 4, 5))
    seed("sentencepiece", "as-it-is", sentencepiece_model(1, pieces, normalizer=options))


def llama2c():
    piece = lambda text, score: struct.pack("<fi", score, len(text.encode())) + text.encode()
    more = [(" the", -1.0), ("th", -2.0), (" th", -3.0), ("the", -0.5), (" ", 0.0), ("t", 0.0), ("h", 0.0), ("e", 0.0)]
    behind = b"".join(piece(*each) for each in more)
    beginning = [("<unk>", 0.0), ("\n<s>\n", 0.0), ("\n</s>\n", 0.0)] + [(f"<0x{byte:02X}>", 0.0) for byte in range(256)]
    whole = struct.pack("<I", 16) + b"".join(piece(*each) for each in beginning) + behind
    seed("llama2c_tokenizer", "whole", b"\0" + whole)
    seed("llama2c_tokenizer", "behind", b"\1" + behind)
    for name, (dim, hidden, layers, heads, kv_heads, vocabulary, context) in {
        "tied": (4, 3, 1, 1, 1, 5, 2),
        "grouped": (8, 2, 2, 2, 1, 3, 2),
        "untied": (4, 2, 1, 2, 2, -3, 1),
    }.items():
        width = dim // heads
        key = kv_heads * width
        matrices = 2 * dim * dim + 2 * key * dim + 3 * hidden * dim
        floats = abs(vocabulary) * dim * (1 + (vocabulary < 0)) + layers * (2 * dim + matrices) + dim + context * width
        header = struct.pack("<7i", dim, hidden, layers, heads, kv_heads, vocabulary, context)
        content = header + struct.pack(f"<{floats}f", *(at / 64 for at in range(floats)))
        seed("llama2c", name, b"\0" + content)
        seed("llama2c", f"{name}-masked", b"\1" + content)
    seed("llama2c", "many-layers", b"\0" + struct.pack("<7i", 4, 3, 900, 1, 1, 5, 2) + bytes(900))
    seed("llama2c", "many-heads", b"\0" + struct.pack("<7i", 4, 3, 1, 2**31 - 1, 1, 5, 2) + bytes(900))


def safetensors(tensors, dtype="F32", metadata=None):
    width = {"F32": 4, "F16": 2, "BF16": 2}[dtype]
    header, at = {"__metadata__": metadata} if metadata else {}, 0
    for name, shape in tensors.items():
        size = width
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + bytes(range(256)) * (at // 256) + bytes(range(at % 256))


def hugging_face():
    dim, hidden, vocabulary = 4, 3, 5
    config = {"model_type": "llama", "hidden_act": "silu", "vocab_size": vocabulary, "hidden_size": dim}
    config |= {"intermediate_size": hidden, "num_hidden_layers": 1, "num_attention_heads": 2, "rms_norm_eps": 1e-5}
    config |= {"num_key_value_heads": 1, "max_position_embeddings": 6, "rope_theta": 10000.0}
    config |= {"bos_token_id": 1, "eos_token_id": [2, 3]}
    inside = {
        "input_layernorm": [dim],
        "post_attention_layernorm": [dim],
        "self_attn.q_proj": [dim, dim],
        "self_attn.k_proj": [dim // 2, dim],
        "self_attn.v_proj": [dim // 2, dim],
        "self_attn.o_proj": [dim, dim],
        "mlp.gate_proj": [hidden, dim],
        "mlp.up_proj": [hidden, dim],
        "mlp.down_proj": [dim, hidden],
    }
    tensors = {f"model.layers.0.{name}.weight": shape for name, shape in inside.items()}
    tensors |= {"model.embed_tokens.weight": [vocabulary, dim], "model.norm.weight": [dim]}
    untied = tensors | {"lm_head.weight": [vocabulary, dim]}
    tied = json.dumps(config | {"tie_word_embeddings": True})
    for dtype in ("F32", "F16", "BF16"):
        seed("hugging_face", f"tied-{dtype}", parts(tied, "", "", safetensors(tensors, dtype)))
    seed("hugging_face", "untied", parts(json.dumps(config), '{"eos_token_id": 4}', "", safetensors(untied)))
    index = json.dumps({"weight_map": {name: "a.safetensors" for name in tensors}}, separators=(",", ":"))
    seed("hugging_face", "index", parts(tied, "", index, safetensors(tensors)))
    newer = config | {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}, "head_dim": 2}
    seed("hugging_face", "newer", parts(json.dumps(newer), "{}", "", safetensors(untied, metadata={"format": "pt"})))
    for name, change in {
        "many-layers": {"num_hidden_layers": 2**62},
        "many-heads": {"num_attention_heads": 2**63},
        "long-context": {"max_position_embeddings": 2**63},
    }.items():
        seed("hugging_face", name, parts(json.dumps(json.loads(tied) | change), "", "", safetensors(tensors)))


def shards():
    def shard(tokens, spans, width=2):
        header = b"BCHTSHRD" + struct.pack("<IIQQ", 1, width, len(tokens), len(spans)) + bytes(64)
        content = b"".join(token.to_bytes(width, "little") for token in tokens)
        return header + content + b"".join(struct.pack("<2Q", *span) for span in spans)

    manifest = json.dumps({"shards": 2, "arrangement": "packed", "origin": "0" * 64})
    first, second = shard([0, 70, 71, 1, 0, 72, 1], [(4, 2), (7, 3)]), shard([0, 73, 1], [(3, 1)], 4)
    seed("shards", "two", parts(manifest, first, second))
    seed("shards", "one", parts('{"shards":1,"arrangement":"documents","origin":""}', first, b""))
    most = shard([0, 1], [(2, 2**64 - 1)])
    seed("shards", "many-words", parts(manifest, most, most))
    seed("shards", "no-token-of-it", parts(manifest, shard([400], [(1, 1)]), second))
    seed("shards", "announces-more", parts(manifest, first[:16] + struct.pack("<2Q", 2**63, 2**60) + first[32:], second))


TASK = """name = "toy"
source = "none"
{form}
metrics = [{metrics}]
[data]
file = "a.jsonl"
{data}
{target}
"""


def zero_shot():
    labelled = "[target]\nfield = \"label\"\nvalues = [[1, \"two\"], [0, false]]"
    forms = {
        "choices": (
            'prompt = "{text|detokenise|wikihow}{{}} {other|map:table}"\nchoices = ["yes", "{other|capitalise|full_stop}"]\n'
            'prompt_filters = ["trim"]\ndelimiter = ""',
            '"accuracy", "accuracy_norm", "f1", "mcc"',
            'labels = "a.lst"',
            labelled + '\n[maps.table]\nno = "not"',
        ),
        "listed": (
            'prompt = "{text|before:_}{text|after:_}"\nchoices_from = "list"\nchoice_filters = ["lower_first"]',
            '"accuracy"',
            "",
            "[target]\nalways = 1",
        ),
        "among": (
            'prompt = "{text|slice:number:number}{text|star_word:number:inside.word}"\nchoices_from = "list"',
            '"accuracy"',
            'unroll = ["inside.rows"]',
            '[target]\nfield = "label"\namong = "list"',
        ),
        "prompts": (
            'prompts = ["{text|all_but_last_word}", "{text|last_word|drop_last}"]\ncontinuation = "{other}"',
            '"accuracy"',
            "",
            labelled,
        ),
        "continuation": ('prompt = "{text}"\ncontinuation = "{number}{truth}"', '"perplexity"', "", ""),
    }
    for name, (form, metrics, data, target) in forms.items():
        seed("zero_shot_task", name, TASK.format(form=form, metrics=metrics, data=data, target=target))
    several = TASK.replace('"a.jsonl"', '["b.jsonl", "a.jsonl"]')
    form, metrics, data, target = forms["prompts"]
    seed("zero_shot_task", "several-names", several.format(form=form, metrics=metrics, data=data, target=target))

    choices = [
        {"text": "Ann took it , and left", "number": 2, "word": "it", "start": 4, "end": 8, "label": "yes"},
        {"text": "A ( b ) \" c", "number": 0, "word": "A", "start": 0, "end": 3},
    ]
    nested = {"word": "w", "in": {"text": "t", "rows": [{"text": "a", "items": [{"text": "b", "label": 1}] * 2}] * 2}}
    listed = [{"list": ["[x] one", "two"], "label": "two"}, {"list": ["a [title] b", "3"], "label": 3}]
    lines = lambda records: "\n".join(json.dumps(record) for record in records)
    packings("zero_shot_records", "choices", parts("1\n0\n", lines(choices)))
    packings("zero_shot_records", "limited", parts("1\n0\n", lines(choices * 2)), 0x80)
    packings("zero_shot_records", "nested", parts("", lines([nested])), 0x10)
    packings("zero_shot_records", "listed", parts("", lines(listed)), 0x20)
    wide = {"word": "w" * 400, "in": {"rows": [{"text": "", "items": [{"text": "", "label": 1}] * 20}]}}
    packings("zero_shot_records", "wide", parts("", lines([wide])), 0x10)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in [("in/b.jsonl", '{"text": "he took the hat"}\n'), ("a.json", '{"text": "a"}'), ("LICENSE", "no")]:
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    # Two empty blocks end it; what Python pads it with is of no use here.
    packings("zero_shot_records", "archive", parts("", archive.getvalue()[: 6 * 512 + 1024]), 0x30)


def message_pack(value):
    if isinstance(value, dict):
        assert len(value) < 16
        inside = b"".join(message_pack(key) + message_pack(item) for key, item in value.items())
        return bytes([0x80 | len(value)]) + inside
    if isinstance(value, list):
        assert len(value) < 16
        return bytes([0x90 | len(value)]) + b"".join(map(message_pack, value))
    if isinstance(value, str):
        text = value.encode()
        return (bytes([0xA0 | len(text)]) if len(text) < 32 else bytes([0xD9, len(text)])) + text
    if isinstance(value, Raw):
        return value.bytes
    if isinstance(value, bytes):
        return bytes([0xC4, len(value)]) + value
    if value is None:
        return b"\xc0"
    return bytes([value])


class Raw:
    def __init__(self, content):
        self.bytes = content


def sealed():
    weight = Raw((SEEDS / "record" / "single").read_bytes())
    dense = lambda shape, size: {
        "id": "e9hr3nbj7t8mg",
        "param": {"bytes": bytes(4 * size), "shape": shape, "dtype": "F32"},
    }
    metadata = {"float": "f32", "int": "i32", "format": "burn_cht::run::seal::SealedRecorder", "version": "0.21.0"}
    metadata["settings"] = "FullPrecisionSettings"
    item = {
        "hidden": {"weight": weight, "bias": dense([4], 4)},
        "head": {"weight": dense([4, 2], 8), "bias": dense([2], 2)},
    }
    content = message_pack({"metadata": metadata, "item": item})
    seed("sealed", "content", content)
    # The number of dimensions that the last shape claims: 2 to the power of 31.
    at = content.rindex(b"shape") + 5
    seed("sealed", "claims-many-dimensions", content[:at] + b"\xdd\x80\0\0\0" + content[at + 1 :])
    header = b"BCHTSEAL" + struct.pack("<IQ", 1, len(content)) + hashlib.sha256(content).digest()
    seed("sealed", "file", header + content)
    seed("sealed", "cut", header + content[:-1])
    seed("sealed", "version", header[:8] + b"\2" + header[9:] + content)


def runs():
    config = '{"seed":1,"data":{"workers":2}}'
    criterion = '{"metric":"Loss","highest":false,"first_epoch":1}'
    epoch = lambda split: {"epoch": 1, "split": split, "batches": 2, "seconds": 0.5, "means": {"Loss": 0.25}}
    history = "".join(json.dumps(epoch(split)) + "\n" for split in ("train", "valid"))
    layer = {"update": 0, "step": 0, "layer": "a", "target_nnz": 4, "nnz": 4, "target_density": 0.5, "density": 0.5}
    layer |= {"pruned": 0, "removed": 0, "percolated": 0, "regrown": 0, "overlap": 0.0, "active_inputs": 2}
    layer |= {"active_outputs": 2, "itop": 0.5, "stopped": False, "milliseconds": 1.5}
    topology = "".join(json.dumps(layer | {"update": update, "step": update}) + "\n" for update in range(2))
    for kind in (0, 1):
        seed("run", f"run-{kind}", bytes([kind]) + parts(config, criterion, history, topology))
        seed("run", f"cut-{kind}", bytes([kind]) + parts(config, criterion, history[:-9], topology[:-9]))
        seed("run", f"other-{kind}", bytes([kind]) + parts('{\n  "seed": 2\n}', criterion, history, ""))


def vocabularies():
    merges = ["t h", "th e", "Ġ the", "Ġ w"]
    source = {"lowercase": False, "merges": merges}
    seed("vocabularies", "joint", json.dumps({"checksum": "0", "source": source}))
    both = {"checksum": "0", "source": source, "target": {"lowercase": True, "merges": merges[:2]}}
    seed("vocabularies", "separate", json.dumps(both, ensure_ascii=False))
    seed("vocabularies", "unknown-pair", json.dumps({"checksum": "0", "source": source | {"merges": ["th e"]}}))


def main():
    for folder in SEEDS.iterdir():
        if folder.name not in ("record", "safetensors"):
            shutil.rmtree(folder)
    for write in (images, texts, parquet, hugging_face_tokenizers, sentencepiece, llama2c, hugging_face, shards):
        write()
    for write in (zero_shot, sealed, runs, vocabularies):
        write()


main()
