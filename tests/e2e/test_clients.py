"""The official clients, unmodified, against a real server and the real model."""
import json
import os
import subprocess
from pathlib import Path

import ollama
import openai
import pytest
from server import EMBED, GREEDY, MODEL

HERE = Path(__file__).resolve().parent
SKY = [{"role": "user", "content": "Why is the sky blue? One sentence."}]
SHORT = {**GREEDY, "num_predict": 12}


@pytest.fixture
def client(server):
    return ollama.Client(host=server.url)


# ---- ollama for Python ----


def test_generate_whole(client):
    r = client.generate(MODEL, "Why is the sky blue?", options=SHORT)
    assert r.done and r.done_reason == "length" and r.eval_count == 12
    assert r.response and r.prompt_eval_count > 5 and r.context and r.total_duration > 0


def test_generate_stream_joins_to_the_whole(client):
    whole = client.generate(MODEL, "Why is the sky blue?", options=SHORT)
    parts = list(client.generate(MODEL, "Why is the sky blue?", options=SHORT, stream=True))
    assert "".join(p.response for p in parts) == whole.response
    assert [p.done for p in parts] == [False] * (len(parts) - 1) + [True]


def test_generate_goes_on_from_a_context(client):
    first = client.generate(MODEL, "My name is Ada.", options=SHORT)
    again = client.generate(MODEL, "What is my name?", context=first.context, options=SHORT)
    assert again.prompt_eval_count > len(first.context)


def test_generate_raw(client):
    r = client.generate(MODEL, "The capital of France is", raw=True, options={**GREEDY, "num_predict": 3})
    assert "Paris" in r.response and r.context is None


def test_chat_whole_and_stream(client):
    whole = client.chat(MODEL, SKY, options=SHORT)
    assert whole.message.role == "assistant" and whole.message.content
    parts = list(client.chat(MODEL, SKY, options=SHORT, stream=True))
    assert "".join(p.message.content for p in parts) == whole.message.content
    assert parts[-1].done and parts[-1].eval_count == 12


def test_logprobs(client):
    r = client.generate(MODEL, "Why is the sky blue?", options=SHORT, logprobs=True, top_logprobs=3)
    assert len(r.logprobs) == 12
    assert "".join(p.token for p in r.logprobs) == r.response
    for p in r.logprobs:
        assert p.logprob <= 0 and len(p.top_logprobs) == 3
        assert p.top_logprobs[0].token == p.token, "greedy takes the best"


def test_stop_string(client):
    r = client.generate(MODEL, "Count: one, two, three", raw=True, options={**GREEDY, "stop": [","], "num_predict": 50})
    assert r.done_reason == "stop" and "," not in r.response


def test_embed(client):
    one = client.embed(EMBED, "hello world")
    many = client.embed(EMBED, ["hello world", "goodbye"], dimensions=64)
    assert len(one.embeddings) == 1 and len(one.embeddings[0]) == 576
    assert len(many.embeddings) == 2 and len(many.embeddings[0]) == 64
    for v in (*one.embeddings, *many.embeddings):
        assert abs(sum(x * x for x in v) - 1) < 1e-4
    old = client.embeddings(EMBED, "hello world")
    assert len(old.embedding) == 576
    with pytest.raises(ollama.ResponseError) as e:
        client.embed(MODEL, "hello world")
    assert e.value.status_code == 501


def test_list_show_ps(client):
    assert MODEL in [m.model for m in client.list().models]
    shown = client.show(MODEL)
    assert shown.details.family == "llama" and shown.details.format == "gguf"
    assert shown.details.quantization_level == "Q4_1"
    assert "completion" in shown.capabilities
    assert shown.modelinfo["general.architecture"] == "llama"
    client.generate(MODEL, "Hi", options={"num_predict": 1})
    loaded = [m for m in client.ps().models if m.model == MODEL]
    assert loaded and loaded[0].size > 0 and loaded[0].expires_at


def test_copy_delete(client):
    client.copy(MODEL, "test/copy:v1")
    assert "test/copy:v1" in [m.model for m in client.list().models]
    client.delete("test/copy:v1")
    assert "test/copy:v1" not in [m.model for m in client.list().models]
    with pytest.raises(ollama.ResponseError) as e:
        client.delete("test/copy:v1")
    assert e.value.status_code == 404


def test_create_from_a_model(client):
    steps = [s.status for s in client.create(model="pirate", from_=MODEL, system="You are a pirate.",
                                             parameters={"temperature": 0, "num_predict": 3}, stream=True)]
    assert steps[-1] == "success"
    shown = client.show("pirate")
    assert "You are a pirate." in shown.modelfile and "num_predict" in shown.parameters
    r = client.chat("pirate", SKY)
    assert r.eval_count == 3 and r.done_reason == "length"
    client.delete("pirate")


def test_create_from_a_file(client, model):
    digest = client.create_blob(model)
    reply = client.create(model="fresh", files={"model.gguf": digest})
    assert reply.status == "success"
    assert client.generate("fresh", "Why is the sky blue?", options=SHORT).eval_count == 12
    client.delete("fresh")


def test_unload(client):
    client.generate(MODEL, "Hi", options={"num_predict": 1})
    r = client.generate(MODEL, keep_alive=0)
    assert r.done_reason == "unload"


def test_errors(client):
    for call in (lambda: client.generate("nope", "x"), lambda: client.chat("nope", SKY), lambda: client.show("nope"),
                 lambda: client.embed("nope", "x")):
        with pytest.raises(ollama.ResponseError) as e:
            call()
        assert e.value.status_code == 404 and "not found" in e.value.error
    with pytest.raises(ollama.ResponseError) as e:
        client.generate(MODEL, "x", options={"num_ctx": "many"})
    assert "num_ctx" in e.value.error


def test_warnings_stand_in_body_header_and_log(server):
    body = {"model": MODEL, "prompt": "The quick brown fox. " * 200, "stream": False,
            "options": {**SHORT, "num_ctx": 256, "frobnicate": 1}}
    c, r = server.open("POST", "/api/generate", body)
    codes = [w["code"] for w in json.loads(r.read())["warnings"]]
    c.close()
    assert sorted(codes) == ["option_unknown", "prompt_cut"]
    assert sorted(r.headers["Cama-Warning"].split(", ")) == sorted(codes)
    assert r.headers["Cama-Engine"].split(";")[0] == os.environ.get("CAMA_E2E_ENGINE", "native")
    c, r = server.open("POST", "/api/generate", {**body, "stream": True})
    assert sorted(r.headers["Cama-Warning"].split(", ")) == sorted(codes)
    r.read()
    c.close()
    lines = [line for line in server.log().splitlines() if "answered with warnings" in line]
    assert len(lines) == 2 and "prompt_cut" in lines[0] and "quick brown" not in lines[0]


def test_async_client(server):
    import asyncio

    async def several():
        c = ollama.AsyncClient(host=server.url)
        rs = await asyncio.gather(*[c.generate(MODEL, "Why is the sky blue?", options=SHORT) for _ in range(4)])
        return {r.response for r in rs}

    assert len(asyncio.run(several())) == 1


# ---- openai for Python ----


@pytest.fixture
def gpt(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0,
                         http_client=openai.DefaultHttpxClient(trust_env=False))


def test_openai_chat(gpt):
    r = gpt.chat.completions.create(model=MODEL, messages=SKY, temperature=0, seed=1, max_tokens=12)
    assert r.object == "chat.completion" and r.choices[0].finish_reason == "length"
    assert r.choices[0].message.content and r.usage.completion_tokens == 12
    assert r.usage.total_tokens == r.usage.prompt_tokens + 12


def test_openai_stream(gpt):
    whole = gpt.chat.completions.create(model=MODEL, messages=SKY, temperature=0, seed=1, max_tokens=12)
    chunks = list(gpt.chat.completions.create(model=MODEL, messages=SKY, temperature=0, seed=1, max_tokens=12,
                                              stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert len({c.id for c in chunks}) == 1
    assert chunks[-1].usage.completion_tokens == 12
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"


def test_openai_ids_differ(gpt):
    ids = {gpt.chat.completions.create(model=MODEL, messages=SKY, max_tokens=1).id for _ in range(8)}
    assert len(ids) == 8


def test_openai_models_and_errors(gpt):
    assert MODEL in [m.id for m in gpt.models.list()]
    with pytest.raises(openai.NotFoundError) as e:
        gpt.chat.completions.create(model="nope", messages=SKY)
    assert e.value.body["type"] == "not_found_error"
    with pytest.raises(openai.BadRequestError):
        gpt.chat.completions.create(model=MODEL, messages=[])


# ---- ollama for JavaScript ----


def test_javascript_client(server):
    """The cases are in clients.mjs: each prints a line of JSON."""
    p = subprocess.run(["node", str(HERE / "clients.mjs"), server.url, MODEL, EMBED], capture_output=True, timeout=300, text=True)
    assert p.returncode == 0, p.stderr
    got = {r["name"]: r for r in map(json.loads, p.stdout.splitlines())}
    assert got["generate"]["eval_count"] == 12 and got["generate"]["response"]
    assert got["stream"]["text"] == got["generate"]["response"] and got["stream"]["done"] is True
    assert got["chat"]["content"] == got["chat_stream"]["content"]
    assert got["embed"]["n"] == 2 and got["embed"]["width"] == 576
    assert got["show"]["family"] == "llama"
    assert MODEL in got["list"]["names"] and MODEL in got["ps"]["names"]
    assert got["copy"]["there"] is True and got["delete"]["there"] is False
    assert got["create"]["last"] == "success"
    assert got["error"]["status"] == 404 and "not found" in got["error"]["text"]
    assert got["abort"]["name_of_error"] == "AbortError"
    assert got["unload"]["done_reason"] == "unload"
