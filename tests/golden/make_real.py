#!/usr/bin/python3
"""Golden logits of the real model (SmolLM2-135M-Instruct Q4_1) over two texts of 1,000 tokens each.

    LLAMA_ORACLE_DIR=.../bins/linux-x64 make_real.py smollm2.gguf tests/data/real

The oracle is llama.cpp's own library, release v0.5.0 (npm @node-llama-cpp/linux-x64 3.22.1), which is
given as many threads as there are cores. Two runs:
  exact   the file dequantised to F32 (by the library's own dequantisation), f32 KV, flash attention
          off: what the weights mean
  quant   the file as it is, f16 KV: the library's own error, for comparison
Written: real.bin = for each position the ids and log-probabilities of the TOP best tokens of `exact`
and the log-probability of the rest as one bucket, and the token ids; real.json = the figures of
`quant` against `exact`, over the whole vocabulary and over the stored buckets (a coarser partition
can only lower a KL divergence, and lowers both sides alike).
"""
import ctypes as C
import glob
import json
import os
import struct
import sys

import numpy as np

TOP = 64
N_TOKEN = 1000


def libraries():
    d = os.environ["LLAMA_ORACLE_DIR"].rstrip("/") + "/"
    pick = lambda pat: C.CDLL([f for f in sorted(glob.glob(d + pat)) if "common" not in f][0], mode=C.RTLD_GLOBAL)
    base, ggml, llama = pick("libggml-base*.so"), pick("libggml.v0*.so"), pick("libllama.v0*.so")
    ggml.ggml_backend_load_all_from_path(d.encode())
    return base, llama


class Blob(C.Structure):  # larger than any release's parameter struct; offsets are v0.5.0's
    _fields_ = [("b", C.c_uint8 * 256)]


class Batch(C.Structure):
    _fields_ = [("n", C.c_int32), ("token", C.POINTER(C.c_int32)), ("embd", C.c_void_p), ("pos", C.POINTER(C.c_int32)),
                ("n_seq", C.POINTER(C.c_int32)), ("seq", C.POINTER(C.POINTER(C.c_int32))), ("logits", C.POINTER(C.c_int8))]


base, llama = libraries()
LOG = C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)
quiet = LOG(lambda level, text, user: None)
llama.llama_log_set(quiet, None)
llama.llama_backend_init()
vp = C.c_void_p
llama.llama_model_default_params.restype = Blob
llama.llama_context_default_params.restype = Blob
llama.llama_model_load_from_file.restype = vp
llama.llama_model_load_from_file.argtypes = [C.c_char_p, Blob]
llama.llama_init_from_model.restype = vp
llama.llama_init_from_model.argtypes = [vp, Blob]
llama.llama_model_get_vocab.restype = vp
llama.llama_model_get_vocab.argtypes = [vp]
llama.llama_vocab_n_tokens.argtypes = [vp]
llama.llama_tokenize.argtypes = [vp, C.c_char_p, C.c_int32, vp, C.c_int32, C.c_bool, C.c_bool]
llama.llama_set_n_threads.argtypes = [vp, C.c_int32, C.c_int32]
llama.llama_batch_init.restype = Batch
llama.llama_decode.argtypes = [vp, Batch]
llama.llama_get_logits_ith.restype = C.POINTER(C.c_float)
llama.llama_get_logits_ith.argtypes = [vp, C.c_int32]
llama.llama_free.argtypes = [vp]
llama.llama_model_free.argtypes = [vp]


def load(path):
    m = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    if not m:
        sys.exit("cannot load " + path)
    return m


def tokenize(model, text):
    out = (C.c_int32 * (len(text) * 4))()
    data = text.encode()
    n = llama.llama_tokenize(llama.llama_model_get_vocab(model), data, len(data), out, len(out), False, False)
    return list(out[:n])


def logits(model, ids, exact):
    """[n, n_vocab] log-probabilities of a fresh context."""
    p = llama.llama_context_default_params()
    struct.pack_into("<IIII", p.b, 0, 2048, 512, 512, 1)
    if exact:
        struct.pack_into("<i", p.b, 13 * 4, 0)      # flash attention off
        struct.pack_into("<ii", p.b, 26 * 4, 0, 0)  # KV in F32
    ctx = llama.llama_init_from_model(model, p)
    cores = len(os.sched_getaffinity(0))
    llama.llama_set_n_threads(ctx, cores, cores)
    n_vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    b = llama.llama_batch_init(512, 0, 1)
    rows = []
    for start in range(0, len(ids), 500):
        part = ids[start:start + 500]
        b.n = len(part)
        for i, t in enumerate(part):
            b.token[i], b.pos[i], b.n_seq[i], b.logits[i] = t, start + i, 1, 1
            b.seq[i][0] = 0
        if llama.llama_decode(ctx, b):
            sys.exit("decode failed")
        for i in range(len(part)):
            rows.append(np.ctypeslib.as_array(llama.llama_get_logits_ith(ctx, i), (n_vocab,)).astype(np.float64))
    llama.llama_free(ctx)
    x = np.array(rows)
    x -= x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def dequantised(path, out):
    """The same GGUF with every quantised tensor in F32."""
    data = open(path, "rb").read()
    at = 24
    n_tensor, n_kv = struct.unpack_from("<QQ", data, 8)
    size = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def skip(at, kind):
        if kind == 8:
            return at + 8 + struct.unpack_from("<Q", data, at)[0]
        if kind == 9:
            elem, n = struct.unpack_from("<IQ", data, at)
            at += 12
            if elem != 8:
                return at + n * size[elem]
            for _ in range(n):
                at = skip(at, 8)
            return at
        return at + size[kind]

    for _ in range(n_kv):
        at = skip(at, 8)
        at = skip(at + 4, struct.unpack_from("<I", data, at)[0])
    kv = data[24:at]
    tensors = []
    for _ in range(n_tensor):
        n = struct.unpack_from("<Q", data, at)[0]
        name = data[at + 8:at + 8 + n]
        at += 8 + n
        dims = struct.unpack_from("<I", data, at)[0]
        ne = struct.unpack_from("<%dQ" % dims, data, at + 4)
        at += 4 + 8 * dims
        kind, offset = struct.unpack_from("<IQ", data, at)
        at += 12
        tensors.append((name, ne, kind, offset))
    start = (at + 31) // 32 * 32

    class Traits(C.Structure):
        _fields_ = [("name", C.c_char_p), ("blck_size", C.c_int64), ("interleave", C.c_int64), ("type_size", C.c_size_t),
                    ("is_quantized", C.c_bool), ("to_float", C.CFUNCTYPE(None, vp, vp, C.c_int64))]
    base.ggml_get_type_traits.restype = C.POINTER(Traits)
    info, body = b"", b""
    for name, ne, kind, offset in tensors:
        n = int(np.prod(ne))
        tr = base.ggml_get_type_traits(kind).contents
        raw = data[start + offset:start + offset + n // tr.blck_size * tr.type_size]
        if kind == 0:
            f = raw
        else:
            dst = np.empty(n, np.float32)
            tr.to_float(raw, dst.ctypes.data, n)
            f = dst.tobytes()
        info += struct.pack("<Q", len(name)) + name + struct.pack("<I", len(ne)) + struct.pack("<%dQ" % len(ne), *ne)
        info += struct.pack("<IQ", 0, len(body))
        body += f + b"\0" * (-len(f) % 32)
    head = data[:24] + kv + info
    open(out, "wb").write(head + b"\0" * (-len(head) % 32) + body)


def buckets(exact, top):
    """Log-probabilities of the top ids, then of everything else together."""
    p = np.take_along_axis(exact, top, 1)
    rest = np.log(np.maximum(1e-300, 1 - np.exp(p).sum(1)))
    return np.concatenate([p, rest[:, None]], 1)


def kl(p, q):
    return float((np.exp(p) * (p - q)).sum(1).mean())


def main():
    path, out = sys.argv[1], sys.argv[2]
    full = os.environ.get("EXACT_GGUF", "/tmp/exact-f32.gguf")
    if not os.path.exists(full):
        dequantised(path, full)
    quant_model, exact_model = load(path), load(full)
    figures, blob = {}, []
    for name in ("prose", "code"):
        ids = tokenize(quant_model, open(os.path.join(out, name + ".txt"), encoding="utf-8").read())[:N_TOKEN]
        if len(ids) < N_TOKEN:
            sys.exit("%s has only %d tokens" % (name, len(ids)))
        exact, quant = logits(exact_model, ids, True), logits(quant_model, ids, False)
        top = np.argsort(-exact, 1, kind="stable")[:, :TOP]
        figures[name] = {
            "n_token": len(ids),
            "kl_full": kl(exact, quant),
            "kl_buckets": kl(buckets(exact, top), buckets(quant, top)),
            "top1": float((exact.argmax(1) == quant.argmax(1)).mean()),
        }
        blob.append((np.array(ids, "<u2"), top.astype("<u2"), buckets(exact, top).astype("<f4")))
        if os.environ.get("FULL_DIR"):  # for a comparison over the whole vocabulary
            np.save(os.path.join(os.environ["FULL_DIR"], name + "-exact.npy"), exact.astype("<f4"))
    with open(os.path.join(out, "real.bin"), "wb") as f:
        f.write(struct.pack("<4sIII", b"REAL", len(blob), N_TOKEN, TOP))
        for ids, top, p in blob:
            f.write(ids.tobytes() + top.tobytes() + p.tobytes())
    json.dump(figures, open(os.path.join(out, "real.json"), "w"), indent=1)
    print(json.dumps(figures, indent=1))


main()
