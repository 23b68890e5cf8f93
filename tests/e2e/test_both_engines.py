"""Tiny models of every architecture and block format through the server, on either engine: the same text, the same
vectors. The models are the golden tests' own (make_tiny.py, make_tiny_quant.py), which get a vocabulary here."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gguf_copy import with_metadata
from server import Server
from test_import import SYNTH, create

DATA = Path(__file__).parents[1] / "data"
N_VOCAB = 64
EMBED = ("bert-cls", "bert-mean", "nomic-bert", "qwen3-last")


def plugin():
    beside = Path(os.environ["CAMA_BIN"]).parent
    found = [str(p) for p in (beside / "libcama_mlx.so", beside / "libcama_mlx.dylib") if p.exists()]
    return found[0] if found else None


needs_mlx = pytest.mark.skipif(not plugin(), reason="mlx: no libcama_mlx beside the program")


def with_letters(data):
    """A vocabulary of the printable characters from ! to _, and an end of text."""
    tokens = [chr(33 + i) for i in range(N_VOCAB - 1)] + ["<end>"]
    return with_metadata(data, {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2",
                                "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": [1] * (N_VOCAB - 1) + [3],
                                "tokenizer.ggml.merges": ["A B"], "tokenizer.ggml.eos_token_id": N_VOCAB - 1})


@pytest.fixture(scope="module")
def exact(cama_bin, tmp_path_factory):
    s = Server(cama_bin, str(tmp_path_factory.mktemp("exact")), CAMA_MLX_PLUGIN=plugin() or "none", CAMA_ENGINE="auto",
               CAMA_ACTIVATIONS="f32", CAMA_KV_CACHE_TYPE="f32", CAMA_ENGINE_STRICT="1").start()
    yield s
    s.stop()


def both(server, path, body, name):
    replies = []
    for engine in ("native", "mlx"):
        options = {"temperature": 0, "num_ctx": 64, "num_predict": 24, "engine": engine}
        status, reply = server.request("POST", path, {"model": name, **body, "options": options, "keep_alive": 0}, 60)
        assert status == 200, reply
        assert reply["engine"] == engine and reply["exact"]
        replies.append(reply)
    return replies


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@needs_mlx
@pytest.mark.parametrize("path", sorted(DATA.glob("tiny*/*.gguf")), ids=lambda p: p.stem)
def test_the_same_on_either_engine(exact, path):
    name = path.parent.name + "-" + path.stem.lower()
    exact.add_data(with_letters(path.read_bytes()), name)
    if path.stem in EMBED:
        ours, theirs = both(exact, "/api/embed", {"input": ["HELLO-THERE", "AB!"]}, name)
        for a, b in zip(ours["embeddings"], theirs["embeddings"]):
            assert cosine(a, b) > 0.99999
        return
    ours, theirs = both(exact, "/api/generate", {"prompt": "HELLO-THERE", "raw": True, "stream": False, "logprobs": True}, name)
    assert ours["response"] == theirs["response"] and ours["eval_count"] == theirs["eval_count"] > 0
    for a, b in zip(ours["logprobs"], theirs["logprobs"]):
        assert a["token"] == b["token"] and abs(a["logprob"] - b["logprob"]) < 1e-3


@needs_mlx
@pytest.mark.parametrize("form", ["f32", "f16", "bf16", "A4G64_F16", "A4G64_BF16", "A8G64_F16", "mxfp4"])
def test_a_folder_is_the_same_on_either_engine(exact, tmp_path, form):
    subprocess.run([sys.executable, SYNTH, tmp_path, "--form", form], check=True)
    name = "folder-" + form.lower()
    status, reply = create(exact, name, tmp_path)
    assert status == 200, reply
    ours, theirs = both(exact, "/api/generate", {"prompt": "hello the world", "raw": True, "stream": False}, name)
    assert ours["response"] == theirs["response"] and ours["eval_count"] == theirs["eval_count"] > 0
