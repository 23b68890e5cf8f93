#!/usr/bin/env python3
"""Writes tests/data/quant/affine.bin with the real MLX: groups of each affine form and of mxfp8, and
what mlx.core.dequantize makes of them in f32.

    python -m venv V && V/bin/pip install "mlx[cpu]" numpy && V/bin/python tests/golden/make_affine.py

A record: u32 GGUF id, u32 groups, the packed codes, the scales, the biases (none of mxfp8), then a
float for each weight. Numbers are little-endian.
"""
import os
import re
import struct

import mlx.core as mx
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
GROUPS = 4
TYPES = {"F32": np.float32, "F16": np.float16}


def rows():
    with open(os.path.join(HERE, "../../src/quant/formats.def")) as f:
        return re.findall(r"^X\((\w+), (0x\w+), (\d+), \d+\)", f.read(), re.M)


def numbers(rng, kind, n):
    """n scales of a kind as stored bytes and as f32; each file has odd ones: tiny, zero, large."""
    x = (rng.standard_normal(n) * np.exp2(rng.integers(-12, 3, n))).astype(np.float32)
    x[0] = 0 if rng.random() < 0.3 else x[0]
    if kind == "BF16":
        bits = (x.view(np.uint32) >> 16).astype(np.uint16)
        return bits.tobytes(), (bits.astype(np.uint32) << 16).view(np.float32)
    stored = x.astype(TYPES[kind])
    return stored.tobytes(), stored.astype(np.float32)


def record(rng, name, id_, n):
    if name == "MXFP8":
        codes = rng.integers(0, 256, GROUPS * n).astype(np.uint8)
        codes[(codes & 0x7F) == 0x7F] ^= 1
        scales = rng.integers(100, 140, GROUPS).astype(np.uint8)
        out = mx.dequantize(mx.array(codes.view(np.uint32)).reshape(GROUPS, -1),
                            mx.array(scales).reshape(GROUPS, 1), None, n, 8, mode="mxfp8",
                            dtype=mx.float32)
        parts = codes.tobytes() + scales.tobytes()
    else:
        bits = int(name[1])
        kind = name.split("_")[1]
        words = rng.integers(0, 2**32, GROUPS * n * bits // 32, dtype=np.uint32)
        s_bytes, s = numbers(rng, kind, GROUPS)
        b_bytes, b = numbers(rng, kind, GROUPS)
        out = mx.dequantize(mx.array(words).reshape(GROUPS, -1), mx.array(s).reshape(GROUPS, 1),
                            mx.array(b).reshape(GROUPS, 1), n, bits)
        parts = words.tobytes() + s_bytes + b_bytes
    values = np.array(out, dtype=np.float32)
    assert values.size == GROUPS * n
    return struct.pack("<II", id_, GROUPS) + parts + values.tobytes()


def main():
    rng = np.random.default_rng(5)
    path = os.path.join(HERE, "../data/quant/affine.bin")
    with open(path, "wb") as f:
        for name, id_, n in rows():
            f.write(record(rng, name, int(id_, 16), int(n)))


if __name__ == "__main__":
    main()
