#!/usr/bin/env python3
"""Writes the first inputs of fuzz_gguf_open and fuzz_quant_dequant: small files with every value
type, split keys, odd layouts and each way to be wrong; two blocks of every format."""
import os
import random
import re
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def scalar(t, v):
    return text(v) if t == 8 else struct.pack("<" + SIZES[t], v)


def kv(key, t, v, elem=None):
    if t != 9:
        return text(key) + struct.pack("<I", t) + scalar(t, v)
    body = b"".join(scalar(elem, x) for x in v)
    return text(key) + struct.pack("<IIQ", 9, elem, len(v)) + body


def tensor(name, t, ne, offset):
    return text(name) + struct.pack("<I", len(ne)) + struct.pack(f"<{len(ne)}QIQ", *ne, t, offset)


def gguf(kvs, tensors, data=b"", version=3, align=32):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(kvs)) + b"".join(kvs + tensors)
    return head + bytes(-len(head) % align) + data if data else head


def write(folder, name, data):
    path = os.path.join(HERE, "corpus", folder)
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, name), "wb") as f:
        f.write(data)


def gguf_inputs():
    numbers = [kv(f"k{t}", t, 1) for t in SIZES]
    arrays = [kv(f"a{t}", 9, [0, 1, 1], t) for t in SIZES]
    strings = [kv("s", 8, "text"), kv("list", 9, ["a", "", "ccc"], 8)]
    yield "empty.gguf", gguf([], [])
    yield "numbers.gguf", gguf(numbers, [])
    yield "arrays.gguf", gguf(arrays, [])
    yield "strings.gguf", gguf(strings, [], version=2)
    two = [tensor("a", 0, [4, 2], 0), tensor("b", 8, [32], 32)]
    yield "tensors.gguf", gguf(strings, two, bytes(66))
    back = [tensor("a", 0, [4, 2], 64), tensor("b", 8, [32], 0)]
    yield "reordered.gguf", gguf([], back, bytes(96))
    yield "aligned.gguf", gguf([kv("general.alignment", 4, 8)], two[:1], bytes(32), align=8)
    yield "scalar.gguf", gguf([], [tensor("x", 0, [], 0), tensor("e", 0, [0, 3], 0)], bytes(4))
    yield "split.gguf", gguf([kv("split.count", 2, 3), kv("split.no", 2, 0)], [])
    yield "twice.gguf", gguf([kv("k", 4, 1), kv("k", 4, 2)], [])
    yield "overlap.gguf", gguf([], [tensor("a", 0, [24], 0), tensor("b", 0, [8], 64)], bytes(96))
    yield "gone.gguf", gguf([], [tensor("a", 31, [32], 0)], bytes(64))
    yield "fork.gguf", gguf([], [tensor("a", 137, [256], 0)], bytes(64))
    yield "huge.gguf", gguf([], [tensor("a", 0, [1 << 40, 1 << 23], 0)], bytes(64))
    yield "nan.gguf", gguf([], [tensor("a", 1, [4], 0)], b"\0\x7e" * 4)
    yield "big_endian.gguf", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
    yield "version_1.gguf", b"GGUF" + struct.pack("<III", 1, 0, 0)


def main():
    for name, data in gguf_inputs():
        write("gguf_open", name, data)
    rng = random.Random(1)
    with open(os.path.join(HERE, "../../src/quant/formats.def")) as f:
        rows = re.findall(r"^X\((\w+), \w+, (\d+), (\d+)\)", f.read(), re.M)
    for i, (name, n, size) in enumerate(rows):
        count = 2 if int(n) > 1 else 32
        write("quant_dequant", name, bytes([i]) + rng.randbytes(count * int(size)))


if __name__ == "__main__":
    main()
