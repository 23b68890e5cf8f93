"""A runner that talks nonsense: once, at the place that the file FAKE_WHILE names ("plan huge-head"), and then goes on."""
import os
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire_frames import NUMBER, frame, header, receive, send  # noqa: E402

FIGURES = {"total": 1000, "weights": 900, "kv": 50, "scratch": 50, "available": 1 << 40, "n_ctx": 64, "n_ctx_fits": 2048,
           "n_ctx_train": 2048, "engine": "native", "why": "", "device": "cpu", "activations": "int8", "kv_type": "f16",
           "weights_in": "mapped", "arch": "llama", "n_embd": 64, "n_vocab": 1024, "pooling": 0, "can_generate": True,
           "embeds": False, "template": "", "bos": "", "load_ns": 1, "sandbox": "none"}
ABSURD = {"total": -1, "weights": -(1 << 63), "kv": 1 << 64, "available": 1e300, "n_ctx": 1e99, "n_ctx_fits": -5, "version": 99,
          "engine": [], "device": {}, "load_ns": "x", "code": 17, "level": 7, "reason": 5, "steps": None}


def whole(data, fds=()):
    return lambda sock, job: send(sock, data(job) if callable(data) else data, fds)


def leave(data):
    def bad(sock, job):
        send(sock, data)
        os._exit(0)
    return bad


def flood(data, n):
    def bad(sock, job):
        one = data(job) if callable(data) else data
        for _ in range(n):
            send(sock, one)
    return bad


def silent(sock, job):
    time.sleep(60)


def crash(sock, job):
    os.abort()


def trickle(sock, job):
    """A frame that never becomes whole, though bytes come."""
    send(sock, header("LOG", 2, 1 << 20) + b"{}")
    while True:
        send(sock, b"x")
        time.sleep(0.1)


# Out of turn or malformed wherever it comes: the request has to end in an error.
ALWAYS = {
    "garbage": whole(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n          "), "zeros": whole(bytes(4096)), "ones": whole(b"\xff" * 4096),
    "old-version": whole(header("LOG", version=0)), "new-version": whole(header("LOG", version=2)),
    "type-0": whole(header(0)), "type-next": whole(header(len(NUMBER) + 1)), "type-255": whole(header(255)),
    "frame-of-serve": whole(frame("QUIT")), "load-back": whole(frame("LOAD", {"files": 1})),
    "huge-head": whole(header("LOG", 0xFFFFFFFF)), "huge-data": whole(header("TEXT", 0, 0xFFFFFFFF, 1)),
    "no-json": whole(frame("LOG", b"{\"level\":")), "json-list": whole(frame("LOG", b"[1,2,3]")),
    "deep-json": whole(frame("LOG", b"[" * 100000)), "wide-json": whole(frame("LOG", b"{\"a\":[" + b"1," * 1900000 + b"1]}")),
    "fds-announced": whole(header("LOG", n_fd=3)), "fds-unasked": whole(header("LOG"), (0, 1, 2)),
    "fds-16": whole(frame("LOG", n_fd=16), (2,) * 16), "text-of-nobody": whole(frame("TEXT", data=b"x", job=1 << 63)),
    "done-of-nobody": whole(frame("DONE", {"reason": "stop"}, job=77)), "fail-of-nobody": whole(frame("FAIL", {}, job=78)),
    "half-header": leave(header("LOG")[:11]), "half-frame": leave(header("LOG", 10, 50) + b"{}"), "leaves": leave(b""),
    "silent": silent, "crash": crash, "trickle": trickle, "hello-again": whole(frame("HELLO", {"version": 1})),
}
# What makes sense only there; True: the request may as well succeed.
AT = {
    "hello": {"version-99": whole(frame("HELLO", {"version": 99})), "version-text": whole(frame("HELLO", {"version": "1"})),
              "no-version": whole(frame("HELLO", {})), "ready-first": whole(frame("READY", FIGURES))},
    "plan": {"absurd": whole(frame("PLAN", ABSURD)), "ready-first": whole(frame("READY", FIGURES)),
             "refuse-absurd": whole(frame("REFUSE", ABSURD)), "refuse-ok": whole(frame("REFUSE", {"code": "ERR_IO", "text": ""})),
             "refuse-escapes": whole(frame("REFUSE", {"code": "ERR_IO", "text": "\x1b[31m\x07red\n\nline"})),
             "needs-everything": whole(frame("PLAN", {**FIGURES, "total": 1 << 62}))},
    "ready": {"absurd-then-leaves": leave(frame("READY", ABSURD)), "plan-again": whole(frame("PLAN", FIGURES)),
              "refuse-absurd": whole(frame("REFUSE", ABSURD)), "progress-only": silent},
    "job": {"bad-utf8": whole(lambda job: frame("TEXT", data=b"\xff\xfe\xed\xa0\x80", job=job)),
            "vector": whole(lambda job: frame("VECTOR", {"index": -1}, b"123", job)),
            "fail-absurd": whole(lambda job: frame("FAIL", ABSURD, job=job)),
            "fail-ok": whole(lambda job: frame("FAIL", {"code": "OK"}, job=job)),
            "ready-again": whole(frame("READY", FIGURES)), "plan-again": whole(frame("PLAN", FIGURES)),
            "calls-no-json": whole(lambda job: frame("CALLS", data=b"{[", job=job) + frame("FAIL", {}, job=job)),
            "no-credit": flood(lambda job: frame("TEXT", data=b"x" * 65536, job=job), 5000)},
}
# In the place of what engines there are.
ABOUT = {
    "absurd": whole(frame("ABOUT", ABSURD)), "no-list": whole(frame("ABOUT", {"engines": {"name": "mlx"}})),
    "empty": whole(frame("ABOUT", {"engines": []})), "plan": whole(frame("PLAN", {})),
    "strange": whole(frame("ABOUT", {"engines": [1, None, [], {}, {"name": 5}, {"name": "\x1b[31m\n", "why": "\x07" * 5000}]})),
    "many": whole(frame("ABOUT", {"engines": [{"name": f"e{i}"} for i in range(20000)]})),
    "progress": flood(frame("PROGRESS", {"engine": "..\"/\n" * 100}), 1000),
    "progress-then-dies": leave(frame("PROGRESS", {"engine": "mlx"})),
}
# Odd, and no reason to end anything.
FINE = {
    "pongs": flood(frame("PONG", {"n": -1, "steps": "x", "running": 1 << 70}), 20000),
    "logs": flood(frame("LOG", {"level": 2}, b"y" * 20000), 300),
    "log-escapes": whole(frame("LOG", {"level": 99}, b"\x1b[31m\x00\xff\n2026-01-01 error forged\n")),
    "warnings": flood(lambda job: frame("WARN", {"code": "\x1b[0m", "text": "w" * 500, "n": -1}, job=job), 2000),
    "done-absurd": whole(lambda job: frame("DONE", {**ABSURD, "n_token": -1, "eval_ns": 1e300, "seed": "x"}, job=job)),
    "done-with-ids": whole(lambda job: frame("DONE", {"reason": "stop"}, b"1234567", job)),
}


def bad_of(stage, kind):
    return {**ALWAYS, **AT.get(stage, ABOUT), **FINE}[kind]


def main():
    with open(os.environ["FAKE_WHILE"], encoding="utf-8") as f:
        stage, kind = f.read().split()
    bad = bad_of(stage, kind)
    sock = socket.socket(fileno=3)
    if stage == "hello":
        bad(sock, 0)
    send(sock, frame("HELLO", {"version": 1, "pid": os.getpid()}))
    while True:
        what, job, head, _, fds = receive(sock)
        for fd in fds:
            os.close(fd)
        if {"LOAD": "plan", "START": "ready", "JOB": "job", "ENGINES": "about"}.get(what) == stage:
            bad(sock, job)
        if what == "ENGINES":
            send(sock, frame("ABOUT", {"engines": [{"name": "native", "available": True}]}))
            return
        if what == "LOAD":
            send(sock, frame("PLAN", FIGURES))
        elif what == "START":
            send(sock, frame("READY", FIGURES))
        elif what == "JOB" and kind in FINE and "done" not in kind:
            send(sock, frame("DONE", {"reason": "stop", "n_prompt": 1, "n_token": 0}, job=job))
        elif what == "PING":
            send(sock, frame("PONG", {"n": head.get("n"), "steps": 1, "running": 1}))
        elif what == "QUIT":
            return


if __name__ == "__main__":
    try:
        main()
    except (EOFError, OSError):
        pass
