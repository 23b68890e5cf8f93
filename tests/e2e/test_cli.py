"""The commands, on the real model: what they print, what they refuse, and how they end."""
import json
import os
import re

import numpy as np
import pytest


def ids_of(out):
    return [int(x) for x in out.decode().strip().split(",") if x]


def test_run_answers_and_tells_its_figures(cama, model):
    # f32: the first token is a near tie, and int8 activations (llama.cpp's too) take the other one
    p = cama("run", model, "What is the capital of France?", "--temperature", 0, "--num-predict", 40, "--activations", "f32")
    assert p.returncode == 0, p.stderr
    assert b"Paris" in p.stdout
    err = p.stderr.decode()
    for line in (r"engine   native, f32 activations", r"device   .*thread", r"memory   .*weights .*KV .*scratch",
                 r"prefill  \d+ tokens, [\d.]+ tokens/s", r"decode   \d+ tokens, [\d.]+ tokens/s"):
        assert re.search(line, err), (line, err)


def test_the_prompt_may_come_by_standard_input(cama, model):
    args = ("run", model, "--temperature", 0, "--num-predict", 12)
    piped = cama(*args, input=b"What is the capital of France?\n")
    given = cama(*args, "What is the capital of France?")
    both = cama(*args, "capital of France?", input=b"What is the\n")
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout == given.stdout == both.stdout


def test_a_seed_gives_the_same_answer(cama, model):
    args = ("run", model, "Tell me a story.", "--temperature", "1.2", "--num-predict", 24)
    a, b, c = (cama(*args, "--seed", seed).stdout for seed in (7, 7, 8))
    assert a == b != c


def test_num_predict_and_stop(cama, model):
    base = ("run", model, "Count from one to ten in words.", "--temperature", 0)
    p = cama(*base, "--num-predict", 3)
    assert re.search(rb"decode   3 tokens", p.stderr)
    text = cama(*base, "--num-predict", 30).stdout.decode()
    word = text.split()[2]
    cut = cama(*base, "--num-predict", 30, "--stop", word).stdout.decode()
    assert cut.rstrip("\n") == text[: text.index(word)].rstrip("\n")


def test_a_system_message_changes_the_answer(cama, model):
    args = ("run", model, "Who are you?", "--temperature", 0, "--num-predict", 30)
    assert cama(*args).stdout != cama(*args, "--system", "You are a pirate. Say arr.").stdout


@pytest.mark.parametrize("text", [
    "Hello, world!", "", "  two  spaces\n\ttab", "naïve café 中文 😀", "a\r\nb", "x" * 2000, "'s 't 're 123456789 !!!"])
def test_tokenize_and_back(cama, model, text):
    raw = text.encode()
    p = cama("tokenize", model, "-", "--no-bos", input=raw)
    assert p.returncode == 0, p.stderr
    back = cama("detokenize", model, "-", input=p.stdout)
    assert back.returncode == 0, back.stderr
    assert back.stdout == raw


def test_special_tokens_are_read_and_written_on_request(cama, model):
    text = "<|im_start|>user\nhi<|im_end|>"
    plain = ids_of(cama("tokenize", model, text).stdout)
    special = ids_of(cama("tokenize", model, text, "--special").stdout)
    assert len(special) < len(plain)
    ids = ",".join(map(str, special))
    assert cama("detokenize", model, ids, "--special").stdout.decode() == text
    assert cama("detokenize", model, ids).stdout.decode() == "user\nhi"


def test_json_forms(cama, model):
    t = json.loads(cama("tokenize", model, "Hello 😀", "--json").stdout)
    assert len(t["tokens"]) == len(t["pieces"]) > 1
    ids = ",".join(map(str, t["tokens"]))
    assert json.loads(cama("detokenize", model, ids, "--json").stdout) == {"text": "Hello 😀"}


def test_logits(cama, model, tmp_path):
    ids = "504,3575,282,4649,314,7042"
    whole, parts = tmp_path / "whole.npy", tmp_path / "parts.npy"
    p = cama("logits", model, "--tokens", ids, "--out", whole)
    assert p.returncode == 0, p.stderr
    x = np.load(whole)
    n_vocab = json.loads(cama("show", model, "--json").stdout)["vocabulary"]
    assert x.shape == (6, n_vocab) and x.dtype == np.float32 and np.isfinite(x).all()
    for chunk in (1, 2, 5):  # the same bits, however it is cut
        assert cama("logits", model, "--tokens", "-", "--chunk", chunk, "--out", parts, input=ids.encode()).returncode == 0
        assert np.array_equal(np.load(parts).view(np.uint32), x.view(np.uint32))
    for kv in ("f32", "q8_0", "q4_0"):
        assert cama("logits", model, "--tokens", ids, "--kv-type", kv, "--out", parts).returncode == 0
        y = np.load(parts)
        # four bits a value move the logits, a wrong scale or layout would scatter them
        assert np.corrcoef(x.ravel(), y.ravel())[0, 1] > (0.98 if kv == "q4_0" else 0.999)
    cama("logits", model, "--tokens", ids, "--activations", "f32", "--out", parts)
    assert 0 < np.abs(np.load(parts) - x).max() < 2


def test_show(cama, model):
    text = cama("show", model).stdout.decode()
    assert "llama" in text and "general.architecture" in text
    d = json.loads(cama("show", model, "--json", "--tensors").stdout)
    assert d["architecture"] == "llama" and d["metadata"]["general.architecture"] == "llama"
    assert len(d["tensors"]) == d["tensor_count"] and d["tensors"][0]["shape"]
    assert b"im_start" in cama("show", model, "--template").stdout
    assert len(cama("show", model, "--plan").stdout.splitlines()) > d["layers"]


def test_embed(cama, model, tmp_path):
    v = np.array(json.loads(cama("embed", model, "a small dog").stdout))
    assert abs(np.linalg.norm(v) - 1) < 1e-5
    out = tmp_path / "v.npy"
    assert cama("embed", model, "a small dog", "--out", out).returncode == 0
    assert np.allclose(np.load(out), v, atol=1e-7)


def test_version_and_help(cama):
    assert re.fullmatch(rb"cama version \d+\.\d+\.\d+\n", cama("version").stdout)
    assert b"tokenize" in cama().stdout and b"tokenize" in cama("help").stdout
    assert cama("help", "run").stdout == cama("run", "--help").stdout


@pytest.mark.parametrize("args, text", [
    (("embed", "M", "x", "--treads", "1"), "is --threads meant?"),
    (("logits", "M", "--tokens", "1"), "--out is missing"),
    (("logits", "M", "--out", "x.npy"), "--tokens is missing"),
    (("logits", "M", "--tokens", "1,x", "--out", "x.npy"), "'x' is no token id"),
    (("tokenize",), "usage: cama tokenize FILE TEXT|-"),
])
def test_wrong_command_lines(cama, args, text):
    p = cama(*args)
    assert p.returncode == 2 and p.stdout == b""
    assert text in p.stderr.decode()


@pytest.mark.parametrize("args, text", [
    (("rnu",), 'unknown command "rnu" for "cama"; is "run" meant?'),
    (("run",), "requires at least 1 arg(s), only received 0"),
    (("show",), "accepts 1 arg(s), received 0"),
    (("show", "a", "b"), "accepts 1 arg(s), received 2"),
    (("list", "--nosuch"), "unknown flag: --nosuch"),
    (("run", "M", "--temprature", "1"), "unknown flag: --temprature; is --temperature meant?"),
    (("run", "M", "--top-p", "2"), "--top-p is '2', must be a number from 0 to 1"),
    (("run", "M", "--kv-type", "f12"), "--kv-type is 'f12', must be one of f16|f32|bf16|q8_0|q4_0"),
])
def test_wrong_command_lines_where_ollama_has_the_command(cama, args, text):
    p = cama(*args)
    assert p.returncode == 1 and p.stdout == b""
    assert p.stderr.decode() == f"Error: {text}\n"


def test_help_of_what_there_is_not(cama):
    p = cama("help", "rnu")
    assert p.returncode == 0 and p.stdout == b"" and p.stderr.startswith(b"Unknown help topic [`rnu`]\n")


def test_ids_outside_the_vocabulary(cama, model, tmp_path):
    out = tmp_path / "x.npy"
    p = cama("logits", model, "--tokens", "1,999999", "--out", out)
    assert p.returncode == 1 and "999999" in p.stderr.decode()
    assert not list(tmp_path.iterdir())
    p = cama("detokenize", model, "999999")
    assert p.returncode == 1 and "999999" in p.stderr.decode()


def test_a_prompt_longer_than_the_context_names_both_numbers(cama, model):
    p = cama("run", model, "word " * 500, "--num-ctx", 64)
    assert p.returncode == 1
    assert re.search(r"\b5\d\d tokens.*\b64; --num-ctx N makes room", p.stderr.decode())


def test_a_full_context_is_told(cama, model):
    p = cama("run", model, "Count to a thousand.", "--num-ctx", 64, "--temperature", 0, "--ignore-eos")
    assert p.returncode == 0
    assert "the context is full" in p.stderr.decode()


def test_what_does_not_fit_is_refused_with_figures(cama, model):
    p = cama("run", model, "hi", "--max-memory", "150M", "--num-ctx", 8192)
    assert p.returncode == 1 and p.stdout == b""
    err = p.stderr.decode()
    assert "8192" in err and re.search(r"fit|context", err), err
    assert cama("run", model, "hi", "--max-memory", "10M").returncode == 1


def test_unknown_engine(cama, model):
    p = cama("run", model, "hi", "--engine", "steam")
    assert p.returncode == 1 and "steam" in p.stderr.decode()


def test_files_that_are_no_models(cama, model, tmp_path):
    data = open(model, "rb").read()
    bad = tmp_path / "bad.gguf"
    cases = {
        "missing": None,
        "empty": b"",
        "text": b"hello, this is no model\n" * 10,
        "magic": b"GGUF",
        "header cut": data[:1000],
        "metadata cut": data[: len(data) // 100],
        "tensors cut": data[:-1000],
        "version": data[:4] + b"\x09\0\0\0" + data[8:],
        "counts": data[:8] + b"\xff" * 16 + data[24:],
    }
    for name, content in cases.items():
        bad.unlink(missing_ok=True)
        if content is not None:
            bad.write_bytes(content)
        for command in (("run", bad, "hi"), ("show", bad), ("tokenize", bad, "x")):
            p = cama(*command)
            assert p.returncode == 1, (name, command, p)
            assert p.stderr.startswith(b"cama: ") and p.stderr.count(b"\n") == 1, (name, p.stderr)


def test_a_folder_is_no_model(cama, tmp_path):
    p = cama("show", tmp_path)
    assert p.returncode == 1 and str(tmp_path) in p.stderr.decode()


def test_output_that_goes_nowhere(cama_bin, model):
    import subprocess
    with open("/dev/full", "wb") as full:
        p = subprocess.run([cama_bin, "run", model, "hi", "--num-predict", "5"], stdin=subprocess.DEVNULL, stdout=full,
                           stderr=subprocess.PIPE, timeout=300)
    assert p.returncode == 1 and b"cannot write standard output" in p.stderr


def test_a_reader_that_leaves_ends_it_quietly(cama_bin, model):
    import subprocess
    for args in (["run", model, "Count to a thousand.", "--ignore-eos", "--num-predict", "200"], ["help"], ["version"],
                 ["show", model], ["tokenize", model, "x"]):
        reader, writer = os.pipe()
        os.close(reader)  # before the program can write: a short answer would fit into the pipe
        p = subprocess.Popen([cama_bin, *args], stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        err = p.stderr.read()
        assert p.wait(60) == 141 and err == b"", (args, p.returncode, err)


@pytest.mark.parametrize("wait_s", [0.0, 0.02, 2.0])
def test_an_interrupt_ends_with_its_status(cama_bin, model, wait_s):
    """Before anything, while loading, while the prompt is computed: 130, as a shell sees it, and no error."""
    import signal
    import subprocess
    import time
    p = subprocess.Popen([cama_bin, "run", model, "-c", "8192", "-b", "32", "--threads", "1"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdin.write(b"the sea and the ships " * 1500)
    p.stdin.close()
    time.sleep(wait_s)
    p.send_signal(signal.SIGINT)
    assert p.wait(60) in (130, -signal.SIGINT)
    assert p.stdout.read().strip() == b""
    assert b"cama: " not in p.stderr.read()


def test_no_prompt(cama, model):
    p = cama("run", model)
    assert p.returncode == 1 and b"no prompt" in p.stderr
