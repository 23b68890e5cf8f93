#!/usr/bin/env python3
"""Makes tests/data/sample/cases.txt: what llama.cpp's own samplers choose.

    LLAMA_ORACLE_DIR=.../@node-llama-cpp/linux-x64/bins/linux-x64 python3 make_sample.py

Needs npm package @node-llama-cpp/linux-x64 3.22.1 (its libllama is driven through the C API) and
nothing else. A case is a chain of samplers, a run of logits made from a number (see logits_of; the
test makes the same), a history of accepted tokens, and the tokens chosen one after the other.
"""
import ctypes
import os
import random
import struct
from ctypes import POINTER, c_bool, c_float, c_int32, c_int64, c_size_t, c_uint32, c_void_p

DIR = os.environ["LLAMA_ORACLE_DIR"]
OUT = os.path.join(os.path.dirname(__file__), "..", "data", "sample", "cases.txt")
N_DRAW = 12

for lib in ("libggml-base.so", "libggml.v0.5.0.so", "libllama.v0.5.0.so"):
    llama = ctypes.CDLL(os.path.join(DIR, lib), mode=ctypes.RTLD_GLOBAL)


class Data(ctypes.Structure):
    _fields_ = [("id", c_int32), ("logit", c_float), ("p", c_float)]


class Array(ctypes.Structure):
    _fields_ = [("data", POINTER(Data)), ("size", c_size_t), ("selected", c_int64),
                ("sorted", c_bool)]


SIGNATURES = {
    "penalties": [c_int32, c_int32, c_float, c_float, c_float],
    "top_n_sigma": [c_float],
    "top_k": [c_int32],
    "typical": [c_float, c_size_t],
    "top_p": [c_float, c_size_t],
    "min_p": [c_float, c_size_t],
    "xtc": [c_float, c_float, c_size_t, c_uint32],
    "temp_ext": [c_float, c_float, c_float],
    "dist": [c_uint32],
}
for name, args in SIGNATURES.items():
    f = getattr(llama, "llama_sampler_init_" + name)
    f.restype, f.argtypes = c_void_p, args
llama.llama_sampler_apply.argtypes = [c_void_p, POINTER(Array)]
llama.llama_sampler_accept.argtypes = [c_void_p, c_int32]
llama.llama_sampler_free.argtypes = [c_void_p]


def logits_of(number, n):
    """Floats that any language makes alike: a linear congruence, and exact arithmetic on it."""
    state, out = number, []
    for _ in range(n):
        total = 0
        for _ in range(4):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            total += state >> 40
        out.append((total - 33554430) / 2097152.0)
    return out


DEFAULTS = dict(n=500, logits=1, seed=1, last_n=64, repeat=1.0, freq=0.0, pres=0.0, sigma=0.0, k=40,
                typ=1.0, p=0.9, min=0.0, xtcp=0.0, xtct=0.1, temp=0.8, range=0.0, exp=1.0)


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def chain(c):
    make = lambda name, *args: getattr(llama, "llama_sampler_init_" + name)(*args)
    out = [make("penalties", c["n"], c["last_n"], c["repeat"], c["freq"], c["pres"])]
    if c["sigma"] > 0:
        out.append(make("top_n_sigma", c["sigma"]))
    out += [make("top_k", c["k"]), make("typical", c["typ"], 0), make("top_p", c["p"], 0),
            make("min_p", c["min"], 0), make("xtc", c["xtcp"], c["xtct"], 0, c["seed"]),
            make("temp_ext", c["temp"], c["range"], c["exp"]), make("dist", c["seed"])]
    return out


def run(c, history):
    samplers = chain(c)
    for token in history:
        llama.llama_sampler_accept(samplers[0], token)
    chosen = []
    for i in range(N_DRAW):
        logits = logits_of(c["logits"] + i, c["n"])
        data = (Data * c["n"])(*[Data(k, l, 0.0) for k, l in enumerate(logits)])
        array = Array(ctypes.cast(data, POINTER(Data)), c["n"], -1, False)
        for s in samplers:
            llama.llama_sampler_apply(s, ctypes.byref(array))
        token = array.data[array.selected].id
        chosen.append(token)
        llama.llama_sampler_accept(samplers[0], token)
    for s in samplers:
        llama.llama_sampler_free(s)
    return chosen


def cases():
    rng = random.Random(20260101)
    yield {}, 0
    for change in (dict(k=0), dict(k=0, p=1.0), dict(k=0, p=1.0, n=2000), dict(k=0, n=2000),
                   dict(k=1), dict(temp=0.0), dict(temp=0.0, k=0), dict(min=0.05, p=1.0, k=0),
                   dict(min=0.1), dict(typ=0.5), dict(typ=0.7, k=0, p=0.95), dict(sigma=1.0, k=0),
                   dict(sigma=1.5), dict(xtcp=0.5, xtct=0.02), dict(xtcp=1.0, xtct=0.1, k=0),
                   dict(range=0.5), dict(range=0.3, exp=1.5, k=0), dict(temp=2.5, k=0, p=1.0),
                   dict(k=300, n=2000, p=0.99), dict(temp=0.01)):
        yield change, 0
    for change in (dict(repeat=1.1), dict(repeat=1.3, last_n=8), dict(freq=0.5), dict(pres=1.0),
                   dict(repeat=1.2, freq=0.2, pres=0.3), dict(repeat=0.7), dict(freq=-0.6),
                   dict(repeat=1.5, temp=0.0), dict(repeat=1.1, last_n=0),
                   dict(repeat=1.4, k=0, p=1.0)):
        yield change, 40
    for _ in range(220):
        c = dict(
            n=rng.choice((30, 200, 500, 1500)), k=rng.choice((0, 1, 5, 40, 40, 100)),
            repeat=rng.choice((1.0, 1.0, 1.1, 1.5)), freq=rng.choice((0.0, 0.0, 0.25)),
            pres=rng.choice((0.0, 0.0, 0.5)), last_n=rng.choice((1, 16, 64, 200)),
            typ=rng.choice((1.0, 1.0, 0.9, 0.5)), p=rng.choice((1.0, 0.9, 0.5, 0.1)),
            min=rng.choice((0.0, 0.0, 0.05, 0.2)), xtcp=rng.choice((0.0, 0.0, 0.5)),
            xtct=rng.choice((0.05, 0.1)), sigma=rng.choice((0.0, 0.0, 0.0, 1.0)),
            temp=rng.choice((0.0, 0.3, 0.8, 1.0, 1.7)), range=rng.choice((0.0, 0.0, 0.0, 0.4)),
        )
        if c["sigma"] > 0:
            c["typ"] = 1.0  # after top_n_sigma its entropy is 0 * log(0): not a number in llama.cpp
        yield c, rng.choice((0, 10, 120))


def main():
    rng = random.Random(7)
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, "w") as out:
        out.write("# made by tests/golden/make_sample.py with llama.cpp's samplers; a line a case\n")
        for i, (change, n_history) in enumerate(cases()):
            c = dict(DEFAULTS, seed=rng.getrandbits(32) % 0xFFFFFFFF, logits=1000 * (i + 1))
            c.update(change)
            history = [rng.randrange(min(60, c["n"])) for _ in range(n_history)]
            words = [f"{k}={f32(v):.9g}" if isinstance(v, float) else f"{k}={v}"
                     for k, v in c.items()]
            words.append("history=" + ",".join(map(str, history)))
            words.append("chosen=" + ",".join(map(str, run(c, history))))
            out.write(" ".join(words) + "\n")


main()
