"""HTTP as nobody should speak it, to a whole server: it answers others meanwhile, and its memory stays bounded."""
import contextlib
import hashlib
import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest
from gguf_copy import with_vocabulary
from server import GREEDY, Server, resident, wait_for

MEBI = 1 << 20


@pytest.fixture(scope="module")
def server(cama_bin, tmp_path_factory):
    s = Server(cama_bin, str(tmp_path_factory.mktemp("abuse"))).start()
    s.add_data(with_vocabulary(Path(os.environ["CAMA_TINY_MODEL"]).read_bytes()), "tiny")
    yield s
    assert s.stop() == 0, s.log()


def connect(server, timeout=30):
    return socket.create_connection(("127.0.0.1", server.port), timeout)


def read_all(sock):
    """Until the server closes or the socket's timeout; what came before a reset."""
    data = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError, TimeoutError):
        while piece := sock.recv(1 << 16):
            data += piece
    return data


def read_reply(sock):
    """Status, body of one reply that has a Content-Length; what came behind it stays in the socket."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            return 0, head
        head += byte
    n = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    body = b""
    while len(body) < n:
        body += sock.recv(n - len(body))
    return int(head.split()[1]), body


def send_all(sock, data):
    """Whether the server took all of it."""
    try:
        sock.sendall(data)
        return True
    except (BrokenPipeError, ConnectionResetError):
        return False


def statuses(data):
    return [int(line.split()[1]) for line in data.split(b"\r\n") if line.startswith(b"HTTP/1.")]


def post(path, body, headers=""):
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@contextlib.contextmanager
def others_are_served(server, memory=200 * MEBI):
    """Meanwhile: somebody else's requests take less than a second each; memory at its highest."""
    over = threading.Event()
    slowest, highest, failed, n = 0.0, 0, [], 0
    before = resident(server.pid)

    def watch():
        nonlocal slowest, highest, n
        while not over.is_set():
            begun = time.monotonic()
            for method, path, body in [("GET", "/api/version", None), ("GET", "/api/tags", None), ("POST", "/api/generate", {
                    "model": "tiny", "prompt": "ab", "stream": False, "options": {**GREEDY, "num_predict": 1, "num_ctx": 64}})]:
                status, reply = server.request(method, path, body, 10)
                if status != 200:
                    failed.append(reply)
            slowest = max(slowest, time.monotonic() - begun)
            highest = max(highest, resident(server.pid))
            n += 1
            time.sleep(0.02)

    server.request("POST", "/api/generate", {"model": "tiny", "keep_alive": -1})
    t = threading.Thread(target=watch)
    t.start()
    try:
        yield
    finally:
        over.set()
        t.join(30)
    assert not failed, failed[:3]
    assert n and slowest < 1, f"{slowest:.2f} s of {n}"
    assert highest - before < memory, f"{(highest - before) >> 20} MiB more"


# ---- slow ----

def test_slow_headers(server):
    """A byte at a time: others do not notice."""
    with others_are_served(server), contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect(server)) for _ in range(100)]
        for byte in b"GET /api/tags HTTP/1.1\r\nHost: 127.0.0.1\r\n":
            for s in socks:
                s.sendall(bytes([byte]))
            time.sleep(0.02)
        for s in socks:
            s.sendall(b"\r\n")
            assert read_reply(s)[0] == 200


def test_slow_bodies(server):
    """More of them than there are workers."""
    body = json.dumps({"model": "tiny"}).encode()
    with others_are_served(server), contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect(server)) for _ in range(100)]
        for s in socks:
            s.sendall(post("/api/show", body)[:-len(body)])
        for byte in body:
            for s in socks:
                s.sendall(bytes([byte]))
            time.sleep(0.02)
        for s in socks:
            assert read_reply(s)[0] == 200


def test_slow_uploads(server):
    data = os.urandom(2000)
    digest = hashlib.sha256(data).hexdigest()
    with others_are_served(server), contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect(server)) for _ in range(40)]
        for s in socks:
            s.sendall(post(f"/api/blobs/sha256:{digest}", data)[:-len(data)])
        for i in range(0, len(data), 100):
            for s in socks:
                send_all(s, data[i:i + 100])
            time.sleep(0.02)
        assert {read_reply(s)[0] for s in socks} <= {200, 201}
    blobs = Path(server.root, "models", "blobs")
    assert hashlib.sha256((blobs / f"sha256-{digest}").read_bytes()).hexdigest() == digest


def test_slow_readers(server):
    """Clients that ask and do not read a long answer."""
    ask = json.dumps({"model": "tiny", "prompt": "ab", "raw": True, "options": {**GREEDY, "num_predict": 200, "num_ctx": 512}}).encode()
    with others_are_served(server), contextlib.ExitStack() as stack:
        for _ in range(20):
            s = stack.enter_context(connect(server))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            s.sendall(post("/api/generate", ask))
        time.sleep(0.5)
    wait_for(lambda: server.running() == 0, 10)


def test_five_hundred_idle_connections(server):
    with others_are_served(server), contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect(server)) for _ in range(500)]
        for s in socks[::2]:
            s.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        for s in socks[::2]:
            assert read_reply(s)[0] == 200
        time.sleep(0.5)
    wait_for(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) < 100, 5)


# ---- large ----

def test_a_hundred_megabytes_of_brackets(server):
    """Refused by its depth or its size."""
    with others_are_served(server, 300 * MEBI), connect(server) as s:
        body = b"[" * (100 * 1000 * 1000)
        send_all(s, post("/api/chat", body, "Connection: close\r\n"))
        assert statuses(read_all(s)) in ([400], [413])


@pytest.mark.parametrize("body", [b"[" * MEBI, b'{"a":' * MEBI, b'{"messages":' + b"[" * MEBI, b'{"messages":[' + b"{" * MEBI], ids=[0, 1, 2, 3])
def test_deep_bodies(server, body):
    for path in ("/api/chat", "/api/generate", "/api/show", "/api/create", "/v1/chat/completions"):
        status, reply = server.request("POST", path, body)
        assert status == 400 and reply["error"], (path, reply)


def test_too_many_messages(server):
    """A runner prepares its prompts one after the other: one of a million messages would hold up all others."""
    one = b'{"role":"user","content":"a"}'
    parts = b'{"role":"user","content":[' + b'{"type":"text","text":"a"},' * 99999 + b'{"type":"text","text":"a"}]}'
    start = b'{"model":"tiny","stream":false,"max_tokens":1,"options":{"num_predict":1,"num_ctx":64},"messages":['
    million = start + (one + b",") * 999999 + one + b"]}"
    with others_are_served(server, 1000 * MEBI):
        status, reply = server.request("POST", "/api/chat", million, 120)
        assert status == 400 and reply["error"] == "more than 4194304 values"
        status, reply = server.request("POST", "/api/chat", start + (one + b",") * 99999 + one + b"]}", 120)
        assert status == 400 and reply["error"] == "100000 messages, allowed are 65536"
        for body in (start + (one + b",") * 99999 + one + b"]}", start + parts + b"]}"):
            status, reply = server.request("POST", "/v1/chat/completions", body, 120)
            assert status == 400 and reply["error"]["message"] == "more than 65536 messages"
    wait_for(lambda: resident(server.pid) < 300 * MEBI, 5)


@pytest.mark.parametrize("value", [b"1,", b"{},", b"[],", b'{"a":1},', b'"",'])
def test_bodies_that_grow_as_trees(server, value):
    """A few bytes a value become a tree of hundreds each: bounded, and given back."""
    with others_are_served(server, 1000 * MEBI):
        for n in (500000, 5000000):
            status, reply = server.request("POST", "/api/show", b'{"model":"tiny","x":[' + value * n + b"0]}", 120)
            assert status == 200 or (status == 400 and reply["error"] == "more than 4194304 values")
    wait_for(lambda: resident(server.pid) < 300 * MEBI, 5)


def test_as_many_messages_as_are_allowed(server):
    one = {"role": "user", "content": "a"}
    status, reply = server.request("POST", "/api/chat", {
        "model": "tiny", "stream": False, "options": {"num_predict": 1, "num_ctx": 64}, "messages": [one] * 65536}, 60)
    assert status == 200 and reply["done"], reply
    assert any("context_truncated" == w["code"] for w in reply["warnings"])


def test_long_headers(server):
    for header in (b"X: " + b"a" * 65536, b"\r\n".join(b"X%d: a" % i for i in range(9000)), b"X" * 65536 + b": a"):
        with connect(server) as s:
            send_all(s, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + header + b"\r\nConnection: close\r\n\r\n")
            assert statuses(read_all(s)) in ([431], [400], [413], []), header[:20]
    with connect(server) as s:
        send_all(s, b"GET /" + b"a" * 65536 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert statuses(read_all(s)) in ([414], [431], [400], [])
    assert server.request("GET", "/")[0] == 200


# ---- of another length ----

def test_a_body_shorter_than_announced(server):
    """Half a connection closed behind it: at the latest when a body must have come, in 20 s."""
    with connect(server, 25) as s, others_are_served(server):
        begun = time.monotonic()
        s.sendall(b'POST /api/show HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\n{"model":"tiny"}')
        s.shutdown(socket.SHUT_WR)
        assert statuses(read_all(s)) in ([], [400], [408])
        assert time.monotonic() - begun < 24


def test_a_body_longer_than_announced(server):
    """The rest is the next request, and none."""
    body = b'{"model":"tiny"}'
    with connect(server) as s:
        s.sendall(post("/api/show", body) + b"GARBAGE\r\n\r\n")
        got = statuses(read_all(s))
        assert got[0] == 200 and got[1:] in ([], [400])


@pytest.mark.parametrize("lines", [
    "Content-Length: -1", "Content-Length: x", "Content-Length: 99999999999999999999999", "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Content-Length: +5", "Content-Length:", "Transfer-Encoding: chunked, identity"])
def test_lengths_that_are_none(server, lines):
    with connect(server, 2) as s:
        s.sendall(f"POST /api/show HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{lines}\r\n\r\n".encode() + b"hello\r\n0\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
        reply = read_all(s)
    # libmicrohttpd 0.9.75 writes the header of its own refusals twice
    heads = reply.split(b"\r\n\r\n")
    assert all(400 <= status < 502 for status in statuses(reply)) and len({h for h in heads if h.startswith(b"HTTP/")}) <= 1, reply
    assert server.request("GET", "/")[0] == 200


@pytest.mark.parametrize("chunks", [b"ZZ\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffffff\r\nx", b"5\r\nhello_no_end", b"-5\r\nhello\r\n0\r\n\r\n", b"5"])
def test_chunks_that_are_none(server, chunks):
    with connect(server, 2) as s:
        s.sendall(b"POST /api/show HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
        s.shutdown(socket.SHUT_WR)
        got = statuses(read_all(s))
        assert all(400 <= status < 502 for status in got) and len(got) <= 1, got


def test_a_body_in_many_chunks(server):
    body = b'{"model":"tiny"}'
    with connect(server) as s:
        s.sendall(b"POST /api/show HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        for byte in body:
            s.sendall(b"1;name=value\r\n" + bytes([byte]) + b"\r\n")
        s.sendall(b"0\r\nTrailer: x\r\n\r\n")
        assert statuses(read_all(s)) == [200]


def test_an_upload_cut_in_the_middle(server):
    """No blob appears, no file stays, whoever else waits is not disturbed."""
    data = os.urandom(8 * MEBI)
    digest = hashlib.sha256(data).hexdigest()
    blobs = Path(server.root, "models", "blobs")
    before = set(os.listdir(blobs))
    with others_are_served(server):
        for n in (0, 1, 100000, len(data) - 1):
            for how in ("close", "reset"):
                with connect(server) as s:
                    s.sendall(post(f"/api/blobs/sha256:{digest}", data)[:-len(data)] + data[:n])
                    time.sleep(0.05)
                    if how == "reset":
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wait_for(lambda: set(os.listdir(blobs)) == before, 5)
    assert server.request("HEAD", f"/api/blobs/sha256:{digest}")[0] == 404
    assert server.request("POST", f"/api/blobs/sha256:{digest}", data[:-1])[0] == 400
    assert set(os.listdir(blobs)) == before
    assert server.request("POST", f"/api/blobs/sha256:{digest}", data)[0] == 201


# ---- forms of requests ----

def test_pipelined_requests(server):
    body = b'{"model":"nobody"}'
    with connect(server) as s:
        s.sendall((b"GET /api/version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + post("/api/show", body)) * 20)
        for _ in range(20):
            status, reply = read_reply(s)
            assert status == 200 and b"version" in reply
            status, reply = read_reply(s)
            assert status == 404 and b"nobody" in reply


def test_http_1_0(server):
    body = b'{"model":"tiny","prompt":"ab","options":{"num_predict":3,"num_ctx":64}}'
    for head in (b"GET /api/tags HTTP/1.0\r\n\r\n",
                 b"POST /api/generate HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body):
        with connect(server) as s:
            s.sendall(head)
            data = read_all(s)
            assert statuses(data) == [200] and b"chunked" not in data.lower()
    assert b'"done":true' in data


def test_expect_100(server):
    body = b'{"model":"tiny"}'
    with connect(server) as s:
        s.sendall(post("/api/show", body, "Expect: 100-continue\r\n")[:-len(body)])
        assert s.recv(25).startswith(b"HTTP/1.1 100 Continue")
        s.sendall(body)
    with connect(server) as s:  # who does not wait
        s.sendall(post("/api/show", body, "Expect: 100-continue\r\nConnection: close\r\n"))
        assert statuses(read_all(s))[-1] == 200
    with connect(server) as s:
        s.sendall(post("/api/show", body, "Expect: a miracle\r\nConnection: close\r\n"))
        assert statuses(read_all(s))[-1] in (200, 417)


@pytest.mark.parametrize("data", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300), b"\0" * 5000, b"\r\n" * 5000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n", b" GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n folded: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET \xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /%00%0a%0d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"GET /../../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"G" * 5000 + b" / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"HEAD /api/blobs/sha256:../../../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"], ids=range(17))
def test_what_is_no_request(server, data):
    with connect(server, 1) as s:
        send_all(s, data)
        with contextlib.suppress(OSError):
            s.shutdown(socket.SHUT_WR)
        reply = read_all(s)
        assert b"root:" not in reply
    assert server.request("GET", "/")[0] == 200
    log = server.log()
    assert "\x00" not in log and "\r" not in log
