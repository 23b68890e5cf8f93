"""Every request that was recorded against a real Ollama, repeated against our server in the same order.

tests/data/wire/cases.json.gz holds requests and what was observed; tests/data/wire/differences.txt holds the
differences that stay, each with its reason: `case glob | facet glob | reason`. A difference without a row fails,
and so does a row that no case needs any more.
"""
import fnmatch
import gzip
import hashlib
import json
import re
import socket
import time
from pathlib import Path

import pytest
from gguf_copy import with_metadata
from server import Server
from wire_view import differences, view

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "tests" / "data" / "wire"
ALL = json.loads(gzip.decompress((DATA / "cases.json.gz").read_bytes()))
CASES = ALL["cases"]


def rows():
    for line in (DATA / "differences.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            case, facet, reason = (part.strip() for part in line.split("|", 2))
            yield case, facet, reason


# ---- an exchange over a socket, byte by byte as it is written here ----

def receive(sock, method):
    """Status, headers, framing, body."""
    data = b""

    def more():
        nonlocal data
        piece = sock.recv(1 << 16)
        data += piece
        return piece

    while b"\r\n\r\n" not in data:
        if not more():
            return 0, [], "none", data
    head, data = data.split(b"\r\n\r\n", 1)
    first, *lines = head.decode("latin-1").split("\r\n")
    status = int(first.split(" ")[1])
    headers = [tuple(p.strip() for p in line.split(":", 1)) for line in lines]
    fields = {k.lower(): v for k, v in headers}
    if method == "HEAD" or status in (204, 304):
        return status, headers, "no-body", b""
    if fields.get("transfer-encoding", "").lower() == "chunked":
        while not data.endswith(b"0\r\n\r\n"):
            if not more():
                return status, headers, "chunked-cut", b""
        body, rest = b"", data
        while True:
            size, rest = rest.split(b"\r\n", 1)
            n = int(size, 16)
            if n == 0:
                return status, headers, "chunked", body
            body, rest = body + rest[:n], rest[n + 2:]
    if "content-length" in fields:
        while len(data) < int(fields["content-length"]):
            if not more():
                return status, headers, "content-length-cut", data
        return status, headers, "content-length", data
    while more():
        pass
    return status, headers, "close", data


def exchange(port, method, path, headers, body):
    given = dict(headers or {})
    names = {k.lower() for k in given}
    lines = [] if "host" in names else [("Host", f"127.0.0.1:{port}")]
    lines += [(k, v) for k, v in given.items() if v is not None]
    if body is not None and "content-length" not in names:
        lines.append(("Content-Length", str(len(body))))
    if "connection" not in names:
        lines.append(("Connection", "close"))
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines) + "\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=120) as s:
        s.sendall(head.encode("latin-1"))
        if body:
            try:
                s.sendall(body)
            except OSError:
                pass  # refused before it was read: the answer says why
        return receive(s, method)


class Replay:
    """Runs cases in order; each is asked for once."""

    def __init__(self, server, model):
        self.server, self.bodies, self.next = server, {}, 0
        data = Path(model).read_bytes()
        self.files = {"": data} | {k: with_metadata(data, put) for k, put in ALL["variants"].items()}
        self.digests = {k: hashlib.sha256(v).hexdigest() for k, v in self.files.items()}

    def fill(self, value):
        """$DIGEST and its like in texts; {"$from": [case, key, ..]} is a value of an earlier reply."""
        if isinstance(value, str):
            for key, digest in self.digests.items():
                if key:
                    value = value.replace(f"${key}_DIGEST", "sha256:" + digest)
            value = value.replace("$DIGEST", "sha256:" + self.digests[""]).replace("$HEX", self.digests[""])
            return value.replace("$SIZE", str(len(self.files[""]))).replace("127.0.0.1:21434", self.server.host)
        if isinstance(value, list):
            return [self.fill(v) for v in value]
        if isinstance(value, dict):
            if set(value) == {"$from"}:
                name, *keys = value["$from"]
                found = json.loads(self.bodies[name])
                for k in keys:
                    found = found[k]
                return found
            return {self.fill(k): self.fill(v) for k, v in value.items()}
        return value

    def body(self, case):
        if "file" in case:
            return self.files["" if case["file"] is True else case["file"]]
        raw = case.get("raw")
        if raw is not None:
            return bytes.fromhex(raw["hex"]) if isinstance(raw, dict) else self.fill(raw).encode()
        return json.dumps(self.fill(case["body"]), ensure_ascii=False).encode() if "body" in case else None

    def run(self, case):
        for method, path, body in case.get("before", []):
            data = json.dumps(self.fill(body)).encode() if body is not None else None
            exchange(self.server.port, method, self.fill(path), {}, data)
        time.sleep(case.get("settle", 0))
        headers = {k: self.fill(v) for k, v in case.get("headers", {}).items()}
        if "body" in case:
            headers.setdefault("Content-Type", "application/json")
        status, got, framing, raw = exchange(self.server.port, case["method"], self.fill(case["path"]), headers, self.body(case))
        self.bodies[case["name"]] = raw
        text = raw.decode("utf-8", "backslashreplace").replace(str(self.server.root) + "/models", "<home>/.ollama/models")
        return view(status, got, framing, text)


@pytest.fixture(scope="module")
def replay(cama_bin, model, tmp_path_factory):
    server = Server(cama_bin, str(tmp_path_factory.mktemp("wire")), TZ="Asia/Tokyo").start()
    yield Replay(server, model)
    assert server.stop() == 0, server.log()


def our_fields():
    """Fields that we add: the program's own list."""
    source = (ROOT / "src/api/api_routes.c").read_text(encoding="utf-8")
    return re.findall(r'"(\w+)"', re.search(r"api_our_fields\[\] = \{(.*?)\}", source, re.S)[1])


OURS = our_fields()
USED = set()


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_as_recorded(replay, case):
    left = []
    for line in differences(case["want"], replay.run(case), OURS):
        facet = line.split(":", 1)[0]
        row = next((r for r in rows() if fnmatch.fnmatch(case["name"], r[0]) and fnmatch.fnmatch(facet, r[1])), None)
        if row:
            USED.add(row)
        else:
            left.append(line)
    assert not left, "\n" + "\n".join(left)


def test_every_row_of_the_list_is_needed():
    assert len(USED) == 0 or not [r for r in rows() if r not in USED]
