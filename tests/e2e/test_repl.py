"""The REPL of `cama run`, typed at a pseudo-terminal."""
import errno
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

PROMPT = ">>> "


class Terminal:
    """A program on a pseudo-terminal: type lines, wait for text."""

    def __init__(self, args, env):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(args, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
                                        preexec_fn=self.take_terminal)
        os.close(slave)
        self.seen = ""
        self.raw = b""

    @staticmethod
    def take_terminal():
        import fcntl
        import termios
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

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def repl(cama_bin, model, tmp_path):
    env = dict(os.environ, HOME=str(tmp_path), TERM="xterm", LC_ALL="C.UTF-8")
    env.pop("XDG_STATE_HOME", None)
    t = Terminal([cama_bin, "run", model, "--temperature", "0", "--num-predict", "40", "--activations", "f32"], env)
    try:
        t.expect(PROMPT)
        yield t
    finally:
        t.close()


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
    assert "num-predict        2" in repl.ask("/show parameters")
    assert "temperature" in repl.ask("/set parameter temprature 1")
    assert "must be a number from 0 to 1" in repl.ask("/set parameter top_p 7")
    assert "512 of" not in repl.ask("/show info")
    repl.ask("/set parameter num_ctx 512")
    assert "512 of" in repl.ask("/show info")
    leave(repl)


def test_a_system_message(repl):
    assert "Set system message" in repl.ask("/set system You only speak of cheese.")
    assert "You only speak of cheese." in repl.ask("/show system")
    leave(repl)


def test_unknown_commands_and_help(repl):
    assert "unknown command '/frob'" in repl.ask("/frob")
    assert "/set parameter" in repl.ask("/help")
    assert "im_start" in repl.ask("/show template")
    leave(repl)


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


def test_end_of_file_leaves(repl):
    leave(repl, "\x04")


def test_what_is_typed_during_an_answer_is_the_next_line(repl):
    repl.type("Tell me a story.\n")
    repl.expect(r"story\.\r\n")
    repl.type("/show system\n")
    repl.expect(PROMPT)
    repl.expect("No system message was set")
    repl.expect(PROMPT)
    leave(repl)
