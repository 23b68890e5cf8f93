#!/usr/bin/env python3
"""Writes the corpora of safet_open and import_folder: a tiny folder, whole and in parts."""
import json
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))


def write(corpus, name, data):
    folder = os.path.join(HERE, "corpus", corpus)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def safetensors(tensors):
    head, at, data = {"__metadata__": {"format": "pt"}}, 0, b""
    for name, dtype, shape, size in tensors:
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        data += bytes(i * 7 % 61 for i in range(size))
        at += size
    text = json.dumps(head, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensors(quantised, experts=0):
    out = [("model.norm.weight", "BF16", [32], 64)]
    p = "model.layers.0."
    matrices = [("model.embed_tokens", 8, 32), (p + "self_attn.q_proj", 32, 32),
                (p + "self_attn.k_proj", 32, 32), (p + "self_attn.v_proj", 32, 32),
                (p + "self_attn.o_proj", 32, 32)]
    if experts:
        matrices += [(p + "mlp.gate", experts, 32)]
        matrices += [(f"{p}mlp.experts.{e}.{m}_proj", 32, 32)
                     for e in range(experts) for m in ("gate", "up", "down")]
        out += [(f"{p}self_attn.{x}_norm.weight", "BF16", [16], 32) for x in "qk"]
    else:
        matrices += [(f"{p}mlp.{m}_proj", 32, 32) for m in ("gate", "up", "down")]
    for name in ("input_layernorm", "post_attention_layernorm"):
        out.append((f"{p}{name}.weight", "BF16", [32], 64))
    for name, n_out, n_in in matrices:
        if quantised:
            out.append((name + ".weight", "U32", [n_out, n_in // 8], n_out * n_in // 2))
            out.append((name + ".scales", "F16", [n_out, n_in // 32], n_out * n_in // 16))
            out.append((name + ".biases", "F16", [n_out, n_in // 32], n_out * n_in // 16))
        else:
            out.append((name + ".weight", "BF16", [n_out, n_in], 2 * n_out * n_in))
    return out


CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 32, "intermediate_size": 32,
          "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 8,
          "tie_word_embeddings": True, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}
QUANT = {"group_size": 32, "bits": 4, "mode": "affine"}
BYTES = {"added_tokens": [{"id": 0, "content": "<|x|>", "special": True}],
         "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
         "model": {"type": "BPE", "vocab": {"<|x|>": 0, "a": 1, "b": 2, "ab": 3},
                   "merges": ["a b"]}}
SPM = {"added_tokens": [],
       "normalizer": {"type": "Sequence", "normalizers": [
           {"type": "Prepend", "prepend": "\u2581"},
           {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
       "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "s"}}]},
       "model": {"type": "BPE", "byte_fallback": True, "unk_token": "u",
                 "vocab": {"u": 0, "<0x41>": 1, "\u2581": 2, "a": 3, "\u2581a": 4},
                 "merges": [["\u2581", "a"]]}}
EXTRA = {"bos_token": "<|x|>", "chat_template": [{"name": "default", "template": "{{ x }}"}]}


def folder(config, tokenizer, weights):
    files = [(0, json.dumps(config).encode()), (1, json.dumps(tokenizer).encode()),
             (2, json.dumps(EXTRA).encode()), (3, b'{"eos_token_id":[1,2]}'), (5, weights)]
    return b"".join(struct.pack("<BH", role, len(data)) + data for role, data in files)


def main():
    plain, packed = safetensors(tensors(False)), safetensors(tensors(True))
    write("safet_open", "plain", plain)
    write("safet_open", "packed", packed[:3000])
    write("safet_open", "empty", struct.pack("<Q", 2) + b"{}")
    write("import_folder", "llama", folder(CONFIG, BYTES, plain))
    write("import_folder", "affine", folder({**CONFIG, "quantization": QUANT}, SPM, packed))
    moe = {**CONFIG, "architectures": ["Qwen3MoeForCausalLM"], "num_experts": 2,
           "num_experts_per_tok": 1}
    write("import_folder", "moe", folder(moe, BYTES, safetensors(tensors(False, 2))))


if __name__ == "__main__":
    main()
