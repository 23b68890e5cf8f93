"""Ollama's commands over `cama serve`, and over the server that `cama run` embeds where none listens."""
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import textwrap
import threading
import time
import urllib.request

import pytest
from cli_view import Screen, trim
from test_repl import PROMPT, Terminal

NAME = "smollm2:135m"


class Box:
    """A home, a store, an address, and the program run with them."""

    def __init__(self, program, model, root):
        self.program, self.model, self.root = program, model, root
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{s.getsockname()[1]}"
        self.tmp = root / "tmp"
        self.tmp.mkdir()
        self.env = dict(os.environ, HOME=str(root), CAMA_HOST=self.host, CAMA_MODELS=str(root / "store"),
                        TMPDIR=str(self.tmp), TERM="xterm", LC_ALL="C.UTF-8")
        for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "OLLAMA_HOST", "OLLAMA_MODELS"):
            self.env.pop(name, None)
        self.server = None

    def __call__(self, *args, input=b"", timeout=120, **env):
        p = subprocess.run([self.program, *map(str, args)], input=input, capture_output=True, timeout=timeout,
                           env=dict(self.env, **env), cwd=self.root)
        p.out, p.err = p.stdout.decode(), p.stderr.decode()
        return p

    def serve(self, *args):
        log = open(self.root / "serve.log", "ab")
        self.server = subprocess.Popen([self.program, "serve", *args], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       env=self.env)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"http://{self.host}/", timeout=1).close()
                return
            except OSError:
                assert self.server.poll() is None, (self.root / "serve.log").read_text()
                time.sleep(0.02)
        raise AssertionError("the server does not answer")

    def write(self, name, text):
        (self.root / name).write_text(text)
        return name

    def stop(self):
        if self.server:
            self.server.terminate()
            try:
                return self.server.wait(40)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
        return None

    def terminal(self, *args):
        t = Terminal([self.program, *args], self.env)
        t.expect(PROMPT)
        return t


@pytest.fixture(scope="module")
def box(cama_bin, model, tmp_path_factory):
    b = Box(cama_bin, model, tmp_path_factory.mktemp("box"))
    b.serve()
    b.write("Plainfile", f"FROM {model}\n")
    b.write("Detfile", f"FROM {model}\nPARAMETER temperature 0\nPARAMETER seed 1\nPARAMETER num_predict 12\n")
    b.write("Fullfile", f'FROM {NAME}\nTEMPLATE {{{{ .System }}}} {{{{ .Prompt }}}}\nSYSTEM """You are terse.\nVery terse.\n'
                        'Really."""\nPARAMETER temperature 0.5\nPARAMETER num_ctx 2048\nPARAMETER stop <x>\n'
                        'PARAMETER stop <y>\nLICENSE """MIT\nline two\nline three"""\nMESSAGE user Hi\nMESSAGE assistant Hello\n')
    assert b("create", NAME, "-f", "Plainfile", "--link").returncode == 0
    assert b("create", "det", "-f", "Detfile").returncode == 0
    assert b("create", "full", "-f", "Fullfile").returncode == 0
    yield b
    assert b.stop() == 0, (b.root / "serve.log").read_text()


@pytest.fixture
def lonely(cama_bin, model, tmp_path):
    """Nobody listens; the store has the model."""
    b = Box(cama_bin, model, tmp_path)
    b.write("Modelfile", f"FROM {model}\nPARAMETER temperature 0\nPARAMETER num_predict 8\n")
    p = b("create", NAME, "--embed", "--link")
    assert p.returncode == 0, p.err
    return b


# ---- create


def test_create_tells_its_steps(box):
    p = box("create", "again", "-f", "Plainfile")
    assert p.returncode == 0 and p.out == "", p.err
    lines = p.err.splitlines()
    assert lines[0] == "gathering model components"
    assert re.fullmatch(r"copying file sha256:[0-9a-f]{64} 100%", lines[1])
    assert lines[-2:] == ["writing manifest", "success"]
    assert "\x1b" not in p.err
    assert box("rm", "again").out == "deleted 'again'\n"


def test_a_linked_file_is_not_copied(box):
    blobs = [p for p in (box.root / "store/blobs").iterdir() if p.is_symlink()]
    assert len(blobs) == 1 and os.path.samefile(blobs[0], box.model)


def test_create_uploads_where_it_cannot_link(box, cama_bin, model, tmp_path):
    """The server has another store than the user who asks for a link."""
    other = Box(cama_bin, model, tmp_path)
    other.serve()
    try:
        box.env["CAMA_HOST"], before = other.host, box.env["CAMA_HOST"]
        p = box("create", "far", "-f", "Plainfile", "--link")
        assert p.returncode == 0 and "the file is copied" in p.err, p.err
        assert box("show", "far").returncode == 0
        blobs = list((other.root / "store/blobs").iterdir())
        assert any(b.stat().st_size == os.path.getsize(model) and not b.is_symlink() for b in blobs)
    finally:
        box.env["CAMA_HOST"] = before
        other.stop()


@pytest.mark.parametrize("name, text, error", [
    ("bad name!", "FROM x\n", "invalid model name: bad name!"),
    ("x", "FROM x\nFROBNICATE y\n", '(line 2): command must be one of "from", "license", "template", "system", "adapter", '
                                    '"draft", "renderer", "parser", "parameter", "message", or "requires"'),
    ("x", f"FROM {NAME}\nPARAMETER num_ctx many\n", "invalid int value [many]"),
    ("x", f"FROM {NAME}\nMESSAGE robot hi\n", '(line 2): message role must be one of "system", "user", or "assistant"'),
    ("x", f"FROM {NAME}\nPARAMETER frobnicate 1\n", "unknown parameter 'frobnicate'"),
    ("x", "PARAMETER num_ctx 1\n", "no FROM line"),
    ("x", 'FROM x\nSYSTEM """never ends\n', "unexpected EOF"),
    ("x", "FROM ./nope.gguf\n", "400 Bad Request: invalid model name"),
    ("x", f"FROM {NAME}\nTEMPLATE {{{{ if\n", "400 Bad Request: template error: template: :1: unclosed action"),
])
def test_create_refuses_with_ollamas_words(box, name, text, error):
    p = box("create", name, "-f", box.write("Wrongfile", text))
    assert p.returncode == 1 and p.out == ""
    assert p.err.splitlines()[-1] == f"Error: {error}", p.err


def test_create_without_a_modelfile(box, tmp_path):
    p = box("create", "x", "-f", "no-such-file")
    assert p.returncode == 1 and p.err.endswith("Error: no Modelfile or safetensors files found\n")
    (tmp_path / "only.gguf").symlink_to(box.model)
    p = subprocess.run([box.program, "create", "folder"], cwd=tmp_path, env=box.env, capture_output=True, timeout=120)
    assert p.returncode == 0, p.stderr
    assert box("rm", "folder").returncode == 0


def test_create_of_what_is_no_gguf(box):
    box.write("notes.gguf", "hello\n")
    p = box("create", "x", "-f", box.write("Notfile", "FROM ./notes.gguf\n"))
    assert p.returncode == 1 and p.err.splitlines()[-1].startswith("Error: ") and "GGUF" in p.err


# ---- tables


def test_list(box):
    p = box("list")
    header, *rows = p.out.splitlines()
    assert re.fullmatch(r"NAME +ID {14}SIZE +MODIFIED +", header), header
    assert {r.split()[0] for r in rows} >= {NAME, "det:latest", "full:latest"}
    for r in rows:
        assert re.fullmatch(r"\S+ {4,}[0-9a-f]{12}    98 MB    .+ago {4,}", r), r
    assert box("ls").out.splitlines()[0].split() == header.split()
    assert [r.split()[0] for r in box("list", "DE").out.splitlines()] == ["NAME", "det:latest"]
    assert box("list", "zzz", "ignored").out == "NAME    ID    SIZE    MODIFIED \n"
    assert {m["name"] for m in json.loads(box("list", "--json").out)["models"]} >= {NAME}


def test_ps_and_stop(box):
    box("stop", "det")
    assert box("run", "det", "Hi", "--keepalive", "1h").returncode == 0
    header, *rows = box("ps").out.splitlines()
    assert header.split() == ["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL", "ENGINE", "DEVICE"]
    assert len(rows) == 1
    assert re.fullmatch(r"\S+ {4}[0-9a-f]{12}    \d+ MB    100% CPU     4096       59 minutes from now    \w+ {4}.*\S {4}",
                        rows[0]), rows
    assert box("run", "det", "Hi", "--keepalive", "-1s").returncode == 0
    assert " Forever " in box("ps").out.splitlines()[1]
    name = rows[0].split()[0]
    assert len(box("ps", name[:2]).out.splitlines()) == 2 and len(box("ps", name[:2].upper()).out.splitlines()) == 1
    p = box("stop", name)
    assert p.returncode == 0 and p.out == p.err == ""
    end = time.monotonic() + 5
    while len(box("ps").out.splitlines()) > 1:
        assert time.monotonic() < end
    assert box("stop", "det").returncode == 0  # not loaded is no failure
    p = box("stop", "nope")
    assert p.returncode == 1 and p.err == 'Error: couldn\'t find model "nope" to stop\n'
    assert box("ps").out == "NAME    ID    SIZE    PROCESSOR    CONTEXT    UNTIL \n"


def test_show(box):
    p = box("show", "full")
    assert p.returncode == 0, p.err
    assert p.out.startswith("  Model\n    architecture        llama      \n    parameters          134.52M    \n"
                            "    context length      8192       \n    embedding length    576        \n"
                            "    quantization        Q4_1       \n\n  Capabilities\n    completion    \n\n  Parameters\n")
    assert "    stop           \"<y>\"    \n" in p.out
    assert "\n  System\n    You are terse.    \n    Very terse.       \n    ...               \n\n" in p.out
    assert "\n  License\n    MIT         \n    line two    \n    ...         \n\n" in p.out
    assert box("show", "full", "--license").out == "MIT\nline two\nline three\n"
    assert box("show", "full", "--system").out == "You are terse.\nVery terse.\nReally."
    assert box("show", "full", "--template").out == "{{ .System }} {{ .Prompt }}"
    assert sorted(box("show", "full", "--parameters").out.splitlines()) == sorted([
        "temperature                    0.5", "num_ctx                        2048",
        'stop                           "<x>"', 'stop                           "<y>"'])
    assert "# FROM full:latest\n" in box("show", "full", "--modelfile").out
    assert "MESSAGE assistant Hello\n" in box("show", "full", "--modelfile").out
    verbose = box("show", NAME, "-v").out
    assert re.search(r"\n    general\.parameter_count +1\.34515008e\+08 +\n", verbose)
    assert re.search(r"\n    tokenizer\.ggml\.token_type +\[3 3 3 \.\.\.\+49149 more\] +\n", verbose)
    assert re.search(r"\n  Tensors\n    \S+ +\S+ +\[\d+", verbose)
    assert box("show", NAME, "--license").out == "\n" and box("show", NAME, "--system").out == ""


@pytest.mark.parametrize("args, error", [
    (("show", "nope"), "model 'nope:latest' not found"),
    (("show", "bad name!"), "invalid model name"),
    (("show", "full", "--license", "--system"), "only one of '--license', '--modelfile', '--parameters', '--system', or "
                                                "'--template' can be specified"),
    (("cp", "nope", "x"), 'model "nope" not found'),
    (("cp", "det", "bad name!"), 'destination "bad name!" is invalid'),
    (("rm", "nope", "det"), "model 'nope' not found"),
    (("run", "det", "Hi", "--think=zzz"), 'invalid value for --think: "zzz" (must be true, false, high, medium, low, or max)'),
    (("run", "det", "Hi", "--keepalive", "30"), 'time: missing unit in duration "30"'),
    (("run", "det", "Hi", "--keepalive", "abc"), 'time: invalid duration "abc"'),
    (("run", "det", "Hi", "--think"), '400 Bad Request: "det" does not support thinking'),
    (("run", "det", "Hi", "--format", "xml"), "json: error calling MarshalJSON for type json.RawMessage: invalid character "
                                              "'x' looking for beginning of value"),
    (("run", "bad name!", "Hi"), "invalid model name"),
])
def test_errors_in_ollamas_words(box, args, error):
    p = box(*args)
    assert p.returncode == 1 and p.out == ""
    assert p.err == f"Error: {error}\n"


def test_a_missing_model_says_how_to_get_one(box):
    p = box("run", "nope", "Hi")
    assert p.returncode == 1 and p.out == "" and "cama create nope" in p.err


def test_no_byte_of_a_model_steers_the_terminal(box):
    body = {"model": "evil", "from": NAME, "license": "a\x1b[2Jb\x9b2J", "system": "s\x1b]0;name\x07s", "template": "t\x1b[1m",
            "parameters": {"stop": ["x\x1b[5my"]}, "messages": [{"role": "user", "content": "u\x1b[3m"},
                                                              {"role": "assistant", "content": "v\x1b[4m"}]}
    urllib.request.urlopen(f"http://{box.host}/api/create", json.dumps(body).encode(), timeout=30).read()
    assert "\x1b" in box("show", "evil", "--license").out  # a pipe gets the bytes
    for how in ("--license", "--system", "--template", "--modelfile", "--parameters", "-v"):
        t = Terminal([box.program, "show", "evil", how], box.env)
        text = t.to_the_end()
        t.close()
        assert text and not re.search("[\x1b\x07\x7f-\x9f]", text), (how, text)
    t = Terminal([box.program, "run", "evil"], dict(box.env, TERM="dumb"))
    assert "u[3m\r\nv[4m" in t.expect(PROMPT + "$")
    for what in ("license", "system", "template", "modelfile", "parameters", "info"):
        t.ask("/show " + what)
    t.type("/bye\n")
    text = t.to_the_end()
    t.close()
    assert "a[2Jb2J" in text and not re.search("[\x1b\x07\x7f-\x9f]", text), text
    assert box("rm", "evil").returncode == 0


def test_cp_and_rm(box):
    assert box("cp", "det", "copied").out == "copied 'det' to 'copied'\n"
    p = box("rm", "copied", "nope")
    assert p.returncode == 1 and p.out == "deleted 'copied'\n" and p.err == "Error: model 'nope' not found\n"
    p = box("rm", "bad name!")
    assert p.err == "Warning: unable to stop model 'bad name!'\nError: name \"bad name!\" is invalid\n"


def test_version(box):
    assert re.fullmatch(r"cama version is \d+\.\d+\.\d+\n", box("--version").out)
    p = box("-v", CAMA_HOST="127.0.0.1:1")
    assert p.returncode == 0 and p.out.startswith("Warning: could not connect to a running cama instance\n")


# ---- answers


def test_run_answers_the_same_however_it_is_asked(box):
    p = box("run", "det", "Why is the sky blue?")
    assert p.returncode == 0 and p.err == "" and p.out.endswith("\n\n") and len(p.out) > 20
    assert "\x1b" not in p.out
    assert box("run", "det", "Why", "is", "the", "sky", "blue?").out == p.out
    assert box("run", "--nowordwrap", "det", "Why is the sky blue?").out == p.out
    assert box("run", "det", input=b"Why is the sky blue?\n").out == p.out
    assert box("run", "det", "blue?", input=b"Why is the sky").out == p.out
    assert box("run", "det", "Why is the sky blue?", "--num-predict", 3).out != p.out


def test_run_without_anything_loads_the_model(box):
    p = box("run", "det")
    assert p.returncode == 0 and p.out == p.err == ""


def test_verbose_and_figures(box):
    err = box("run", "det", "Hi", "--verbose", "--figures").err
    for line in (r"total duration:       [\d.]+m?s", r"prompt eval count:    \d+ token\(s\)",
                 r"eval count:           \d+ token\(s\)", r"eval rate:            [\d.]+ tokens/s",
                 r"engine   native, int8 activations", r"device   .*thread", r"memory   .*weights .*KV .*scratch",
                 r"decode   \d+ tokens, [\d.]+ tokens/s"):
        assert re.search(rf"^{line}", err, re.M), (line, err)


def test_options_of_the_engine_are_the_servers(box):
    p = box("run", "det", "Hi", "--kv-type", "q8_0")
    assert p.returncode == 0 and "--kv-type is without effect" in p.err
    assert "--ignore-eos is without effect: it is for files" in box("run", "det", "Hi", "--ignore-eos").err


def test_an_interrupt_ends_the_answer_and_is_no_failure(box):
    p = subprocess.Popen([box.program, "run", "det", "Write a very long story.", "--num-predict", "2000"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=box.env)
    assert p.stdout.read(1)
    p.send_signal(signal.SIGINT)
    assert p.wait(10) == 0
    end = time.monotonic() + 3
    while any(m["cama"]["running"] for m in json.loads(box("ps", "--json").out)["models"]):
        assert time.monotonic() < end


def test_in_process(box):
    p = box("run", "--in-process", NAME, "Hi", "--num-predict", "4")
    assert p.returncode == 0 and "engine   native" in p.err and "no server" not in p.err
    assert "the server's to use" in box("run", "--in-process", "full", "Hi", "--num-predict", "4").err


# ---- nobody listens


@pytest.mark.parametrize("args", [("list",), ("ps",), ("show", "x"), ("cp", "a", "b"), ("rm", "x"), ("stop", "x"),
                                  ("create", "x", "-f", "Modelfile")])
def test_no_server(lonely, args):
    p = lonely(*args)
    assert p.returncode == 1 and p.out == ""
    assert p.err == "Error: could not connect to cama server, run 'cama serve' to start it\n"


def leftovers(box):
    return list(box.tmp.iterdir())


def test_run_embeds_a_server_and_leaves_nothing(lonely):
    p = lonely("run", NAME, "What is the capital of France?", "--figures")
    assert p.returncode == 0 and len(p.out) > 5, p.err
    assert p.err.startswith(f"no server at {lonely.host}: using an embedded one\n")
    assert "engine   native" in p.err and leftovers(lonely) == []
    started = time.monotonic()
    assert lonely("run", NAME, "Hi").returncode == 0
    assert time.monotonic() - started < 20  # a bound for busy machines; alone it is under a second
    p = lonely("list", "--embed")
    assert NAME in p.out and p.err == ""
    p = lonely("run", "nope", "Hi")
    assert p.returncode == 1 and leftovers(lonely) == []


def running():
    """{process id: parent} of what is no zombie."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8") as f:
                state, parent = f.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            found[int(name)] = int(parent)
    return found


def children_of(pid):
    return [child for child, parent in running().items() if parent == pid]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_embedded_server_and_its_runner(lonely, number):
    p = subprocess.Popen([lonely.program, "run", NAME, "Write a very long story.", "--num-predict", "4000"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=lonely.env)
    assert p.stdout.read(1)
    assert len(leftovers(lonely)) == 1 and leftovers(lonely)[0].stat().st_mode & 0o777 == 0o700
    children = children_of(p.pid)
    assert len(children) == 1
    p.send_signal(number)
    assert p.wait(10) == -number
    assert leftovers(lonely) == []
    end = time.monotonic() + 2
    while children[0] in running():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_two_interrupts_leave_nothing_either(lonely):
    p = subprocess.Popen([lonely.program, "run", NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, env=lonely.env)
    p.stdin.write(b"the sea and the ships " * 150)
    p.stdin.close()
    end = time.monotonic() + 30
    while not leftovers(lonely):
        assert time.monotonic() < end
        time.sleep(0.01)
    p.send_signal(signal.SIGINT)
    time.sleep(0.01)
    p.send_signal(signal.SIGINT)
    assert p.wait(10) in (0, -signal.SIGINT)
    assert leftovers(lonely) == []


def test_serve_on_a_taken_port(box):
    p = box("serve")
    assert p.returncode == 1 and p.err.startswith(f"Error: listen tcp {box.host}: bind: address already in use")


def test_serve_says_where_it_is(box):
    log = (box.root / "serve.log").read_text()
    assert f"listens on {box.host}; models in {box.root}/store" in log


# ---- a server of canned replies


class Canned(http.server.BaseHTTPRequestHandler):
    """What /api/show says, then lines of an answer: set by the test."""
    show, lines, status, asked = {}, [], 200, []

    def log_message(self, *args):
        pass

    def reply(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self):
        self.reply(200, "text/plain", b"")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append((self.path, body))
        if self.path == "/api/show":
            self.reply(200, "application/json", json.dumps(self.show).encode())
        else:
            lines = "".join(x if isinstance(x, str) else json.dumps(x) + "\n" for x in self.lines)
            self.reply(self.status, "application/x-ndjson", lines.encode())


@pytest.fixture
def canned(cama_bin, model, tmp_path):
    """canned(lines, *arguments, ...) -> the finished process, and what the server was asked; with width, what came on a
    terminal of so many columns."""
    b = Box(cama_bin, model, tmp_path)
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Canned)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    b.env["CAMA_HOST"] = f"127.0.0.1:{httpd.server_address[1]}"

    def run(lines, *args, capabilities=("completion",), status=200, width=0, **env):
        Canned.show, Canned.lines, Canned.status, Canned.asked = {"capabilities": list(capabilities)}, lines, status, []
        if width:
            t = Terminal([b.program, "run", "m", *args], dict(b.env, **env), width)
            try:
                return t.to_the_end().replace("\r\n", "\n")
            finally:
                t.close()
        p = b("run", "m", *args)
        p.asked = Canned.asked
        return p

    yield run
    httpd.shutdown()
    httpd.server_close()


THOUGHT = [{"response": "", "thinking": "Let me "}, {"response": "", "thinking": "see."}, {"response": "Paris"},
           {"response": ".", "done": False}, {"response": "", "done": True, "done_reason": "stop"}]


def test_thinking_is_framed(canned):
    assert canned(THOUGHT, "Hi").out == "Thinking...\nLet me see.\n...done thinking.\n\nParis.\n\n"
    assert canned(THOUGHT, "Hi", "--hidethinking").out == "Paris.\n\n"
    assert canned(THOUGHT[:2] + THOUGHT[-1:], "Hi").out == "Thinking...\nLet me see.\n\n"


def test_what_a_question_carries(canned):
    p = canned(THOUGHT, "Hi", "there", "--think=high", "--format", '{"type":"object"}', "--keepalive", "5m", "--seed", "7",
               "--temperature", "0.7", "--stop", "a", "--stop", "b c", "--num-ctx", "512", "--system", "Be kind.")
    assert p.asked[0] == ("/api/show", {"model": "m", "verbose": False})
    assert p.asked[1] == ("/api/generate", {
        "model": "m", "prompt": "Hi there", "think": "high", "format": {"type": "object"}, "keep_alive": "5m",
        "system": "Be kind.", "options": {"seed": 7, "temperature": 0.7, "stop": ["a", "b c"], "num_ctx": 512}})


def test_warnings_of_the_server_are_told(canned):
    last = dict(THOUGHT[-1], warnings=[{"code": "x", "text": "the prompt was cut"}])
    assert "cama: warning: the prompt was cut\n" in canned([last], "Hi").err


@pytest.mark.parametrize("lines, status, error", [
    ([{"error": "no such thing"}], 400, "400 Bad Request: no such thing"),
    ([{"error": "no such thing"}], 200, "no such thing"),
    (["oh no"], 500, "500 Internal Server Error: oh no"),
    (["{\"response\":\n"], 200, "the server's reply: unexpected end of JSON input"),
])
def test_errors_of_the_server_are_told(canned, lines, status, error):
    p = canned(lines, "Hi", status=status)
    assert p.returncode == 1 and p.err.startswith(f"Error: {error}"), p.err


def test_a_model_for_embeddings_gives_a_vector(canned):
    p = canned([{"embeddings": [[-0.36358348, 0.5]]}], "hello", "--dimensions", "2", "--truncate=false",
               capabilities=["embedding"])
    assert p.out == "[-0.36358348,0.5]\n"
    assert p.asked[1] == ("/api/embed", {"model": "m", "input": "hello", "truncate": False, "dimensions": 2})
    p = canned([], capabilities=["embedding"])
    assert p.returncode == 1
    assert p.err == 'Error: embedding models require input text. Usage: cama run m "your text here"\n'


def test_no_byte_of_a_server_steers_the_terminal_from_an_error(canned):
    assert "\x1b" not in canned([{"error": "a\x1b[2Jb"}], "Hi", status=400).err


# ---- words on a terminal

WORDS = " ".join(f"{w}{i}" for i in range(12) for w in ("some", "words", "of", "different", "lengths", "unbelievably"))


def pieces_of(text, key="response", n=7):
    return [{"response": "", key: text[i:i + n]} for i in range(0, len(text), n)] + THOUGHT[-1:]


def lines_of(text, width):
    screen = Screen(width)
    screen.feed(text)
    return trim(screen.lines())


@pytest.mark.parametrize("width", [20, 40, 80, 133])
def test_words_wrap_before_the_edge_of_a_terminal(canned, width):
    assert lines_of(canned(pieces_of(WORDS), "Hi", width=width), width) == textwrap.wrap(WORDS, width - 5)
    assert canned(pieces_of(WORDS), "Hi", "--nowordwrap", width=width) == WORDS + "\n\n"
    assert canned(pieces_of(WORDS), "Hi", TERM="dumb", width=width) == WORDS + "\n\n"


def test_nothing_is_wrapped_into_a_pipe(canned):
    assert canned(pieces_of(WORDS), "Hi").out == WORDS + "\n\n"


def test_thinking_is_grey_on_a_terminal(canned):
    text = canned(pieces_of(WORDS, "thinking")[:-1] + pieces_of("Paris."), "Hi", width=60)
    assert "\x1b[38;5;245m" in text and text.endswith("Paris.\n\n")
    assert lines_of(text, 60) == ["Thinking...", *textwrap.wrap(WORDS, 55), "...done thinking.", "", "Paris."]
    plain = canned(pieces_of(WORDS, "thinking"), "Hi", "--nowordwrap", width=60, NO_COLOR="1")
    assert plain == "Thinking...\n" + WORDS + "\n\n"


def test_no_byte_of_an_answer_steers_the_terminal(canned):
    evil = "a\x1b[2Jb\x1b]0;name\x07c\rd\x9b2Je\n\tf"
    for key in ("response", "thinking"):
        for args in ((), ("--nowordwrap",)):
            text = canned(pieces_of(evil, key, 1), "Hi", *args, width=80, NO_COLOR="1")
            assert text.removeprefix("Thinking...\n") == "a[2Jb]0;namecd2Je\n\tf\n\n"
    assert canned(pieces_of(evil), "Hi").out == evil + "\n\n"


# ---- the REPL


@pytest.fixture(scope="module")
def talk(box):
    t = box.terminal("run", "det")
    yield t
    t.close()


@pytest.mark.parametrize("typed, text", [
    ("/?", "/save <model>   Save your current session"),
    ("/? set", "/set format json       Enable JSON mode"),
    ("/show info", "embedding length    576"),
    ("/show license", "No license was specified for this model."),
    ("/show system", "No system message was specified for this model."),
    ("/show modelfile", "# FROM det:latest"),
    ("/show bogus", "Unknown command '/show bogus'. Type /? for help"),
    ("/set parameter", "/set parameter num_ctx <int>          Set the context size"),
    ("/set parameter seed 1", "Set parameter 'seed' to '1'"),
    ("/set parameter num_ctx abc", "Couldn't set parameter: \"invalid int value [abc]\""),
    ("/set parameter bogus 1", "Couldn't set parameter: \"unknown parameter 'bogus'\""),
    ("/set parameter stop a b", "Set parameter 'stop' to 'a, b'"),
    ("/show parameters", "User defined parameters:\r\n  seed                           1\r\n  stop                           [a b]"),
    ("/set format json", "Set format to 'json' mode."),
    ("/set format xml", "Invalid or missing format. For 'json' mode use '/set format json'"),
    ("/set noformat", "Disabled format."),
    ("/set nowordwrap", "Set 'nowordwrap' mode."),
    ("/set wordwrap", "Set 'wordwrap' mode."),
    ("/set think", 'warning: model "det" does not support thinking output'),
    ("/set think high", "Set 'think' mode to 'high'."),
    ("/set nothink", "Set 'nothink' mode."),
    ("/list", "det:latest"),
    ("/load nope", "Couldn't find model 'nope'"),
    ("/load", "/load <modelname>"),
    ("/save", "/save <modelname>"),
    ("/save bad name!", "/save <modelname>"),
    ("/clear", "Cleared session context"),
    ("/unknown", "Unknown command '/unknown'. Type /? for help"),
])
def test_commands_of_the_repl(talk, typed, text):
    assert text in talk.ask(typed)


def test_a_conversation_with_a_servers_model(box):
    t = box.terminal("run", NAME, "--temperature", "0", "--num-predict", "8")
    first = t.ask("My name is Ada. Say hi.")
    assert len(first) > 10
    t.ask("/set verbose")
    again = t.ask("And now?")
    n = int(re.search(r"prompt eval count: +(\d+) token", again)[1])
    t.ask("/clear")
    assert int(re.search(r"prompt eval count: +(\d+) token", t.ask("And now?"))[1]) < n
    assert "Set system message" in t.ask("/set system You only speak of cheese.")
    assert "You only speak of cheese." in t.ask("/show system")
    t.ask("/set format json")
    assert "Error: " in t.ask("A color.")  # told, and the conversation goes on
    t.ask("/set noformat")
    assert "Created new model 'saved1'" in t.ask("/save saved1")
    assert "You only speak of cheese." in box("show", "saved1", "--system").out
    assert "Loading model 'det'" in t.ask("/load det")
    t.type("/bye\n")
    assert t.process.wait(30) == 0
    t.close()
    assert box("rm", "saved1").returncode == 0


def test_an_interrupt_stops_the_answer_of_a_server(box):
    t = box.terminal("run", NAME)
    t.type("Write a very long story about the sea, with many chapters.\n")
    t.expect(r"chapters\.")
    t.expect(r"\w+ \w+ \w+")
    os.killpg(t.process.pid, signal.SIGINT)
    t.expect(PROMPT, 30)
    t.type("\x04")
    assert t.process.wait(30) == 0
    t.close()


def test_the_repl_over_an_embedded_server(lonely):
    t = lonely.terminal("run", NAME)
    assert len(leftovers(lonely)) == 1
    assert len(t.ask("Hi")) > 5
    t.type("/bye\n")
    assert t.process.wait(30) == 0
    t.close()
    assert leftovers(lonely) == []
