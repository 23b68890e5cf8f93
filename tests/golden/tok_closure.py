"""A small BPE vocabulary that shows where a text was cut.

Over a few characters, one of each kind that pre-tokenizers tell apart, every string of up to three
characters is a token and its merges exist: pieces that differ give ids that differ.
"""
import itertools
import random

import numpy as np

CHARS = ["a", "A", "s", "S", "'", " ", "\n", "\r", "\t", "1", "!", "_", "$", "/", "é", "É", "\u0301", "²", "中", "，", "가",
         "\u00a0", "\u3000"]
RAW = [*range(33, 127), *range(161, 173), *range(174, 256)]
OTHERS = [b for b in range(256) if b not in RAW]
BYTE_CHAR = {b: chr(b) for b in RAW} | {b: chr(256 + i) for i, b in enumerate(OTHERS)}


def mapped(text):
    return "".join(BYTE_CHAR[b] for b in text.encode())


def vocabulary(pre):
    tokens, merges = [BYTE_CHAR[b] for b in range(256)], []

    def join(left, right):
        merges.append(f"{left} {right}".encode())
        tokens.append(left + right)

    for c in CHARS:
        whole = mapped(c)
        for i in range(1, len(whole)):
            if whole[:i + 1] not in tokens:
                join(whole[:i], whole[i])
    for a, b in itertools.product(CHARS, CHARS):
        join(mapped(a), mapped(b))
    for a, b, c in itertools.product(CHARS, CHARS, CHARS):
        join(mapped(a + b), mapped(c))
    tokens = [t.encode() for t in tokens]
    return {"tokenizer.ggml.model": b"gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.merges": merges, "tokenizer.ggml.token_type": np.ones(len(tokens), "<i4")}


def strings(seed, n):
    r = random.Random(seed)
    out = []
    for _ in range(n):
        text = ""
        while len(text) < r.randrange(1, 14):
            text += r.choice((r.choice(CHARS), r.choice("aAsS'1 é"), r.choice(CHARS) * r.randrange(2, 5),
                              r.choice(("'s", "aS", "1111", "  ", "\n\n", " a", "a\u0301"))))
        out.append(text.encode())
    return out
