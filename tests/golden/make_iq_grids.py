#!/usr/bin/env python3
"""Writes src/quant/iq_grids.c: the codebooks of the IQ formats.

The codebooks are data that cannot be computed. They are read off ggml's behaviour: blocks whose
index fields walk through every value are dequantised by libggml, and the entries seen are packed 2
or 3 bits a value. The SHA-256 of each codebook written as text (one line an entry) is checked, so
that a wrong block would be noticed.

usage: make_iq_grids.py      (needs numpy and LLAMA_ORACLE_DIR, see ggml_base.py)
"""
import hashlib
import os

import numpy as np

from ggml_base import dequant

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/quant/iq_grids.c")


def half(x):
    return np.float16(x).tobytes()


def decode(gguf_id, block):
    return dequant(gguf_id, np.frombuffer(block, np.uint8)[None])[0]


def iq2_xxs():
    """Scale nibble 0 means d / 8."""
    for i in range(0, 256, 4):
        group = bytes([i, i + 1, i + 2, i + 3]) + bytes(4)
        yield from decode(16, half(8) + group * 8)[:32].reshape(4, 8)


def iq2_xs():
    for i in range(0, 512, 4):
        group = np.array([i, i + 1, i + 2, i + 3], "<u2").tobytes()
        yield from decode(17, half(8) + group * 8 + bytes(8))[:32].reshape(4, 8)


def iq2_s():
    for i in range(1024):
        low, high = bytes([i & 255] * 32), bytes([(i >> 8) * 0x55] * 8)
        yield decode(22, half(8) + low + bytes(32) + high + bytes(8))[:8]


def iq3_xxs():
    for i in range(256):
        yield decode(18, half(4) + bytes([i] * 64) + bytes(32))[:4]


def iq3_s():
    for i in range(512):
        low, high = bytes([i & 255] * 64), bytes([255 * (i >> 8)] * 8)
        yield decode(21, half(1) + low + high + bytes(32) + bytes(4))[:4]


def iq1_s():
    """The offset of +1/8 that every weight has is taken off again."""
    for i in range(2048):
        qh = np.array([(i >> 8) * 0o1111] * 8, "<u2").tobytes()
        yield decode(19, half(1) + bytes([i & 255] * 32) + qh)[:8] - 0.125


# name, entries, bits a value, values, start of the SHA-256 of the text
GRIDS = [
    (iq2_xxs, 2, [8, 25, 43], "7ce6a99a234aeec8"),
    (iq2_xs, 2, [8, 25, 43], "c01ee43328ee4a74"),
    (iq2_s, 2, [8, 25, 43], "710bfe7a778b923d"),
    (iq3_xxs, 3, [4, 12, 20, 28, 36, 44, 52, 62], "4b3aabbad58d4f78"),
    (iq3_s, 3, [1, 3, 5, 7, 9, 11, 13, 15], "5afefa4e6558b76d"),
    (iq1_s, 2, [-1, 0, 1], "7fcf23ea0bac827b"),
]


def main():
    out = [
        "/* Made by tests/golden/make_iq_grids.py: do not edit. The codebooks of ggml's IQ formats",
        " * (MIT licence, see NOTICE), packed as iq_grids.h describes. */",
        '#include "quant/iq_grids.h"',
    ]
    for fn, bits, values, sha in GRIDS:
        grid = np.rint(np.array(list(fn()))).astype(int)
        text = "\n".join(" ".join(map(str, row)) for row in grid) + "\n"
        assert hashlib.sha256(text.encode()).hexdigest()[:16] == sha, fn.__name__
        codes = np.searchsorted(values, grid)
        assert (np.array(values)[codes] == grid).all()
        words = (codes << (bits * np.arange(grid.shape[1]))).sum(1)
        out += ["", f"const uint16_t quant_grid_{fn.__name__}[{len(words)}] = {{"]
        for i in range(0, len(words), 12):
            out.append("    " + " ".join(f"0x{w:04x}," for w in words[i : i + 12]))
        out.append("};")
    with open(OUT, "w") as f:
        f.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
