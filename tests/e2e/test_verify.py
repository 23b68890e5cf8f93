"""`cama verify`: two engines on one model. Until two are at hand the native one is compared with itself."""
import json
import os
import re
import signal
import subprocess
import time

import pytest
from gguf_copy import with_metadata
from test_engines import mlx_plugin, needs_mlx

TWICE = ("--engines", "native,native")


@pytest.fixture
def verify(cama_bin, tmp_path):
    def call(*args, timeout=900, **env):
        keep = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CAMA_MLX_PLUGIN": mlx_plugin() or "none"}
        return subprocess.run([cama_bin, "verify", *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout, env={**keep, **env}, check=False)

    return call


def test_an_engine_is_equal_to_itself(verify, model):
    p = verify(model, *TWICE, "--tokens", 12, "--json")
    assert p.returncode == 0, p.stderr
    r = json.loads(p.stdout)
    assert r["verdict"] == "equal" and [e["name"] for e in r["engines"]] == ["native", "native"]
    assert r["logits"]["max_abs"] == 0 and r["logits"]["positions"] == r["prompt_tokens"] + 11
    assert r["greedy"] == {"tokens": 12, "equal": 12, "equal_alone": 12}
    assert all(e["exact"] and e["activations"] == "f32" and e["kv_type"] == "f32" for e in r["engines"])
    assert sum(f["n"] for f in r["engines"][0]["forms"]) == 272


def test_the_report_for_people(verify, model):
    p = verify(model, *TWICE, "--tokens", 4, "--activations", "int8", "--prompt", "One, two,")
    assert p.returncode == 0, p.stderr
    for line in (r"native +cama .*int8 activations, KV f16", r"TYPE +TENSORS +BYTES +native +native", r"Q4_1 +210 .*exact",
                 r"logits +\d+ positions: differ by at most 0 ", r"KL +at most 0 nats", r"greedy +4 of 4 tokens",
                 r"alone +the first 4 of 4", r"equal; limits: --threshold 0.1 --kl 0.1 --agree 0.9"):
        assert re.search("^" + line, p.stdout, re.M), p.stdout


def test_vectors(verify, model, tmp_path):
    path = tmp_path / "e.gguf"
    with open(model, "rb") as f:
        path.write_bytes(with_metadata(f.read(), {"ARCH.pooling_type": 1}))
    p = verify(path, *TWICE)
    assert p.returncode == 0 and re.search(r"^vectors +3 texts: cosine at least [01]\.\d+", p.stdout, re.M), p.stderr


def test_a_file_without_a_tokenizer(verify):
    p = verify(os.environ["CAMA_TINY_MODEL"], *TWICE, "--tokens", 4)
    assert p.returncode == 0, p.stderr


def test_a_name_of_the_store(cama_bin, model, make_server, tmp_path):
    s = make_server()
    s.add_model(model)
    p = subprocess.run([cama_bin, "verify", "smollm2:135m", *TWICE, "--tokens", "2", "--activations", "int8"], text=True,
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=300, env=s.environment(), check=False)
    assert p.returncode == 0, p.stderr
    assert s.stop() == 0


def test_what_cannot_be_compared_is_status_2(verify, model, tmp_path):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF")
    for args, text in (((tmp_path / "none.gguf", *TWICE), "none.gguf"), ((bad, *TWICE), "bad.gguf"),
                       (("nosuch:v1", *TWICE), "nosuch"), ((model, "--engines", "native"), "native,mlx"),
                       ((model, "--engines", "native,steam"), "steam"), ((model, "--engines", "native,native,mlx"), "two names"),
                       ((model, *TWICE, "--tokens", "0"), "--tokens"), ((model, *TWICE, "--agree", "2"), "--agree"),
                       ((), "usage")):
        p = verify(*args)
        assert p.returncode == 2 and text in p.stderr and not p.stdout, (args, p.stderr)


def test_without_mlx_it_says_why(verify, model):
    p = verify(model, CAMA_MLX_PLUGIN="none")
    assert p.returncode == 2 and "mlx" in p.stderr


def test_ctrl_c(cama_bin, model, tmp_path):
    p = subprocess.Popen([cama_bin, "verify", model, *TWICE, "--tokens", "4000"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    time.sleep(3)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 130 and not out, err


# ---- MLX ----

@needs_mlx
def test_native_and_mlx_are_equal(verify, model):
    """With f32 activations token for token; CAMA_VERIFY_TOKENS=256 is what the notes hold."""
    n = int(os.environ.get("CAMA_VERIFY_TOKENS", "24"))
    p = verify(model, "--tokens", n, "--json")
    assert p.returncode == 0, p.stderr + p.stdout
    r = json.loads(p.stdout)
    assert [e["name"] for e in r["engines"]] == ["native", "mlx"] and all(e["exact"] for e in r["engines"])
    assert r["greedy"] == {"tokens": n, "equal": n, "equal_alone": n}
    assert 0 < r["logits"]["max_diff"] < 1e-5 and r["logits"]["max_kl"] < 1e-9


@needs_mlx
def test_a_limit_that_is_passed_is_status_1(verify, model):
    p = verify(model, "--tokens", 2, "--threshold", 0)
    assert p.returncode == 1 and "different: logits differ" in p.stdout, p.stdout + p.stderr


@needs_mlx
def test_tiny_models_are_equal(verify):
    p = verify(os.environ["CAMA_TINY_MODEL"], "--tokens", 16, "--threshold", "1e-5")
    assert p.returncode == 0, p.stdout + p.stderr


@needs_mlx
def test_mlx_s_own_operations_are_equal(verify, model):
    """What a GPU computes with, on this CPU: MLX's forms of the weights and nothing of ours."""
    p = verify(model, "--tokens", 4, "--prompt", "One, two, three, four,", CAMA_MLX_STOCK="1")
    assert p.returncode == 0 and "stock operations" in p.stdout, p.stdout + p.stderr
    assert re.search(r"^Q4_1 +210 .*file blocks, exact +affine 4-bit .*, exact \([\d.]+ MiB\)", p.stdout, re.M), p.stdout


@needs_mlx
def test_mlx_vectors(verify, model, tmp_path):
    path = tmp_path / "e.gguf"
    with open(model, "rb") as f:
        path.write_bytes(with_metadata(f.read(), {"ARCH.pooling_type": 1}))
    p = verify(path, "--json")
    assert p.returncode == 0, p.stderr + p.stdout
    assert json.loads(p.stdout)["vectors"]["min_cosine"] > 0.999999
