"""A hostile peer on each side of the wire, as processes.

Under `cama serve`: tests/e2e/preload_runner.c puts tests/e2e/fake_runner.py in the place of a runner for one request.
Over `cama runner`: the tests hold the other end of its socket.
"""
import os
import platform
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import fake_runner
import pytest
from gguf_copy import with_vocabulary
from server import GREEDY, alive, resident, wait_for
from wire_frames import NUMBER, NUMBER, frame, header, receive, send

STOPPED = "model runner has unexpectedly stopped"

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="needs LD_PRELOAD and /proc")


@pytest.fixture(scope="session")
def tiny():
    return with_vocabulary(Path(os.environ["CAMA_TINY_MODEL"]).read_bytes())


# ---- a runner that lies ----

class Liar:
    """A server, and what its next runner shall do."""

    def __init__(self, make_server, folder, tiny):
        here = Path(__file__).parent
        library, program = folder / "preload_runner.so", folder / "fake"
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", str(library), str(here / "preload_runner.c")],
                       check=True)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E -B "{here / "fake_runner.py"}"\n')
        program.chmod(0o755)
        self.order = folder / "order"
        self.server = make_server(LD_PRELOAD=str(library), FAKE_WHILE=str(self.order), FAKE_PROGRAM=str(program),
                                  CAMA_HANG_TIMEOUT="1s", CAMA_LOAD_TIMEOUT="1s", ASAN_OPTIONS="verify_asan_link_order=0")
        self.server.add_data(tiny, "tiny")

    def ask(self):
        begun = time.monotonic()
        status, reply = self.server.request("POST", "/api/generate", {
            "model": "tiny", "prompt": "ab", "stream": False, "options": {**GREEDY, "num_predict": 2, "num_ctx": 64}}, 20)
        return status, reply, time.monotonic() - begun

    def unload(self):
        self.server.request("POST", "/api/generate", {"model": "tiny", "keep_alive": 0})
        wait_for(lambda: not self.server.ps() and not self.server.runners(), 5)

    def lie(self, stage, kind):
        """The request that meets the lie."""
        self.unload()
        self.order.write_text(f"{stage} {kind}")
        answer = self.ask()
        self.order.unlink()
        return answer


@pytest.fixture(scope="module")
def liar(cama_bin, tmp_path_factory, tiny):
    from server import Server
    root = tmp_path_factory.mktemp("liar")

    made = []

    def make(**env):
        made.append(Server(cama_bin, str(root), **env))
        return made[0].start()

    yield Liar(make, root, tiny)
    assert made[0].stop() == 0, made[0].log()


def expect_works(liar, where):
    status, reply, _ = liar.ask()
    assert status == 200 and reply["done"], (where, reply)
    log = liar.server.log()
    assert "\nline" not in log and "\n2026-01-01" not in log  # what a runner says starts no line
    assert "\x1b" not in log and "\x00" not in log and "\x07" not in log
    assert resident(liar.server.pid) < 300 << 20


BAD = [(stage, kind) for stage, own in fake_runner.AT.items() for kind in [*fake_runner.ALWAYS, *own]
       if not (stage == "hello" and kind == "hello-again")]


@pytest.mark.parametrize("stage, kind", BAD)
def test_runner_that_lies(liar, stage, kind):
    """The request ends in a typed error at once, the runner is gone, the next one works."""
    status, reply, took = liar.lie(stage, kind)
    where = (stage, kind, status, reply, took)
    assert status in (500, 507) and len(reply["error"]) > 10, where
    assert STOPPED in reply["error"] or kind.startswith(("refuse", "fail", "needs", "calls")), where
    assert took < (13 if stage == "hello" and kind in ("silent", "trickle", "fds-announced") else 5), where
    if kind.startswith(("fail", "calls")):  # it said no, politely: it stays
        liar.unload()
    expect_works(liar, where)


@pytest.mark.parametrize("kind", fake_runner.FINE)
def test_runner_that_is_odd(liar, kind):
    status, reply, took = liar.lie("job", kind)
    assert status == 200 and reply["done"], (kind, reply)
    assert took < 5
    expect_works(liar, kind)


@pytest.mark.parametrize("kind", [*fake_runner.ABOUT, *(k for k in fake_runner.ALWAYS if k not in ("silent", "trickle", "fds-announced"))])
def test_who_lies_about_engines(liar, kind):
    """Nothing can be known then; the list is whole, soon, and the next answer is asked for anew."""
    def known():
        status, reply = liar.server.request("GET", "/api/engines", timeout=20)
        assert status == 200, (kind, reply)
        return reply if reply["state"] == "known" else None

    liar.unload()
    liar.order.write_text(f"about {kind}")
    begun = time.monotonic()
    reply = wait_for(known, 15)
    took = time.monotonic() - begun
    liar.order.unlink()
    assert took < 5, (kind, took)
    assert all(isinstance(e["name"], str) and "in_use" in e for e in reply["engines"]), reply
    assert not any(e.get("available") for e in reply["engines"] if e["name"] == "mlx"), reply
    expect_works(liar, kind)


# ---- a server that lies ----

class Runner:
    """`cama runner`, and the other end of its socket."""

    def __init__(self, cama_bin):
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(10)

        def take():
            os.dup2(theirs.fileno(), 3)
            os.set_inheritable(3, True)

        self.process = subprocess.Popen([cama_bin, "runner"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, pass_fds=(3,), preexec_fn=take)
        theirs.close()
        self.last_job = 1000

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def send(self, data, fds=()):
        """What can be sent: a runner may leave in the middle."""
        try:
            send(self.sock, data, fds)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def next(self, *kinds):
        """The next frame of these kinds, or FAIL, REFUSE; None at the end."""
        try:
            while True:
                got = receive(self.sock)
                if got[0] in (*kinds, "FAIL", "REFUSE"):
                    return got
        except (EOFError, ConnectionResetError):
            return None

    def load(self, path, stage="READY", **more):
        """Up to a stage: "" (nothing), HELLO, PLAN, READY."""
        if stage in ("HELLO", "PLAN", "READY"):
            assert self.next("HELLO")
        if stage in ("PLAN", "READY"):
            with open(path, "rb") as f:
                self.send(frame("LOAD", {"files": 1, "name": "tiny", "threads": 1, "n_ctx": 64, **more}, n_fd=1), (f.fileno(),))
            assert self.next("PLAN")[0] == "PLAN"
        if stage == "READY":
            self.send(frame("START", {}))
            assert self.next("READY")[0] == "READY"

    def job(self, head, data=b""):
        """Its end: DONE or FAIL; None when the runner left. Canceled when it is long."""
        self.last_job += 1
        self.send(frame("JOB", head, data, self.last_job))
        self.sock.settimeout(0.5)
        try:
            while (got := self.next("DONE")) and got[1] != self.last_job:
                pass
        except TimeoutError:
            self.send(frame("CANCEL", {}, job=self.last_job))
            self.sock.settimeout(10)
            while (got := self.next("DONE")) and got[1] != self.last_job:
                pass
        self.sock.settimeout(10)
        return got

    def works(self):
        got = self.job({"kind": "generate", "raw": True, "prompt": "ab", "options": {"num_predict": 2, "num_ctx": 64}})
        return got and got[0] == "DONE"

    def ended(self, where, close=False, refused=False):
        """It left by itself, within 5 s, and said why (on the wire, where it refused)."""
        if close:
            self.sock.close()
        try:
            status = self.process.wait(5)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"hangs: {where}") from None
        text = self.process.stderr.read().decode()
        assert status in (0, 1) and "Sanitizer" not in text, (where, status, text)
        assert status == 0 or refused or text.startswith("cama runner: "), (where, text)
        return status, text


@pytest.fixture(scope="module")
def weights(tmp_path_factory, tiny):
    path = tmp_path_factory.mktemp("weights") / "tiny.gguf"
    path.write_bytes(tiny)
    return path


STAGES = ["", "HELLO", "PLAN", "READY"]
# Ends a runner wherever it comes.
LIES = {
    "garbage": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n          ", "zeros": bytes(4096), "ones": b"\xff" * 4096,
    "old-version": header("PING", version=0), "new-version": header("PING", version=2), "type-0": header(0),
    "type-next": header(len(NUMBER) + 1), "type-255": header(255), "frame-of-runner": frame("HELLO", {"version": 1}),
    "text-down": frame("TEXT", data=b"x", job=1), "huge-head": header("PING", 0xFFFFFFFF), "huge-data": header("JOB", 0, 0xFFFFFFFF, 1),
    "head-over-limit": header("JOB", (64 << 20) + 1), "data-over-limit": header("JOB", 0, (256 << 20) + 1),
    "no-json": frame("PING", b'{"n":'), "json-list": frame("PING", b"[1,2,3]"), "json-text": frame("PING", b'"x"'),
    "deep-json": frame("PING", b'{"a":' * 50000),
    "bad-utf8-json": frame("PING", b'{"n":"\xff\xfe"'), "fds-announced": frame("PING", {}, n_fd=3), "fds-255": header("PING", n_fd=255),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", LIES)
def test_serve_that_lies(cama_bin, weights, stage, kind):
    with Runner(cama_bin) as r:
        r.load(weights, stage)
        r.send(LIES[kind])
        status, text = r.ended((stage, kind), close=kind == "ones")
        assert status == 1 or kind == "ones", (stage, kind)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("data", [b"", header("JOB")[:11], header("JOB", 50, 0) + b"{", header("JOB", 0, 256 << 20) + b"x" * 5000,
                                  header("JOB", 64 << 20, 0) + b" " * 5000], ids=["whole", "half-header", "half-head", "half-data", "half-large-head"])
def test_serve_that_leaves_in_the_middle(cama_bin, weights, stage, data):
    """What was announced takes no memory before it is there."""
    with Runner(cama_bin) as r:
        r.load(weights, stage)
        before = resident(r.process.pid)
        r.send(data)
        time.sleep(0.02)
        assert stage == "" or resident(r.process.pid) < before + (16 << 20)
        r.ended((stage, data[:30]), close=True)


@pytest.mark.parametrize("stage, data", [
    ("HELLO", frame("START", {})), ("HELLO", frame("JOB", {"kind": "generate"}, job=1)), ("PLAN", frame("JOB", {"kind": "generate"}, job=1)),
    ("PLAN", frame("LOAD", {"files": 1})), ("READY", frame("LOAD", {"files": 1})), ("READY", frame("START", {}))])
def test_frames_out_of_turn(cama_bin, weights, stage, data):
    with Runner(cama_bin) as r:
        r.load(weights, stage)
        r.send(data)
        status, text = r.ended(data)
        assert status == 1 and "does not belong here" in text


@pytest.mark.parametrize("stage", STAGES)
def test_descriptors_where_none_belong(cama_bin, weights, stage):
    for n in (1, 16, 20):
        with Runner(cama_bin) as r:
            r.load(weights, stage)
            r.send(frame("PING", {"n": 1}, n_fd=min(n, 16)), (2,) * n)
            assert r.ended((stage, n))[0] == 1


def descriptors(folder, weights):
    """What may be passed instead of a model's file."""
    data = weights.read_bytes()

    def file(name, content):
        (folder / name).write_bytes(content)
        return os.open(folder / name, os.O_RDONLY)

    yield "pipe", os.pipe()[0]
    yield "pipe-to-write", os.pipe()[1]
    yield "folder", os.open(folder, os.O_RDONLY)
    yield "socket", os.dup(socket.socketpair()[0].detach())
    yield "null", os.open("/dev/null", os.O_RDWR)
    yield "zero", os.open("/dev/zero", os.O_RDWR)
    yield "path-only", os.open(weights, os.O_PATH)
    yield "write-only", os.open(weights, os.O_WRONLY)
    yield "proc", os.open("/proc/self/status", os.O_RDONLY)
    yield "events", os.eventfd(0)
    yield "empty", file("empty", b"")
    yield "short", file("short", data[:7])
    yield "cut-head", file("cut-head", data[:3000])
    yield "cut-data", file("cut-data", data[:len(data) // 2])
    yield "one-byte-less", file("less", data[:-1])
    yield "noise", file("noise", os.urandom(1 << 20))
    yield "noise-behind-magic", file("magic", data[:24] + os.urandom(1 << 20))
    yield "sparse-terabyte", sparse(folder / "sparse", 1 << 40)
    yield "memory", in_memory(data[:5000])


def sparse(path, n):
    with open(path, "wb") as f:
        f.write(b"GGUF")
        try:
            f.truncate(n)
        except OSError:
            f.truncate(1 << 30)
    return os.open(path, os.O_RDONLY)


def in_memory(data):
    fd = os.memfd_create("model")
    os.write(fd, data)
    return fd


def test_descriptors_that_are_no_models(cama_bin, weights, tmp_path):
    for name, fd in descriptors(tmp_path, weights):
        with Runner(cama_bin) as r:
            r.load(weights, "HELLO")
            r.send(frame("LOAD", {"files": 1, "name": name}, n_fd=1), (fd,))
            got = r.next("PLAN")
            assert got and got[0] == "REFUSE" and got[2]["text"], (name, got)
            r.ended(name, refused=True)
        os.close(fd)


ODD = [None, True, -1, 0, 1, 3, 255, 4097, 1 << 20, 1 << 31, 1 << 32, -(1 << 63), 1 << 63, 1e300, -1e300, 0.5, "", "x", "f16", "q8_0",
       "auto", "\x00\x1b[31m", "y" * 100000, [], [1, "x", None], {}, {"a": {"b": [1]}}]


@pytest.mark.parametrize("field", ["files", "projector", "engine", "n_ctx", "n_parallel", "n_batch", "threads", "kv_type", "activations",
                                   "weights", "max_bytes", "name"])
def test_load_with_odd_fields(cama_bin, weights, field):
    """Refused with a text, or planned, loaded and working."""
    for value in ODD:
        with Runner(cama_bin) as r:
            where = (field, str(value)[:50])
            r.load(weights, "HELLO")
            head = {"files": 1, "name": "tiny", "threads": 1, "n_ctx": 64, "max_bytes": 1 << 30, field: value}
            with open(weights, "rb") as f:
                r.send(frame("LOAD", head, n_fd=1), (f.fileno(),))
            got = r.next("PLAN")
            if got and got[0] == "PLAN":
                r.send(frame("START", {"max_bytes": 1 << 30}))
                got = r.next("READY")
                if got and got[0] == "READY":
                    assert r.works(), where
                    r.send(frame("QUIT"))
            refused = got and got[0] == "REFUSE"
            assert not refused or got[2]["text"], where
            r.ended(where, refused=refused)


JOBS = ["model", "template", "raw", "prompt", "suffix", "messages", "tools", "think", "n_context", "truncate", "shift", "logprobs", "top_logprobs",
        "want_context", "credit", "render_only", "format", "image_bytes", "options"]
OPTIONS = ("num_ctx num_batch num_gpu main_gpu use_mmap num_thread draft_num_predict num_keep seed num_predict top_k top_p min_p typical_p "
           "temperature repeat_last_n repeat_penalty presence_penalty frequency_penalty stop").split()


@pytest.fixture(scope="module")
def hostage(cama_bin, weights):
    """One loaded runner that has to live through everything."""
    with Runner(cama_bin) as r:
        r.load(weights)
        yield r
        r.send(frame("QUIT"))
        status, text = r.ended("the end")
        assert status == 0, text


def survives(r, where, head, data=b""):
    begun = time.monotonic()
    got = r.job(head, data)
    assert got, (where, r.process.poll(), r.process.poll() is not None and r.process.stderr.read())
    assert got[0] == "DONE" or got[2]["text"], (where, got)
    assert time.monotonic() - begun < 5, where


@pytest.mark.parametrize("field", JOBS)
def test_job_with_odd_fields(hostage, field):
    for kind in ("generate", "chat"):
        base = {"kind": kind, "model": "tiny", "options": {"num_predict": 2, "num_ctx": 64},
                **({"prompt": "ab"} if kind == "generate" else {"messages": [{"role": "user", "content": "ab"}]})}
        for value in ODD:
            survives(hostage, (kind, field, str(value)[:50]), {**base, field: value})
    assert hostage.works()


@pytest.mark.parametrize("option", OPTIONS)
def test_job_with_odd_options(hostage, option):
    for value in ODD:
        survives(hostage, (option, str(value)[:50]), {
            "kind": "generate", "raw": True, "prompt": "ab", "options": {"num_predict": 2, "num_ctx": 64, option: value}})
    assert hostage.works()


def test_jobs_of_odd_shape(hostage):
    say = {"kind": "generate", "raw": True, "prompt": "ab", "options": {"num_predict": 2, "num_ctx": 64}}
    chat = {"kind": "chat", "options": say["options"]}
    ids = (2**31 - 1).to_bytes(4, "little") + b"\xff" * 4 + bytes(4)
    for head, data in [
        (b"", b""), (b'{"kind":"generate","a":[' + b"1," * 2000000 + b"1]}", b""), ({}, b""), ({"kind": 5}, b""), ({"kind": "nonsense"}, b""), ({"kind": "embed"}, b""), ({"kind": "tokenize"}, b""),
        ({"kind": "detokenize"}, b"123"), ({"kind": "detokenize"}, ids), ({"kind": "detokenize", "special": "x"}, ids * 1000),
        ({**say, "n_context": 3}, ids), ({**say, "n_context": 1 << 40}, ids), ({**say, "n_context": -1}, ids), ({**say, "n_context": 2}, ids[:5]),
        ({**say, "image_bytes": [1 << 40]}, b"x"), ({**say, "image_bytes": [-1, 5]}, b"x"), ({**say, "image_bytes": [2, 2]}, b"abcd"),
        ({**say, "image_bytes": [1] * 100000}, b"x" * 100000), (say, b"x" * (1 << 20)),
        ({**say, "prompt": "x" * (8 << 20)}, b""), ({**say, "prompt": "\x00" * 1000}, b""), ({**say, "truncate": False, "prompt": "ab " * 9999}, b""),
        ({**chat, "messages": [{}] * 10000}, b""), ({**chat, "messages": [{"role": 5, "content": []}]}, b""),
        ({**chat, "messages": [{"role": "user", "content": "x", "images": [0, -1, 1 << 40, "x"]}]}, b""),
        ({**chat, "messages": [{"role": "assistant", "tool_calls": [{"function": None}, 5, {"function": {"name": 5, "arguments": "x"}}]}]}, b""),
        ({**chat, "messages": [{"role": "user", "content": "a"}] * 200000}, b""),
        ({**chat, "template": "{{ range .Messages }}" * 300, "messages": []}, b""),
        ({**chat, "template": "{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}", "messages": []}, b""),
        ({**chat, "template": "{{ .Nothing }}{{ index .Messages 99 }}", "messages": []}, b""),
        ({**say, "raw": False, "template": "{{ printf \"%99999999d\" 1 }}"}, b""), ({**say, "options": {"stop": ["x" * 10000] * 1000}}, b""),
        ({"kind": "tokenize", "inputs": ["a"] * 100000}, b""), ({"kind": "tokenize", "inputs": [5, None, "x"]}, b""),
        ({"kind": "embed", "inputs": "x"}, b""), ({"kind": "embed", "inputs": [], "dimensions": -1}, b""),
        ({"kind": "embed", "inputs": ["ab"] * 500, "dimensions": 1 << 40, "normalize": 7}, b""),
    ]:
        survives(hostage, str(head)[:100], head, data)
    assert hostage.works()


def test_orders_for_jobs_that_are_not_there(hostage):
    for kind in ("CREDIT", "CANCEL", "BUDGET", "PING"):
        for value in ODD:
            hostage.send(frame(kind, {"bytes": value, "n": value, "threads": value, "spin_us": value}, job=1 << 63))
    assert hostage.works()
    for value in [(1 << 63) - 1] * 3:
        hostage.send(frame("CREDIT", {"bytes": value}, job=hostage.last_job + 1))
    twice = frame("JOB", {"kind": "generate", "raw": True, "prompt": "ab", "options": {"num_predict": 500}}, job=77)
    hostage.send(twice + twice + frame("CREDIT", {"bytes": (1 << 63) - 1}, job=77) * 3 + frame("CANCEL", {}, job=77) * 3)
    assert hostage.works()


def test_a_thousand_jobs_at_once_then_gone(cama_bin, weights):
    with Runner(cama_bin) as r:
        r.load(weights)
        r.send(b"".join(frame("JOB", {"kind": "generate", "raw": True, "prompt": "ab " * (i % 50)}, job=i) for i in range(1000)))
        time.sleep(0.2)
        assert r.ended("gone", close=True)[0] == 0


def test_a_serve_that_does_not_read(cama_bin, weights):
    """Text waits for credit, what else there is in a bounded queue: then the runner leaves."""
    with Runner(cama_bin) as r:
        r.load(weights)
        before = resident(r.process.pid)
        ping = frame("PING", {"n": 1}) * 1000
        r.sock.settimeout(1)
        try:
            for _ in range(300):
                r.send(ping)
        except TimeoutError:
            pass
        try:
            assert resident(r.process.pid) < before + (64 << 20)
        except (AssertionError, OSError):
            assert not alive(r.process.pid)  # it may end while it is looked at
        r.ended("does not read", close=True)


def test_every_type_is_known_here():
    text = (Path(__file__).parents[2] / "src" / "wire" / "wire.h").read_text()
    assert list(NUMBER) == re.findall(r"^    X\((\w+), (?:SERVE|RUNNER)\)", text, re.M)
