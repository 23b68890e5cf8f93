"""Copies of a GGUF file with other metadata: models that differ in what they say of themselves."""
import struct

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def skip_value(data, kind, at):
    if kind == 8:
        return at + 8 + struct.unpack_from("<Q", data, at)[0]
    if kind != 9:
        return at + SIZES[kind]
    item, n = struct.unpack_from("<IQ", data, at)
    at += 12
    if item in SIZES:
        return at + n * SIZES[item]
    for _ in range(n):
        at = skip_value(data, item, at)
    return at


def value_bytes(value):
    """A string, an u32, an u16 (a tuple of one), or a list of either of the first two, behind its type."""
    if isinstance(value, tuple):
        return struct.pack("<IH", 2, value[0])
    if isinstance(value, str):
        return struct.pack("<IQ", 8, len(value.encode())) + value.encode()
    if isinstance(value, list):
        items = [value_bytes(v) for v in value]
        return struct.pack("<I", 9) + items[0][:4] + struct.pack("<Q", len(items)) + b"".join(i[4:] for i in items)
    return struct.pack("<II", 4, value)


def with_metadata(data, put):
    """A GGUF v3 with keys added or replaced; "ARCH." stands for the architecture's prefix."""
    n_tensor, n_key = struct.unpack_from("<QQ", data, 8)
    at, entries = 24, []
    for _ in range(n_key):
        start = at
        n = struct.unpack_from("<Q", data, at)[0]
        key = data[at + 8:at + 8 + n].decode()
        kind = struct.unpack_from("<I", data, at + 8 + n)[0]
        at = skip_value(data, kind, at + 12 + n)
        entries.append((key, data[start:at]))
    infos = at
    for _ in range(n_tensor):
        at += 8 + struct.unpack_from("<Q", data, at)[0]
        at += 4 + 8 * struct.unpack_from("<I", data, at)[0] + 12
    tensors = data[infos:at]
    align = 32
    body = data[-(-at // align) * align:]
    arch = next(e[12 + len("general.architecture") + 8:] for k, e in entries if k == "general.architecture").decode()
    put = {k.replace("ARCH.", arch + "."): v for k, v in put.items()}
    out = [e for k, e in entries if k not in put]
    for key, value in put.items():
        out.append(struct.pack("<Q", len(key)) + key.encode() + value_bytes(value))
    head = data[:8] + struct.pack("<QQ", n_tensor, len(out)) + b"".join(out) + tensors
    return head + bytes(-len(head) % align) + body


def with_vocabulary(data, n_vocab=1024):
    """A model without a tokenizer gets one of bytes, so that it talks (noise)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    tokens = [chr(b) for b in plain] + [chr(256 + i) for i in range(len(others))]
    tokens += [a + b for a in "abcdefghijklmnopqrstuvwxyz" for b in "abcdefghijklmnopqrstuvwxyz"]
    tokens += [f"<{i}>" for i in range(n_vocab - len(tokens))]
    kinds = [1] * (n_vocab - 1) + [3]
    return with_metadata(data, {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2",
                                "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds,
                                "tokenizer.ggml.merges": ["a b"], "tokenizer.ggml.eos_token_id": n_vocab - 1})


def metadata_bytes(data):
    at = 24
    for _ in range(struct.unpack_from("<Q", data, 16)[0]):
        at += 8 + struct.unpack_from("<Q", data, at)[0]
        at = skip_value(data, struct.unpack_from("<I", data, at)[0], at + 4)
    return at - 24


def split(data, n, total=None):
    """The shards of a model as gguf-split makes them: the first one has the metadata, each has its share of the tensors."""
    n_tensor, n_key = struct.unpack_from("<QQ", data, 8)
    at = 24 + metadata_bytes(data)
    tensors = []
    for _ in range(n_tensor):
        start = at
        at += 8 + struct.unpack_from("<Q", data, at)[0]
        at += 4 + 8 * struct.unpack_from("<I", data, at)[0] + 4
        tensors.append((data[start:at], struct.unpack_from("<Q", data, at)[0]))
        at += 8
    body = data[-(-at // 32) * 32:]
    ends = {begin: end for begin, end in zip(sorted(o for _, o in tensors), [*sorted(o for _, o in tensors)[1:], len(body)])}
    shards = []
    for i in range(n):
        infos, blob = b"", b""
        mine = tensors[i * n_tensor // n:(i + 1) * n_tensor // n]
        for info, offset in mine:
            infos += info + struct.pack("<Q", len(blob))
            blob += body[offset:ends[offset]]
            blob += bytes(-len(blob) % 32)
        keys = {"split.no": (i,), "split.count": (n,), "split.tensors.count": total or n_tensor}
        own = b"".join(struct.pack("<Q", len(k)) + k.encode() + value_bytes(v) for k, v in keys.items())
        old = data[24:24 + metadata_bytes(data)] if i == 0 else b""
        head = data[:8] + struct.pack("<QQ", len(mine), len(keys) + (n_key if i == 0 else 0)) + old + own + infos
        shards.append(head + bytes(-len(head) % 32) + blob)
    return shards
