"""The real model against llama.cpp's own library: golden data of tests/golden/make_real.py.

2,000 tokens of two texts. `exact` there is the file dequantised to F32 with f32 KV; the figures of
llama.cpp's own int8 path against it are in real.json. Divergences are taken over the stored buckets
(64 best tokens and the rest), which lowers both sides alike.
"""
import json
import os
import struct
import subprocess

import numpy as np
import pytest

DATA = os.path.join(os.path.dirname(__file__), "..", "data", "real")


def golden():
    with open(os.path.join(DATA, "real.bin"), "rb") as f:
        magic, n_text, n, top = struct.unpack("<4sIII", f.read(16))
        assert magic == b"REAL" and n_text == 2
        out = {}
        for name in ("prose", "code"):
            ids = np.frombuffer(f.read(2 * n), "<u2").astype(int)
            best = np.frombuffer(f.read(2 * n * top), "<u2").reshape(n, top).astype(int)
            p = np.frombuffer(f.read(4 * n * (top + 1)), "<f4").reshape(n, top + 1).astype(np.float64)
            out[name] = (ids, best, p)
        return out


GOLDEN = golden()
THEIRS = json.load(open(os.path.join(DATA, "real.json"), encoding="utf-8"))


def ours(tmp_path, ids, *args):
    """Log-probabilities [n_token, n_vocab] of `cama logits`."""
    out = tmp_path / "x.npy"
    subprocess.run([os.environ["CAMA_BIN"], "logits", os.environ["CAMA_MODEL"], "--tokens", ",".join(map(str, ids)),
                    *args, "--out", str(out)], check=True, timeout=900)
    x = np.load(out)
    assert x.dtype == np.float32 and x.shape[0] == len(ids)
    out.unlink()
    x = x - x.max(1, keepdims=True)
    sums = np.array([np.exp(row.astype(np.float64)).sum() for row in x])  # a row at a time: 400 MB in one piece
    return x, np.log(sums)[:, None]


def compare(name, x, log_sum):
    """Mean KL(exact || ours) over the buckets, and the share of equal first choices."""
    ids, best, p = GOLDEN[name]
    q = np.take_along_axis(x, best, 1).astype(np.float64) - log_sum
    rest = np.log(np.maximum(1e-300, 1 - np.exp(q).sum(1)))
    q = np.concatenate([q, rest[:, None]], 1)
    w = np.exp(p)
    # a rest that is rounding noise on both sides says nothing
    term = np.where(w > 1e-7, w * (p - q), 0)
    return term.sum(1).mean(), (x.argmax(1) == best[:, 0]).mean()


@pytest.mark.parametrize("name", ["prose", "code"])
def test_f32_activations_are_exact(tmp_path, name):
    kl, top1 = compare(name, *ours(tmp_path, GOLDEN[name][0], "--activations", "f32", "--kv-type", "f32"))
    print(f"{name}: KL(exact || f32) {kl:.3e}, top-1 {top1:.4f}")
    assert abs(kl) < 1e-6
    assert top1 >= 0.999


@pytest.mark.parametrize("name", ["prose", "code"])
def test_int8_activations_are_no_worse_than_llama_cpp(tmp_path, name):
    kl, top1 = compare(name, *ours(tmp_path, GOLDEN[name][0], "--activations", "int8", "--kv-type", "f16"))
    print(f"{name}: KL(exact || int8) {kl:.3e} (llama.cpp {THEIRS[name]['kl_buckets']:.3e}), "
          f"top-1 {top1:.4f} (llama.cpp {THEIRS[name]['top1']:.4f})")
    assert kl <= 1.1 * THEIRS[name]["kl_buckets"]
    assert top1 >= THEIRS[name]["top1"] - 0.005
