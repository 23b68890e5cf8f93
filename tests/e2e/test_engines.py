"""Engines as users meet them: which there are, who chooses, what is said of the one that runs, and what happens
when it is not there. What needs MLX runs when its plugin is found, and is skipped by that name otherwise.
"""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from server import EMBED, GREEDY, MODEL, wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
SUFFIX = "dylib" if os.uname().sysname == "Darwin" else "so"


def mlx_plugin():
    """As the program looks for it; None: there is none."""
    named = os.environ.get("CAMA_MLX_PLUGIN")
    places = [named] if named else [
        os.path.join(os.path.dirname(os.path.realpath(os.environ["CAMA_BIN"])), p, f"libcama_mlx.{SUFFIX}")
        for p in (".", "../lib/cama")]
    return next((p for p in places if os.path.exists(p)), None)


needs_mlx = pytest.mark.skipif(not mlx_plugin(), reason="mlx: no libcama_mlx beside the program")


@pytest.fixture(scope="module")
def server(cama_bin, model, tmp_path_factory):
    """Without MLX, wherever it may lie: what native does has to hold alone."""
    from server import Server  # pylint: disable=import-outside-toplevel
    s = Server(cama_bin, str(tmp_path_factory.mktemp("engines")), CAMA_MLX_PLUGIN="none", CAMA_ENGINE="auto").start()
    s.add_model(model)
    s.add_model(model, "native:v1", parameters={"engine": "native", "device": "cpu"})
    yield s
    assert s.stop() == 0, s.log()


@pytest.fixture(scope="module")
def both(cama_bin, model, tmp_path_factory):
    """With MLX beside the program."""
    from gguf_copy import with_metadata  # pylint: disable=import-outside-toplevel
    from server import Server  # pylint: disable=import-outside-toplevel
    s = Server(cama_bin, str(tmp_path_factory.mktemp("both")), CAMA_MLX_PLUGIN=mlx_plugin() or "none", CAMA_ENGINE="auto").start()
    s.add_model(model)
    with open(model, "rb") as f:
        s.add_data(with_metadata(f.read(), {"ARCH.pooling_type": 1}), EMBED)
    yield s
    assert s.stop() == 0, s.log()


def generate(server, model=MODEL, n=4, **options):
    return server.post("/api/generate", model=model, prompt="Count to ten:", stream=False,
                       options={**GREEDY, "num_predict": n, **options})


def unload(server):
    for m in server.ps():
        server.post("/api/generate", model=m["name"], keep_alive=0)
    wait_for(lambda: not server.ps())


def command(server, *args):
    return subprocess.run([server.program, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=300, text=True,
                          env=server.environment(), check=False)


# ---- what there is ----

def engines(server):
    def known():
        status, reply = server.request("GET", "/api/engines")
        assert status == 200, reply
        return reply if reply["state"] == "known" else None
    return wait_for(known, 20)


def test_the_list(server):
    reply = engines(server)
    by_name = {e["name"]: e for e in reply["engines"]}
    assert set(by_name) == {"native", "mlx"}
    native = by_name["native"]
    assert native["available"] and native["version"].startswith("cama ") and native["device"].startswith("cpu")
    assert native["memory"] > 1 << 30 and native["backend"] == "cpu" and native["is_gpu"] is False
    assert not by_name["mlx"]["available"] and by_name["mlx"]["why"]
    assert reply["failures"] == [] and reply["default"] == {"engine": "auto", "device": "auto"}
    generate(server)
    assert {e["name"]: e["in_use"] for e in engines(server)["engines"]} == {"native": 1, "mlx": 0}
    unload(server)


def test_the_parity_table_is_the_page_s(server):
    page = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- parity: .*? -->\n\| .*?\n\|---.*?\n(.*?)<!-- end of parity -->", page, re.S)
    assert table, "docs/engines.md has no parity table"
    rows = [tuple(c.strip() for c in line.strip("| \n").split("|")) for line in table[1].splitlines()]
    assert rows == [(p["feature"], p["native"], p["mlx"]) for p in engines(server)["parity"]]


def test_the_command(server):
    p = command(server, "engines")
    assert p.returncode == 0, p.stderr
    head, native, mlx = (re.split(r" {4,}", line.strip()) for line in p.stdout.splitlines()[:3])
    assert head == ["ENGINE", "VERSION", "DEVICE", "MEMORY", "STATUS"]
    assert native[0] == "native" and native[1].startswith("cama ") and native[4].startswith("available")
    assert mlx[0] == "mlx" and mlx[-1].startswith("not available: ")
    assert "FEATURE" in p.stdout and "engine auto, device auto" in p.stdout
    p = command(server, "engines", "--json")
    assert p.returncode == 0 and {e["name"] for e in json.loads(p.stdout)["engines"]} == {"native", "mlx"}
    p = command(server, "engines", "reset")
    assert p.returncode == 0 and p.stdout == "forgot 0 failures of engines\n"
    p = command(server, "engines", "reset", "nosuch")
    assert p.returncode == 1 and "nosuch" in p.stderr
    p = command(server, "engines", "frobnicate")
    assert p.returncode == 2 and "frobnicate" in p.stderr


def test_the_command_without_a_server(cama_bin, tmp_path):
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OLLAMA_HOST": "127.0.0.1:9", "CAMA_MLX_PLUGIN": "none"}
    p = subprocess.run([cama_bin, "engines"], stdin=subprocess.DEVNULL, capture_output=True, timeout=120, text=True, env=env,
                       check=False)
    assert p.returncode == 0, p.stderr
    assert "embedded" in p.stderr and re.search(r"^native +cama ", p.stdout, re.M)


def test_the_selftest_is_a_report(server):
    p = command(server, "engines", "--selftest")
    assert p.returncode == 0, p.stderr
    for line in (r"cama \d", r"os +\w+", r"cpu +\w+", r"native: available", r"mlx: not available", r"  why +\S"):
        assert re.search("^" + line, p.stdout, re.M), p.stdout
    assert os.environ.get("USER", "?") not in p.stdout.split() and os.uname().nodename not in p.stdout.split()


# ---- what is said of the one that runs ----

def test_a_reply_names_engine_device_and_exactness(server):
    c, r = server.open("POST", "/api/chat", {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": False,
                                             "options": {**GREEDY, "num_predict": 2, "engine": "native"}})
    reply = json.loads(r.read())
    c.close()
    assert re.fullmatch(r'native; device=cpu; version="cama [\d.]+"', r.headers["Cama-Engine"])
    assert reply["engine"] == "native" and reply["engine_version"].startswith("cama ")
    assert reply["device"].startswith("cpu: ") and reply["exact"] is True
    assert reply["cama"]["why"] == "asked for" and "warnings" not in reply
    last = list(server.stream("/api/generate", model=MODEL, prompt="x", options={"num_predict": 1}))[-1]
    assert last["engine"] == "native" and "fits best" in last["cama"]["why"]
    unload(server)


def test_ps_and_show(server):
    before = server.post("/api/show", model=MODEL)
    assert "engine" not in before and before["cama"]["engine"] == "auto"
    types = {t["type"]: t for t in before["cama"]["types"]}
    assert types["Q4_1"]["n"] == 210 and types["Q4_1"]["bytes"] > 60e6
    generate(server)
    (m,) = server.ps()
    assert m["engine"] == "native" and m["engine_version"].startswith("cama ") and m["exact"] is True
    assert m["device"].startswith("cpu") and m["why"] and "fallback" not in m and m["size_vram"] == 0
    after = server.post("/api/show", model=MODEL)
    assert after["engine"] == "native" and after["exact"] is True
    forms = {(f["role"], f["type"]): f for f in after["forms"]}
    assert forms["Q", "Q4_1"] == {"role": "Q", "type": "Q4_1", "form": "file blocks", "exact": True, "n": 30,
                                  "bytes": forms["Q", "Q4_1"]["bytes"]}
    assert sum(f["n"] for f in after["forms"]) == len(after["tensors"])
    p = command(server, "ps")
    assert re.search(r"UNTIL +ENGINE +DEVICE", p.stdout) and re.search(r" native +cpu: ", p.stdout)
    p = command(server, "show", MODEL)
    for line in (r"    engine +native", r"    why +fits best", r"    Q +Q4_1 +30 +[\d.]+ MB +file blocks +exact"):
        assert re.search("^" + line, p.stdout, re.M), p.stdout
    unload(server)


def test_figures_tell_the_reason(server):
    p = command(server, "run", MODEL, "Hi", "--num-predict", "2", "--figures", "--engine", "native")
    assert p.returncode == 0 and re.search(r"^engine +native, int8 activations \(asked for\)$", p.stderr, re.M), p.stderr
    unload(server)


# ---- who chooses ----

def test_engines_that_there_are_not(server):
    status, reply = server.request("POST", "/api/generate", {"model": MODEL, "prompt": "x", "options": {"engine": "steam"}})
    assert status == 400 and "auto, native, mlx" in reply["error"]
    status, reply = server.request("POST", "/api/embed", {"model": MODEL, "input": "x", "options": {"device": "tpu"}})
    assert status == 400 and "auto, cpu, gpu" in reply["error"]
    p = command(server, "run", MODEL, "x", "--engine", "steam")
    assert p.returncode == 1 and "auto|native|mlx" in p.stderr


def test_a_modelfile_chooses(server, model, tmp_path):
    shown = server.post("/api/show", model="native:v1")
    assert shown["cama"]["engine"] == "native" and shown["cama"]["device"] == "cpu"
    assert 'engine                         "native"' in shown["parameters"]
    assert generate(server, "native:v1")["cama"]["why"] == "asked for"
    file = tmp_path / "Modelfile"
    file.write_text(f"FROM {model}\nPARAMETER engine native\nPARAMETER num_ctx 512\n", encoding="utf-8")
    p = command(server, "create", "made", "-f", str(file))
    assert p.returncode == 0, p.stderr
    assert generate(server, "made")["cama"]["why"] == "asked for"
    file.write_text(f"FROM {model}\nPARAMETER engine steam\n", encoding="utf-8")
    p = command(server, "create", "made2", "-f", str(file))
    assert p.returncode == 1 and "auto, native, mlx" in p.stderr
    unload(server)
    status, _ = server.request("DELETE", "/api/delete", {"model": "made"})
    assert status == 200


def test_models_on_two_engines_are_two_runners_and_leave_together(server):
    generate(server, engine="native")
    generate(server, engine="native", device="cpu")
    generate(server)
    assert len(server.ps()) == 3 and len(server.runners()) == 3
    server.post("/api/generate", model=MODEL, keep_alive=0)
    wait_for(lambda: not server.ps())
    assert not server.runners()


def test_a_server_s_default_and_who_wins(make_server, model):
    s = make_server(CAMA_MLX_PLUGIN="none", CAMA_ENGINE="mlx", CAMA_DEVICE="somewhere")
    s.add_model(model)
    s.add_model(model, "native:v1", parameters={"engine": "native"})
    assert "CAMA_DEVICE: 'somewhere' is not auto, cpu or gpu" in s.log()
    assert engines(s)["default"] == {"engine": "mlx", "device": "auto"}
    assert [w["code"] for w in generate(s)["warnings"]] == ["engine_fallback"]
    assert "warnings" not in generate(s, "native:v1")
    assert "warnings" not in generate(s, engine="native")
    assert "warnings" not in generate(s, engine="auto")
    assert s.stop() == 0


# ---- an engine that is not there ----

def test_an_engine_that_is_not_there_is_never_silent(server):
    c, r = server.open("POST", "/api/generate", {"model": MODEL, "prompt": "x", "options": {"engine": "mlx", "num_predict": 1}})
    last = json.loads(r.read().decode().splitlines()[-1])
    c.close()
    assert r.headers["Cama-Engine"].startswith("native;") and r.headers["Cama-Warning"] == "engine_fallback"
    (w,) = last["warnings"]
    assert w["code"] == "engine_fallback" and w["from"] == "mlx" and w["to"] == "native" and w["reason"] in w["text"]
    assert last["engine"] == "native" and "mlx" in last["cama"]["why"]
    (m,) = server.ps()
    assert m["engine"] == "native" and m["fallback"] and "mlx" in m["why"]
    assert "engine_fallback" in server.log()
    p = command(server, "run", MODEL, "x", "--num-predict", "1", "--engine", "mlx")
    assert p.returncode == 0 and "warning: " in p.stderr and "mlx" in p.stderr
    unload(server)


def test_strict_is_an_error(make_server, model):
    s = make_server(CAMA_MLX_PLUGIN="none", CAMA_ENGINE_STRICT="1", CAMA_ENGINE="auto")
    s.add_model(model)
    status, reply = s.request("POST", "/api/generate", {"model": MODEL, "prompt": "x", "options": {"engine": "mlx"}})
    assert status >= 400 and "mlx" in reply["error"], reply
    assert generate(s)["engine"] == "native"
    p = command(s, "run", MODEL, "x", "--num-predict", "1", "--engine", "mlx")
    assert p.returncode == 1 and "mlx" in p.stderr
    assert s.stop() == 0


def test_in_this_process(cama, model, tmp_path):
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CAMA_MLX_PLUGIN": "none"}
    run = [os.environ["CAMA_BIN"], "run", model, "x", "--num-predict", "1"]
    p = subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                       env={**env, "CAMA_ENGINE": "native"}, check=False)
    assert p.returncode == 0 and "native, int8 activations (asked for)" in p.stderr
    p = subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                       env={**env, "CAMA_ENGINE": "mlx"}, check=False)
    assert p.returncode == 1 and "mlx" in p.stderr
    p = subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                       env={**env, "CAMA_ENGINE": "steam"}, check=False)
    assert p.returncode == 0 and "CAMA_ENGINE is 'steam', must be one of auto|native|mlx" in p.stderr
    p = subprocess.run([*run, "--device", "gpu", "--engine", "native"], stdin=subprocess.DEVNULL, capture_output=True,
                       text=True, timeout=120, env=env, check=False)
    assert p.returncode == 1 and "native" in p.stderr


# ---- MLX ----

@needs_mlx
def test_mlx_is_listed(both):
    mlx = next(e for e in engines(both)["engines"] if e["name"] == "mlx")
    assert mlx["available"] and re.match(r"MLX \d", mlx["version"]) and mlx["device"]


@needs_mlx
def test_mlx_answers_and_says_so(both):
    c, r = both.open("POST", "/api/generate", {"model": MODEL, "prompt": "Count to ten:", "stream": False,
                                               "options": {**GREEDY, "num_predict": 8, "engine": "mlx"}})
    reply = json.loads(r.read())
    c.close()
    assert r.headers["Cama-Engine"].startswith("mlx; device="), r.headers["Cama-Engine"]
    assert reply["engine"] == "mlx" and reply["engine_version"].startswith("MLX ") and "warnings" not in reply
    assert reply["response"] == generate(both, n=8, engine="native")["response"]
    by_engine = {m["engine"]: m for m in both.ps()}
    assert set(by_engine) == {"mlx", "native"}
    assert by_engine["mlx"]["engine_version"].startswith("MLX ") and by_engine["mlx"]["exact"] is True
    p = command(both, "ps")
    assert re.search(r" mlx +\S", p.stdout)
    unload(both)


@needs_mlx
def test_mlx_embeds(both):
    reply = both.post("/api/embed", model=EMBED, input=["a", "b"], options={"engine": "mlx"})
    assert reply["engine"] == "mlx" and reply["engine_version"].startswith("MLX ")
    other = both.post("/api/embed", model=EMBED, input=["a", "b"], options={"engine": "native"})
    for x, y in zip(reply["embeddings"], other["embeddings"]):
        assert sum(a * b for a, b in zip(x, y)) > 0.999
    unload(both)


@needs_mlx
def test_mlx_shows_its_forms(both):
    both.post("/api/generate", model=MODEL, options={"engine": "mlx"})
    shown = both.post("/api/show", model=MODEL)
    assert shown["engine"] == "mlx" and sum(f["n"] for f in shown["forms"]) == len(shown["tensors"])
    assert all(f["form"] for f in shown["forms"])
    unload(both)


@needs_mlx
def test_mlx_in_this_process(cama, model):
    p = cama("run", model, "Count to ten:", "--num-predict", "4", "--engine", "mlx", "--temperature", "0")
    assert p.returncode == 0 and re.search(rb"^engine +mlx, ", p.stderr, re.M), p.stderr


@needs_mlx
def test_mlx_selftest(cama):
    p = cama("engines", "--selftest")
    assert p.returncode == 0 and re.search(rb"^mlx: available\n  version +MLX ", p.stdout, re.M), p.stdout
