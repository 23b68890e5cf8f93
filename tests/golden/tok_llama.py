"""libllama's tokenizer through ctypes: LLAMA_ORACLE_DIR names the folder with libllama.v0.5.0.so, which
is bins/linux-x64 of the npm package @node-llama-cpp/linux-x64 3.22.1."""
import ctypes
import os
import sys

DIR = os.environ.get("LLAMA_ORACLE_DIR") or sys.exit("set LLAMA_ORACLE_DIR")
VOCAB_ONLY = 72  # offset in llama_model_params of that release
ctypes.CDLL(os.path.join(DIR, "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
GGML = ctypes.CDLL(os.path.join(DIR, "libggml.v0.5.0.so"), mode=ctypes.RTLD_GLOBAL)
LIB = ctypes.CDLL(os.path.join(DIR, "libllama.v0.5.0.so"), mode=ctypes.RTLD_GLOBAL)
LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
QUIET = LOG(lambda level, message, data:
            sys.stderr.write(message.decode(errors="replace")) if os.environ.get("V") else None)
LIB.llama_log_set(QUIET, None)
GGML.ggml_backend_load_all_from_path(os.path.join(DIR, "").encode())
LIB.llama_backend_init()


class Params(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint8 * 256)]


LIB.llama_model_default_params.restype = Params
LIB.llama_model_load_from_file.restype = ctypes.c_void_p
LIB.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Params]
LIB.llama_model_get_vocab.restype = ctypes.c_void_p
LIB.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
LIB.llama_model_free.argtypes = [ctypes.c_void_p]
LIB.llama_tokenize.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p,
                               ctypes.c_int32, ctypes.c_bool, ctypes.c_bool]
LIB.llama_detokenize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p,
                                 ctypes.c_int32, ctypes.c_bool, ctypes.c_bool]
LIB.llama_token_to_piece.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32,
                                     ctypes.c_int32, ctypes.c_bool]
LIB.llama_vocab_is_eog.argtypes = [ctypes.c_void_p, ctypes.c_int32]
LIB.llama_vocab_is_eog.restype = ctypes.c_bool
LIB.llama_vocab_get_attr.argtypes = [ctypes.c_void_p, ctypes.c_int32]
LIB.llama_vocab_n_tokens.argtypes = [ctypes.c_void_p]


class Vocab:
    def __init__(self, path):
        params = LIB.llama_model_default_params()
        params.bytes[VOCAB_ONLY] = 1
        self.model = LIB.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise ValueError(f"libllama does not load {path}")
        self.v = LIB.llama_model_get_vocab(self.model)
        self.n_token = LIB.llama_vocab_n_tokens(self.v)

    def close(self):
        LIB.llama_model_free(self.model)

    def encode(self, data, add=False, special=False):
        out = (ctypes.c_int32 * (len(data) * 4 + 16))()
        n = LIB.llama_tokenize(self.v, data, len(data), out, len(out), add, special)
        assert n >= 0
        return out[:n]

    def decode(self, ids, special=False):
        array = (ctypes.c_int32 * max(len(ids), 1))(*ids)
        out = ctypes.create_string_buffer(len(ids) * 128 + 4096)
        n = LIB.llama_detokenize(self.v, array, len(ids), out, len(out), False, special)
        assert n >= 0
        return out.raw[:n]

    def piece(self, token, special=False):
        out = ctypes.create_string_buffer(4096)
        n = LIB.llama_token_to_piece(self.v, token, out, len(out), 0, special)
        assert n >= 0
        return out.raw[:n]

    def is_eog(self, token):
        return LIB.llama_vocab_is_eog(self.v, token)

    def attr(self, token):
        return LIB.llama_vocab_get_attr(self.v, token)
