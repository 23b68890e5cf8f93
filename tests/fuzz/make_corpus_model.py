#!/usr/bin/python3
"""The corpus of fuzz_model_open: models of each kind, as small as they can be.

    make_corpus_model.py tests/fuzz/corpus/model_open
"""
import os
import struct
import sys

V, E, H, KV, D, F = 4, 8, 2, 1, 4, 4


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def value(v):
    if isinstance(v, bool):
        return struct.pack("<IB", 7, v)
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    if isinstance(v, str):
        return struct.pack("<I", 8) + text(v)
    return struct.pack("<IIQ", 9, 5, len(v)) + struct.pack("<%di" % len(v), *v)


class Model:
    def __init__(self, arch, n_layer=1, **keys):
        self.kv = {"general.architecture": arch}
        self.t = {}
        base = {"context_length": 8, "embedding_length": E, "block_count": n_layer, "feed_forward_length": F,
                "attention.head_count": H, "attention.head_count_kv": KV, "rope.dimension_count": D}
        for k, v in {**base, **keys}.items():
            self.kv[arch + "." + k] = v

    def add(self, prefix, **shapes):
        for name, shape in shapes.items():
            name = name if "." in name else name + ".weight"
            self.t[prefix + name] = shape

    def ends(self, tied=True):
        self.add("", token_embd=(E, V), output_norm=(E,))
        if not tied:
            self.add("", output=(E, V))

    def attention(self, i, dim=D, q=1):
        self.add("blk.%d." % i, attn_norm=(E,), attn_q=(E, H * dim * q), attn_k=(E, KV * dim), attn_v=(E, KV * dim),
                 attn_output=(H * dim, E))

    def ffn(self, i, norm="ffn_norm", suffix=""):
        self.add("blk.%d." % i, **{norm: (E,)} if norm else {}, **{"ffn_gate" + suffix: (E, F), "ffn_up" + suffix: (E, F),
                                                                  "ffn_down" + suffix: (F, E)})

    def experts(self, i, norm="ffn_norm"):
        self.add("blk.%d." % i, **{norm: (E,)}, ffn_gate_inp=(E, 2), ffn_gate_exps=(E, F, 2), ffn_up_exps=(E, F, 2),
                 ffn_down_exps=(F, E, 2))

    def save(self, path):
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.t), len(self.kv))
        for k, v in self.kv.items():
            head += text(k) + value(v)
        body = b""
        for i, (name, shape) in enumerate(self.t.items()):
            n = 1
            for x in shape:
                n *= x
            head += text(name) + struct.pack("<I", len(shape)) + struct.pack("<%dQ" % len(shape), *shape)
            head += struct.pack("<IQ", 0, len(body))
            body += struct.pack("<%df" % n, *[1 + (i + j) % 3 / 4 for j in range(n)])
            body += b"\0" * (-len(body) % 32)
        with open(path, "wb") as f:
            f.write(head + b"\0" * (-len(head) % 32) + body)


def plain(arch, n_layer=1, experts=False, **keys):
    m = Model(arch, n_layer, **keys)
    m.ends()
    for i in range(n_layer):
        m.attention(i)
        (m.experts if experts else m.ffn)(i)
    return m


def models():
    m = plain("llama", **{"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0})
    m.add("", **{"rope_freqs": (D // 2,)})
    m.add("blk.0.", **{"attn_q.bias": (H * D,), "attn_output.bias": (E,)})
    yield "llama", m
    m = plain("llama", **{"rope.scaling.type": "longrope"})
    m.add("", rope_factors_long=(D // 2,), rope_factors_short=(D // 2,))
    yield "llama_long", m
    yield "llama_moe", plain("llama", experts=True, expert_count=2, expert_used_count=1)
    m = plain("gemma3", 2, **{"attention.sliding_window": 3})
    for i in range(2):
        m.add("blk.%d." % i, attn_q_norm=(D,), attn_k_norm=(D,), post_attention_norm=(E,), post_ffw_norm=(E,))
    yield "gemma3", m
    m = plain("gpt-oss", **{"attention.sliding_window": 3, "expert_count": 2, "expert_used_count": 1}, experts=True)
    m.t["blk.0.post_attention_norm.weight"] = m.t.pop("blk.0.ffn_norm.weight")
    m.add("blk.0.", attn_sinks=(H,), **{"ffn_gate_exps.bias": (F, 2), "ffn_down_exps.bias": (E, 2)})
    yield "gpt_oss", m
    m = Model("qwen35", 2, **{"full_attention_interval": 2, "ssm.conv_kernel": 2, "ssm.state_size": 2, "ssm.inner_size": 4,
                              "ssm.time_step_rank": 2, "ssm.group_count": 1, "rope.dimension_sections": [1, 1, 0, 0]})
    m.ends()
    m.add("blk.0.", attn_norm=(E,), attn_qkv=(E, 8), attn_gate=(E, 4), ssm_alpha=(E, 2), ssm_beta=(E, 2), ssm_conv1d=(2, 8),
          ssm_norm=(2,), ssm_out=(4, E), **{"ssm_dt.bias": (2,)})
    m.t["blk.0.ssm_a"] = (2,)
    m.attention(1, q=2)
    m.add("blk.1.", attn_q_norm=(D,), attn_k_norm=(D,))
    m.ffn(0, "post_attention_norm")
    m.ffn(1, "post_attention_norm")
    yield "qwen35", m
    m = Model("deepseek2", 1, expert_count=2, expert_used_count=1, expert_shared_count=1, **{
        "attention.kv_lora_rank": 6, "attention.q_lora_rank": 4, "attention.head_count_kv": 1, "attention.key_length": 8,
        "attention.value_length": 6, "attention.key_length_mla": 6, "attention.value_length_mla": 4, "rope.dimension_count": 2})
    m.ends(tied=False)
    m.add("blk.0.", attn_norm=(E,), attn_q_a=(E, 4), attn_q_a_norm=(4,), attn_q_b=(4, H * 6), attn_kv_a_mqa=(E, 8),
          attn_kv_a_norm=(6,), attn_k_b=(4, 6, H), attn_v_b=(6, 4, H), attn_output=(H * 4, E))
    m.experts(0)
    m.ffn(0, None, "_shexp")
    yield "deepseek2", m
    m = Model("bert", 1, pooling_type=2)
    m.kv["bert.attention.head_count_kv"] = H
    m.add("", token_embd=(E, V), token_types=(E, 1), position_embd=(E, 8), token_embd_norm=(E,))
    m.add("blk.0.", attn_qkv=(E, 3 * E), attn_output=(E, E), attn_output_norm=(E,), ffn_up=(E, F), ffn_down=(F, E),
          layer_output_norm=(E,))
    yield "bert", m


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    for name, m in models():
        m.save(os.path.join(out, name + ".gguf"))


main()
