#!/usr/bin/env python3
"""Writes tests/data/quant/: blocks of every format with the floats that libggml makes of them, and
floats with the blocks that it makes.

FORMAT.bin    u32 n, n blocks, then their weights as float32
quantize.bin  u32 n, n float32, then the same in F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0

Blocks are random with finite scales, then crafted: zero, negative, smallest, subnormal and largest
scales; all bits clear, all set; every codebook index, every sign code, every E8M0 and E4M3 scale and
every byte of base-3 digits at least once.

usage: make_quant.py      (needs numpy and LLAMA_ORACLE_DIR, see ggml_base.py)
"""
import os
import struct

import numpy as np

from ggml_base import dequant, quantize, traits

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data/quant")
HALVES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x83FF, 0x7BFF, 0xFBFF, 0x3C00, 0x2E66]

# name: GGUF id, offsets of the halves that scale the block
FORMATS = {
    "F16": (1, [0]), "BF16": (30, []), "Q4_0": (2, [0]), "Q4_1": (3, [0, 2]), "Q5_0": (6, [0]),
    "Q5_1": (7, [0, 2]), "Q8_0": (8, [0]), "Q2_K": (10, [80, 82]), "Q3_K": (11, [108]),
    "Q4_K": (12, [0, 2]), "Q5_K": (13, [0, 2]), "Q6_K": (14, [208]), "IQ2_XXS": (16, [0]),
    "IQ2_XS": (17, [0]), "IQ3_XXS": (18, [0]), "IQ1_S": (19, [0]), "IQ4_NL": (20, [0]),
    "IQ3_S": (21, [0]), "IQ2_S": (22, [0]), "IQ4_XS": (23, [0]), "IQ1_M": (29, []),
    "TQ1_0": (34, [52]), "TQ2_0": (35, [64]), "MXFP4": (39, []), "NVFP4": (40, []),
    "Q1_0": (41, [0]), "Q2_0": (42, [0]),
}  # fmt: skip


def set_half(name, block, at, bits):
    if name == "IQ1_M":  # its half lies in the top nibbles of four words at byte 48
        for k in range(4):
            block[49 + 2 * k] = (block[49 + 2 * k] & 15) | (bits >> (4 * k) & 15) << 4
    else:
        block[at] = bits & 255
        block[at + 1] = bits >> 8


def halves_of(name):
    return [48] if name == "IQ1_M" else FORMATS[name][1]


def finite_half(rng):
    while True:
        bits = int(rng.integers(0, 65536))
        if bits & 0x7C00 != 0x7C00:
            return bits


def random_blocks(rng, name, n):
    blocks = rng.integers(0, 256, (n, traits(FORMATS[name][0]).block_bytes), np.uint8)
    for b in blocks:
        for at in halves_of(name):
            set_half(name, b, at, finite_half(rng))
        if name == "BF16" and b[1] & 0x7F == 0x7F:
            b[1] ^= 1  # not finite
    return blocks


def crafted(rng, name):
    places = halves_of(name)
    for bits in HALVES if places else []:
        for at in places:
            b = random_blocks(rng, name, 1)[0]
            set_half(name, b, at, bits)
            yield b
    for fill in (0, 255):
        b = np.full(traits(FORMATS[name][0]).block_bytes, fill, np.uint8)
        for at in places:
            set_half(name, b, at, 0x3C00)
        if name == "BF16":
            b[1] = fill // 2 & 0x3F
        yield b


def words(block, at, values, dtype):
    raw = np.array(values, dtype).tobytes()
    block[at : at + len(raw)] = np.frombuffer(raw, np.uint8)


def sweep(rng, name):
    """Blocks that together hold every index of the format's codebook."""
    n = {"IQ2_XXS": 8, "IQ2_XS": 16, "IQ2_S": 32, "IQ3_XXS": 4, "IQ3_S": 8, "IQ1_S": 64,
         "IQ1_M": 64, "MXFP4": 256, "NVFP4": 64, "TQ1_0": 6}.get(name, 0)  # fmt: skip
    for i, b in enumerate(random_blocks(rng, name, n) if n else []):
        g = 32 * i + np.arange(32)  # index of each 8 weights
        h = 64 * i + np.arange(64)  # of each 4
        if name == "IQ2_XXS":
            index, sign = g.astype(np.uint8).reshape(8, 4), (g % 128).reshape(8, 4)
            signs = (sign << (7 * np.arange(4))).sum(1) | rng.integers(0, 16, 8) << 28
            for k in range(8):
                b[2 + 8 * k : 6 + 8 * k] = index[k]
                words(b, 6 + 8 * k, [signs[k]], "<u4")
        elif name == "IQ2_XS":
            words(b, 2, g | (g * 37 % 128) << 9, "<u2")
        elif name == "IQ2_S":
            b[2:34] = g & 255
            b[66:74] = ((g >> 8).reshape(8, 4) << (2 * np.arange(4))).sum(1)
        elif name == "IQ3_XXS":
            b[2:66] = h
        elif name == "IQ3_S":
            b[2:66] = h & 255
            b[66:74] = ((h >> 8).reshape(8, 8) << np.arange(8)).sum(1)
        elif name == "IQ1_S":
            b[2:34] = g & 255
            high = ((g >> 8).reshape(8, 4) << (3 * np.arange(4))).sum(1)
            words(b, 34, high | rng.integers(0, 16, 8) << 12, "<u2")
        elif name == "IQ1_M":
            b[0:32] = g & 255
            nibble = (g >> 8) | rng.integers(0, 2, 32) << 3
            b[32:48] = nibble[0::2] | nibble[1::2] << 4
        elif name == "MXFP4":
            b[0] = i
        elif name == "NVFP4":
            b[0:4] = 4 * i + np.arange(4)
        elif name == "TQ1_0":
            b[0:52] = (52 * i + np.arange(52)) % 256
        yield b


def write_format(rng, name):
    gguf_id = FORMATS[name][0]
    n = 512 if traits(gguf_id).block_n == 1 else 12
    blocks = np.array([*random_blocks(rng, name, n), *crafted(rng, name), *sweep(rng, name)])
    with open(os.path.join(OUT, name + ".bin"), "wb") as f:
        f.write(struct.pack("<I", len(blocks)) + blocks.tobytes())
        f.write(dequant(gguf_id, blocks).tobytes())


def write_quantize(rng):
    x = [rng.standard_normal((12, 32)) * 10.0**k for k in range(-8, 5)]
    x += [rng.integers(-8, 9, (8, 32)) / 2]  # ties
    x += [np.zeros((1, 32)), np.full((1, 32), 3.5), np.full((1, 32), -3.5)]
    x += [np.arange(-16, 16)[None] * 0.25, np.tile([1.0, -1.0], 16)[None]]  # which sign wins
    x = np.concatenate(x).astype(np.float32)
    with open(os.path.join(OUT, "quantize.bin"), "wb") as f:
        f.write(struct.pack("<I", x.size) + x.tobytes())
        for name in ("F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"):
            f.write(quantize(FORMATS[name][0], x).tobytes())


def main():
    os.makedirs(OUT, exist_ok=True)
    for i, name in enumerate(FORMATS):
        write_format(np.random.default_rng(100 + i), name)
    write_quantize(np.random.default_rng(1))


if __name__ == "__main__":
    main()
