"""ggml's own block formats through ctypes: libggml-base.so out of the npm package
@node-llama-cpp/linux-x64 3.22.1 (npm i --ignore-scripts), whose folder bins/linux-x64 is named by
the environment variable LLAMA_ORACLE_DIR."""
import ctypes
import os
import sys

import numpy as np

_dir = os.environ.get("LLAMA_ORACLE_DIR") or sys.exit("set LLAMA_ORACLE_DIR to .../bins/linux-x64")
base = ctypes.CDLL(os.path.join(_dir, "libggml-base.so"))
_void = ctypes.c_void_p


class Traits(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("block_n", ctypes.c_int64),
        ("interleave", ctypes.c_int64),
        ("block_bytes", ctypes.c_size_t),
        ("quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, _void, _void, ctypes.c_int64)),
        ("from_float", ctypes.CFUNCTYPE(None, _void, _void, ctypes.c_int64)),
    ]


base.ggml_get_type_traits.restype = ctypes.POINTER(Traits)
base.ggml_init.restype = _void


class _InitParams(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("mem", _void), ("no_alloc", ctypes.c_bool)]


base.ggml_init.argtypes = [_InitParams]
base.ggml_init(_InitParams(1 << 16, None, False))  # fills the table of halves


def traits(gguf_id):
    return base.ggml_get_type_traits(gguf_id).contents


def has_dequant(gguf_id):
    return bool(traits(gguf_id).to_float)


def dequant(gguf_id, blocks):
    """uint8 [n, block_bytes] -> float32 [n, block_n]."""
    t = traits(gguf_id)
    blocks = np.ascontiguousarray(blocks, np.uint8)
    assert blocks.shape[1] == t.block_bytes
    out = np.empty((len(blocks), t.block_n), np.float32)
    t.to_float(blocks.ctypes.data, out.ctypes.data, out.size)
    return out


def quantize(gguf_id, x):
    """float32 [n, block_n] -> uint8 [n, block_bytes], by the plain reference of the format."""
    t = traits(gguf_id)
    x = np.ascontiguousarray(x, np.float32)
    out = np.empty((x.size // t.block_n, t.block_bytes), np.uint8)
    t.from_float(x.ctypes.data, out.ctypes.data, x.size)
    return out
