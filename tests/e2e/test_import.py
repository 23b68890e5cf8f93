"""Folders in Hugging Face and MLX layout through `create`: what comes out talks, what cannot be read is refused, and
nothing is left of an import that did not end."""
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from server import GREEDY, alive, wait_for
from test_store_faults import Store, digest_of

SYNTH = Path(__file__).parents[2] / "tools" / "synth_mlx.py"
linux = pytest.mark.skipif(platform.system() != "Linux", reason="needs LD_PRELOAD and /proc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """folder(*args) -> a folder that tools/synth_mlx.py wrote."""
    made = {}

    def make(*args):
        if args not in made:
            made[args] = tmp_path_factory.mktemp("hf")
            subprocess.run([sys.executable, SYNTH, made[args], *args], check=True)
        return made[args]

    return make


@pytest.fixture(scope="module")
def server(cama_bin, tmp_path_factory):
    from server import Server
    s = Server(cama_bin, str(tmp_path_factory.mktemp("serve")), CAMA_ACTIVATIONS="f32").start()
    yield s
    assert s.stop() == 0, s.log()


def files_of(server, path):
    """Uploads a folder; the request's files."""
    files = {}
    for p in sorted(path.iterdir()):
        data = p.read_bytes()
        status, reply = server.request("POST", f"/api/blobs/{digest_of(data)}", data)
        assert status in (200, 201), reply
        files[p.name] = digest_of(data)
    return files


def create(server, name, path, **fields):
    return server.request("POST", "/api/create", {"model": name, "files": files_of(server, path), "stream": False,
                                                  **fields})


def answer(server, name, n=12):
    reply = server.post("/api/generate", model=name, prompt="hello the world", raw=True, stream=False,
                        options={**GREEDY, "num_predict": n, "num_ctx": 128})
    assert reply["done"] and reply["eval_count"] > 0
    return reply["response"]


def logprobs(server, name):
    reply = server.post("/api/generate", model=name, prompt="hello the world", raw=True, stream=False, logprobs=True,
                        top_logprobs=5, options={**GREEDY, "num_predict": 6, "num_ctx": 128})
    return [[(t["token"], t["logprob"]) for t in step["top_logprobs"]] for step in reply["logprobs"]]


# ---- what works ----

@pytest.mark.parametrize("arch", ["llama", "llama3", "mistral", "qwen2", "qwen3", "qwen3moe", "gemma2", "gemma3"])
def test_architectures_talk(server, folder, arch):
    status, reply = create(server, f"arch-{arch}", folder("--arch", arch, "--form", "bf16"))
    assert status == 200, reply
    answer(server, f"arch-{arch}")
    details = server.post("/api/show", model=f"arch-{arch}")["details"]
    assert details["family"] == arch.replace("llama3", "llama").replace("mistral", "llama")
    assert details["format"] == "gguf" and details["quantization_level"] == "BF16"


@pytest.mark.parametrize("form, level", [("A4G64_BF16", "int4"), ("A4G64_F16", "int4"), ("A4G64_F32", "int4"),
                                         ("A8G64_BF16", "int8"), ("A8G64_F16", "int8"), ("mxfp4", "MXFP4"),
                                         ("nvfp4", "NVFP4")])
def test_quantised_as_their_values(server, folder, form, level):
    """With f32 activations the answer, probabilities too, is that of the same values stored as f32."""
    assert create(server, "packed", folder("--form", form, "--shards", "3"))[0] == 200
    assert create(server, "flat", folder("--form", form, "--flat"))[0] == 200
    assert server.post("/api/show", model="packed")["details"]["quantization_level"] == level
    assert server.post("/api/show", model="flat")["details"]["quantization_level"] == "F32"
    assert logprobs(server, "packed") == logprobs(server, "flat")
    assert answer(server, "packed") == answer(server, "flat")


def test_sentencepiece(server, folder):
    assert create(server, "spm", folder("--tokenizer", "spm"))[0] == 200
    info = server.post("/api/show", model="spm")["model_info"]
    assert info["tokenizer.ggml.model"] == "llama" and info["tokenizer.ggml.add_bos_token"] is True
    reply = server.post("/api/generate", model="spm", prompt=" hello and the world!", raw=True, stream=False,
                        options={**GREEDY, "num_predict": 4})
    assert reply["prompt_eval_count"] > 3


def test_same_files_same_blob(server, folder):
    path = folder("--form", "A4G64_BF16")
    digests = []
    for name in ("one", "two"):
        assert create(server, name, path)[0] == 200
        manifest = Store(server.root + "/models").manifests / f"registry.ollama.ai/library/{name}/latest"
        digests.append([e["digest"] for e in json.loads(manifest.read_text())["layers"] if "image.model" in e["mediaType"]])
    assert digests[0] == digests[1] and len(digests[0]) == 1


def test_command_line(cama_bin, server, folder, tmp_path):
    """FROM a folder, and a folder without a Modelfile."""
    path = folder("--form", "A8G64_BF16", "--shards", "2")

    def run(*args, cwd):
        return subprocess.run([cama_bin, *args], cwd=cwd, env=server.environment(), capture_output=True, text=True,
                              timeout=60)

    (tmp_path / "Modelfile").write_text(f"FROM {path}\nSYSTEM Be brief.\nPARAMETER num_predict 3\n")
    p = run("create", "cli-from", cwd=tmp_path)
    assert p.returncode == 0, p.stderr
    for status in ("gathering model components", "converting model", "creating new layer", "writing manifest", "success"):
        assert status in p.stderr + p.stdout
    shown = server.post("/api/show", model="cli-from")
    assert shown["system"] == "Be brief." and "num_predict" in shown["parameters"] and "completion" in shown["capabilities"]
    p = run("create", "cli-implicit", cwd=path)
    assert p.returncode == 0, p.stderr
    assert answer(server, "cli-implicit") == answer(server, "cli-from", 12)
    p = run("run", "cli-implicit", "hello", "--num-predict", "4", cwd=tmp_path)
    assert p.returncode == 0, p.stderr


def test_chat_template(server, folder):
    assert create(server, "chatty", folder())[0] == 200
    reply = server.post("/api/chat", model="chatty", messages=[{"role": "user", "content": "hello"}], stream=False,
                        options={**GREEDY, "num_predict": 3})
    assert reply["done"] and reply["prompt_eval_count"] >= 8  # the marks of two turns


# ---- what is refused ----

def test_forms_for_mlx_only(make_server, folder):
    """They are kept; native says why it cannot, by the form's name."""
    server = make_server(CAMA_MLX_PLUGIN="none", CAMA_ENGINE="native")
    assert create(server, "six", folder("--form", "A6G32_F16"))[0] == 200
    assert server.post("/api/show", model="six")["details"]["quantization_level"] == "int6"
    status, reply = server.request("POST", "/api/generate", {
        "model": "six", "prompt": "a", "stream": False, "options": {"num_predict": 1}})
    assert status >= 400
    assert "affine 6-bit in groups of 32 (tensor 'token_embd.weight') runs on the mlx engine only" in reply["error"]


def with_config(path, tmp_path, **fields):
    copy = tmp_path / "copy"
    copy.mkdir()
    for p in path.iterdir():
        (copy / p.name).write_bytes(p.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **fields}))
    return copy


@pytest.mark.parametrize("fields, status, says", [
    ({"architectures": ["MambaForCausalLM"]}, 400, "these can: LlamaForCausalLM, MistralForCausalLM"),
    ({"hidden_size": "many"}, 400, "'hidden_size' must be a whole number"),
    ({"num_hidden_layers": 3}, 400, "tensor 'model.layers.2.input_layernorm.weight' is missing")])
def test_refusals(server, folder, tmp_path, fields, status, says):
    store = Store(server.root + "/models")
    before = store.models()
    path = with_config(folder(), tmp_path, **fields)
    got, reply = create(server, "bad", path)
    assert got == status and says in reply["error"], reply
    lines = list(server.stream("/api/create", model="bad", files=files_of(server, path)))
    assert lines[0] == {"status": "converting model"} and says in lines[-1]["error"]
    assert store.models() == before and not store.temps()


def test_missing_parts(server, folder):
    files = files_of(server, folder())
    for gone, says in (("config.json", "config.json is missing"), ("tokenizer.json", "tokenizer.json is missing")):
        status, reply = server.request("POST", "/api/create", {
            "model": "bad", "stream": False, "files": {k: v for k, v in files.items() if k != gone}})
        assert status == 400 and says in reply["error"], reply
    some = {"model.safetensors": "sha256:" + "0" * 64}
    status, reply = server.request("POST", "/api/create", {"model": "bad", "stream": False, "files": some})
    assert status == 500 and "no such file or directory" in reply["error"]


# ---- an import that does not end ----

@pytest.fixture
def stuck(make_server, tmp_path):
    """stuck(script) -> a server whose runners are this shell script, and its store."""
    out = tmp_path / "preload_runner.so"
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", str(out),
                    str(Path(__file__).with_name("preload_runner.c"))], check=True)
    program, flag = tmp_path / "program", tmp_path / "flag"

    def make(script):
        program.write_text("#!/bin/sh\n" + script + "\n")
        program.chmod(0o755)
        flag.write_text("")
        server = make_server(LD_PRELOAD=str(out), FAKE_WHILE=str(flag), FAKE_PROGRAM=str(program),
                             ASAN_OPTIONS="verify_asan_link_order=0")
        return server, Store(server.root + "/models"), flag

    return make


@linux
def test_a_process_that_dies(stuck, folder):
    server, store, flag = stuck("exit 3")
    status, reply = create(server, "m", folder())
    assert status == 500 and "the process that imports ended: exited with status 3" in reply["error"], reply
    assert not store.temps() and not store.models()
    flag.unlink()
    assert create(server, "m", folder())[0] == 200


@linux
def test_the_client_leaves(stuck, folder):
    server, store, _ = stuck("exec sleep 100")
    c, r = server.open("POST", "/api/create", {"model": "m", "files": files_of(server, folder())})
    assert json.loads(r.readline()) == {"status": "converting model"}
    runner = wait_for(server.runners)[0]
    assert len(store.temps()) == 1
    c.close()
    r.close()
    wait_for(lambda: not alive(runner) and not store.temps(), 10)
    assert not store.models() and server.answers()


@linux
def test_the_server_is_killed(stuck, folder):
    server, store, flag = stuck("exec sleep 100")
    _, r = server.open("POST", "/api/create", {"model": "m", "files": files_of(server, folder())})
    assert json.loads(r.readline()) == {"status": "converting model"}
    runner = wait_for(server.runners)[0]
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    wait_for(lambda: not alive(runner))
    assert len(store.temps()) == 1
    flag.unlink()
    server.start()
    wait_for(lambda: not store.temps())
    assert not store.models()
    assert create(server, "m", folder())[0] == 200
    store.check()


@linux
def test_a_server_that_stops(stuck, folder):
    server, store, _ = stuck("exec sleep 100")
    _, r = server.open("POST", "/api/create", {"model": "m", "files": files_of(server, folder())})
    assert json.loads(r.readline()) == {"status": "converting model"}
    wait_for(server.runners)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(50) == 0  # what runs has half a minute
    assert time.monotonic() - began < 45 and not store.temps()


@linux
def test_no_room(cama_bin, make_server, folder, tmp_path):
    """The output is larger than a file may be: the shards are not."""
    path = folder("--form", "f32", "--shards", "4")
    largest = max(p.stat().st_size for p in path.iterdir())
    program = tmp_path / "limited"
    program.write_text(f'#!/bin/sh\nulimit -f {largest // 512 + 200}\nexec "{cama_bin}" "$@"\n')
    program.chmod(0o755)
    limited = make_server()
    limited.stop()
    limited.program = str(program)
    limited.start()
    status, reply = create(limited, "m", path)
    assert status == 500 and ("File too large" in reply["error"] or "imports ended" in reply["error"]), reply
    store = Store(limited.root + "/models")
    assert not store.temps() and not store.models()
    store.check()
