"""Reads the tokenizer out of a GGUF file, and writes files that hold nothing else."""
import struct

import numpy as np

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


class Reader:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.data, self.at = f.read(1 << 26), 0

    def take(self, fmt):
        value = struct.unpack_from("<" + fmt, self.data, self.at)
        self.at += struct.calcsize("<" + fmt)
        return value[0]

    def string(self):
        n = self.take("Q")
        self.at += n
        return self.data[self.at - n:self.at]

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.take(SCALARS[kind])
        kind, n = self.take("I"), self.take("Q")
        if kind == STRING:
            return [self.string() for _ in range(n)]
        array = np.frombuffer(self.data, "<" + SCALARS[kind], n, self.at)
        self.at += array.nbytes
        return array


def read(path):
    """The metadata: strings are bytes, numeric arrays are numpy's."""
    r = Reader(path)
    assert r.take("4s") == b"GGUF", path
    r.take("I")
    r.take("Q")
    meta = {}
    for _ in range(r.take("Q")):
        key = r.string().decode()
        meta[key] = r.value(r.take("I"))
    return meta


def text(data):
    return struct.pack("<Q", len(data)) + data


def packed(value):
    if isinstance(value, (bool, np.bool_)):
        return struct.pack("<I?", 7, value)
    if isinstance(value, (int, np.integer)):
        return struct.pack("<II", 4, value)
    if isinstance(value, (bytes, str)):
        return struct.pack("<I", STRING) + text(value.encode() if isinstance(value, str) else value)
    if isinstance(value, np.ndarray):
        kind = {"f": 6, "i": 5, "u": 5, "B": 0}["B" if value.dtype == np.uint8 else value.dtype.kind]
        data = value.astype("<" + SCALARS[kind]).tobytes()
        return struct.pack("<IIQ", ARRAY, kind, len(value)) + data
    return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(text, value))


def write(path, meta):
    """A vocabulary-only file: what libllama asks of one, and the tokenizer's keys of meta."""
    keys = {"general.architecture": "llama"}
    for name, value in (("vocab_size", len(meta["tokenizer.ggml.tokens"])), ("context_length", 64),
                        ("embedding_length", 32), ("block_count", 1), ("feed_forward_length", 32),
                        ("attention.head_count", 1), ("rope.dimension_count", 32)):
        keys["llama." + name] = value
    keys.update((k, v) for k, v in meta.items()
                if k.startswith("tokenizer.ggml.") or k in ("general.name",))
    out = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys) + 1)
    out += text(b"llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-5)
    out += b"".join(text(k.encode()) + packed(v) for k, v in keys.items())
    with open(path, "wb") as f:
        f.write(out + b"\0" * (-len(out) % 32))
