"""Every terminal session that was recorded with a real Ollama, repeated with our program in the same order.

tests/data/cli/cases.json.gz holds how each ran and what was observed; tests/data/cli/differences.txt holds the
differences that stay, each with its reason: `case glob | line glob | reason`. A difference without a row fails,
and so does a row that no case needs any more.
"""
import errno
import fcntl
import fnmatch
import gzip
import json
import os
import pty
import select
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest
from cli_view import Screen, differences, view_pipes, view_terminal
from gguf_copy import with_metadata
from server import Server, wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "tests" / "data" / "cli"
ALL = json.loads(gzip.decompress((DATA / "cases.json.gz").read_bytes()))
CASES = ALL["cases"]
ENOUGH = 120  # characters of an answer, before it is interrupted


def rows():
    for line in (DATA / "differences.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            case, facet, reason = (part.strip() for part in line.split("|", 2))
            yield case, facet, reason


class Terminal:
    """The program on a pseudo terminal of 24 lines with 80 columns."""

    def __init__(self, args, env, cwd):
        self.fd, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(args, stdin=slave, stdout=slave, stderr=slave, env=env, cwd=cwd, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.screen, self.text, self.over = Screen(80), "", False

    def read(self):
        if not select.select([self.fd], [], [], 0.5)[0]:
            return
        try:
            data = os.read(self.fd, 1 << 16)
        except OSError as e:  # Linux: the other side is closed
            assert e.errno == errno.EIO
            data = b""
        self.over = not data
        text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
        self.text += text
        self.screen.feed(text)

    def until(self, there, timeout=60):
        """What came until there() or the end of the program."""
        end = time.monotonic() + timeout
        while not self.over and not there():
            assert time.monotonic() < end, self.text
            self.read()
        text, self.text = self.text, ""
        return text

    def prompt(self):
        """Waits for a prompt on a line that has none now."""
        before = self.screen.row if self.screen.at_prompt() else -1
        return self.until(lambda: self.screen.row > before and
                          (self.screen.at_prompt() or self.screen.line().endswith("^C>>> ")))

    def answer(self):
        """Waits for a part of an answer."""
        first = self.screen.row + 1
        return self.until(lambda: len("".join(self.screen.lines(first))) > ENOUGH)

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        text = self.until(lambda: False)
        status = self.process.wait(30)
        os.close(self.fd)
        return status, text

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Replay:
    def __init__(self, server, program, model, root):
        self.server, self.program, self.root = server, program, root
        self.places = [(server.env["OLLAMA_MODELS"], "<home>/.ollama/models"), (str(root / "work"), "<work>")]
        embed = root / "embed.gguf"
        embed.write_bytes(with_metadata(Path(model).read_bytes(), {"ARCH.pooling_type": 1}))
        for name, text in ALL["files"].items():
            path = root / "work" / name
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.write_text(text.replace("$GGUF", model).replace("$EMBED", str(embed)), encoding="utf-8")

    def prepare(self, case):
        before = case.get("before", {})
        for request in before.get("requests", []):
            self.server.request(*request)
        for name in before.get("unload", []):
            self.server.post("/api/generate", model=name, keep_alive=0)
        if "runners" in before:
            wait_for(lambda: len(self.server.ps()) == before["runners"])
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.root), "TERM": "xterm-256color", "LANG": "C.UTF-8",
               "OLLAMA_HOST": self.server.host, "TZ": "UTC"}
        env.update((k, os.environ[k]) for k in os.environ if k.endswith("SAN_OPTIONS"))
        return env | case.get("env", {})

    def text(self, data):
        text = data if isinstance(data, str) else data.decode("utf-8", "backslashreplace")
        for ours, theirs in self.places:
            text = text.replace(ours, theirs)
        return text

    def talk(self, case, terminal):
        long = case["args"][:2] == ["run", "long"]
        steps = [("start", terminal.answer() if case.get("answer") and case["steps"] else terminal.prompt())]
        for typed in case["steps"]:
            terminal.type(typed if typed in ("\x03", "\x04") else typed + "\r")
            steps.append((typed, terminal.answer() if long and typed > " " else terminal.prompt()))
        status, text = terminal.end()
        steps[-1] = (steps[-1][0], steps[-1][1] + text)
        return view_terminal(status, [(a, self.text(b)) for a, b in steps], case.get("answer"))

    def run(self, case):
        env, cwd = self.prepare(case), self.root / "work" / case.get("cwd", "")
        command = [self.program, *case["args"]]
        if case["mode"] == "pipes":
            done = subprocess.run(command, input=case.get("stdin", "").encode(), capture_output=True, env=env, cwd=cwd,
                                  timeout=60, start_new_session=True)
            return view_pipes(done.returncode, self.text(done.stdout), self.text(done.stderr), case.get("answer"))
        terminal = Terminal(command, env, cwd)
        try:
            return self.talk(case, terminal)
        finally:
            terminal.kill()


@pytest.fixture(scope="module")
def replay(cama_bin, model, tmp_path_factory):
    root = tmp_path_factory.mktemp("cli")
    server = Server(cama_bin, str(root), TZ="UTC", OLLAMA_MODELS=str(root / "models")).start()
    yield Replay(server, cama_bin, model, root)
    assert server.stop() == 0, server.log()


USED = set()


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_as_recorded(replay, case):
    left = []
    for line in map(str.rstrip, differences(case["want"], replay.run(case))):
        row = next((r for r in rows() if fnmatch.fnmatchcase(case["name"], r[0]) and fnmatch.fnmatchcase(line, r[1])), None)
        if row:
            USED.add(row)
        else:
            left.append(line)
    assert not left, "\n" + "\n".join(left)


def test_every_row_of_the_list_is_needed():
    assert len(USED) == 0 or not [r for r in rows() if r not in USED]
