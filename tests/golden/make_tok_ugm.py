#!/usr/bin/env python3
"""Makes tests/data/tok/ugm.*: a unigram vocabulary with a table of characters, and libllama's ids.

    pip install sentencepiece==0.2.3
    LLAMA_ORACLE_DIR=... python3 tests/golden/make_tok_ugm.py

There is no small model of this kind to take, so one is trained on the strings of tok_strings.py.
"""
import tempfile
from pathlib import Path

import numpy as np
import sentencepiece

import gguf_vocab
import tok_llama
import tok_pack
import tok_strings

OUT = Path(__file__).resolve().parent.parent / "data" / "tok"
WORDS = ("the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one "
         "you were all her she there would their we him been has when who will no more if out so up said what its about than "
         "into them can only other time new some could these two may first then do any like my now over such our man me even "
         "most made after also did many off before must well back through years much where your way down should because long "
         "each just state those people too mister little good world make very year still see own work men day get here old "
         "token tokens tokenizer model models under string strings text character characters").split()
USER = ["<extra_id_0>", "foo_bar", "  ", "\t"]
# What the table replaces: one by one, one by many, many by one, and by nothing.
RULES = ([(chr(0xFF01 + i), chr(0x21 + i)) for i in range(94)]
         + [("ﬁ", "fi"), ("½", "1/2"), ("é", "e\u0301"), ("e\u0301", "é"), ("\u3000", " "), ("\u00a0", " "), ("\n", " "),
            ("\r\n", " "), ("\u200b", ""), ("\u0000", ""), ("…", "..."), ("가", "\u1100\u1161"), ("Ⅷ", "VIII"), ("👩‍👩", "2")])


def train(folder):
    rules = folder / "rules.tsv"
    code = lambda s: " ".join(f"{ord(c):X}" for c in s)
    rules.write_text("".join(f"{code(a)}\t{code(b)}\n" for a, b in RULES if a != "\u0000"))
    corpus = folder / "corpus.txt"
    lines = [" ".join(WORDS[(i * 7 + k * k * (i % 5 + 1)) % len(WORDS)] for k in range(12)) for i in range(3000)]
    lines += ["日本語 中文字 한국어 привет École straße 12345 foo_bar (x) [y] {z} a.b, c! d? 'e' \"f\""] * 50
    corpus.write_text("\n".join(lines))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "ugm"), vocab_size=200, model_type="unigram",
        user_defined_symbols=USER, normalization_rule_tsv=str(rules), pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        num_threads=1, minloglevel=2)
    return folder / "ugm.model"


def varint(data, at):
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    """(number, value) of a protocol buffer's message."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        elif tag & 7 == 2:
            n, at = varint(data, at)
            value, at = data[at:at + n], at + n
        else:
            n = {1: 8, 5: 4}[tag & 7]
            value, at = data[at:at + n], at + n
        yield tag >> 3, value


def read_model(path):
    pieces, charsmap = [], b""
    for number, value in fields(path.read_bytes()):
        if number == 1:
            piece = dict(fields(value))
            pieces.append((piece[1], np.frombuffer(piece.get(2, bytes(4)), "<f4")[0], piece.get(3, 1)))
        elif number == 3:
            charsmap = dict(fields(value)).get(2, b"")
    return {"tokenizer.ggml.model": b"t5", "tokenizer.ggml.tokens": [p[0] for p in pieces],
            "tokenizer.ggml.scores": np.array([p[1] for p in pieces], "<f4"),
            "tokenizer.ggml.token_type": np.array([p[2] for p in pieces], "<i4"),
            "tokenizer.ggml.precompiled_charsmap": np.frombuffer(charsmap, "u1"),
            "tokenizer.ggml.add_space_prefix": True, "tokenizer.ggml.remove_extra_whitespaces": True}


def main():
    with tempfile.TemporaryDirectory() as temp:
        meta = read_model(train(Path(temp)))
        gguf_vocab.write(Path(temp) / "ugm.gguf", meta)
        vocab = tok_llama.Vocab(Path(temp) / "ugm.gguf")
    items = []
    texts = tok_strings.strings(8, 300, USER + WORDS) + [" ".join(WORDS[i:i + 9]).encode() for i in range(40)]
    for i, text in enumerate(texts):
        add, special = bool(i & 1), bool(i & 2)
        ids = vocab.encode(text, add, special)
        items.append((text, add, special, ids, vocab.decode(ids, special)))
    (OUT / "ugm.vocab").write_bytes(tok_pack.vocabulary(meta))
    (OUT / "ugm.cases").write_bytes(tok_pack.cases(items))
    print("ugm", len(items), (OUT / "ugm.vocab").stat().st_size, (OUT / "ugm.cases").stat().st_size)


main()
