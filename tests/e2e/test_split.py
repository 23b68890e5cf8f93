"""Models of several files: shards of one GGUF in the store, a projector beside the weights; files that are damaged there."""
import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from gguf_copy import split, with_metadata, with_vocabulary
from server import GREEDY
from test_store_faults import Store, digest_of

PROMPT = {"prompt": "ab", "raw": True, "stream": False, "options": {**GREEDY, "num_predict": 8, "num_ctx": 64}}
ARCH = {"general.architecture": "clip"}


@pytest.fixture(scope="module")
def tiny():
    return with_vocabulary(Path(os.environ["CAMA_TINY_MODEL"]).read_bytes())


def put(server, *blobs):
    for data in blobs:
        status, reply = server.request("POST", f"/api/blobs/{digest_of(data)}", data)
        assert status in (200, 201), reply


def create(server, name, files):
    put(server, *files.values())
    return server.request("POST", "/api/create", {"model": name, "stream": False,
                                                  "files": {k: digest_of(v) for k, v in files.items()}})


def named(shards):
    return {f"m-{i + 1:05}-of-{len(shards):05}.gguf": s for i, s in enumerate(shards)}


def test_shards_answer_as_the_whole_file(make_server, tiny):
    server = make_server()
    assert create(server, "whole", {"m.gguf": tiny})[0] == 200
    files = named(split(tiny, 3))
    status, reply = create(server, "parts", dict(reversed(files.items())))
    assert status == 200, reply
    manifest = json.loads((Store(server.root + "/models").manifests / "registry.ollama.ai/library/parts/latest").read_text())
    assert [entry["digest"] for entry in manifest["layers"] if entry["mediaType"].endswith("model")] == [
        digest_of(s) for s in files.values()]  # in order, whatever the request's
    want = server.post("/api/generate", model="whole", **PROMPT)["response"]
    assert server.post("/api/generate", model="parts", **PROMPT)["response"] == want and want
    whole, parts = (server.post("/api/show", model=m, verbose=True) for m in ("whole", "parts"))
    assert parts["details"] == whole["details"]
    assert parts["model_info"]["general.parameter_count"] == whole["model_info"]["general.parameter_count"]
    assert [t["name"] for t in parts["tensors"]] == [t["name"] for t in whole["tensors"]]
    assert parts["modelfile"].count("\nFROM ") == 3
    server.post("/api/create", model="again", **{"from": "parts"}, stream=False)
    assert server.post("/api/generate", model="again", **PROMPT)["response"] == want
    assert len(server.ps()) == 2  # parts and again share a runner
    server.post("/api/generate", model="again", keep_alive=0)
    end = time.monotonic() + 5
    while len(server.ps()) > 1 and time.monotonic() < end:
        time.sleep(0.02)
    assert [m["name"] for m in server.ps()] == ["whole:latest"]


def test_the_command_line_brings_all_shards(make_server, cama_bin, tiny, tmp_path):
    server = make_server()
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in named(split(tiny, 3)).items():
        (folder / name).write_bytes(data)
    (tmp_path / "Modelfile").write_text("FROM model/m-00001-of-00003.gguf\n")
    for name, cwd in (("named", tmp_path), ("folder", folder)):
        p = subprocess.run([cama_bin, "create", name], cwd=cwd, env=server.environment(), capture_output=True, timeout=60)
        assert p.returncode == 0, p.stderr
        assert server.post("/api/generate", model=name, **PROMPT)["response"]
    (folder / "m-00002-of-00003.gguf").unlink()
    p = subprocess.run([cama_bin, "create", "less"], cwd=tmp_path, env=server.environment(), capture_output=True, timeout=60)
    assert p.returncode == 1 and b"m-00002-of-00003.gguf" in p.stderr


def test_a_manifest_with_shards_out_of_order(make_server, tiny):
    server = make_server()
    a, b, c = split(tiny, 3)
    Store(server.root + "/models").put_model("odd:latest", {"model_format": "gguf", "model_family": "llama"},
                                             [("model", c), ("model", a), ("model", b)])
    assert server.post("/api/generate", model="odd", **PROMPT)["response"]


def test_files_that_are_no_set_of_shards(make_server, tiny):
    server = make_server()
    a, b, c = split(tiny, 3)
    other = with_metadata(tiny, {"general.name": "another"})
    wrong = split(tiny, 2, total=7)

    def refused(files, text):
        status, reply = create(server, "bad", files)
        assert status == 400 and text in reply["error"], reply

    refused({"a.gguf": a}, "'a.gguf' is shard 1 of 3: all shards of one model are needed, 1 files")
    refused({"a.gguf": a, "c.gguf": c}, "is shard 1 of 3: all shards of one model are needed, 2 files")
    refused({"a.gguf": a, "b.gguf": b, "x.gguf": b}, "shard 3 of 3 is missing")
    refused({"a.gguf": tiny, "b.gguf": other}, "is a whole model, and 2 files")
    refused({"a.gguf": a, "b.gguf": tiny}, "all shards of one model")
    refused({"a.gguf": wrong[0], "b.gguf": wrong[1]}, "tensors, not 7 as the first one says")
    assert server.request("GET", "/api/tags")[1]["models"] == []


def test_an_architecture_that_cannot_run_is_told(make_server, cama_bin, tiny, tmp_path):
    server = make_server()
    strange = with_metadata(tiny, {"general.architecture": "zlama"})
    status, reply = create(server, "strange", {"m.gguf": strange})
    assert status == 200 and [w["code"] for w in reply["warnings"]] == ["architecture_unknown"], reply
    assert "'zlama'" in reply["warnings"][0]["text"]
    assert list(server.stream("/api/create", model="of", **{"from": "strange"}))[-1]["warnings"] == reply["warnings"]
    assert server.post("/api/show", model="strange")["details"]["family"] == "zlama"
    status, reply = server.request("POST", "/api/generate", {"model": "strange", **PROMPT})
    assert status == 400 and "architecture 'zlama' is not one of: llama" in reply["error"]
    (tmp_path / "m.gguf").write_bytes(strange)
    (tmp_path / "Modelfile").write_text("FROM m.gguf\n")
    p = subprocess.run([cama_bin, "create", "typed"], cwd=tmp_path, env=server.environment(), capture_output=True, timeout=60)
    assert p.returncode == 0 and b"cannot run the architecture 'zlama'" in p.stderr, p.stderr
    assert "warnings" not in create(server, "fine", {"m.gguf": tiny})[1]


def test_a_projector_is_told(make_server, tiny):
    server = make_server()
    projector = with_metadata(tiny, ARCH)
    status, reply = create(server, "sees", {"p.gguf": projector, "m.gguf": tiny})
    assert status == 200, reply
    reply = server.post("/api/generate", model="sees", **PROMPT)
    assert reply["response"] and [w["code"] for w in reply["warnings"]] == ["projector_ignored"]


# ---- a damaged file has one status, whoever finds it ----

def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[:len(data) * 3 // 4])


DAMAGE = {"cut": (cut, "past the file's"), "gone": (Path.unlink, "No such file or directory"),
          "noise": (lambda p: p.write_bytes(b"no GGUF at all, just text"), "not a GGUF file")}


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file(make_server, tiny, n, known, how):
    server = make_server()
    change, text = DAMAGE[how]
    shards = split(tiny, n) if n > 1 else [tiny]
    assert create(server, "m", named(shards))[0] == 200
    path = Store(server.root + "/models").blobs / digest_of(shards[-1]).replace(":", "-")
    data = path.read_bytes()
    if not known:
        server.stop()
        server.start()
    change(path)
    for _ in range(2):
        for endpoint, body in (("/api/generate", PROMPT), ("/api/chat", {"messages": [{"role": "user", "content": "a"}]}),
                               ("/api/embed", {}), ("/api/generate", {}),
                               ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]})):
            status, reply = server.request("POST", endpoint, {"model": "m", **body})
            error = reply["error"] if isinstance(reply, dict) else json.loads(reply)["error"]
            error = error["message"] if isinstance(error, dict) else error
            assert status == 500 and text in error and "of 'm:latest': " in error, (endpoint, status, error)
            assert digest_of(shards[0 if known else -1]) in error, error
    assert server.process.poll() is None
    path.write_bytes(data)
    assert server.post("/api/generate", model="m", **PROMPT)["response"]


def test_a_linked_file_cut_while_its_head_is_read(make_server, tiny, tmp_path):
    """Nothing of a model is mapped by the server, which used to end by SIGBUS here."""
    server = make_server()
    large = tmp_path / "large.gguf"
    data = with_metadata(tiny, {"filler": ["x" * 40] * 60000})
    large.write_bytes(data)
    put(server, data)
    assert create(server, "m", {"m.gguf": data})[0] == 200
    blob = Store(server.root + "/models").blobs / digest_of(data).replace(":", "-")
    blob.unlink()
    blob.symlink_to(large)
    saw = set()
    for _ in range(60):
        with open(large, "r+b") as f:
            f.truncate(100000)
            saw.add(len(server.request("POST", "/api/show", {"model": "m"})[1]["model_info"]))
            f.seek(0)
            f.write(data)
        saw.add(len(server.request("POST", "/api/show", {"model": "m"})[1]["model_info"]))
    assert server.process.poll() is None and len(saw) == 2
