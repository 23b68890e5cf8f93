"""What the end-to-end tests share: the program, the real model, and a way to run it."""
import os
import subprocess

import pytest
from gguf_copy import with_metadata
from server import Server


@pytest.fixture(scope="session")
def cama_bin():
    return os.environ["CAMA_BIN"]


@pytest.fixture(scope="session")
def model():
    return os.environ["CAMA_MODEL"]


@pytest.fixture
def cama(cama_bin):
    """cama(*args, input=b"") -> the finished process, with bytes; standard input is never inherited."""

    def call(*args, input=b"", timeout=300):
        return subprocess.run([cama_bin, *map(str, args)], input=input, capture_output=True, timeout=timeout)

    return call


@pytest.fixture(scope="session")
def server(cama_bin, model, tmp_path_factory):
    """A server with the real model, shared by the tests that leave it as they found it."""
    s = Server(cama_bin, str(tmp_path_factory.mktemp("serve")), OLLAMA_NUM_PARALLEL="4").start()
    s.add_model(model)
    with open(model, "rb") as f:
        s.add_data(with_metadata(f.read(), {"ARCH.pooling_type": 1}), "embed:v1")
    yield s
    assert s.stop() == 0, s.log()


@pytest.fixture
def make_server(cama_bin, tmp_path):
    """make_server(**environment) -> a server of the test's own."""
    made = []

    def make(**env):
        root = tmp_path / f"serve{len(made)}"
        root.mkdir()
        made.append(Server(cama_bin, str(root), **env))
        return made[-1].start()

    yield make
    for s in made:
        if s.process and s.process.poll() is None:
            s.process.kill()
            s.process.wait()
        assert "Sanitizer" not in s.log(), s.log()
