#!/usr/bin/env python3
"""Writes a folder in Hugging Face or MLX layout: a tiny random model with a vocabulary, for tests.

    synth_mlx.py OUT [--arch llama] [--form bf16] [--tokenizer bytes] [--shards 1] [--seed 1]

--form: f32, f16, bf16, or of MLX: A<bits>G<group>_<F32|F16|BF16> ("A4G64_BF16"), mxfp4, mxfp8,
nvfp4; --flat writes the values of a quantised form as f32. Only the standard library is used.
"""
import argparse
import json
import math
import os
import random
import struct
import zlib

EMBD, FF, HEADS, KV_HEADS, HEAD, LAYERS, VOCAB = 256, 512, 4, 2, 64, 2, 384
EXPERTS, FF_EXPERT = 4, 128

ARCHS = {
    "llama": ("LlamaForCausalLM", {"rope_theta": 10000.0}),
    "llama3": ("LlamaForCausalLM", {"rope_theta": 500000.0, "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}}),
    "mistral": ("MistralForCausalLM", {"rope_theta": 10000.0, "sliding_window": None}),
    "qwen2": ("Qwen2ForCausalLM", {"rope_theta": 1000000.0}),
    "qwen3": ("Qwen3ForCausalLM", {"rope_theta": 1000000.0}),
    "qwen3moe": ("Qwen3MoeForCausalLM", {"rope_theta": 1000000.0, "num_experts": EXPERTS,
                                         "num_experts_per_tok": 2, "norm_topk_prob": True,
                                         "moe_intermediate_size": FF_EXPERT,
                                         "decoder_sparse_step": 1, "mlp_only_layers": []}),
    "gemma2": ("Gemma2ForCausalLM", {"query_pre_attn_scalar": 64, "sliding_window": 64,
                                     "attn_logit_softcapping": 50.0,
                                     "final_logit_softcapping": 30.0}),
    "gemma3": ("Gemma3ForCausalLM", {"query_pre_attn_scalar": 64, "sliding_window": 64,
                                     "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0}),
}
TIED = {"gemma2", "gemma3", "qwen3"}
CHATML = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


# ---- values -----------------------------------------------------------------------------------

def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def bf16_bytes(values):
    return b"".join(struct.pack("<f", v)[2:] for v in values)


def float_bytes(form, values):
    if form == "F32":
        return struct.pack(f"<{len(values)}f", *values)
    if form == "F16":
        return struct.pack(f"<{len(values)}e", *values)
    return bf16_bytes(values)


def read_floats(form, data):
    if form == "F32":
        return struct.unpack(f"<{len(data) // 4}f", data)
    if form == "F16":
        return struct.unpack(f"<{len(data) // 2}e", data)
    return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]


def codes_of(data, bits):
    whole = int.from_bytes(data, "little")
    mask = (1 << bits) - 1
    return [whole >> i & mask for i in range(0, 8 * len(data), bits)]


FP4 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def e2m1(code):
    return -FP4[code & 7] if code & 8 else FP4[code & 7]


def e4m3(code):
    exp, man = code >> 3 & 15, code & 7
    mag = man * 2.0 ** -9 if exp == 0 else (8 + man) * 2.0 ** (exp - 10)
    return -mag if code & 128 else mag


class Form:
    """How matrices are stored: parts of a tensor from a random generator, and their values."""

    def __init__(self, text):
        self.text = text
        self.mode = "dense"
        if text.startswith("A"):
            self.mode = "affine"
            head, self.scale = text.split("_")
            bits, group = head[1:].split("G")
            self.bits, self.group = int(bits), int(group)
        elif text in ("mxfp4", "mxfp8", "nvfp4"):
            self.mode = text
            self.bits = 8 if text == "mxfp8" else 4
            self.group = 16 if text == "nvfp4" else 32
        else:
            self.scale = text.upper()

    def settings(self):
        return {"group_size": self.group, "bits": self.bits, "mode": self.mode}

    def parts(self, rnd, n_out, n_in):
        """{suffix: (dtype, shape, bytes)}"""
        if self.mode == "dense":
            size = 1.2 / math.sqrt(n_in)
            values = [f32(rnd.uniform(-size, size)) for _ in range(n_out * n_in)]
            return {".weight": (self.scale, [n_out, n_in], float_bytes(self.scale, values))}
        codes = rnd.randbytes(n_out * n_in * self.bits // 8)
        n = n_out * n_in // self.group
        out = {".weight": ("U32", [n_out, n_in * self.bits // 32], codes)}
        shape = [n_out, n_in // self.group]
        if self.mode == "affine":
            size = 2.0 / math.sqrt(n_in)
            scales = [f32(rnd.uniform(0.2, 1) * size / 2 ** self.bits) for _ in range(n)]
            biases = [f32(-s * 2 ** self.bits * rnd.uniform(0.4, 0.6)) for s in scales]
            out[".scales"] = (self.scale, shape, float_bytes(self.scale, scales))
            out[".biases"] = (self.scale, shape, float_bytes(self.scale, biases))
        elif self.mode == "nvfp4":
            out[".scales"] = ("U8", shape, bytes(rnd.randrange(8, 24) for _ in range(n)))
        else:
            low = 118 if self.mode == "mxfp4" else 108
            if self.mode == "mxfp8":  # no code of NaN
                out[".weight"] = ("U32", out[".weight"][1], bytes(c & 0xBF for c in codes))
            out[".scales"] = ("U8", shape, bytes(low + rnd.randrange(4) for _ in range(n)))
        return out

    def values(self, parts):
        """Exactly what the parts mean, as f32 (a quantised form)."""
        codes = codes_of(parts[".weight"][2], self.bits)
        if self.mode == "affine":
            scales = read_floats(self.scale, parts[".scales"][2])
            biases = read_floats(self.scale, parts[".biases"][2])
            return [f32(f32(scales[i // self.group] * c) + biases[i // self.group])
                    for i, c in enumerate(codes)]
        raw = parts[".scales"][2]
        if self.mode == "nvfp4":
            return [e2m1(c) * e4m3(raw[i // 16]) for i, c in enumerate(codes)]
        one = e4m3 if self.mode == "mxfp8" else e2m1
        return [one(c) * 2.0 ** (raw[i // 32] - 127) for i, c in enumerate(codes)]


# ---- tensors ----------------------------------------------------------------------------------

def matrices(arch, tied):
    yield "model.embed_tokens", VOCAB, EMBD
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        yield p + "self_attn.q_proj", HEADS * HEAD, EMBD
        yield p + "self_attn.k_proj", KV_HEADS * HEAD, EMBD
        yield p + "self_attn.v_proj", KV_HEADS * HEAD, EMBD
        yield p + "self_attn.o_proj", EMBD, HEADS * HEAD
        experts = [p + f"mlp.experts.{e}." for e in range(EXPERTS)] if arch == "qwen3moe" else []
        if experts:
            yield p + "mlp.gate", EXPERTS, EMBD
        for mlp, ff in [(e, FF_EXPERT) for e in experts] or [(p + "mlp.", FF)]:
            yield mlp + "gate_proj", ff, EMBD
            yield mlp + "up_proj", ff, EMBD
            yield mlp + "down_proj", EMBD, ff
    if not tied:
        yield "lm_head", VOCAB, EMBD


def vectors(arch):
    """(name, length, centre)"""
    one = 0.0 if arch.startswith("gemma") else 1.0
    yield "model.norm.weight", EMBD, one
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", EMBD, one
        yield p + "post_attention_layernorm.weight", EMBD, one
        if arch.startswith("gemma"):
            yield p + "pre_feedforward_layernorm.weight", EMBD, one
            yield p + "post_feedforward_layernorm.weight", EMBD, one
        if arch in ("qwen3", "qwen3moe", "gemma3"):
            yield p + "self_attn.q_norm.weight", HEAD, one
            yield p + "self_attn.k_norm.weight", HEAD, one
        if arch == "qwen2":
            yield p + "self_attn.q_proj.bias", HEADS * HEAD, 0.0
            yield p + "self_attn.k_proj.bias", KV_HEADS * HEAD, 0.0
            yield p + "self_attn.v_proj.bias", KV_HEADS * HEAD, 0.0


def make_tensors(args, form):
    tensors = {}
    dense = form.scale if form.mode in ("dense", "affine") else "BF16"
    for name, n_out, n_in in matrices(args.arch, args.tied):
        # Each tensor's values hang on its name and the seed alone.
        rnd = random.Random(zlib.crc32(name.encode()) * 1000 + args.seed)
        parts = form.parts(rnd, n_out, n_in)
        if args.flat and form.mode != "dense":
            tensors[name + ".weight"] = ("F32", [n_out, n_in],
                                         float_bytes("F32", form.values(parts)))
            continue
        for suffix, part in parts.items():
            tensors[name + suffix] = part
    for name, n, centre in vectors(args.arch):
        rnd = random.Random(zlib.crc32(name.encode()) * 1000 + args.seed)
        data = float_bytes(dense, [centre + rnd.uniform(-0.3, 0.3) for _ in range(n)])
        if args.flat:
            data = float_bytes("F32", read_floats(dense, data))
        tensors[name] = ("F32" if args.flat else dense, [n], data)
    return tensors


def write_shard(path, tensors):
    head, at = {"__metadata__": {"format": "mlx"}}, 0
    for name, (dtype, shape, data) in tensors:
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, (_, _, data) in tensors:
            f.write(data)


def write_tensors(args, tensors):
    items = sorted(tensors.items())
    n = args.shards
    if n == 1:
        write_shard(os.path.join(args.out, "model.safetensors"), items)
        return
    index = {}
    for i in range(n):
        name = f"model-{i + 1:05}-of-{n:05}.safetensors"
        part = items[i::n]
        write_shard(os.path.join(args.out, name), part)
        index.update({k: name for k, _ in part})
    with open(os.path.join(args.out, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {}, "weight_map": index}, f)


# ---- texts ------------------------------------------------------------------------------------

def byte_chars():
    """GPT-2's characters for bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    out, n = {}, 0
    for b in range(256):
        out[b] = chr(b) if b in plain else chr(256 + n)
        n += b not in plain
    return out


WORDS = ["the", " the", " and", " of", " to", " in", "ing", " is", "er", " that", " for", "tion",
         " with", " on", " as", "1", "user", "assistant", " hello", " world", "hello"]


def merges_of(words, symbols, room):
    """Merges that build each word from left to right, and the tokens they make."""
    merges, tokens = [], []
    for word in words:
        left = symbols(word)
        while len(left) > 1 and len(tokens) < room:
            pair, whole = (left[0], left[1]), left[0] + left[1]
            if whole not in tokens:
                merges.append(pair)
                tokens.append(whole)
            left = [whole, *left[2:]]
    return merges, tokens


def bytes_tokenizer(arch):
    chars = byte_chars()
    merges, made = merges_of(WORDS, lambda w: [chars[b] for b in w.encode()], 100)
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocab = {t: i for i, t in enumerate([*specials, *chars.values(), *made])}
    return {
        "version": "1.0",
        "added_tokens": [{"id": vocab[t], "content": t, "special": True} for t in specials],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": True}]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                    "use_regex": True},
        "model": {"type": "BPE", "unk_token": None, "byte_fallback": False, "vocab": vocab,
                  "merges": [" ".join(m) for m in merges]},
    }


def spm_tokenizer(arch):
    mark = "\u2581"
    letters = [mark, *"abcdefghijklmnopqrstuvwxyz.,!?0123456789"]
    merges, made = merges_of(WORDS, lambda w: list(w.replace(" ", mark)), 60)
    specials = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    vocab = {t: i for i, t in enumerate([*specials, *bytes_, *letters, *made])}
    return {
        "version": "1.0",
        "added_tokens": [{"id": vocab[t], "content": t, "special": True, "normalized": False}
                         for t in specials],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": mark},
            {"type": "Replace", "pattern": {"String": " "}, "content": mark}]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                      {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [], "special_tokens": {
                               "<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": mark}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True,
                  "vocab": vocab, "merges": [list(m) for m in merges]},
    }


def write_json(args, name, value):
    with open(os.path.join(args.out, name), "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False)


def write_texts(args, form):
    hf, own = ARCHS[args.arch]
    config = {"architectures": [hf], "model_type": args.arch, "hidden_size": EMBD,
              "intermediate_size": FF, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
              "num_key_value_heads": KV_HEADS, "head_dim": HEAD, "vocab_size": VOCAB,
              "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
              "tie_word_embeddings": args.tied, "torch_dtype": "float32", **own}
    if form.mode != "dense" and not args.flat:
        config["quantization"] = form.settings()
    spm = args.tokenizer == "spm"
    bos, eos = ("<s>", "</s>") if spm else ("<|im_start|>", "<|im_end|>")
    write_json(args, "config.json", config)
    write_json(args, "tokenizer.json",
               spm_tokenizer(args.arch) if spm else bytes_tokenizer(args.arch))
    write_json(args, "tokenizer_config.json", {
        "bos_token": bos, "eos_token": {"content": eos}, "chat_template": CHATML,
        "add_bos_token": spm})
    write_json(args, "generation_config.json", {"eos_token_id": [2, 0]})


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("out")
    p.add_argument("--arch", choices=sorted(ARCHS), default="llama")
    p.add_argument("--form", default="bf16")
    p.add_argument("--flat", action="store_true")
    p.add_argument("--tokenizer", choices=["bytes", "spm"], default="bytes")
    p.add_argument("--shards", type=int, default=1)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--tied", action="store_true")
    args = p.parse_args()
    args.tied = args.tied or args.arch in TIED
    form = Form(args.form)
    os.makedirs(args.out, exist_ok=True)
    write_texts(args, form)
    write_tensors(args, make_tensors(args, form))


if __name__ == "__main__":
    main()
