"""What the end-to-end tests share: the program, the real model, and a way to run it."""
import os
import subprocess

import pytest


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
