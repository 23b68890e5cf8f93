/* synth.c - writes a GGUF with the shape of a real model and random weights, for speed only.
 *
 *     cama_synth llama32-1b out.gguf
 *
 * Shapes, names, tied embeddings and the mix of formats are those of the real file; the weights are
 * random blocks with zero mean and a standard deviation of 0.02, so that nothing overflows. The
 * file has no vocabulary (tokenizer.ggml.model = no_vocab): benchmarks feed ids. Same name, same
 * bytes. */
#include "quant/f16.h"
#include "quant/quant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYNTH_STD 0.02f
#define SYNTH_ALIGN 32
#define SYNTH_MAX_TENSOR 4096

typedef struct shape {
    const char *name;
    uint32_t n_layer, n_embd, n_head, n_kv_head, n_ff, n_vocab, n_ctx;
    bool tied;
    float rope_base;
} shape;

static const shape shapes[] = {
    {"llama32-1b", 16, 2048, 32, 8, 8192, 128256, 131072, true, 500000},
    {"llama31-8b", 32, 4096, 32, 8, 14336, 128256, 131072, false, 500000},
    {"tiny", 2, 256, 4, 2, 512, 1024, 2048, true, 10000},
};

typedef struct tensor {
    char name[64];
    quant_type type;
    uint64_t n_in, n_out;
    uint64_t offset;
} tensor;

typedef struct tensor_list {
    tensor t[SYNTH_MAX_TENSOR];
    size_t n;
} tensor_list;

static uint64_t rng_state;

static uint64_t next_random(void) /* splitmix64 (Steele, Lea, Flood 2014) */
{
    uint64_t z = (rng_state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void random_bytes(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        const uint64_t r = next_random();
        memcpy(p + i, &r, n - i < 8 ? n - i : 8);
    }
}

static void put_half(uint8_t *p, float v)
{
    const uint16_t h = f16_from_f32(v);
    memcpy(p, &h, 2);
}

/* One block with uniform codes; its scale makes the standard deviation SYNTH_STD. */
static void random_block(quant_type t, uint8_t *b)
{
    random_bytes(b, quant_table[t].block_bytes);
    switch (t) {
    case QUANT_Q4_K: { /* codes 0..15 have deviation 4.61; every sub-scale and minimum is 48 */
        const float d = SYNTH_STD / (4.61f * 48);
        put_half(b, d);
        put_half(b + 2, d * 7.5f);
        memset(b + 4, 48, 4); /* low six bits of scales 0..3, then of minima 0..3; */
        memset(b + 8, 48, 4);
        for (int i = 0; i < 4; i++) { /* 4..7 keep their upper two bits there: 48 = 3 << 4 */
            b[4 + i] |= 0xC0;
            b[8 + i] |= 0xC0;
            b[12 + i] = 0;
        }
        break;
    }
    case QUANT_Q6_K: /* codes -32..31 have deviation 18.5; scales of +-32 */
        for (int i = 0; i < 16; i++)
            b[192 + i] = (uint8_t)(b[192 + i] & 1 ? 32 : -32);
        put_half(b + 208, SYNTH_STD / (18.5f * 32));
        break;
    default: { /* F32: norm weights */
        const float one = 1.0f;
        memcpy(b, &one, sizeof one);
    }
    }
}

static void add(tensor_list *l, const char *name, quant_type t, uint64_t n_in, uint64_t n_out)
{
    if (l->n == SYNTH_MAX_TENSOR)
        abort(); /* the shapes above are fixed */
    tensor *x = &l->t[l->n];
    (void)snprintf(x->name, sizeof x->name, "%s", name); /* names are ours and short */
    x->type = t;
    x->n_in = n_in;
    x->n_out = n_out;
    if (l->n) {
        const tensor *p = x - 1;
        const uint64_t end = p->offset + quant_row_bytes(p->type, p->n_in) * p->n_out;
        x->offset = (end + SYNTH_ALIGN - 1) / SYNTH_ALIGN * SYNTH_ALIGN;
    }
    l->n++;
}

/* Q4_K_M gives these layers' V and DOWN six bits (formats.md, mixtures). */
static bool six_bits(uint32_t i, uint32_t n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

static void list_tensors(const shape *s, tensor_list *l)
{
    const uint64_t head_dim = s->n_embd / s->n_head;
    const uint64_t n_kv = head_dim * s->n_kv_head;
    add(l, "token_embd.weight", s->tied ? QUANT_Q6_K : QUANT_Q4_K, s->n_embd, s->n_vocab);
    for (uint32_t i = 0; i < s->n_layer; i++) {
        const quant_type more = six_bits(i, s->n_layer) ? QUANT_Q6_K : QUANT_Q4_K;
        const struct {
            const char *name;
            quant_type type;
            uint64_t n_in, n_out;
        } block[] = {
            {"attn_norm", QUANT_F32, s->n_embd, 1},
            {"attn_q", QUANT_Q4_K, s->n_embd, s->n_embd},
            {"attn_k", QUANT_Q4_K, s->n_embd, n_kv},
            {"attn_v", more, s->n_embd, n_kv},
            {"attn_output", QUANT_Q4_K, s->n_embd, s->n_embd},
            {"ffn_norm", QUANT_F32, s->n_embd, 1},
            {"ffn_gate", QUANT_Q4_K, s->n_embd, s->n_ff},
            {"ffn_up", QUANT_Q4_K, s->n_embd, s->n_ff},
            {"ffn_down", more, s->n_ff, s->n_embd},
        };
        for (size_t k = 0; k < sizeof block / sizeof *block; k++) {
            char name[64];
            (void)snprintf(name, sizeof name, "blk.%u.%s.weight", i, block[k].name);
            add(l, name, block[k].type, block[k].n_in, block[k].n_out);
        }
    }
    add(l, "output_norm.weight", QUANT_F32, s->n_embd, 1);
    if (!s->tied)
        add(l, "output.weight", QUANT_Q6_K, s->n_embd, s->n_vocab);
}

static void put(FILE *f, const void *p, size_t n)
{
    if (fwrite(p, 1, n, f) != n) {
        fprintf(stderr, "synth: write failed: %s\n", strerror(errno));
        exit(1);
    }
}

static void put_u32(FILE *f, uint32_t v)
{
    put(f, &v, 4);
}

static void put_u64(FILE *f, uint64_t v)
{
    put(f, &v, 8);
}

static void put_text(FILE *f, const char *s)
{
    put_u64(f, strlen(s));
    put(f, s, strlen(s));
}

static void kv_u32(FILE *f, const char *key, uint32_t v)
{
    put_text(f, key);
    put_u32(f, 4);
    put_u32(f, v);
}

static void kv_f32(FILE *f, const char *key, float v)
{
    put_text(f, key);
    put_u32(f, 6);
    put(f, &v, 4);
}

static void kv_text(FILE *f, const char *key, const char *v)
{
    put_text(f, key);
    put_u32(f, 8);
    put_text(f, v);
}

static void write_header(FILE *f, const shape *s, const tensor_list *l)
{
    put(f, "GGUF", 4);
    put_u32(f, 3);
    put_u64(f, l->n);
    put_u64(f, 13);
    kv_text(f, "general.architecture", "llama");
    kv_text(f, "general.name", s->name);
    kv_u32(f, "general.quantization_version", 2);
    kv_text(f, "tokenizer.ggml.model", "no_vocab");
    kv_u32(f, "llama.vocab_size", s->n_vocab);
    kv_u32(f, "llama.context_length", s->n_ctx);
    kv_u32(f, "llama.embedding_length", s->n_embd);
    kv_u32(f, "llama.block_count", s->n_layer);
    kv_u32(f, "llama.feed_forward_length", s->n_ff);
    kv_u32(f, "llama.attention.head_count", s->n_head);
    kv_u32(f, "llama.attention.head_count_kv", s->n_kv_head);
    kv_f32(f, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    kv_f32(f, "llama.rope.freq_base", s->rope_base);
    for (size_t i = 0; i < l->n; i++) {
        const tensor *t = &l->t[i];
        put_text(f, t->name);
        put_u32(f, t->n_out == 1 ? 1 : 2);
        put_u64(f, t->n_in);
        if (t->n_out != 1)
            put_u64(f, t->n_out);
        put_u32(f, quant_table[t->type].gguf_id);
        put_u64(f, t->offset);
    }
}

static void pad_to(FILE *f, uint64_t place)
{
    static const uint8_t zero[SYNTH_ALIGN];
    const uint64_t at = (uint64_t)ftello(f);
    put(f, zero, place - at);
}

/* Rows are slices of one pool of random blocks, so that a large file is written at disk speed. */
static void write_data(FILE *f, const tensor_list *l)
{
    enum { POOL_BLOCKS = 4096 };
    const uint64_t start = ((uint64_t)ftello(f) + SYNTH_ALIGN - 1) / SYNTH_ALIGN * SYNTH_ALIGN;
    uint8_t *pool = malloc((size_t)POOL_BLOCKS * 256);
    if (!pool)
        abort();
    for (size_t i = 0; i < l->n; i++) {
        const tensor *t = &l->t[i];
        const size_t bytes = quant_table[t->type].block_bytes;
        for (size_t b = 0; b < POOL_BLOCKS; b++)
            random_block(t->type, pool + b * bytes);
        pad_to(f, start + t->offset);
        uint64_t left = quant_row_bytes(t->type, t->n_in) * t->n_out;
        while (left) {
            const size_t skip = (size_t)(next_random() % (POOL_BLOCKS / 2)) * bytes;
            const size_t have = (size_t)POOL_BLOCKS * bytes - skip;
            const size_t n = left < have ? (size_t)left : have;
            put(f, pool + skip, n);
            left -= n;
        }
    }
    free(pool);
}

int main(int argc, char **argv)
{
    const shape *s = NULL;
    for (size_t i = 0; argc == 3 && i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(argv[1], shapes[i].name))
            s = &shapes[i];
    if (!s) {
        fprintf(stderr, "usage: cama_synth llama32-1b|llama31-8b|tiny OUT.gguf\n");
        return 2;
    }
    FILE *f = fopen(argv[2], "wb");
    tensor_list *l = calloc(1, sizeof *l);
    if (!f || !l) {
        fprintf(stderr, "synth: cannot write '%s': %s\n", argv[2], strerror(errno));
        return 1;
    }
    rng_state = 1;
    list_tensors(s, l);
    write_header(f, s, l);
    write_data(f, l);
    free(l);
    if (fclose(f) != 0) {
        fprintf(stderr, "synth: cannot finish '%s': %s\n", argv[2], strerror(errno));
        return 1;
    }
    return 0;
}
