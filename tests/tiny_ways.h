/* tiny_ways.h - tiny models against libllama, computed in every way that a prompt may be: for the
 * tests of each engine. tiny_oracle.py describes the .want files; make_tiny.py writes an F32 model
 * of each architecture, make_tiny_quant.py one of each block format. */
#ifndef TESTS_TINY_WAYS_H
#define TESTS_TINY_WAYS_H

#include "test.h"

#include "engine/engine.h"

static const engine_vt *tiny_engine; /* under test */

#define MAX_TOKEN 64
#define MAX_OUT 256
#define N_SEQ 4

enum { LOGITS, POOLED, QUANT }; /* kinds of expectations */

/* The library takes GELU from a table of halves: 1e-4 where a model has it, and 2e-4 where in
 * addition nothing averages (a forward in float64 with halves there agrees with it to 2e-7, and
 * without them with ours). */
static const struct {
    const char *name;
    double tolerance; /* of the largest output */
} models[] = {
    {"llama", 1e-5},
    {"llama-factors", 1e-5},
    {"llama-linear", 1e-5},
    {"llama-yarn", 1e-5},
    {"llama-long", 1e-5},
    {"llama-short", 1e-5},
    {"llama-mqa", 1e-5},
    {"llama-bias-tied", 1e-5},
    {"llama-moe", 1e-5},
    {"qwen2", 1e-5},
    {"qwen2moe", 1e-5},
    {"qwen3", 1e-5},
    {"qwen3-last", 1e-5},
    {"qwen3moe", 1e-5},
    {"gemma", 1e-4},
    {"gemma2", 1e-4},
    {"gemma3", 1e-4},
    {"olmo2", 1e-5},
    {"olmo3", 1e-5},
    {"phi3", 1e-5},
    {"glm4", 1e-5},
    {"glm4moe", 1e-5},
    {"smollm3", 1e-5},
    {"seed_oss", 1e-5},
    {"internlm2", 1e-5},
    {"ernie4_5", 1e-5},
    {"granite", 1e-5},
    {"granitemoe", 1e-5},
    {"cohere2", 1e-5},
    {"cohere2-every", 1e-5},
    {"cohere2-list", 1e-5},
    {"gpt-oss", 1e-5},
    {"deepseek2", 1e-5},
    {"deepseek2-yarn", 1e-5},
    {"deepseek2-softmax", 1e-5},
    {"deepseek2-groups", 1e-5},
    {"deepseek2-whole", 1e-5},
    {"qwen35", 1e-5},
    {"qwen35moe", 1e-5},
    {"qwen3next", 1e-5},
    {"nomic-bert", 1e-5},
    {"bert-cls", 2e-4},
    {"bert-mean", 1e-4},
};

/* ---- expectations ---- */

typedef struct want {
    uint32_t kind, n_token, n_out, n_ctx, n_row;
    int32_t token[MAX_TOKEN];
    float *row; /* [n_row][n_out] */
} want;

static want read_want(const char *path)
{
    want w = {0};
    char magic[4];
    uint32_t head[5];
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("cannot open %s", path);
    assert_int_equal(fread(magic, 1, 4, f), 4);
    assert_memory_equal(magic, "TINY", 4);
    assert_int_equal(fread(head, 4, 5, f), 5);
    w = (want){head[0], head[1], head[2], head[3], head[4], {0}, NULL};
    assert_true(w.n_token <= MAX_TOKEN && w.n_out <= MAX_OUT && w.n_row <= 2 * MAX_TOKEN);
    assert_int_equal(fread(w.token, 4, w.n_token, f), w.n_token);
    w.row = malloc((size_t)w.n_row * w.n_out * sizeof *w.row);
    assert_non_null(w.row);
    assert_int_equal(fread(w.row, sizeof *w.row * w.n_out, w.n_row, f), w.n_row);
    (void)fclose(f);
    return w;
}

static double largest(const want *w)
{
    double max = 0;
    for (size_t i = 0; i < (size_t)w->n_row * w->n_out; i++)
        max = fmax(max, fabs((double)w->row[i]));
    return max;
}

/* ---- a model and its engine ---- */

typedef struct rig {
    const char *name;
    double tolerance;
    want w;
    gguf_file *file;
    model_desc *model;
    engine *e;
    bool causal;
    float *got; /* [MAX_TOKEN][n_out] */
    bool *have; /* [MAX_TOKEN] */
} rig;

static void must(cama_err e, const err_info *err, const char *name)
{
    if (e)
        fail_msg("%s: %s", name, err->text);
}

static void rig_open(rig *r, const char *folder, const char *name, engine_opts o)
{
    char path[512];
    err_info err = {0};
    *r = (rig){.name = name};
    (void)snprintf(path, sizeof path, "%s/%s.want", folder, name);
    r->w = read_want(path);
    (void)snprintf(path, sizeof path, "%s/%s.gguf", folder, name);
    must(gguf_open(path, &r->file, &err), &err, name);
    must(model_open(r->file, &r->model, &err), &err, name);
    r->causal = model_get_info(r->model)->causal;
    o.n_ctx = r->w.n_ctx;
    o.n_seq = N_SEQ;
    o.n_batch = N_SEQ * MAX_TOKEN;
    must(tiny_engine->open(r->model, &o, &r->e, &err), &err, name);
    r->got = calloc((size_t)MAX_TOKEN * MAX_OUT, sizeof *r->got);
    r->have = calloc(MAX_TOKEN, sizeof *r->have);
    assert_true(r->got && r->have);
}

static void rig_close(rig *r)
{
    tiny_engine->close(r->e);
    model_close(r->model);
    gguf_close(r->file);
    free(r->w.row);
    free(r->got);
    free(r->have);
}

static engine_opts exact_opts(uint32_t n_thread)
{
    engine_opts o = engine_opts_init();
    o.k_type = o.v_type = QUANT_F32;
    o.activations = KERN_F32;
    o.n_thread = n_thread;
    return o;
}

static int32_t new_seq(rig *r, int32_t from, int32_t n_keep)
{
    int32_t seq = -1;
    assert_int_equal(tiny_engine->seq_fork(r->e, from, n_keep, &seq), CAMA_OK);
    return seq;
}

/* Appends rows [from, to) of the prompt to a batch; xor changes the ids. */
static size_t put_rows(const rig *r, engine_row *rows, int32_t seq, size_t from, size_t to,
                       uint32_t flags, int32_t xor)
{
    for (size_t i = from; i < to; i++) {
        const int32_t pos = (int32_t)i;
        const bool last = i + 1 == r->w.n_token;
        rows[i - from] = (engine_row){.seq = seq,
                                      .source = ENGINE_TOKEN,
                                      .id = r->w.token[i] ^ xor,
                                      .pos =
                                          {
                                              pos, pos, pos, pos},
                                      .visible_end = r->causal ? pos + 1 : (int32_t)r->w.n_token,
                                      .flags = flags == ENGINE_POOLED && !last ? 0 : flags};
    }
    return to - from;
}

/* Runs a batch and keeps the outputs of seq. */
static void run(rig *r, const engine_row *rows, size_t n, int32_t seq)
{
    const engine_batch b = {.rows = rows, .n_row = n};
    engine_ticket t = 0;
    engine_outs outs = {0};
    err_info err = {0};
    must(tiny_engine->submit(r->e, &b, &t, &err), &err, r->name);
    must(tiny_engine->collect(r->e, t, &outs, &err), &err, r->name);
    for (size_t i = 0; i < outs.n; i++) {
        const engine_out *o = &outs.out[i];
        const float *x = r->w.kind == POOLED ? o->pooled : o->logits;
        if (o->seq != seq || !x)
            continue;
        const size_t at = r->w.kind == POOLED ? 0 : (size_t)rows[o->row].pos[0];
        memcpy(r->got + at * r->w.n_out, x, r->w.n_out * sizeof *x);
        r->have[at] = true;
    }
}

static uint32_t wanted(const rig *r)
{
    return r->w.kind == POOLED ? ENGINE_POOLED : ENGINE_LOGITS;
}

static void feed(rig *r, int32_t seq, size_t from, size_t to)
{
    engine_row rows[MAX_TOKEN];
    run(r, rows, put_rows(r, rows, seq, from, to, wanted(r), 0), seq);
}

static void compare(rig *r, const char *how, size_t from)
{
    const size_t n = r->w.kind == POOLED ? 1 : r->w.n_token;
    const double tolerance = r->tolerance * largest(&r->w);
    for (size_t i = r->w.kind == POOLED ? 0 : from; i < n; i++) {
        if (!r->have[i])
            fail_msg("%s, %s: no output of row %zu", r->name, how, i);
        for (size_t k = 0; k < r->w.n_out; k++)
            TEST_NEAR(r->got[i * r->w.n_out + k], r->w.row[i * r->w.n_out + k], tolerance,
                      "%s, %s: row %zu, output %zu", r->name, how, i, k);
    }
    memset(r->have, 0, MAX_TOKEN * sizeof *r->have);
}

/* ---- the ways a prompt may be computed ---- */

static void whole(rig *r)
{
    const int32_t seq = new_seq(r, -1, 0);
    feed(r, seq, 0, r->w.n_token);
    compare(r, "whole", 0);
    tiny_engine->seq_free(r->e, seq);
}

static void in_chunks(rig *r, size_t step)
{
    const int32_t seq = new_seq(r, -1, 0);
    for (size_t i = 0; i < r->w.n_token; i += step)
        feed(r, seq, i, i + step < r->w.n_token ? i + step : r->w.n_token);
    compare(r, "in chunks", 0);
    tiny_engine->seq_free(r->e, seq);
}

/* The sequence that is looked at lies between two with other tokens. */
static void beside_others(rig *r, size_t step)
{
    int32_t seq[3];
    for (size_t i = 0; i < 3; i++)
        seq[i] = new_seq(r, -1, 0);
    for (size_t i = 0; i < r->w.n_token; i += step) {
        const size_t to = i + step < r->w.n_token ? i + step : r->w.n_token;
        engine_row rows[3 * MAX_TOKEN];
        size_t n = 0;
        for (size_t s = 0; s < 3; s++)
            n += put_rows(r, rows + n, seq[s], i, to, wanted(r), s == 1 ? 0 : (int32_t)s + 5);
        run(r, rows, n, seq[1]);
    }
    compare(r, "beside others", 0);
    for (size_t i = 0; i < 3; i++)
        tiny_engine->seq_free(r->e, seq[i]);
}

/* Three sequences read the same prompt at speeds of their own; the slowest is looked at. */
static void at_own_speeds(rig *r)
{
    static const size_t speed[3] = {11, 3, 7};
    int32_t seq[3];
    size_t at[3] = {0};
    for (size_t i = 0; i < 3; i++)
        seq[i] = new_seq(r, -1, 0);
    while (at[1] < r->w.n_token) {
        engine_row rows[3 * MAX_TOKEN];
        size_t n = 0;
        for (size_t i = 0; i < 3; i++) {
            const size_t to = at[i] + speed[i] < r->w.n_token ? at[i] + speed[i] : r->w.n_token;
            n += put_rows(r, rows + n, seq[i], at[i], to, wanted(r), 0);
            at[i] = to;
        }
        run(r, rows, n, seq[1]);
    }
    compare(r, "at their own speeds", 0);
    for (size_t i = 0; i < 3; i++)
        tiny_engine->seq_free(r->e, seq[i]);
}

static void after_rewind(rig *r)
{
    const int32_t seq = new_seq(r, -1, 0);
    engine_row rows[MAX_TOKEN];
    int32_t got = -1;
    feed(r, seq, 0, 25);
    run(r, rows, put_rows(r, rows, seq, 25, r->w.n_token, 0, 9), seq); /* what is taken back */
    assert_int_equal(tiny_engine->seq_rewind(r->e, seq, 25, &got), CAMA_OK);
    assert_true(got >= 0 && got <= 25);
    feed(r, seq, (size_t)got, r->w.n_token);
    compare(r, "after a rewind", 0);
    tiny_engine->seq_free(r->e, seq);
}

/* A second sequence shares the beginning of the first, which goes on with other tokens. */
static void after_fork(rig *r)
{
    const int32_t first = new_seq(r, -1, 0);
    engine_row rows[MAX_TOKEN];
    feed(r, first, 0, 30);
    const int32_t second = new_seq(r, first, 30);
    int32_t got = -1;
    run(r, rows, put_rows(r, rows, first, 30, r->w.n_token, 0, 9), first);
    assert_int_equal(tiny_engine->seq_rewind(r->e, second, 30, &got), CAMA_OK);
    assert_true(got >= 0 && got <= 30);
    feed(r, second, (size_t)got, r->w.n_token);
    compare(r, "after a fork", 30);
    tiny_engine->seq_free(r->e, first);
    tiny_engine->seq_free(r->e, second);
}

static void all_ways(const char *name, double tolerance, engine_opts o)
{
    rig r;
    rig_open(&r, TEST_DATA("tiny"), name, o);
    r.tolerance = tolerance;
    whole(&r);
    if (r.causal) {
        in_chunks(&r, 1);
        in_chunks(&r, 7);
        in_chunks(&r, 16);
        at_own_speeds(&r);
        after_rewind(&r);
        after_fork(&r);
    }
    beside_others(&r, r.causal ? 9 : r.w.n_token);
    rig_close(&r);
}

/* ---- block formats ---- */

static const char *const formats_of_tiny[] = {
    "F16",   "BF16",    "Q4_0",  "Q4_1",   "Q5_0",   "Q5_1",  "Q8_0",  "Q2_K",    "Q3_K",
    "Q4_K",  "Q5_K",    "Q6_K",  "IQ4_NL", "IQ4_XS", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS",
    "IQ2_S", "IQ3_XXS", "IQ3_S", "TQ1_0",  "TQ2_0",  "MXFP4", "NVFP4",
};

static double rms(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - (b ? (double)b[i] : 0)) * ((double)a[i] - (b ? (double)b[i] : 0));
    return sqrt(sum / (double)n);
}

/* Error of all logits against the forward in float64; *out_peer is libllama's. */
static double format_error(const char *name, engine_opts o, double *out_peer, double *out_size)
{
    rig r;
    rig_open(&r, TEST_DATA("tiny_quant"), name, o);
    assert_int_equal(r.w.kind, QUANT);
    const size_t n = (size_t)r.w.n_token * r.w.n_out;
    const int32_t seq = new_seq(&r, -1, 0);
    feed(&r, seq, 0, r.w.n_token);
    const double error = rms(r.got, r.w.row, n);
    *out_peer = rms(r.w.row + n, r.w.row, n);
    *out_size = rms(r.w.row, NULL, n);
    rig_close(&r);
    return error;
}

#endif
