"""Small GGUF files written, and what llama.cpp's own library makes of them: shared by make_tiny.py
and make_tiny_quant.py.

The oracle is release v0.5.0 (npm @node-llama-cpp/linux-x64 3.22.1; the offsets below hold for that
one); LLAMA_ORACLE_DIR names its folder bins/linux-x64. Needs numpy.

An expectation file NAME.want (little endian) is
    u32 magic "TINY", kind, n_token, n_out, n_ctx, n_rows
    i32 tokens [n_token]
    f32 values [n_rows][n_out]
kind 0: logits of every position; 1: one pooled vector; 2: logits of a forward in float64, then
libllama's own (n_rows is twice n_token).
"""
import ctypes as C
import os
import struct
import sys

import numpy as np

LOGITS, POOLED, QUANT = 0, 1, 2

_dir = (os.environ.get("LLAMA_ORACLE_DIR") or sys.exit("set LLAMA_ORACLE_DIR")).rstrip("/") + "/"
base = C.CDLL(_dir + "libggml-base.so", mode=C.RTLD_GLOBAL)
_ggml = C.CDLL(_dir + "libggml.v0.5.0.so", mode=C.RTLD_GLOBAL)
llama = C.CDLL(_dir + "libllama.v0.5.0.so", mode=C.RTLD_GLOBAL)
vp = C.c_void_p


class _Params(C.Structure):  # larger than the library's own; passed by value on the stack
    _fields_ = [("b", C.c_uint8 * 256)]


class _Batch(C.Structure):
    _fields_ = [("n", C.c_int32), ("token", C.POINTER(C.c_int32)), ("embd", vp), ("pos", C.POINTER(C.c_int32)),
                ("n_seq", C.POINTER(C.c_int32)), ("seq", C.POINTER(C.POINTER(C.c_int32))), ("logits", C.POINTER(C.c_int8))]


_LOG = C.CFUNCTYPE(None, C.c_int, C.c_char_p, vp)
_log = _LOG(lambda level, text, user: sys.stderr.write(text.decode(errors="replace")) if os.environ.get("VERBOSE") else None)
llama.llama_log_set(_log, None)
_ggml.ggml_backend_load_all_from_path(_dir.encode())
llama.llama_backend_init()
llama.llama_model_default_params.restype = _Params
llama.llama_context_default_params.restype = _Params
llama.llama_model_load_from_file.restype = vp
llama.llama_model_load_from_file.argtypes = [C.c_char_p, _Params]
llama.llama_init_from_model.restype = vp
llama.llama_init_from_model.argtypes = [vp, _Params]
llama.llama_set_n_threads.argtypes = [vp, C.c_int32, C.c_int32]
llama.llama_batch_init.restype = _Batch
llama.llama_batch_free.argtypes = [_Batch]
llama.llama_decode.argtypes = [vp, _Batch]
llama.llama_get_logits_ith.restype = C.POINTER(C.c_float)
llama.llama_get_logits_ith.argtypes = [vp, C.c_int32]
llama.llama_get_embeddings_seq.restype = C.POINTER(C.c_float)
llama.llama_get_embeddings_seq.argtypes = [vp, C.c_int32]
llama.llama_free.argtypes = [vp]
llama.llama_model_free.argtypes = [vp]


def _text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def _value(v):
    if isinstance(v, bool):
        return struct.pack("<IB", 7, v)
    if isinstance(v, int):
        return struct.pack("<Ii", 5, v) if v < 0 else struct.pack("<II", 4, v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    if isinstance(v, str):
        return struct.pack("<I", 8) + _text(v)
    kind, form = {bool: (7, "<B"), int: (5, "<i"), float: (6, "<f")}[type(v[0])]
    return struct.pack("<IIQ", 9, kind, len(v)) + b"".join(struct.pack(form, x) for x in v)


def write_gguf(path, kv, tensors):
    """tensors: name -> float32 array, or (shape as numpy has it, GGUF type id, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(kv))
    for k, v in kv.items():
        head += _text(k) + _value(v)
    body = b""
    for name, t in tensors.items():
        shape, kind, raw = t if isinstance(t, tuple) else (t.shape, 0, np.ascontiguousarray(t, np.float32).tobytes())
        head += _text(name) + struct.pack("<I", len(shape)) + struct.pack("<%dQ" % len(shape), *shape[::-1])
        head += struct.pack("<IQ", kind, len(body))
        body += raw + b"\0" * (-len(raw) % 32)
    with open(path, "wb") as f:
        f.write(head + b"\0" * (-len(head) % 32) + body)


def write_want(path, kind, tokens, n_ctx, rows):
    rows = np.asarray(rows, "<f4")
    with open(path, "wb") as f:
        f.write(b"TINY" + struct.pack("<5I", kind, len(tokens), rows.shape[1], n_ctx, rows.shape[0]))
        f.write(np.asarray(tokens, "<i4").tobytes() + rows.tobytes())


def _decode(path, tokens, n_ctx, exact, pooled):
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    if not model:
        sys.exit("libllama cannot load " + path)
    p = llama.llama_context_default_params()
    struct.pack_into("<IIII", p.b, 0, n_ctx, 512, 512, 1)
    if exact:
        struct.pack_into("<i", p.b, 13 * 4, 0)      # flash attention off
        struct.pack_into("<ii", p.b, 26 * 4, 0, 0)  # KV in F32
    p.b[128] = pooled
    ctx = llama.llama_init_from_model(model, p)
    if not ctx:
        sys.exit("libllama makes no context for " + path)
    llama.llama_set_n_threads(ctx, 1, 1)
    b = llama.llama_batch_init(len(tokens), 0, 1)
    b.n = len(tokens)
    for i, t in enumerate(tokens):
        b.token[i], b.pos[i], b.n_seq[i], b.logits[i] = int(t), i, 1, 1
        b.seq[i][0] = 0
    if llama.llama_decode(ctx, b):
        sys.exit("libllama cannot decode " + path)
    return model, ctx, b


def _drop(model, ctx, b):
    llama.llama_batch_free(b)
    llama.llama_free(ctx)
    llama.llama_model_free(model)


def logits(path, tokens, n_vocab, n_ctx, exact=True):
    """[n_token, n_vocab] of one batch."""
    model, ctx, b = _decode(path, tokens, n_ctx, exact, False)
    out = np.array([np.ctypeslib.as_array(llama.llama_get_logits_ith(ctx, i), (n_vocab,)) for i in range(len(tokens))])
    _drop(model, ctx, b)
    return out


def pooled(path, tokens, n_out, n_ctx):
    """[1, n_out]: what the model's own pooling gives."""
    model, ctx, b = _decode(path, tokens, n_ctx, True, True)
    out = np.array([np.ctypeslib.as_array(llama.llama_get_embeddings_seq(ctx, 0), (n_out,))])
    _drop(model, ctx, b)
    return out
