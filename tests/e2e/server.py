"""A server of our own for the tests: started on a free port with a store of its own, watched, stopped."""
import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time

MODEL = "smollm2:135m"
EMBED = "embed:v1"  # the same, said to pool its vectors


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, timeout=10.0, step=0.01):
    """The first true value of what(); fails after timeout seconds."""
    end = time.monotonic() + timeout
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < end, f"nothing within {timeout} s from {what}"
        time.sleep(step)


def children(pid):
    """Process ids of a process's children, zombies left out."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8") as f:
                state, parent = f.read().rpartition(")")[2].split()[:2]
                if int(parent) == pid and state != "Z":
                    found.append(int(name))
    return sorted(found)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def resident(pid, key="VmRSS"):
    """Bytes, of /proc/PID/status."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    raise AssertionError(f"no {key} of process {pid}")


class Server:
    def __init__(self, program, root, **env):
        self.program, self.root, self.env = program, root, env
        self.port = free_port()
        self.log_path = os.path.join(root, "serve.log")
        self.process = None

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"http://{self.host}"

    @property
    def pid(self):
        return self.process.pid

    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OLLAMA_", "CAMA_"))}
        env.update(OLLAMA_HOST=self.host, OLLAMA_MODELS=os.path.join(self.root, "models"), HOME=self.root)
        if os.environ.get("CAMA_E2E_ENGINE"):  # ./dev test runs the whole API on each engine
            env["CAMA_ENGINE"] = os.environ["CAMA_E2E_ENGINE"]
        env.update(self.env)
        return env

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([self.program, "serve"], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.environment())
        wait_for(self.answers, 20)
        return self

    def answers(self):
        assert self.process.poll() is None, f"serve ended with {self.process.returncode}:\n{self.log()}"
        try:
            return self.request("GET", "/", timeout=2)[0] == 200
        except OSError:
            return False

    def stop(self):
        """SIGTERM, a clean drain, status 0."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        assert "Sanitizer" not in self.log(), self.log()
        return self.process.returncode if self.process else None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def runners(self):
        return children(self.pid)

    # ---- requests ----

    def open(self, method, path, body=None, timeout=60):
        """The connection and its response, whose body is yet to be read."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        c.request(method, path, data)
        return c, c.getresponse()

    def request(self, method, path, body=None, timeout=60):
        """Status and body: JSON when it is, else text."""
        c, r = self.open(method, path, body, timeout)
        try:
            text = r.read().decode()
            if text and "json" in (r.headers["Content-Type"] or "") and "ndjson" not in r.headers["Content-Type"]:
                return r.status, json.loads(text)
            return r.status, text
        finally:
            c.close()

    def post(self, path, **body):
        """The JSON of a reply that has to be 200."""
        status, reply = self.request("POST", path, body)
        assert status == 200, reply
        return reply

    def stream(self, path, timeout=60, **body):
        """Yields the objects of a stream of lines."""
        c, r = self.open("POST", path, body, timeout)
        with contextlib.closing(c):
            if r.status != 200:
                raise AssertionError(f"{r.status}: {r.read()!r}")
            for line in r:
                yield json.loads(line)

    def ps(self):
        return self.request("GET", "/api/ps")[1]["models"]

    def running(self):
        """Jobs that runners work on or hold."""
        return sum(m["cama"]["running"] + m["cama"]["waiting"] for m in self.ps())

    def add_model(self, path, name=MODEL, **fields):
        """A model from a GGUF file, as a client would bring it."""
        with open(path, "rb") as f:
            self.add_data(f.read(), name, **fields)

    def add_data(self, data, name, **fields):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        status, _ = self.request("HEAD", f"/api/blobs/{digest}")
        if status == 404:
            status, reply = self.request("POST", f"/api/blobs/{digest}", data)
            assert status == 201, reply
        reply = self.post("/api/create", model=name, files={"m.gguf": digest}, stream=False, **fields)
        assert reply["status"] == "success", reply


GREEDY = {"temperature": 0, "seed": 1}
