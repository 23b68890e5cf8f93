/* tiny_llama.h - a llama in memory with random weights in a mix of formats, for tests of engines.
 * Its functions are static: one test program includes it once. */
#ifndef TINY_LLAMA_H
#define TINY_LLAMA_H

#include "test.h"

#include "gguf_build.h"
#include "quant/quant.h"

#define TINY_EMBD 128
#define TINY_FF 256
#define TINY_VOCAB 99
#define TINY_LAYER 2

static uint32_t tiny_state = 1;

static uint32_t tiny_rnd(uint32_t n)
{
    tiny_state = tiny_state * 1664525u + 1013904223u;
    return (tiny_state >> 8) % n;
}

static void tiny_tensor(gguf_build *b, const char *name, quant_type t, size_t n_in, size_t n_out)
{
    const size_t n = n_in * (n_out ? n_out : 1);
    float *x = malloc(n * sizeof *x);
    uint8_t *bytes = malloc(n * sizeof *x);
    const uint64_t ne[2] = {n_in, n_out};
    assert_true(x && bytes);
    for (size_t i = 0; i < n; i++)
        x[i] = n_out ? ((float)tiny_rnd(2001) - 1000.0f) / 6000.0f
                     : 0.5f + (float)tiny_rnd(1000) / 1000.0f;
    assert_int_equal(quant_quantize(t, x, bytes, n, NULL), CAMA_OK);
    gguf_build_tensor(b, name, quant_table[t].gguf_id, n_out ? 2 : 1, ne, bytes,
                      quant_row_bytes(t, n_in) * (n_out ? n_out : 1));
    free(x);
    free(bytes);
}

static void tiny_layer(gguf_build *b, int layer)
{
    static const struct {
        const char *name;
        quant_type type;
        size_t n_in, n_out;
    } list[] = {{"attn_norm", QUANT_F32, TINY_EMBD, 0},
                {"attn_q", QUANT_Q8_0, TINY_EMBD, TINY_EMBD},
                {"attn_k", QUANT_Q4_0, TINY_EMBD, TINY_EMBD / 2},
                {"attn_v", QUANT_Q4_1, TINY_EMBD, TINY_EMBD / 2},
                {"attn_output", QUANT_Q5_0, TINY_EMBD, TINY_EMBD},
                {"ffn_norm", QUANT_F32, TINY_EMBD, 0},
                {"ffn_gate", QUANT_Q8_0, TINY_EMBD, TINY_FF},
                {"ffn_up", QUANT_F16, TINY_EMBD, TINY_FF},
                {"ffn_down", QUANT_Q5_1, TINY_FF, TINY_EMBD}};
    for (size_t i = 0; i < TEST_COUNT(list); i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "blk.%d.%s.weight", layer, list[i].name);
        tiny_tensor(b, name, list[i].type, list[i].n_in, list[i].n_out);
    }
}

static inline void tiny_llama_keys(gguf_build *b, const char *arch, uint32_t n_vocab)
{
    gguf_build_str(b, "general.architecture", arch);
    gguf_build_u32(b, "llama.context_length", 1024);
    gguf_build_u32(b, "llama.embedding_length", TINY_EMBD);
    gguf_build_u32(b, "llama.block_count", TINY_LAYER);
    gguf_build_u32(b, "llama.feed_forward_length", TINY_FF);
    gguf_build_u32(b, "llama.attention.head_count", 4);
    gguf_build_u32(b, "llama.attention.head_count_kv", 2);
    gguf_build_u32(b, "llama.rope.dimension_count", TINY_EMBD / 4);
    gguf_build_u32(b, "llama.vocab_size", n_vocab);
    gguf_build_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
}

static inline void tiny_llama_tensors(gguf_build *b, uint32_t n_vocab)
{
    tiny_tensor(b, "token_embd.weight", QUANT_Q8_0, TINY_EMBD, n_vocab);
    tiny_tensor(b, "output_norm.weight", QUANT_F32, TINY_EMBD, 0);
    for (int i = 0; i < TINY_LAYER; i++)
        tiny_layer(b, i);
}

/* The file's bytes, malloc'd; the same ones every time. */
static inline uint8_t *tiny_llama(size_t *out_n)
{
    gguf_build b;
    gguf_build_init(&b);
    tiny_state = 1;
    tiny_llama_keys(&b, "llama", TINY_VOCAB);
    tiny_llama_tensors(&b, TINY_VOCAB);
    return gguf_build_finish(&b, out_n);
}

#endif
