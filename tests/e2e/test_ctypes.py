"""libcama from Python, by ctypes alone: what any other language would do."""
import ctypes as C
import os
import subprocess
import sys

import numpy as np
import pytest

LIB = os.path.join(os.environ.get("CAMA_LIB_DIR", ""), "libcama.dylib" if sys.platform == "darwin" else "libcama.so")
TEXT_FN = C.CFUNCTYPE(C.c_bool, C.c_void_p, C.POINTER(C.c_char), C.c_size_t)
POLL_FN = C.CFUNCTYPE(C.c_bool, C.c_void_p)
WARN_FN = C.CFUNCTYPE(None, C.c_void_p, C.c_char_p)
IDS = C.POINTER(C.c_int32)


class Error(C.Structure):
    _fields_ = [("code", C.c_int), ("text", C.c_char * 512)]


class ModelOpts(C.Structure):
    _fields_ = [("bytes", C.c_size_t), ("mode", C.c_int), ("engine", C.c_char_p), ("n_ctx", C.c_uint32),
                ("n_seq", C.c_uint32), ("n_batch", C.c_uint32), ("n_thread", C.c_uint32), ("kv_type", C.c_int),
                ("activations", C.c_int), ("weights", C.c_int), ("cpu_tiers", C.c_uint32), ("max_bytes", C.c_uint64), ("on_warning", WARN_FN),
                ("user", C.c_void_p)]


class Info(C.Structure):
    _fields_ = [("bytes", C.c_size_t)] + [(n, C.c_char_p) for n in (
        "arch", "name", "size_label", "weight_type", "engine", "device", "activations", "kv_type", "weights", "pooling")] + [
        (n, C.c_uint64) for n in ("n_param", "file_bytes", "weight_bytes", "kv_bytes", "scratch_bytes", "total_bytes",
                                  "available_bytes", "load_ns")] + [
        (n, C.c_uint32) for n in ("n_layer", "n_embd", "n_head", "n_head_kv", "n_vocab", "n_expert", "n_expert_used",
                                  "n_ctx_train", "n_ctx", "n_seq", "n_batch")] + [
        ("can_generate", C.c_bool), ("has_template", C.c_bool)]


class GenOpts(C.Structure):
    _fields_ = [("bytes", C.c_size_t), ("ids", IDS), ("n_id", C.c_size_t), ("prompt", C.c_char_p),
                ("messages", C.c_char_p), ("repeat_last_n", C.c_int32), ("repeat_penalty", C.c_float),
                ("frequency_penalty", C.c_float), ("presence_penalty", C.c_float), ("top_k", C.c_int32),
                ("typical_p", C.c_float), ("top_p", C.c_float), ("min_p", C.c_float), ("temperature", C.c_float),
                ("seed", C.c_int64), ("bias", C.c_void_p), ("n_bias", C.c_size_t), ("n_predict", C.c_int32),
                ("stop", C.POINTER(C.c_char_p)), ("n_stop", C.c_size_t), ("ignore_eog", C.c_bool),
                ("special", C.c_bool), ("on_text", TEXT_FN), ("on_poll", POLL_FN), ("user", C.c_void_p)]


class Result(C.Structure):
    _fields_ = [("bytes", C.c_size_t), ("finish", C.c_int), ("context_full", C.c_bool), ("stop_index", C.c_int32),
                ("n_prompt", C.c_uint32), ("n_cached", C.c_uint32), ("n_token", C.c_uint32), ("seed", C.c_uint32),
                ("prompt_ns", C.c_uint64), ("eval_ns", C.c_uint64)]


@pytest.fixture(scope="module")
def lib():
    lib = C.CDLL(LIB)
    lib.cama_version.restype = lib.cama_err_text.restype = C.c_char_p
    for name in ("free", "model_close", "ctx_close"):
        getattr(lib, "cama_" + name).argtypes = [C.c_void_p]
        getattr(lib, "cama_" + name).restype = None
    return lib


class Model:
    def __init__(self, lib, path, **opts):
        self.lib, self.err, self.warnings = lib, Error(), []
        self.o = ModelOpts()
        lib.cama_model_opts_init(C.byref(self.o), C.c_size_t(C.sizeof(self.o)))
        self.o.on_warning = WARN_FN(lambda _, text: self.warnings.append(text))
        for key, value in opts.items():
            setattr(self.o, key, value)
        self.m = C.c_void_p()
        self.check(lib.cama_model_open(path.encode(), C.byref(self.o), C.byref(self.m), C.byref(self.err)))
        self.info = Info()
        lib.cama_model_info(self.m, C.byref(self.info), C.c_size_t(C.sizeof(self.info)))

    def check(self, e):
        if e:
            raise RuntimeError(f"{e}: {self.err.text.decode()}")

    def close(self):
        self.lib.cama_model_close(self.m)

    def tokenize(self, text, flags=0):
        ids, n = IDS(), C.c_size_t()
        raw = text.encode()
        self.check(self.lib.cama_tokenize(self.m, raw, C.c_size_t(len(raw)), C.c_uint32(flags), C.byref(ids), C.byref(n),
                                          C.byref(self.err)))
        out = ids[: n.value]
        self.lib.cama_free(ids)
        return out

    def eval(self, ctx, ids, want):
        ids = (C.c_int32 * len(ids))(*ids)
        rows = sum(want) if want else 1
        out = np.zeros((rows, self.info.n_vocab), np.float32)
        flags = (C.c_uint8 * len(want))(*want) if want else None
        self.check(self.lib.cama_eval(ctx, ids, C.c_size_t(len(ids)), flags, out.ctypes.data_as(C.c_void_p),
                                      C.byref(self.err)))
        return out

    def gen_opts(self, **opts):
        o = GenOpts()
        self.lib.cama_gen_opts_init(C.byref(o), C.c_size_t(C.sizeof(o)))
        for key, value in opts.items():
            setattr(o, key, value)
        o.text = []
        o.on_text = TEXT_FN(lambda _, p, n: o.text.append(p[:n]) or True)
        return o

    def generate(self, **opts):
        o, r = self.gen_opts(**opts), Result()
        self.lib.cama_gen_result_init(C.byref(r), C.c_size_t(C.sizeof(r)))
        self.check(self.lib.cama_generate(self.m, C.byref(o), C.byref(r), C.byref(self.err)))
        return b"".join(o.text).decode(), r


@pytest.fixture(scope="module")
def m(lib, model):
    m = Model(lib, model, n_ctx=1024, activations=1)
    yield m
    m.close()


def test_only_cama_symbols_are_exported():
    out = subprocess.run(["nm", "-D", "--defined-only", LIB], capture_output=True, check=True, text=True).stdout
    names = [line.split()[-1] for line in out.splitlines()]
    assert "cama_generate" in names
    assert [n for n in names if not n.startswith("cama_")] == []


def test_info(m):
    assert m.info.arch == b"llama" and m.info.engine == b"native" and m.info.n_ctx == 1024
    assert m.info.can_generate and m.info.has_template and m.info.weight_bytes > 50e6


def test_tokens(lib, m):
    ids = m.tokenize("Hello world")
    text, n = C.c_char_p(), C.c_size_t()
    arr = (C.c_int32 * len(ids))(*ids)
    m.check(lib.cama_detokenize(m.m, arr, C.c_size_t(len(ids)), C.c_bool(False), C.byref(text), C.byref(n), C.byref(m.err)))
    assert text.value == b"Hello world" and n.value == 11
    lib.cama_free(C.cast(text, C.c_void_p))


def test_eval_rows_forks_and_rewinds(lib, m):
    ids = m.tokenize("The quick brown fox jumps over the lazy dog")
    a, b = C.c_void_p(), C.c_void_p()
    m.check(lib.cama_ctx_open(m.m, C.byref(a), C.byref(m.err)))
    whole = m.eval(a, ids, [1] * len(ids))
    assert lib.cama_ctx_n_token(a) == len(ids)
    got = C.c_uint32()
    m.check(lib.cama_ctx_rewind(a, C.c_uint32(4), C.byref(got), C.byref(m.err)))
    assert got.value == 4
    m.check(lib.cama_ctx_fork(a, C.c_uint32(3), C.byref(b), C.byref(m.err)))
    assert lib.cama_ctx_n_token(b) == 3
    for ctx, at in ((a, 4), (b, 3)):  # what follows is the same, bit for bit
        rest = m.eval(ctx, ids[at:], [1] * (len(ids) - at))
        assert np.array_equal(rest.view(np.uint32), whole[at:].view(np.uint32))
    last = m.eval(b, ids[:1], None)
    assert last.shape[0] == 1
    with pytest.raises(RuntimeError, match="the context holds 1024"):
        m.eval(a, ids[:1] * 2000, None)
    with pytest.raises(RuntimeError, match="token 0 is -5"):
        m.eval(a, [-5], None)
    lib.cama_ctx_close(a)
    lib.cama_ctx_close(b)


def test_generate_from_messages(m):
    messages = b'[{"role": "user", "content": "What is the capital of France?"}]'
    text, r = m.generate(messages=messages, temperature=0, n_predict=30)
    assert "Paris" in text and r.n_prompt > 8 and r.n_token <= 30
    again, r2 = m.generate(messages=messages, temperature=0, n_predict=30)
    assert again == text and r2.n_cached == r.n_prompt - 1


def test_the_tokens_of_a_prompt_may_be_had_first(lib, m):
    o = m.gen_opts(messages=b'[{"role": "user", "content": "What is the capital of France?"}]', temperature=0, n_predict=30)
    ids, n = IDS(), C.c_size_t()
    m.check(lib.cama_prompt_tokens(m.m, C.byref(o), C.byref(ids), C.byref(n), C.byref(m.err)))
    text, r = m.generate(messages=o.messages, temperature=0, n_predict=30)
    assert n.value == r.n_prompt
    again, _ = m.generate(ids=ids, n_id=n.value, temperature=0, n_predict=30)
    assert again == text
    o = m.gen_opts(ids=ids, n_id=n.value)
    assert lib.cama_prompt_tokens(m.m, C.byref(o), C.byref(ids), C.byref(n), C.byref(m.err)) == 1
    lib.cama_free(C.cast(ids, C.c_void_p))


def test_many_together_are_as_each_alone(lib, m):
    prompts = [f"{n} reasons to".encode() for n in ("One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight")]
    opts = [dict(prompt=p, n_predict=12, seed=i, temperature=0.9 * (i % 2)) for i, p in enumerate(prompts)]
    alone = [m.generate(**o)[0] for o in opts]
    fresh = [m.gen_opts(**o) for o in opts]
    pointers = (C.POINTER(GenOpts) * 8)(*[C.pointer(o) for o in fresh])
    errors = (Error * 8)()
    assert lib.cama_generate_many(m.m, pointers, C.c_size_t(8), None, errors) == 0
    assert [b"".join(o.text).decode() for o in fresh] == alone


def test_a_callback_ends_the_answer(m):
    o, r = m.gen_opts(prompt=b"Once upon a time", n_predict=50), Result()
    m.lib.cama_gen_result_init(C.byref(r), C.c_size_t(C.sizeof(r)))
    o.on_text = TEXT_FN(lambda _, p, n: False)
    m.check(m.lib.cama_generate(m.m, C.byref(o), C.byref(r), C.byref(m.err)))
    assert r.finish == 2 and r.n_token < 5


def test_embedding(lib, m):
    ids = m.tokenize("a small dog")
    v = np.zeros(m.info.n_embd, np.float32)
    arr = (C.c_int32 * len(ids))(*ids)
    m.check(lib.cama_embed(m.m, arr, C.c_size_t(len(ids)), v.ctypes.data_as(C.c_void_p), C.byref(m.err)))
    assert abs(np.linalg.norm(v) - 1) < 1e-5


def test_ask(lib, m):
    answer = C.c_char_p()
    m.check(lib.cama_ask(m.m, b"Say hello.", C.byref(answer), C.byref(m.err)))
    assert answer.value
    lib.cama_free(C.cast(answer, C.c_void_p))


def test_an_older_programs_struct_is_shorter(lib, model):
    o = ModelOpts()
    lib.cama_model_opts_init(C.byref(o), C.c_size_t(16))
    o.mode = 1  # CAMA_OPEN_VOCAB
    m, err = C.c_void_p(), Error()
    assert lib.cama_model_open(model.encode(), C.byref(o), C.byref(m), C.byref(err)) == 0
    assert o.n_ctx == 0 and o.cpu_tiers == 0  # nothing was written past its 16 bytes
    lib.cama_model_close(m)


def test_errors_have_texts(lib):
    with pytest.raises(RuntimeError, match="/no/such/model.gguf"):
        Model(lib, "/no/such/model.gguf")
    assert lib.cama_err_text(0) == b"success"


def test_the_ten_line_program_of_the_header_works(lib, model, tmp_path):
    header = os.path.join(os.path.dirname(__file__), "..", "..", "include", "cama.h")
    lines, inside = [], False
    for line in open(header):
        inside = inside or line.startswith(" *     #include <cama.h>")
        if inside and not line.startswith(" *     "):
            break
        if inside:
            lines.append(line[7:])
    source = tmp_path / "ask.c"
    source.write_text("".join(lines))
    exe = tmp_path / "ask"
    libs = os.path.dirname(LIB) or "."
    subprocess.run(["cc", "-std=c17", "-Wall", "-Wextra", "-Werror", "-I", os.path.dirname(header), source, "-o", exe, "-L", libs,
                    "-lcama", f"-Wl,-rpath,{os.path.abspath(libs)}"], check=True)
    p = subprocess.run([exe, model, "What is the capital of France?"], capture_output=True, timeout=300)
    assert p.returncode == 0 and len(p.stdout) > 3
    p = subprocess.run([exe], capture_output=True, timeout=60)
    assert p.stdout == b"usage: ask MODEL.gguf QUESTION\n"
