"""The REPL of `cama run`, typed at a pseudo-terminal."""
import errno
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest
from cli_view import Screen

PROMPT = ">>> "


class Terminal:
    """A program on a pseudo-terminal: type lines, wait for text."""

    def __init__(self, args, env, width=400):  # what is typed stays on its line
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.process = subprocess.Popen(args, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
                                        preexec_fn=self.take_terminal)
        os.close(slave)
        self.seen = ""
        self.raw = b""
        self.all = b""

    @staticmethod
    def take_terminal():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def read(self, timeout):
        if not select.select([self.master], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError as e:  # Linux: the other side is closed
            assert e.errno == errno.EIO
            data = b""
        self.raw += data
        self.all += data
        self.seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw.decode(errors="replace"))
        return bool(data)

    def expect(self, pattern, timeout=120):
        """Waits until the pattern comes; gives and drops everything up to its end."""
        end = time.monotonic() + timeout
        while not (m := re.search(pattern, self.seen)):
            assert time.monotonic() < end, (pattern, self.seen)
            if not self.read(1) and self.process.poll() is not None:
                m = re.search(pattern, self.seen)
                assert m, (pattern, self.seen)
                break
        text = self.seen[: m.end()]
        self.raw = self.seen[m.end():].encode()
        self.seen = self.seen[m.end():]
        return text

    def type(self, text):
        os.write(self.master, text.encode())

    def ask(self, text, timeout=120):
        self.type(text + "\n")
        self.expect(re.escape(text.splitlines()[-1]))
        return self.expect(PROMPT, timeout)

    def resize(self, width):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))

    def to_the_end(self):
        """All that came, as text, when the program has ended."""
        while self.read(60):
            pass
        return self.all.decode()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


ARGS = ("--temperature", "0", "--num-predict", "40", "--activations", "f32")


@pytest.fixture
def start(cama_bin, model, tmp_path):
    """start(*options, **environment) -> a Terminal at its first prompt."""
    terminals = []

    def call(*args, **more):
        env = dict(os.environ, HOME=str(tmp_path), TERM="xterm", LC_ALL="C.UTF-8")
        env.pop("XDG_STATE_HOME", None)
        env.update(more)
        t = Terminal([cama_bin, "run", model, *(args or ARGS)], env)
        terminals.append(t)
        t.expect(PROMPT)
        return t

    yield call
    for t in terminals:
        t.close()


@pytest.fixture
def repl(start):
    return start()


def leave(t, how="/bye\n"):
    t.type(how)
    assert t.process.wait(30) == 0


def test_a_conversation(repl, tmp_path):
    assert "Paris" in repl.ask("What is the capital of France?")
    repl.ask("And of Italy?")
    assert "Cleared" in repl.ask("/clear")
    leave(repl)
    history = (tmp_path / ".cama_history").read_text()
    assert "capital" in history
    assert (tmp_path / ".cama_history").stat().st_mode & 0o077 == 0


def test_lines_in_quotes_are_one_question(repl, tmp_path):
    repl.type('"""What is\n')
    repl.expect(r"\.\.\. ")
    repl.type('the capital of France?"""\n')
    repl.expect(PROMPT)
    leave(repl)
    assert "What\\040is\\012the" in (tmp_path / ".cama_history").read_text()


def test_parameters(repl):
    assert "num_predict" in repl.ask("/set parameter num_predict 2")
    repl.ask("/set verbose")
    assert re.search(r"decode\s+2 tokens", repl.ask("Tell me a story."))
    assert re.search(r"num_predict +2\r", repl.ask("/show parameters"))
    assert "temperature" in repl.ask("/set parameter temprature 1")
    assert "must be a number from 0 to 1" in repl.ask("/set parameter top_p 7")
    assert "512 of" not in repl.ask("/show info")
    repl.ask("/set parameter num_ctx 512")
    assert "512 of" in repl.ask("/show info")
    assert "'a, b c'" in repl.ask('/set parameter stop a "b c"')
    assert 'stop                           "b c"' in repl.ask("/show parameters")
    assert "/set parameter temperature <X>" in repl.ask("/set parameter")
    leave(repl)


def test_another_engine_opens_the_model_anew(repl):
    assert "Set parameter 'engine' to 'native'" in repl.ask("/set parameter engine native")
    assert "(asked for)" in repl.ask("/show info")
    assert "auto|native|mlx" in repl.ask("/set parameter engine steam")
    text = repl.ask("/set parameter device gpu")  # native has none: back to what worked
    assert "native" in text and "CPU" in text
    assert "engine                         native" in repl.ask("/show parameters")
    assert "(asked for)" in repl.ask("/show info")
    leave(repl)


def test_a_system_message(repl):
    assert "Set system message" in repl.ask("/set system You only speak of cheese.")
    assert "You only speak of cheese." in repl.ask("/show system")
    leave(repl)


def test_a_system_message_of_several_lines(repl):
    repl.type('/set system """You are\n')
    repl.expect(r"\.\.\. ")
    repl.type('terse."""\n')
    repl.expect("Set system message")
    repl.expect(PROMPT)
    assert "You are\r\nterse." in repl.ask("/show system")
    leave(repl)


@pytest.mark.parametrize("typed, text", [
    ("/frob now", "Unknown command '/frob'. Type /? for help"),
    ("/set frob", "Unknown command '/set frob'. Type /? for help"),
    ("/show frob", "Unknown command '/show frob'. Type /? for help"),
    ("/?", "/? shortcuts    Help for keyboard shortcuts"),
    ("/help", "/clear          Clear session context"),
    ("/? set", "/set nohistory         Disable history"),
    ("/show", "/show license      Show model license"),
    ("/? shortcuts", "Ctrl + c            Stop the model from responding"),
    ("/set quiet", "Set 'quiet' mode."),
    ("/set nowordwrap", "Set 'nowordwrap' mode."),
    ("/set wordwrap", "Set 'wordwrap' mode."),
    ("/? set", "/set nowordwrap        Disable wordwrap"),
    ("/set format json", "/set format is not supported"),
    ("/save mine", "/save is not supported"),
    ("/show system", "No system message was specified for this model."),
    ("/show template", "im_start"),
    ("/load", "/load <file>"),
])
def test_commands_say_what_ollamas_say(shared, typed, text):
    assert text in shared.ask(typed)


def test_ctrl_u_takes_what_is_before_the_cursor(shared):
    shared.type("rubbish/set frob" + "\x02" * len("/set frob") + "\x15\n")  # Ctrl-B goes back
    assert "Unknown command '/set frob'" in shared.expect(r"/\? for help")
    shared.expect(PROMPT)


@pytest.fixture(scope="module")
def shared(cama_bin, model, tmp_path_factory):
    env = dict(os.environ, HOME=str(tmp_path_factory.mktemp("home")), TERM="xterm", LC_ALL="C.UTF-8")
    t = Terminal([cama_bin, "run", model, *ARGS], env)
    t.expect(PROMPT)
    yield t
    t.close()


def test_exit_is_bye(repl):
    leave(repl, "/exit\n")


def test_load_takes_another_file_or_keeps_the_one_it_has(repl, model, tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"no model")
    assert "bad.gguf" in repl.ask(f"/load {tmp_path}/bad.gguf")
    assert "Paris" in repl.ask("What is the capital of France?")
    (tmp_path / "m.gguf").symlink_to(model)
    assert "Loading model" in repl.ask(f"/load {tmp_path}/m.gguf")
    assert "Paris" in repl.ask("What is the capital of France?")
    leave(repl)


def test_history_may_be_switched_off(repl, tmp_path):
    repl.ask("/set nohistory")
    repl.ask("/? show")
    repl.ask("/set history")
    repl.ask("/? set")
    history = (tmp_path / ".cama_history").read_text()
    assert "?\\040set" in history and "?\\040show" not in history  # written before the end, too
    leave(repl)


def shown(t, question, width):
    """An answer's lines on a terminal of this width."""
    before = len(t.all)
    t.ask(question)
    screen = Screen(width)
    screen.feed(t.all[before:].decode())
    lines = screen.lines()
    return [x.rstrip() for x in lines[1:-1] if x.rstrip()]


def test_words_wrap(repl):
    repl.resize(40)
    story = shown(repl, "Tell me a story.", 40)
    assert len(story) > 3 and all(len(x) <= 35 for x in story), story
    repl.ask("/clear")
    repl.ask("/set nowordwrap")
    paragraphs = shown(repl, "Tell me a story.", 40)
    assert " ".join(paragraphs) == " ".join(story) and any(len(x) > 40 for x in paragraphs)
    repl.ask("/clear")
    repl.ask("/set wordwrap")
    assert shown(repl, "Tell me a story.", 40) == story
    leave(repl)


# ---- a conversation that outgrows the context

DROPPED = r"the conversation has (\d+) tokens, the context holds (\d+): the (\d+) oldest messages are left out, (\d+) tokens are kept"


def test_the_oldest_turns_are_left_out_and_it_is_said(start):
    t = start("--num-ctx", "256", "--num-predict", "30", "--temperature", "0", "--system", "You are kind.")
    told = []
    for i in range(8):
        text = t.ask(f"Question number {i}: tell me about the sea, the ships and the wind, please, and be brief.")
        assert "cama: the prompt" not in text
        text = re.sub(r"\s+", " ", text)
        told += [tuple(map(int, m.groups())) for m in re.finditer(DROPPED, text)]
    assert len(told) >= 3, told  # each time, once it is full
    for n_all, n_ctx, n_dropped, n_kept in told:
        assert n_ctx == 256 and n_all > 256 - 64 and n_kept <= 256 - 30 and n_dropped % 2 == 0
    assert told[-1][0] > 256 and told[-1][2] > told[0][2]
    assert "context is full" not in t.seen
    t.ask("/set parameter num_ctx 2048")  # nothing was forgotten: there is room again
    assert not re.search("left out", t.ask("And now?"))
    leave(t)


def test_a_question_that_never_fits_is_an_error_and_the_conversation_goes_on(start):
    t = start("--num-ctx", "128", "--num-predict", "8", "--temperature", "0")
    t.type("word " * 300 + "\n")
    t.expect(r"the prompt has 3\d\d tokens, the context holds 128; /set parameter num_ctx N")
    t.expect(PROMPT)
    assert "cama: " not in t.ask("What is the capital of France?")
    leave(t)


# ---- pasting


def paste(t, text):
    t.type(f"\x1b[200~{text}\x1b[201~")


def test_a_paste_of_several_lines_is_one_question(repl, tmp_path):
    assert b"\x1b[?2004h" in repl.all
    paste(repl, "What is the\rcapital 中文 😀\n\tof \x1b[20 France?")
    time.sleep(0.5)
    while repl.read(0.2):
        pass
    assert repl.process.poll() is None and b"\x1b[?2004l" not in repl.all  # not sent yet
    before = len(repl.all)
    repl.seen, repl.raw = "", b""  # the pasted lines were drawn behind a prompt, too
    repl.type("\n")
    repl.expect(PROMPT)
    answer = repl.all[before:]
    assert b"\x1b[?2004l" in answer and answer.rindex(b"\x1b[?2004h") > answer.index(b"\x1b[?2004l")
    entry = (tmp_path / ".cama_history").read_text().splitlines()[-1]
    assert entry.startswith("What\\040is\\040the\\012capital\\040"), entry
    assert "\\012\\011of\\040" in entry and entry.endswith("France?"), entry
    leave(repl)
    while repl.read(0.2):
        pass
    assert repl.all.rindex(b"\x1b[?2004l") > repl.all.rindex(b"\x1b[?2004h")


def test_a_long_paste(repl):
    paste(repl, "\n".join(f"line {i} of many" for i in range(300)))
    repl.type("\n")
    repl.expect(r"line 299 of many")
    repl.expect(PROMPT)
    leave(repl)


def test_a_pasted_command_may_end_with_a_line(repl):
    paste(repl, "/set system Be terse.\n")
    repl.type("\n")
    repl.expect("Set system message")
    repl.expect(PROMPT)
    leave(repl)


def test_interrupt_within_a_paste(repl):
    repl.type("\x1b[200~half of a")
    time.sleep(0.5)
    os.killpg(repl.process.pid, signal.SIGINT)
    repl.expect(r"/bye", 30)
    repl.expect(PROMPT)
    leave(repl)


@pytest.mark.parametrize("term", ["dumb", "", "no-such-terminal"])
def test_plain_terminals(start, term):
    t = start(TERM=term, NO_COLOR="1")
    assert "Paris" in t.ask("What is the capital of France?")
    if term != "no-such-terminal":
        assert b"\x1b" not in t.all
    leave(t)


# ---- interrupts


def test_interrupt_stops_the_answer_only(repl):
    repl.ask("/set parameter num_predict -1")
    repl.type("Write a very long story about the sea, with many chapters.\n")
    repl.expect("chapters\\.")
    repl.expect(r"\w+ \w+ \w+")
    os.killpg(repl.process.pid, signal.SIGINT)
    repl.expect(PROMPT, 30)
    repl.type("\x03")  # at the prompt: a hint, not an end
    repl.expect(r"/bye", 30)
    repl.expect(PROMPT)
    leave(repl)


def test_interrupt_of_a_long_prompt_takes_the_question_back(start):
    t = start("--num-ctx", "8192", "-b", "64")
    paste(t, "the sea and the ships " * 1000)
    t.type("\n")
    time.sleep(1)
    os.killpg(t.process.pid, signal.SIGINT)
    t.expect(PROMPT, 30)
    assert "cama: " not in t.ask("/show system")
    leave(t)


def test_end_of_file_leaves(repl):
    leave(repl, "\x04")


def test_what_is_typed_during_an_answer_is_the_next_line(repl):
    repl.type("Tell me a story.\n")
    repl.expect(r"story\.\r\n")
    repl.type("/show system\n")
    repl.expect(PROMPT)
    repl.expect("No system message was specified")
    repl.expect(PROMPT)
    leave(repl)
