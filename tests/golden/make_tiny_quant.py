#!/usr/bin/python3
"""Tiny llamas with each block format as the type of all their matrices, a forward of the dequantised
weights in float64, and libllama's own logits.

    LLAMA_ORACLE_DIR=.../bins/linux-x64 make_tiny_quant.py tests/data/tiny_quant

Weights are random, then quantised by ggml_quantize_chunk (with an importance matrix of ones where a
format wants one). Writes NAME.gguf and NAME.want (tiny_oracle.py says how), kind QUANT. libllama runs
as it does by default, int8 activations included.
"""
import ctypes as C
import os
import sys
import zlib

import numpy as np

import tiny_oracle as oracle

TYPES = {  # name: GGUF id, weights a block
    "F16": (1, 1), "BF16": (30, 1), "Q4_0": (2, 32), "Q4_1": (3, 32), "Q5_0": (6, 32), "Q5_1": (7, 32), "Q8_0": (8, 32),
    "Q2_K": (10, 256), "Q3_K": (11, 256), "Q4_K": (12, 256), "Q5_K": (13, 256), "Q6_K": (14, 256), "IQ4_NL": (20, 32),
    "IQ4_XS": (23, 256), "IQ1_S": (19, 256), "IQ1_M": (29, 256), "IQ2_XXS": (16, 256), "IQ2_XS": (17, 256),
    "IQ2_S": (22, 256), "IQ3_XXS": (18, 256), "IQ3_S": (21, 256), "TQ1_0": (34, 256), "TQ2_0": (35, 256),
    "MXFP4": (39, 32), "NVFP4": (40, 64)}
V, CTX, N_TOKEN, EPS, BASE = 64, 64, 40, 1e-5, 10000.0

g = oracle.base
g.ggml_quantize_chunk.restype = C.c_size_t
g.ggml_quantize_chunk.argtypes = [C.c_int, C.c_void_p, C.c_void_p, C.c_int64, C.c_int64, C.c_int64, C.c_void_p]
g.ggml_row_size.restype = C.c_size_t
g.ggml_row_size.argtypes = [C.c_int, C.c_int64]
g.ggml_quantize_init.argtypes = [C.c_int]


class Traits(C.Structure):
    _fields_ = [("name", C.c_char_p), ("block_n", C.c_int64), ("interleave", C.c_int64), ("block_bytes", C.c_size_t),
                ("quantized", C.c_bool), ("to_float", C.CFUNCTYPE(None, C.c_void_p, C.c_void_p, C.c_int64))]


g.ggml_get_type_traits.restype = C.POINTER(Traits)


def pack(x, kind):
    """The bytes of x [rows, cols] and the floats that they stand for."""
    x = np.ascontiguousarray(x, np.float32)
    n = g.ggml_row_size(kind, x.shape[1]) * x.shape[0]
    raw = (C.c_uint8 * n)()
    importance = np.ones(x.shape[1], np.float32)
    g.ggml_quantize_chunk(kind, x.ctypes.data, raw, 0, x.shape[0], x.shape[1], importance.ctypes.data)
    back = np.empty_like(x)
    g.ggml_get_type_traits(kind).contents.to_float(C.addressof(raw), back.ctypes.data, x.size)
    return bytes(raw), back.astype(np.float64)


class Llama:
    def __init__(self, name, kind, wide):
        self.name, self.kind = name, kind
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.layers = 1 if kind in (1, 30) or wide and g.ggml_row_size(kind, 256) > 90 else 2
        self.e, self.f, self.h, self.n_kv, self.d = (256, 256, 4, 1, 64) if wide else (128, 128, 4, 2, 32)
        self.t, self.w = {}, {}

    def weight(self, name, rows, cols, scale=1.0):
        raw, self.w[name] = pack(self.rng.standard_normal((rows, cols)) * scale / np.sqrt(cols), self.kind)
        self.t[name + ".weight"] = ((rows, cols), self.kind, raw)

    def norm(self, name):
        self.t[name + ".weight"] = (1 + 0.2 * self.rng.standard_normal(self.e)).astype(np.float32)
        self.w[name] = self.t[name + ".weight"].astype(np.float64)

    def build(self):
        self.weight("token_embd", V, self.e, 8.0)
        self.norm("output_norm")
        self.weight("output", V, self.e)
        for i in range(self.layers):
            p = "blk.%d." % i
            self.norm(p + "attn_norm")
            self.norm(p + "ffn_norm")
            self.weight(p + "attn_q", self.h * self.d, self.e)
            self.weight(p + "attn_k", self.n_kv * self.d, self.e)
            self.weight(p + "attn_v", self.n_kv * self.d, self.e)
            self.weight(p + "attn_output", self.e, self.h * self.d)
            self.weight(p + "ffn_gate", self.f, self.e)
            self.weight(p + "ffn_up", self.f, self.e)
            self.weight(p + "ffn_down", self.e, self.f)

    def keys(self):
        return {"general.architecture": "llama", "general.name": self.name, "general.quantization_version": 2,
                "tokenizer.ggml.model": "no_vocab", "llama.vocab_size": V,
                "llama.context_length": 512, "llama.embedding_length": self.e, "llama.block_count": self.layers,
                "llama.feed_forward_length": self.f, "llama.attention.head_count": self.h,
                "llama.attention.head_count_kv": self.n_kv, "llama.attention.key_length": self.d,
                "llama.attention.value_length": self.d, "llama.rope.dimension_count": self.d,
                "llama.attention.layer_norm_rms_epsilon": EPS, "llama.rope.freq_base": BASE}

    def rms(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * self.w[name]

    def rope(self, x):
        pos = np.arange(len(x))[:, None, None]
        angle = pos * BASE ** (-2.0 * np.arange(self.d // 2) / self.d)
        a, b, c, s = x[..., 0::2], x[..., 1::2], np.cos(angle), np.sin(angle)
        return np.stack([a * c - b * s, a * s + b * c], -1).reshape(x.shape)

    def attend(self, i, x):
        p, n = "blk.%d.attn_" % i, len(x)
        q = self.rope((x @ self.w[p + "q"].T).reshape(n, self.h, self.d))
        k = self.rope((x @ self.w[p + "k"].T).reshape(n, self.n_kv, self.d))
        v = (x @ self.w[p + "v"].T).reshape(n, self.n_kv, self.d)
        k, v = (np.repeat(y, self.h // self.n_kv, 1) for y in (k, v))
        score = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(self.d)
        score = np.where(np.tri(n, dtype=bool), score, -np.inf)
        prob = np.exp(score - score.max(-1, keepdims=True))
        prob /= prob.sum(-1, keepdims=True)
        return np.einsum("hij,jhd->ihd", prob, v).reshape(n, -1) @ self.w[p + "output"].T

    def forward(self, tokens):
        x = self.w["token_embd"][tokens]
        for i in range(self.layers):
            p = "blk.%d." % i
            x = x + self.attend(i, self.rms(x, p + "attn_norm"))
            y = self.rms(x, p + "ffn_norm")
            gate = y @ self.w[p + "ffn_gate"].T
            x = x + gate / (1 + np.exp(-gate)) * (y @ self.w[p + "ffn_up"].T) @ self.w[p + "ffn_down"].T
        return self.rms(x, "output_norm") @ self.w["output"].T


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    for name, (kind, block) in TYPES.items():
        g.ggml_quantize_init(kind)
        m = Llama(name, kind, block == 256)
        m.build()
        path = os.path.join(out, name)
        oracle.write_gguf(path + ".gguf", m.keys(), m.t)
        tokens = m.rng.integers(0, V, N_TOKEN)
        exact = m.forward(tokens)
        peer = oracle.logits(path + ".gguf", tokens, V, CTX, exact=False)
        oracle.write_want(path + ".want", oracle.QUANT, tokens, CTX, np.concatenate([exact, peer]))
        rms = lambda x: np.sqrt((x * x).mean())
        print("%-8s %4d KB  libllama's error %.1e of rms %.2f" % (name, os.path.getsize(path + ".gguf") // 1024, rms(peer - exact), rms(exact)),
              flush=True)


main()
