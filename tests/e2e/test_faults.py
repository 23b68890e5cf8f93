"""What happens when a process dies, hangs or runs out of something: a typed error at once, and the next request works."""
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest
from server import GREEDY, MODEL, alive, resident, wait_for

STOPPED = "model runner has unexpectedly stopped"
STORY = {"model": MODEL, "prompt": "Tell a long story.", "raw": True, "options": {**GREEDY, "num_predict": 3000, "num_ctx": 4096}}

ALONE = {"CAMA_MLX_PLUGIN": "none", "CAMA_ENGINE": "auto"}  # else who has sent nothing yet is run again (test_fallback.py)


def generate(server, n=4, **more):
    return server.request("POST", "/api/generate", {"model": MODEL, "prompt": "Why is the sky blue?", "stream": False,
                                                    "options": {**GREEDY, "num_predict": n}, **more}, 120)


@pytest.fixture
def own(make_server, model):
    s = make_server(CAMA_HANG_TIMEOUT="2s")
    s.add_model(model)
    return s


def test_runner_killed_in_mid_stream(own):
    c, r = own.open("POST", "/api/generate", STORY)
    assert json.loads(r.readline())["response"]
    (runner,) = own.runners()
    os.kill(runner, signal.SIGKILL)
    died = time.monotonic()
    last = json.loads(r.read().splitlines()[-1])
    assert STOPPED in last["error"] and time.monotonic() - died < 1
    c.close()
    assert generate(own)[0] == 200
    assert "signal 9" in own.log()


def test_runner_killed_before_the_first_token(make_server, model):
    own = make_server(CAMA_HANG_TIMEOUT="2s", **ALONE)
    own.add_model(model)
    assert generate(own)[0] == 200
    (runner,) = own.runners()
    os.kill(runner, signal.SIGSTOP)
    got = []
    t = threading.Thread(target=lambda: got.append(generate(own)))
    t.start()
    time.sleep(0.2)
    os.kill(runner, signal.SIGKILL)
    t.join(5)
    status, reply = got[0]
    assert status == 500 and STOPPED in reply["error"]
    assert generate(own)[0] == 200


def test_runner_stopped_in_mid_stream(own):
    c, r = own.open("POST", "/api/generate", STORY)
    assert r.readline()
    (runner,) = own.runners()
    os.kill(runner, signal.SIGSTOP)
    stopped = time.monotonic()
    last = json.loads(r.read().splitlines()[-1])
    assert STOPPED in last["error"] and time.monotonic() - stopped < 6
    assert not alive(runner)
    c.close()
    assert generate(own)[0] == 200


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP])
def test_runner_lost_while_loading(make_server, model, signal_number):
    server = make_server(CAMA_HANG_TIMEOUT="2s", CAMA_LOAD_TIMEOUT="2s", CAMA_WEIGHTS="memory", **ALONE)
    server.add_model(model)
    got = []
    t = threading.Thread(target=lambda: got.append(generate(server)))
    t.start()
    (runner,) = wait_for(server.runners, 10, 0.0005)
    os.kill(runner, signal_number)
    t.join(20)
    status, reply = got[0]
    assert status == 500 and STOPPED in reply["error"], reply
    assert generate(server)[0] == 200


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_no_orphan_when_the_server_ends(own, signal_number):
    c, r = own.open("POST", "/api/generate", STORY)
    assert r.readline()
    (runner,) = own.runners()
    own.process.send_signal(signal_number)
    if signal_number == signal.SIGTERM:
        time.sleep(0.3)  # two that are pending together are one
        own.process.send_signal(signal.SIGTERM)  # the second one does not wait for answers
    own.process.wait(10)
    wait_for(lambda: not alive(runner), 1)
    c.close()


def test_drain_lets_an_answer_end(own):
    c, r = own.open("POST", "/api/generate", {**STORY, "options": {**GREEDY, "num_predict": 60}})
    assert r.readline()
    own.process.send_signal(signal.SIGTERM)
    last = json.loads(r.read().splitlines()[-1])
    assert last["done"] and last["eval_count"] == 60
    c.close()
    assert own.process.wait(10) == 0


def test_runner_out_of_memory(make_server, model):
    server = make_server(CAMA_MAX_MEMORY="60MB")
    server.add_model(model)
    status, reply = generate(server)
    assert status == 507 or status == 500
    assert "MB" in reply["error"] and "context" in reply["error"]


def test_corrupt_model(make_server, model, tmp_path):
    server = make_server()
    server.add_model(model)
    with open(model, "rb") as f:
        data = bytearray(f.read(3_000_000))
    bad = tmp_path / "cut.gguf"
    bad.write_bytes(data)
    with pytest.raises(AssertionError):
        server.add_model(str(bad), "cut")
    assert generate(server)[0] == 200


def test_port_taken(own, cama_bin):
    p = subprocess.run([cama_bin, "serve"], env=own.environment(), capture_output=True, text=True, timeout=20)
    assert p.returncode == 1
    assert "address already in use" in p.stderr and "OLLAMA_HOST" in p.stderr


def test_store_not_writable_or_corrupt(own):
    models = os.path.join(own.root, "models", "manifests", "registry.ollama.ai", "library")
    os.makedirs(os.path.join(models, "broken"))
    with open(os.path.join(models, "broken", "latest"), "w", encoding="utf-8") as f:
        f.write('{"schemaVersion": 2, "layers": [')
    assert MODEL in [m["name"] for m in own.request("GET", "/api/tags")[1]["models"]]
    status, reply = own.request("POST", "/api/generate", {"model": "broken", "prompt": "x"})
    assert status >= 400 and "broken" in reply["error"]
    assert generate(own)[0] == 200


def test_a_thousand_loads_and_unloads(make_server, tmp_path, cama_bin):
    """Memory, descriptors and threads of the server are flat; each runner is gone."""
    tiny = os.environ["CAMA_TINY_MODEL"]
    server = make_server()
    server.add_model(tiny, "tiny")

    def turn():
        for keep in (60, 0):
            status, reply = server.request("POST", "/api/generate", {"model": "tiny", "keep_alive": keep})
            assert status == 200, reply
        wait_for(lambda: not server.ps(), 5, 0.001)

    def figures():
        return resident(server.pid), len(os.listdir(f"/proc/{server.pid}/fd")), len(os.listdir(f"/proc/{server.pid}/task"))

    for _ in range(100):
        turn()
    memory, n_fd, n_thread = figures()
    for _ in range(900):
        turn()
    memory_end, n_fd_end, n_thread_end = figures()
    assert memory_end - memory < 2 << 20, f"{memory} -> {memory_end}"
    assert n_fd_end <= n_fd + 2 and n_thread_end <= n_thread + 2
    assert not server.runners()


# ---- what the log tells when it is asked for more ----

def test_debug_log(make_server, model):
    server = make_server(CAMA_DEBUG="1", CAMA_MAX_LOADED_MODELS="1")
    server.add_model(model)
    server.add_model(model, "other", system="Answer in rhymes.")
    chat = {"model": MODEL, "stream": False, "options": {**GREEDY, "num_predict": 4},
            "messages": [{"role": "user", "content": "Name a remarkable zucchini."}]}
    reply = server.post("/api/chat", **chat)
    server.post("/api/chat", **chat)
    assert server.request("POST", "/api/generate", {"model": MODEL, "prompt": "zucchini " * 5000, "stream": False, "truncate": False,
                                                    "options": {"num_ctx": 256}})[0] == 400
    log = server.log()
    debug = "".join(line[25:] + "\n" for line in log.splitlines() if line[25:].startswith("debug "))
    assert re.search(r"head of sha256:[0-9a-f]{64} read: [0-9.]+ ms", debug)
    assert f"job of {MODEL}: chat, template jinja" in debug
    assert re.search(rf"job 1 of {MODEL} submitted: \d+ bytes, num_ctx 4096\n", debug)
    assert re.search(rf"job 1 of {MODEL} begins after [0-9.]+ s, [0-9.]+ s of it loading\n", debug)
    done = re.findall(rf"job \d of {MODEL} done \((?:length|stop)\): prompt (\d+) tokens, (\d+) of them cached, [0-9.]+ ms; answer 4 tokens", debug)
    assert done[0] == (str(reply["prompt_eval_count"]), "0") and int(done[1][1]) > 10
    assert re.search(rf"job 3 of {MODEL} failed: .+\n", debug)
    assert "zucchini" not in log and "rhymes" not in log and reply["message"]["content"] not in log


def test_no_debug_log_unless_asked(own):
    assert generate(own)[0] == 200
    assert " debug " not in own.log()
