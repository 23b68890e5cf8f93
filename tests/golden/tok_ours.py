"""Our tokenizer through ctypes, out of a shared library that is made here from src/tok and src/base."""
import ctypes
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
UNSET = -2
IDS = ("bos eos eot eom unk sep pad cls mask fim_pre fim_suf fim_mid fim_pad fim_rep fim_sep").split()
KEYS = {"bos": "bos", "eos": "eos", "eot": "eot", "eom": "eom", "unk": "unknown", "sep": "seperator",
        "pad": "padding", "cls": "cls", "mask": "mask"}
FLAGS = ("add_bos add_eos add_sep add_space_prefix remove_extra_whitespaces lowercase strip_accents "
         "clean_spaces").split()
FLAG_KEYS = {"add_bos": "add_bos_token", "add_eos": "add_eos_token", "add_sep": "add_sep_token",
             "lowercase": "normalizer.lowercase", "strip_accents": "normalizer.strip_accents"}


class Str(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char_p), ("n", ctypes.c_size_t)]


class Def(ctypes.Structure):
    _fields_ = ([("model", Str), ("pre", Str), ("tokens", ctypes.c_void_p), ("scores", ctypes.c_void_p),
                 ("types", ctypes.c_void_p), ("n_token", ctypes.c_uint32), ("merges", ctypes.c_void_p),
                 ("n_merge", ctypes.c_size_t), ("charsmap", ctypes.c_void_p), ("n_charsmap", ctypes.c_size_t)]
                + [(k, ctypes.c_int32) for k in IDS] + [(k, ctypes.c_int8) for k in FLAGS]
                + [("arch", Str), ("name", Str)])


class Err(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("text", ctypes.c_char * 512)]


class Flags(ctypes.Structure):
    _fields_ = [("add_special", ctypes.c_bool), ("parse_special", ctypes.c_bool)]


class Ids(ctypes.Structure):
    _fields_ = [("id", ctypes.POINTER(ctypes.c_int32)), ("n", ctypes.c_size_t), ("cap", ctypes.c_size_t),
                ("max_n", ctypes.c_size_t)]


class Buf(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("n", ctypes.c_size_t), ("cap", ctypes.c_size_t),
                ("max_bytes", ctypes.c_size_t), ("fail", ctypes.c_int)]


def build():
    out = Path(tempfile.mkdtemp()) / "libtok.so"
    sources = [p for room in ("tok", "base") for p in sorted((ROOT / "src" / room).glob("*.c"))
               if not p.name.endswith("_darwin.c")]
    subprocess.run(["cc", "-std=c17", "-O2", "-g", "-fPIC", "-shared", "-pthread", "-D_DEFAULT_SOURCE",
                    "-D_POSIX_C_SOURCE=200809L", '-DCAMA_VERSION="0"', f"-I{ROOT}/src", f"-I{ROOT}/include",
                    *map(str, sources), "-lpcre2-8", "-lutf8proc", "-o", str(out)], check=True)
    lib = ctypes.CDLL(str(out))
    return lib


LIB = build()


def string(data):
    return Str(data, len(data))


def strings(items):
    array = (Str * max(len(items), 1))()
    for i, item in enumerate(items):
        array[i] = string(item)
    return array


class Vocab:
    def __init__(self, meta):
        get = lambda k, d=None: meta.get("tokenizer.ggml." + k, d)
        tokens, merges = strings(get("tokens")), strings(get("merges", []))
        d = Def(model=string(get("model")), pre=string(get("pre", b"")), n_token=len(tokens),
                n_merge=len(get("merges", [])), arch=string(meta.get("general.architecture", b"")),
                name=string(meta.get("general.name", b"")))
        d.tokens, d.merges = ctypes.addressof(tokens), ctypes.addressof(merges)
        for name, ctype, field in (("scores", "<f4", "scores"), ("token_type", "<i4", "types")):
            if get(name) is not None:
                array = get(name).astype(ctype)
                setattr(self, field, array)
                setattr(d, field, array.ctypes.data)
        if get("precompiled_charsmap") is not None:
            self.charsmap = bytes(get("precompiled_charsmap").astype("u1"))
            d.charsmap = ctypes.cast(ctypes.c_char_p(self.charsmap), ctypes.c_void_p)
            d.n_charsmap = len(self.charsmap)
        for name in IDS:
            setattr(d, name, int(get(KEYS.get(name, name) + "_token_id", UNSET)))
        for name in FLAGS:
            setattr(d, name, int(get(FLAG_KEYS.get(name, name), -1)))
        self.v, err = ctypes.c_void_p(), Err()
        self.n_token = len(tokens)
        if LIB.tok_open(ctypes.byref(d), ctypes.byref(self.v), ctypes.byref(err)):
            raise ValueError(err.text.decode())

    def encode(self, data, add=False, special=False):
        ids, err = Ids(max_n=1 << 40), Err()
        if LIB.tok_encode(self.v, data, ctypes.c_size_t(len(data)), Flags(add, special), ctypes.byref(ids),
                          ctypes.byref(err)):
            raise ValueError(err.text.decode())
        out = ids.id[:ids.n]
        LIB.tok_ids_done(ctypes.byref(ids))
        return out

    def decode(self, ids, special=False):
        out, err = Buf(max_bytes=1 << 40), Err()
        array = (ctypes.c_int32 * max(len(ids), 1))(*ids)
        if LIB.tok_decode(self.v, array, ctypes.c_size_t(len(ids)), ctypes.c_bool(special),
                          ctypes.byref(out), ctypes.byref(err)):
            raise ValueError(err.text.decode())
        data = ctypes.string_at(out.data, out.n) if out.n else b""
        LIB.buf_done(ctypes.byref(out))
        return data

    def piece(self, token, special=False):
        out, err = Buf(max_bytes=1 << 40), Err()
        LIB.tok_piece(self.v, ctypes.c_int32(token), ctypes.c_bool(special), ctypes.byref(out),
                      ctypes.byref(err))
        data = ctypes.string_at(out.data, out.n) if out.n else b""
        LIB.buf_done(ctypes.byref(out))
        return data

    def is_eog(self, token):
        LIB.tok_is_eog.restype = ctypes.c_bool
        return LIB.tok_is_eog(self.v, ctypes.c_int32(token))

    def attr(self, token):
        return LIB.tok_attr_of(self.v, ctypes.c_int32(token))


def pre_names():
    """The names of the table in tok_pre.c."""
    LIB.tok_pre_at.restype = ctypes.POINTER(ctypes.c_char_p)
    names = []
    while row := LIB.tok_pre_at(ctypes.c_size_t(len(names))):
        names.append(row[0])
    return names
