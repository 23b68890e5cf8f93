#!/usr/bin/env python3
"""Compares our tokenizer with libllama v0.5.0 on whole files and many random strings.

    LLAMA_ORACLE_DIR=... /usr/bin/python3 tests/golden/check_tok_full.py [--n N] [--seed S] GGUF...
    ... check_tok_full.py --pre            every pre-tokenizer, on the vocabulary of tok_closure.py

Ids with and without special tokens, decoded texts, the piece of each token, and what ends a
generation. Exit status 1 on any difference. The library is compiled from src/ as it is.
"""
import argparse
import sys
import tempfile
from pathlib import Path

import gguf_vocab
import tok_closure
import tok_llama
import tok_ours
import tok_strings


def compare(name, ours, llama, texts):
    bad = 0
    for i, text in enumerate(texts):
        add, special = bool(i & 1), bool(i & 2)
        got, want = ours.encode(text, add, special), llama.encode(text, add, special)
        if got != want or ours.decode(want, special) != llama.decode(want, special):
            bad += 1
            if bad <= 3:
                print(f"  {text!r}\n    ours  {got}\n    llama {want}")
    pieces = [i for i in range(ours.n_token) if ours.is_eog(i) != llama.is_eog(i)
              or any(ours.piece(i, s) != llama.piece(i, s) for s in (False, True))]
    print(f"{name}: {len(texts)} strings, {bad} differ; {ours.n_token} tokens, {len(pieces)} differ", flush=True)
    return bad + len(pieces)


def check_file(path, n, seed):
    meta = gguf_vocab.read(path)
    ours, llama = tok_ours.Vocab(meta), tok_llama.Vocab(path)
    types = meta.get("tokenizer.ggml.token_type", [])
    special = [t.decode() for t, k in zip(meta["tokenizer.ggml.tokens"], types) if k in (2, 3, 4)][:400]
    texts = tok_strings.strings(seed, n, special)
    vectors = Path(f"{path}.inp")
    if vectors.exists():
        texts += vectors.read_bytes().split(b"\n__ggml_vocab_test__\n")
    bad = compare(Path(path).name, ours, llama, texts)
    llama.close()
    return bad


def check_pre(n, seed):
    bad = 0
    texts = tok_closure.strings(seed, n) + tok_strings.strings(seed, n // 2)
    with tempfile.TemporaryDirectory() as temp:
        for name in tok_ours.pre_names():
            meta = tok_closure.vocabulary(name)
            gguf_vocab.write(Path(temp) / "pre.gguf", meta)
            try:
                llama = tok_llama.Vocab(Path(temp) / "pre.gguf")
            except ValueError:
                print(f"{name.decode()}: libllama does not know it")
                continue
            bad += compare(name.decode(), tok_ours.Vocab(meta), llama, texts)
            llama.close()
    return bad


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--n", type=int, default=20000)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--pre", action="store_true")
    args.add_argument("files", nargs="*")
    a = args.parse_args()
    bad = sum(check_file(f, a.n, a.seed) for f in a.files)
    if a.pre:
        bad += check_pre(a.n, a.seed)
    sys.exit(1 if bad else 0)


main()
