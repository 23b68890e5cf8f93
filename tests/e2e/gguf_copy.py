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
        head = struct.pack("<Q", len(key)) + key.encode()
        text = value.encode() if isinstance(value, str) else None
        out.append(head + (struct.pack("<IQ", 8, len(text)) + text if text is not None else struct.pack("<II", 4, value)))
    head = data[:8] + struct.pack("<QQ", n_tensor, len(out)) + b"".join(out) + tensors
    return head + bytes(-len(head) % align) + body
