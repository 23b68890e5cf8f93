"""Many clients at once: the same bits as alone, nobody stalled by another, queues that end in an answer."""
import contextlib
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from server import GREEDY, MODEL, wait_for

PROMPTS = ["Why is the sky blue?", "Name three rivers.", "What is 2 + 2?", "Tell me about llamas and camels.",
           "Write a haiku.", "Who was Ada Lovelace?", "List the planets.", "How do I boil an egg?"]
LONG = "The quick brown fox jumps over the lazy dog. " * 160  # about 1,600 tokens


def text_of(server, prompt, n=24, **options):
    parts = server.stream("/api/generate", 300, model=MODEL, prompt=prompt, options={**GREEDY, "num_predict": n, **options})
    return "".join(p["response"] for p in parts)


@pytest.mark.parametrize("n", [8, 64])
def test_parallel_streams_are_what_each_is_alone(server, n):
    alone = {p: text_of(server, p) for p in PROMPTS}
    seeded = text_of(server, PROMPTS[0], temperature=0.9, seed=7)
    with ThreadPoolExecutor(n) as pool:
        jobs = [pool.submit(text_of, server, PROMPTS[i % 8]) for i in range(n - 1)]
        warm = pool.submit(text_of, server, PROMPTS[0], temperature=0.9, seed=7)
        for i, job in enumerate(jobs):
            assert job.result() == alone[PROMPTS[i % 8]]
        assert warm.result() == seeded


def send_raw(server, path, body):
    """The socket of a request that nobody has read the answer of."""
    s = socket.create_connection(("127.0.0.1", server.port))
    data = json.dumps(body).encode()
    s.sendall(b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), len(data), data))
    return s


def test_who_leaves_in_prefill_frees_the_sequence(server):
    text_of(server, "warm", 1)
    s = send_raw(server, "/api/generate", {"model": MODEL, "prompt": LONG * 3, "options": {"num_ctx": 8192, "num_predict": 500}})
    wait_for(lambda: server.running() > 0)
    s.close()
    left = time.monotonic()
    wait_for(lambda: server.running() == 0, 5)
    assert time.monotonic() - left < 1


def test_who_leaves_in_decode_frees_the_sequence(server):
    c, r = server.open("POST", "/api/generate", {"model": MODEL, "prompt": "Tell a long story.", "options": {"num_predict": 4000, "num_ctx": 8192}})
    assert r.readline()
    assert server.running() == 1
    c.sock and c.sock.close()
    r.close()
    c.close()
    left = time.monotonic()
    wait_for(lambda: server.running() == 0, 5)
    assert time.monotonic() - left < 1


def test_who_stops_reading_stalls_nobody(server):
    stuck = [send_raw(server, "/api/generate", {"model": MODEL, "prompt": "Count from one to ten thousand.", "raw": True,
                                                "options": {"num_predict": 8000, "num_ctx": 8192, "ignore": 1}})
             for _ in range(2)]
    try:
        with_stuck = [time.monotonic()]
        for _ in range(3):
            assert len(text_of(server, "Why is the sky blue?")) > 10
            with_stuck.append(time.monotonic())
        assert with_stuck[-1] - with_stuck[0] < 30
    finally:
        for s in stuck:
            s.close()
    wait_for(lambda: server.running() == 0, 5)


def test_two_hundred_clients_and_a_queue_of_64(make_server, model):
    server = make_server(OLLAMA_MAX_QUEUE="64", OLLAMA_NUM_PARALLEL="4")
    server.add_model(model)
    alone = text_of(server, PROMPTS[0], 8)
    start = threading.Barrier(200)

    def ask(_):
        start.wait()
        status, reply = server.request("POST", "/api/generate", {"model": MODEL, "prompt": PROMPTS[0], "stream": False,
                                                                 "options": {**GREEDY, "num_predict": 8}}, 300)
        return status, reply.get("response"), reply.get("error")

    with ThreadPoolExecutor(200) as pool:
        ends = list(pool.map(ask, range(200)))
    busy = "server busy, please try again.  maximum pending requests exceeded"
    for status, text, error in ends:
        assert (status, text, error) in ((200, alone, None), (503, None, busy))
    n_ok = sum(status == 200 for status, _, _ in ends)
    assert 64 <= n_ok < 200, f"{n_ok} of 200 were answered"
    assert text_of(server, PROMPTS[0], 8) == alone


def test_num_ctx_and_tags_reload_nothing(server):
    text_of(server, "warm", 1)
    before = server.runners()
    server.post("/api/create", model="second:tag", **{"from": MODEL}, system="Be brief.", stream=False)
    with contextlib.closing(server.open("POST", "/api/chat", {"model": "second:tag", "messages": [{"role": "user", "content": "Hi"}],
                                                              "options": {"num_predict": 2, "num_ctx": 1024}})[0]):
        pass
    for num_ctx in (512, 2048, 8192, 256):
        text_of(server, "Hi", 2, num_ctx=num_ctx, num_thread=1)
    assert server.runners() == before
    server.request("DELETE", "/api/delete", {"model": "second:tag"})
