#!/usr/bin/python3
"""Tiny random F32 models of each architecture, and libllama's outputs for a prompt of 40 tokens.

    LLAMA_ORACLE_DIR=.../bins/linux-x64 make_tiny.py tests/data/tiny

Writes NAME.gguf and NAME.want (tiny_oracle.py says how). The library is given an F32 KV and no flash
attention. Models have no vocabulary of their own ("no_vocab"). Every model has its own seed, so that
one can be added without changing the others.
"""
import os
import sys
import zlib

import numpy as np

import tiny_oracle as oracle

V, E, H, KV, D, F, CTX = 64, 32, 4, 2, 16, 32, 64
N_TOKEN = 40
# For architectures of which the library wants heads of n_embd / n_head.
NARROW = {"attention.key_length": E // H, "attention.value_length": E // H, "rope.dimension_count": E // H}


class Model:
    def __init__(self, name, arch, n_layer, **keys):
        self.name, self.arch, self.n_layer = name, arch, n_layer
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.t = {}
        self.kv = {"general.architecture": arch, "general.name": name, "tokenizer.ggml.model": "no_vocab"}
        self.set(vocab_size=V, context_length=512, embedding_length=E, block_count=n_layer, feed_forward_length=F)
        self.set(**{"attention.head_count": H, "attention.head_count_kv": KV, "attention.key_length": D,
                    "attention.value_length": D, "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0,
                    "rope.dimension_count": D})
        self.set(**keys)

    def set(self, **keys):
        for k, v in keys.items():
            self.kv[self.arch + "." + k] = v

    def weight(self, name, *shape, scale=1.0):
        self.t[name + ".weight"] = (self.rng.standard_normal(shape) * scale / np.sqrt(shape[-1])).astype(np.float32)

    def norm(self, name, n, bias=False):
        self.t[name + ".weight"] = (1 + 0.2 * self.rng.standard_normal(n)).astype(np.float32)
        if bias:
            self.bias(name, n)

    def bias(self, name, *shape):
        self.t[name + ".bias"] = (0.3 * self.rng.standard_normal(shape)).astype(np.float32)

    def ends(self, tied=False, final="output_norm"):
        self.weight("token_embd", V, E, scale=8.0)
        if final:
            self.norm(final, E)
        if not tied:
            self.weight("output", V, E)

    def attention(self, i, norm=True, bias=False, qk_norm=None, n_kv=KV, dim=D, n_head=H):
        p = "blk.%d." % i
        if norm:
            self.norm(p + "attn_norm", E)
        for name, n in (("q", n_head), ("k", n_kv), ("v", n_kv)):
            self.weight(p + "attn_" + name, n * dim, E)
            if bias:
                self.bias(p + "attn_" + name, n * dim)
        self.weight(p + "attn_output", E, n_head * dim)
        if qk_norm == "head":
            self.norm(p + "attn_q_norm", dim)
            self.norm(p + "attn_k_norm", dim)
        if qk_norm == "row":
            self.norm(p + "attn_q_norm", n_head * dim)
            self.norm(p + "attn_k_norm", n_kv * dim)

    def ffn(self, i, norm="ffn_norm", ff=F, fused=False, suffix=""):
        p = "blk.%d." % i
        if norm:
            self.norm(p + norm, E)
        if not fused:
            self.weight(p + "ffn_gate" + suffix, ff, E)
        self.weight(p + "ffn_up" + suffix, 2 * ff if fused else ff, E)
        self.weight(p + "ffn_down" + suffix, E, ff)

    def experts(self, i, n=6, ff=8, norm="ffn_norm", bias=False):
        p = "blk.%d." % i
        if norm:
            self.norm(p + norm, E)
        self.weight(p + "ffn_gate_inp", n, E)
        self.weight(p + "ffn_gate_exps", n, ff, E)
        self.weight(p + "ffn_up_exps", n, ff, E)
        self.weight(p + "ffn_down_exps", n, E, ff)
        if bias:
            self.bias(p + "ffn_gate_inp", n)
            self.bias(p + "ffn_gate_exps", n, ff)
            self.bias(p + "ffn_up_exps", n, ff)
            self.bias(p + "ffn_down_exps", n, E)

    def fuse_qkv(self, i):
        p = "blk.%d.attn_" % i
        self.t[p + "qkv.weight"] = np.concatenate([self.t.pop(p + x + ".weight") for x in "qkv"])

    def finish(self, out, kind=oracle.LOGITS):
        path = os.path.join(out, self.name)
        oracle.write_gguf(path + ".gguf", self.kv, self.t)
        tokens = self.rng.integers(0, V, N_TOKEN)
        run = oracle.pooled if kind == oracle.POOLED else oracle.logits
        rows = run(path + ".gguf", tokens, E if kind == oracle.POOLED else V, CTX)
        if not np.isfinite(rows).all() or not np.abs(rows).max() > 0.1:
            sys.exit(self.name + ": outputs that test nothing")
        oracle.write_want(path + ".want", kind, tokens, CTX, rows)
        print("%-20s %4d KB  largest %.2f" % (self.name, os.path.getsize(path + ".gguf") // 1024, np.abs(rows).max()), flush=True)


# ---- llama and its relatives ----


def llama_like(out, name, arch="llama", n_layer=2, tied=False, tensors=None, layer=None, **keys):
    m = Model(name, arch, n_layer, **keys)
    m.ends(tied)
    for i in range(n_layer):
        if layer:
            layer(m, i)
        else:
            m.attention(i)
            m.ffn(i)
    if tensors:
        tensors(m)
    m.finish(out)


def factors(m):
    m.t["rope_freqs.weight"] = np.array([1, 1, 2, 3, 4, 8, 8, 8], np.float32)


def long_short(m, n=D // 2):
    m.t["rope_factors_short.weight"] = np.array([1, 1, 1.1, 1.2, 1.3, 1.5, 2, 3][:n], np.float32)
    m.t["rope_factors_long.weight"] = np.array([1, 1.5, 2, 3, 4, 5, 6, 8][:n], np.float32)


def llamas(out):
    llama_like(out, "llama", n_layer=3)
    llama_like(out, "llama-factors", n_layer=1, tensors=factors)
    llama_like(out, "llama-linear", n_layer=1, **{"rope.scaling.type": "linear", "rope.scaling.factor": 4.0})
    llama_like(out, "llama-yarn", n_layer=1, **{"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
                                     "rope.scaling.original_context_length": 32})
    longrope = {"rope.scaling.type": "longrope", "rope.scaling.attn_factor": 1.19}
    # The library pads the context of 64 to 256: more than 255 is long, not more than 256 is short.
    llama_like(out, "llama-long", n_layer=1, tensors=long_short, **longrope, **{"rope.scaling.original_context_length": 255})
    llama_like(out, "llama-short", n_layer=1, tensors=long_short, **longrope, **{"rope.scaling.original_context_length": 256})

    def biased(m, i):
        m.attention(i, bias=True, n_kv=H)
        m.bias("blk.%d.attn_output" % i, E)
        m.ffn(i)
    llama_like(out, "llama-bias-tied", tied=True, layer=biased, **{"attention.head_count_kv": H})

    def one_kv(m, i):
        m.attention(i, n_kv=1)
        m.ffn(i)
    llama_like(out, "llama-mqa", n_layer=1, layer=one_kv, **{"attention.head_count_kv": 1})

    def sparse(m, i):
        m.attention(i)
        m.experts(i, n=4, ff=F)
    llama_like(out, "llama-moe", layer=sparse, expert_count=4, expert_used_count=2)


def qwens(out):
    def two(m, i):
        m.attention(i, bias=True, dim=E // H)
        m.ffn(i)
    llama_like(out, "qwen2", "qwen2", layer=two, **NARROW)

    def two_moe(m, i):
        m.attention(i, bias=True, dim=E // H)
        m.experts(i)
        m.ffn(i, norm=None, ff=12, suffix="_shexp")
        m.t["blk.%d.ffn_gate_inp_shexp.weight" % i] = (m.rng.standard_normal(E) / np.sqrt(E)).astype(np.float32)
    llama_like(out, "qwen2moe", "qwen2moe", layer=two_moe, expert_count=6, expert_used_count=2,
               expert_feed_forward_length=8, expert_shared_feed_forward_length=12, **NARROW)

    def three(m, i):
        m.attention(i, qk_norm="head")
        m.ffn(i)
    llama_like(out, "qwen3", "qwen3", tied=True, layer=three)
    m = Model("qwen3-last", "qwen3", 2, pooling_type=3)
    m.ends(tied=True)
    for i in range(2):
        three(m, i)
    m.finish(out, oracle.POOLED)

    def three_moe(m, i):
        m.attention(i, qk_norm="head")
        m.experts(i)
    llama_like(out, "qwen3moe", "qwen3moe", layer=three_moe, expert_count=6, expert_used_count=3,
               expert_feed_forward_length=8)


def gemmas(out):
    def layer(m, i, qk_norm="head"):
        m.attention(i, qk_norm=qk_norm)
        m.ffn(i, ff=24)
        m.norm("blk.%d.post_attention_norm" % i, E)
        m.norm("blk.%d.post_ffw_norm" % i, E)
    llama_like(out, "gemma3", "gemma3", n_layer=6, tied=True, layer=layer, feed_forward_length=24,
               **{"attention.sliding_window": 7, "rope.freq_base": 1e6, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0})
    llama_like(out, "gemma2", "gemma2", n_layer=2, tied=True, layer=lambda m, i: layer(m, i, None), feed_forward_length=24,
               attn_logit_softcapping=50.0, final_logit_softcapping=30.0, **{"attention.sliding_window": 7})

    def first(m, i):
        m.attention(i)
        m.ffn(i)
    llama_like(out, "gemma", "gemma", n_layer=1, tied=True, layer=first)


def others(out):
    def olmo(m, i):
        m.attention(i, norm=False, qk_norm="row", dim=E // H)
        m.ffn(i, norm=None)
        m.norm("blk.%d.post_attention_norm" % i, E)
        m.norm("blk.%d.post_ffw_norm" % i, E)
    llama_like(out, "olmo2", "olmo2", layer=olmo, **NARROW)
    llama_like(out, "olmo3", "olmo2", n_layer=4, layer=olmo, **NARROW, **{"attention.sliding_window": 7, "rope.scaling.type": "yarn",
               "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32})

    def phi(m, i):
        m.attention(i, dim=E // H)
        m.fuse_qkv(i)
        m.ffn(i, fused=True)
    llama_like(out, "phi3", "phi3", layer=phi, tensors=lambda m: long_short(m, 4), **NARROW,
               **{"attention.sliding_window": 262144, "rope.scaling.original_context_length": 64, "rope.scaling.attn_factor": 1.19})

    def glm(m, i):
        m.attention(i, bias=True)
        m.ffn(i, fused=True)
        m.norm("blk.%d.post_attention_norm" % i, E)
        m.norm("blk.%d.post_ffw_norm" % i, E)
    llama_like(out, "glm4", "glm4", layer=glm, **{"rope.dimension_count": D // 2})

    def glm_moe(m, i):
        m.attention(i, bias=True, qk_norm="head")
        if i == 0:
            m.ffn(i, norm="post_attention_norm")
            return
        m.experts(i, norm="post_attention_norm")
        m.bias("blk.%d.exp_probs_b" % i, 6)
        m.ffn(i, norm=None, ff=8, suffix="_shexp")

    def glm_next(m, i):
        glm_moe(m, i)
        if i == 2:  # a block that predicts the token after the next: no part of the main forward
            p = "blk.2.nextn."
            m.weight(p + "eh_proj", E, 2 * E)
            for x in ("enorm", "hnorm", "shared_head_norm"):
                m.norm(p + x, E)
    llama_like(out, "glm4moe", "glm4moe", n_layer=3, layer=glm_next, nextn_predict_layers=1, expert_count=6,
               expert_used_count=3, expert_shared_count=1, expert_feed_forward_length=8, leading_dense_block_count=1,
               expert_weights_scale=1.5, expert_weights_norm=True, expert_gating_func=2, **{"rope.dimension_count": D // 2})
    llama_like(out, "smollm3", "smollm3", n_layer=4, tied=True)

    def granite_moe(m, i):
        m.attention(i)
        m.experts(i)
        m.ffn(i, norm=None, ff=12, suffix="_shexp")
    llama_like(out, "granitemoe", "granitemoe", layer=granite_moe, feed_forward_length=8, expert_count=6,
               expert_used_count=3, expert_shared_feed_forward_length=12, embedding_scale=12.0, residual_scale=0.22, logit_scale=8.0,
               **{"attention.scale": 0.15})

    def seed(m, i):
        m.attention(i, bias=True)
        m.ffn(i, norm="post_attention_norm")
    llama_like(out, "seed_oss", "seed_oss", n_layer=1, layer=seed)

    def narrow(m, i):
        m.attention(i, dim=E // H)
        m.ffn(i)
    llama_like(out, "internlm2", "internlm2", n_layer=1, layer=narrow, **NARROW)
    llama_like(out, "ernie4_5", "ernie4_5", n_layer=1, layer=narrow, **NARROW)
    llama_like(out, "granite", "granite", embedding_scale=12.0, residual_scale=0.22, logit_scale=8.0, **{"attention.scale": 0.15})

    def cohere(m, i):
        m.attention(i, dim=E // H)
        m.ffn(i, norm=None)
    llama_like(out, "cohere2", "cohere2", n_layer=4, tied=True, layer=cohere, logit_scale=0.25, **NARROW,
               **{"attention.sliding_window": 7, "attention.layer_norm_epsilon": 1e-5})

    # The file's own say on which layers are windowed: every how many one is not, or a list.
    for name, n_layer, pattern in (("cohere2-every", 2, 2), ("cohere2-list", 2, [False, True])):
        llama_like(out, name, "cohere2", n_layer=n_layer, tied=True, layer=cohere, logit_scale=0.25, **NARROW,
                   **{"attention.sliding_window": 7, "attention.layer_norm_epsilon": 1e-5,
                      "attention.sliding_window_pattern": pattern})

    def oss(m, i):
        m.attention(i, bias=True)
        p = "blk.%d." % i
        m.bias(p + "attn_output", E)
        m.t[p + "attn_sinks.weight"] = (0.3 * m.rng.standard_normal(H)).astype(np.float32)
        m.experts(i, norm="post_attention_norm", bias=True)
    llama_like(out, "gpt-oss", "gpt-oss", layer=oss, expert_count=6, expert_used_count=3, expert_feed_forward_length=8,
               **{"attention.sliding_window": 7, "rope.freq_base": 150000.0, "rope.scaling.type": "yarn",
                  "rope.scaling.factor": 32.0, "rope.scaling.original_context_length": 32})


# ---- with files of their own ----


def qwen35(out, arch="qwen35"):
    n_k, n_v, dk, dv, taps, dim = 2, 4, 16, 16, 4, 32
    n_layer = 4 if arch == "qwen35" else 2
    m = Model(arch, arch, n_layer, full_attention_interval=n_layer, **{
        "attention.key_length": dim, "attention.value_length": dim, "rope.dimension_count": 8,
        "attention.layer_norm_rms_epsilon": 1e-6, "ssm.conv_kernel": taps, "ssm.inner_size": n_v * dv, "ssm.state_size": dk,
        "ssm.time_step_rank": n_v, "ssm.group_count": n_k})
    if arch != "qwen3next":
        m.set(**{"rope.dimension_sections": [2, 1, 1, 0]})
    m.ends()
    for i in range(n_layer):
        p = "blk.%d." % i
        if i == n_layer - 1:
            m.attention(i, qk_norm="head", dim=dim)
            m.weight(p + "attn_q", H * dim * 2, E)
        else:
            m.norm(p + "attn_norm", E)
            m.weight(p + "attn_qkv", 2 * n_k * dk + n_v * dv, E)
            m.weight(p + "attn_gate", n_v * dv, E)
            m.weight(p + "ssm_conv1d", 2 * n_k * dk + n_v * dv, taps)
            m.bias(p + "ssm_dt", n_v)
            m.t[p + "ssm_a"] = -np.exp(0.3 * m.rng.standard_normal(n_v)).astype(np.float32)
            if arch == "qwen3next":
                m.weight(p + "ssm_ba", 2 * n_v, E)
            else:
                m.weight(p + "ssm_beta", n_v, E)
                m.weight(p + "ssm_alpha", n_v, E)
            m.norm(p + "ssm_norm", dv)
            m.weight(p + "ssm_out", E, n_v * dv)
        if arch == "qwen35":
            m.ffn(i, norm="post_attention_norm")
            continue
        m.experts(i, norm="post_attention_norm")
        m.ffn(i, norm=None, ff=12, suffix="_shexp")
        m.t[p + "ffn_gate_inp_shexp.weight"] = (m.rng.standard_normal(E) / np.sqrt(E)).astype(np.float32)
        m.set(expert_count=6, expert_used_count=3, expert_feed_forward_length=8, expert_shared_feed_forward_length=12)
    m.finish(out)


def deepseek2(out, name, n_dense=1, selection_bias=True, **keys):
    rank, rot, nope, dim_v, q_rank = 24, 8, 16, 12, 20
    m = Model(name, "deepseek2", n_dense + 1, expert_count=6, expert_used_count=3, expert_shared_count=1, expert_feed_forward_length=8,
              leading_dense_block_count=n_dense, expert_weights_scale=2.5, expert_weights_norm=True, expert_gating_func=2, **{
                  "rope.dimension_count": rot, "attention.kv_lora_rank": rank, "attention.key_length": rank + rot,
                  "attention.value_length": rank, "attention.key_length_mla": nope + rot, "attention.value_length_mla": dim_v,
                  "attention.head_count_kv": 1, "attention.q_lora_rank": q_rank})
    m.set(**keys)
    m.ends()
    for i in range(n_dense + 1):
        p = "blk.%d." % i
        m.norm(p + "attn_norm", E)
        m.weight(p + "attn_q_a", q_rank, E)
        m.norm(p + "attn_q_a_norm", q_rank)
        m.weight(p + "attn_q_b", H * (nope + rot), q_rank)
        m.weight(p + "attn_kv_a_mqa", rank + rot, E)
        m.norm(p + "attn_kv_a_norm", rank)
        m.weight(p + "attn_k_b", H, rank, nope)
        m.weight(p + "attn_v_b", H, dim_v, rank)
        m.weight(p + "attn_output", E, H * dim_v)
        if i < n_dense:
            m.ffn(i)
            continue
        m.experts(i)
        if selection_bias:
            m.bias(p + "exp_probs_b", 6)
        m.ffn(i, norm=None, ff=8, suffix="_shexp")
    m.finish(out)


def deepseek2_whole(out):
    """The older form of files: keys and values of all heads from one matrix."""
    rank, rot, nope, dim_v, q_rank = 24, 8, 16, 12, 20
    m = Model("deepseek2-whole", "deepseek2", 2, expert_count=6, expert_used_count=3, expert_shared_count=1,
              expert_feed_forward_length=8, leading_dense_block_count=1, expert_weights_scale=1.0, **{
                  "rope.dimension_count": rot, "attention.kv_lora_rank": rank, "attention.key_length": nope + rot,
                  "attention.value_length": dim_v, "attention.head_count_kv": H, "attention.q_lora_rank": q_rank})
    m.ends()
    for i in range(2):
        p = "blk.%d." % i
        m.norm(p + "attn_norm", E)
        m.weight(p + "attn_q_a", q_rank, E)
        m.norm(p + "attn_q_a_norm", q_rank)
        m.weight(p + "attn_q_b", H * (nope + rot), q_rank)
        m.weight(p + "attn_kv_a_mqa", rank + rot, E)
        m.norm(p + "attn_kv_a_norm", rank)
        m.weight(p + "attn_kv_b", H * (nope + dim_v), rank)
        m.weight(p + "attn_output", E, H * dim_v)
        if i == 0:
            m.ffn(i)
            continue
        m.experts(i)
        m.ffn(i, norm=None, ff=8, suffix="_shexp")
    m.finish(out)


def deepseeks(out):
    yarn = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}
    deepseek2(out, "deepseek2")
    deepseek2(out, "deepseek2-yarn", 0, **yarn, **{"rope.scaling.yarn_log_multiplier": 0.08})
    deepseek2(out, "deepseek2-softmax", 0, False, expert_gating_func=1, expert_weights_norm=False, expert_weights_scale=1.0, **yarn)
    deepseek2_whole(out)
    deepseek2(out, "deepseek2-groups", 0, expert_group_count=3, expert_group_used_count=2)


def bert(out, name, arch, pooling):
    m = Model(name, arch, 2, pooling_type=pooling, **{"attention.causal": False, "attention.layer_norm_epsilon": 1e-12,
                                                      "attention.head_count_kv": H})
    for key in ("attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon", "rope.dimension_count"):
        del m.kv[arch + "." + key]
    m.kv["tokenizer.ggml.token_type_count"] = 2
    dim = E // H
    m.weight("token_embd", V, E, scale=8.0)
    m.weight("token_types", 2, E, scale=8.0)
    m.norm("token_embd_norm", E, bias=True)
    if arch == "bert":
        m.set(context_length=CTX)
        m.weight("position_embd", CTX, E, scale=8.0)
    else:
        m.set(**{"rope.freq_base": 1000.0})
    for i in range(2):
        p = "blk.%d." % i
        m.attention(i, norm=False, bias=arch == "bert", n_kv=H, dim=dim)
        m.ffn(i, norm=None)
        if arch == "bert":
            del m.t[p + "ffn_gate.weight"]
            m.bias(p + "attn_output", E)
            m.bias(p + "ffn_up", F)
            m.bias(p + "ffn_down", E)
        else:
            m.fuse_qkv(i)
        m.norm(p + "attn_output_norm", E, bias=True)
        m.norm(p + "layer_output_norm", E, bias=True)
    m.finish(out, oracle.POOLED)


def berts(out):
    bert(out, "nomic-bert", "nomic-bert", 1)
    bert(out, "bert-cls", "bert", 2)
    bert(out, "bert-mean", "bert", 1)


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    for make in (llamas, qwens, gemmas, others, deepseeks, berts, qwen35, lambda o: qwen35(o, "qwen35moe"),
                 lambda o: qwen35(o, "qwen3next")):
        make(out)


main()
