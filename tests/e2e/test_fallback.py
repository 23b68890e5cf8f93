"""An engine that fails on a model: the other one takes it, and the response, ps, the list of engines and the log say so.

The MLX engine is the real one, behind tests/mlx/fault_plugin.c, which kills, stops, starves or breaks it where a test says.
"""
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from gguf_copy import with_vocabulary
from server import GREEDY, wait_for

HERE = Path(__file__).parent
BUILD = Path(os.environ["CAMA_BIN"]).parent
REAL = BUILD / "libcama_mlx.so"
WRONG = BUILD / "libcama_mlx_wrong.so"
pytestmark = pytest.mark.skipif(not REAL.exists(), reason="this build has no MLX engine (./dev engine-mlx)")

KILLED = r"killed by signal 9 \(Killed\)"
NO_MEMORY = r"\[malloc\] Unable to allocate 1234567 bytes\."
SILENT = "it did not answer for 1.0 s and was killed"
# Fault, how mlx failed, and whether that is worth remembering.
FAULTS = {
    "killed in a job": ("read kill", KILLED),
    "crash in a job": ("eval segv", r"killed by signal 11 \(Segmentation fault\)"),
    "killed in its load": ("weights kill", KILLED),
    "killed when its device is opened": ("open kill", KILLED),
    "killed when its library is opened": ("image kill", KILLED),
    "stopped in a job": ("read stop", SILENT),
    "stopped in its load": ("weights stop", SILENT),
    "hang in a job": ("eval hang", "its engine made no step for 1.0 s and it was killed"),
    "hang in its load": ("weights hang", "loading made no progress for 2.0 s"),
    "out of memory in a job": ("eval error", NO_MEMORY),
    "out of memory in its load": ("weights error", NO_MEMORY),
}


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    out = tmp_path_factory.mktemp("double") / "libfault.so"
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-I", str(HERE.parents[1] / "src"), "-o", str(out),
                    str(HERE.parent / "mlx" / "fault_plugin.c"), "-ldl"], check=True)
    return out


@pytest.fixture(scope="module")
def tiny():
    return with_vocabulary(Path(os.environ["CAMA_TINY_MODEL"]).read_bytes())


class Rig:
    def __init__(self, make_server, double, tiny, folder):
        self.fault = folder / "fault"
        self.make, self.tiny, self.folder = make_server, tiny, folder
        self.env = {"CAMA_MLX_PLUGIN": str(double), "CAMA_FAULT_REAL": str(REAL), "CAMA_FAULT": str(self.fault),
                    "CAMA_DATA_DIR": str(folder / "data"), "CAMA_ENGINE": "auto", "CAMA_HANG_TIMEOUT": "1s", "CAMA_LOAD_TIMEOUT": "2s"}
        self.server = None

    def start(self, fault="", **env):
        self.fault.write_text(fault)
        self.server = self.make(**{**self.env, **env})
        self.server.add_data(self.tiny, "tiny")
        return self.server

    def ask(self, engine="mlx", n=6, **more):
        options = {**GREEDY, "num_predict": n, **({"engine": engine} if engine else {})}
        return self.server.request("POST", "/api/generate", {"model": "tiny", "prompt": "once upon a time", "raw": True,
                                                             "stream": False, "options": options, **more}, 60)

    def headers(self, engine="mlx"):
        c, r = self.server.open("POST", "/api/generate", {"model": "tiny", "prompt": "x", "raw": True, "stream": False,
                                                          "options": {**GREEDY, "num_predict": 1, "engine": engine}})
        r.read()
        c.close()
        return dict(r.getheaders())

    def engines(self):
        def known():
            status, reply = self.server.request("GET", "/api/engines", timeout=30)
            assert status == 200, reply
            return reply if reply["state"] == "known" else None
        return wait_for(known, 30)

    def engine(self, name):
        return {e["name"]: e for e in self.engines()["engines"]}[name]


@pytest.fixture
def rig(make_server, double, tiny, tmp_path):
    return Rig(make_server, double, tiny, tmp_path)


def fallback_of(reply):
    return [w for w in reply.get("warnings", []) if w["code"] == "engine_fallback"]


def stands_in(rig, status, reply, why):
    """The reply, and what the server says elsewhere: native has the model, since mlx failed as `why` says."""
    assert status == 200, reply
    assert reply["engine"] == "native"
    warning, = fallback_of(reply)
    assert re.search(why, warning["text"]), warning
    assert warning["text"].startswith("mlx ") and warning["text"].endswith("native runs it"), warning
    assert (warning["from"], warning["to"]) == ("mlx", "native")
    assert re.search(why, warning["reason"])
    loaded, = rig.server.ps()
    assert loaded["engine"] == "native" and loaded["fallback"] == warning["text"]
    headers = rig.headers()
    assert headers["Cama-Engine"].startswith("native"), headers
    assert "engine_fallback" in headers.get("Cama-Warnings", headers.get("Cama-Warning", "")), headers
    assert rig.engine("native")["in_use"] == 1
    assert warning["text"] in rig.server.log()


@pytest.mark.parametrize("name", FAULTS)
def test_the_other_engine_takes_the_model(rig, name):
    fault, why = FAULTS[name]
    rig.start()
    right = rig.ask("native")[1]["response"]
    well = rig.ask("mlx")
    assert well[0] == 200 and well[1]["engine"] == "mlx" and not fallback_of(well[1]), well
    rig.server.stop()

    rig.start(fault)
    status, reply = rig.ask()
    stands_in(rig, status, reply, why)
    assert reply["response"] == right and len(right) > 0
    assert "twice" in fallback_of(reply)[0]["text"]
    failed, = rig.engines()["failures"]
    assert failed["engine"] == "mlx" and failed["model"].startswith("tiny") and re.search(why, failed["reason"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", failed["time"])
    if "opened" not in name:
        assert failed["build"].startswith("MLX "), failed
    assert rig.server.runners() and len(rig.server.runners()) == 1


@pytest.mark.parametrize("name", ["killed in a job", "killed when its library is opened", "hang in its load",
                                  "out of memory in its load"])
def test_strict_is_an_error(rig, name):
    fault, why = FAULTS[name]
    rig.start(fault, CAMA_ENGINE_STRICT="1")
    status, reply = rig.ask()
    assert status == 500, reply
    assert re.search(r"engine mlx failed on this model and no other one may take it \(CAMA_ENGINE_STRICT\): .*" + why,
                     reply["error"]), reply
    assert rig.server.ps() == []
    assert rig.ask("native")[0] == 200


def test_a_kernel_that_fails_its_self_test(rig):
    """The engine does without it; who wants no such thing gets an error."""
    rig.start(CAMA_MLX_SELFTEST="fail:all")
    status, reply = rig.ask()
    assert status == 200 and reply["engine"] == "mlx", reply
    warning, = reply["warnings"]
    assert warning["code"] == "engine_adapted" and "self-test" in warning["text"], warning
    loaded, = rig.server.ps()
    assert loaded["engine"] == "mlx" and loaded["note"] == warning["text"]
    assert reply["response"] == rig.ask("native")[1]["response"]
    rig.server.stop()
    rig.start(CAMA_MLX_SELFTEST="fail:all", CAMA_ENGINE_STRICT="1")
    status, reply = rig.ask()
    assert status == 500 and "engine mlx does not run this model as it should (CAMA_ENGINE_STRICT): " in reply["error"], reply


def test_one_more_try_is_enough(rig):
    rig.start("read kill 1 once")
    status, reply = rig.ask()
    assert status == 200 and reply["engine"] == "mlx" and not fallback_of(reply), reply
    assert rig.engines()["failures"] == []
    assert "mlx failed on it and is tried once more: killed by signal 9" in rig.server.log()


def test_an_answer_that_was_begun_ends_with_the_reason(rig):
    rig.start("read kill 25")
    lines = list(rig.server.stream("/api/generate", model="tiny", prompt="x", raw=True,
                                   options={**GREEDY, "num_predict": 50, "engine": "mlx"}))
    assert "killed by signal 9" in lines[-1].get("error", "") and len(lines) > 1, lines
    status, reply = rig.ask(n=50)  # nobody sees it before its end: this one goes the whole way
    assert reply["response"] == rig.ask("native", n=50)[1]["response"]
    assert status == 200 and reply["engine"] == "native" and len(fallback_of(reply)) == 1, reply


def test_killed_from_outside_in_mid_answer(rig):
    """No double's doing: the process is really gone."""
    rig.start()
    c, r = rig.server.open("POST", "/api/generate", {"model": "tiny", "prompt": "x", "raw": True,
                                                     "options": {**GREEDY, "num_predict": 100000, "engine": "mlx"}})
    assert json.loads(r.readline())
    os.kill(rig.server.ps()[0]["cama"]["pid"], signal.SIGKILL)
    rest = [json.loads(line) for line in r]
    c.close()
    assert "killed by signal 9" in rest[-1]["error"], rest[-1]
    status, reply = rig.ask()
    assert status == 200 and reply["engine"] == "mlx" and not fallback_of(reply), reply


@pytest.mark.parametrize("name, plugin, fault, why", [
    ("switched off", "none", "", "CAMA_MLX_PLUGIN=none"),
    ("not there", "/nowhere/libcama_mlx.so", "", "/nowhere/libcama_mlx.so"),
    ("no library", __file__, "", r"(invalid ELF header|file too short)"),
    ("another version of MLX", str(WRONG), "", r"0\.1\.2"),
    ("another table", None, "get null", "of another build of cama"),
    ("no device", None, "open error", "no device today"),
])
def test_an_engine_that_is_not_there(rig, name, plugin, fault, why):
    rig.start(fault, **({"CAMA_MLX_PLUGIN": plugin} if plugin else {}))
    mlx = rig.engine("mlx")
    assert mlx["available"] is False and re.search(why, mlx["why"]), mlx
    status, reply = rig.ask(None)  # nobody asked for it: nothing to tell
    assert status == 200 and reply["engine"] == "native" and not fallback_of(reply), reply
    assert re.search(why, reply["cama"]["why"]), reply
    rig.server.stop()
    rig.start(fault, **({"CAMA_MLX_PLUGIN": plugin} if plugin else {}))
    status, reply = rig.ask()
    stands_in(rig, status, reply, why)
    assert "cannot run this model" in fallback_of(reply)[0]["text"]
    assert rig.engines()["failures"] == []  # it may be there tomorrow
    rig.server.stop()
    rig.start(fault, CAMA_ENGINE_STRICT="1", **({"CAMA_MLX_PLUGIN": plugin} if plugin else {}))
    status, reply = rig.ask()
    assert status == 500 and "engine mlx" in reply["error"] and re.search(why, reply["error"]), reply


@pytest.mark.parametrize("fault, why", [("image kill", "was killed by signal 9"), ("open segv", "was killed by signal 11"),
                                        ("open hang", "did not answer in 10 s")])
def test_the_list_survives_an_engine_that_does_not(rig, fault, why):
    rig.start(fault)
    start = time.monotonic()
    mlx = rig.engine("mlx")
    assert time.monotonic() - start < 15
    assert mlx["available"] is False and why in mlx["why"], mlx
    native = rig.engine("native")
    assert native["available"] is True and native["version"].startswith("cama "), native


def test_auto_avoids_what_failed_until_it_is_told_to_forget(rig):
    """What is remembered outlives the server. Here auto would take native anyway: what is said shows that it was weighed."""
    rig.start("read kill")
    assert fallback_of(rig.ask()[1])
    rig.server.stop()
    rig.start()
    status, reply = rig.ask(None)
    assert status == 200 and reply["engine"] == "native" and not fallback_of(reply)
    assert re.match(r"mlx failed on this model on 20\d\d-\d\d-\d\d: killed by signal 9", reply["cama"]["why"]), reply
    failed, = rig.engines()["failures"]
    status, reply = rig.server.request("DELETE", "/api/engines", {"model": "tiny"})
    assert status == 200, reply
    assert rig.engines()["failures"] == []
    rig.server.request("POST", "/api/generate", {"model": "tiny", "keep_alive": 0})
    wait_for(lambda: not rig.server.ps())
    assert not re.search("failed on this model", rig.ask(None)[1]["cama"]["why"])


def test_memory_that_the_library_cannot_have(rig):
    """Really: the address space ends 16 MiB further on, from when the device is opened. How that ends is the system's matter."""
    rig.start("open limit")
    status, reply = rig.ask()
    stands_in(rig, status, reply, "exited with status|killed by signal|memory|alloc")
    assert rig.ask("native")[0] == 200


def test_a_model_that_does_not_fit(rig):
    """Whoever names an engine gets no other one for want of memory, and the figures."""
    rig.start(CAMA_MAX_MEMORY="1MB")
    status, reply = rig.ask()
    assert status == 507 and "it does not fit" in reply["error"], reply
    assert rig.ask("native")[0] in (200, 507)


@pytest.mark.parametrize("how", ["damaged", "a folder", "newer"])
def test_a_database_that_cannot_be_used_is_no_reason_not_to_start(rig, how):
    path = rig.folder / "data" / "cama.db"
    path.parent.mkdir()
    if how == "a folder":
        path.mkdir()
    elif how == "damaged":
        path.write_bytes(b"SQLite format 3\0" + b"\xa5" * 8000)
    else:
        rig.start()
        rig.server.stop()
        with open(path, "r+b") as f:
            f.seek(60)
            f.write(bytes([0, 0, 0, 99]))
    rig.start("read kill")
    assert re.search("warn +database of cama: .*: what is learned of engines ends with this server", rig.server.log())
    status, reply = rig.ask()
    stands_in(rig, status, reply, KILLED)
    assert len(rig.engines()["failures"]) == 1  # for the life of this server


def test_several_servers_share_it(rig, make_server):
    rig.start("read kill")
    other = make_server(**rig.env)
    other.add_data(rig.tiny, "tiny")
    assert fallback_of(rig.ask()[1])
    reply = other.post("/api/generate", model="tiny", prompt="x", raw=True, stream=False,
                       options={**GREEDY, "num_predict": 1})
    assert "mlx failed on this model on" in reply["cama"]["why"]
