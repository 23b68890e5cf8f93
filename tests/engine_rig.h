/* engine_rig.h - one model on one engine, fed in every way; its checks compare bits.
 *
 *     static rig r;
 *     rig_open_model(&r, file);
 *     rig_check(&r, rig_opts(), RIG_SHORT, RIG_REUSE);    alone, in chunks, mixed, on 2 threads
 *     rig_close_model(&r);
 */
#ifndef ENGINE_RIG_H
#define ENGINE_RIG_H

#include "test.h"

#include "engine/engine.h"

#define RIG_TOKENS 600 /* past two spans of pages, so that spans are merged */
#define RIG_SHORT 70   /* past one page */
#define RIG_SEQ 8
#define RIG_MIXED 60 /* tokens of each sequence in mixed batches */

/* Parts of rig_check that not every test needs. */
#define RIG_REUSE 0x1u   /* prefixes and rewinds too */
#define RIG_CROWDED 0x2u /* on 3 threads too, more than many machines have cores */

/* The tiers to check: all of them, or, where a sanitizer makes each ten times slower, the best one:
 * the others' bits are the other builds' to check. */
static inline size_t rig_tiers(uint32_t out[8])
{
    const size_t n = kern_tiers(out);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    const bool is_slow = true;
#elif defined(__has_feature)
    const bool is_slow = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
    const bool is_slow = false;
#endif
    if (!is_slow)
        return n;
    out[0] = out[n - 1];
    return 1;
}

static const engine_vt *rig_engine = &nat_engine; /* under test */
static uint32_t rig_state = 1;

static inline uint32_t rig_rnd(uint32_t n)
{
    rig_state = rig_state * 1664525u + 1013904223u;
    return (rig_state >> 8) % n;
}

/* ---- a rig: one model, one engine ---- */

typedef struct rig {
    gguf_file *file;
    model_desc *model;
    engine *e;
    size_t n_vocab;
    int32_t token[RIG_SEQ][RIG_TOKENS];
} rig;

static inline engine_opts rig_opts(void)
{
    engine_opts o = engine_opts_init();
    o.n_ctx = 640;
    o.n_seq = 4 * RIG_SEQ;
    o.n_batch = RIG_TOKENS;
    o.n_thread = 1;
    return o;
}

static inline void rig_open_engine(rig *r, const engine_opts *o)
{
    err_info err = {0};
    if (rig_engine->open(r->model, o, &r->e, &err))
        fail_msg("%s", err.text);
}

/* f becomes the rig's. */
static inline void rig_open_model(rig *r, gguf_file *f)
{
    err_info err = {0};
    r->file = f;
    if (model_open(f, &r->model, &err))
        fail_msg("%s", err.text);
    r->n_vocab = model_get_info(r->model)->n_vocab;
    for (size_t s = 0; s < RIG_SEQ; s++)
        for (size_t i = 0; i < RIG_TOKENS; i++)
            r->token[s][i] = (int32_t)rig_rnd((uint32_t)r->n_vocab);
}

static inline void rig_open_file(rig *r, const char *folder, const char *name)
{
    char path[512];
    err_info err = {0};
    gguf_file *f = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    if (gguf_open(path, &f, &err))
        fail_msg("%s", err.text);
    rig_open_model(r, f);
}

static inline void rig_close_model(rig *r)
{
    model_close(r->model);
    gguf_close(r->file);
}

static inline int32_t rig_new_seq(rig *r, int32_t from, int32_t n)
{
    int32_t seq = -1;
    assert_int_equal(rig_engine->seq_fork(r->e, from, n, &seq), CAMA_OK);
    return seq;
}

static inline engine_row rig_row(const rig *r, int32_t seq, size_t which, int32_t pos)
{
    return (engine_row){.seq = seq,
                        .id = r->token[which][pos],
                        .pos = {pos, pos, pos, pos},
                        .visible_end = pos + 1,
                        .flags = ENGINE_LOGITS};
}

static inline void rig_submit(rig *r, const engine_row *rows, size_t n, engine_outs *outs)
{
    err_info err = {0};
    engine_ticket t;
    const engine_batch b = {.rows = rows, .n_row = n};
    if (rig_engine->submit(r->e, &b, &t, &err) || rig_engine->collect(r->e, t, outs, &err))
        fail_msg("%s", err.text);
    assert_int_equal(outs->n, n);
}

/* Rows [from, to) of the sequence in pieces of at most `chunk`; logits [to][n_vocab] into out. */
static inline void rig_feed(rig *r, int32_t seq, size_t which, int32_t from, int32_t to,
                            int32_t chunk, float *out)
{
    static engine_row rows[RIG_TOKENS];
    engine_outs outs;
    while (from < to) {
        const int32_t n = to - from < chunk ? to - from : chunk;
        for (int32_t i = 0; i < n; i++)
            rows[i] = rig_row(r, seq, which, from + i);
        rig_submit(r, rows, (size_t)n, &outs);
        for (int32_t i = 0; i < n; i++)
            memcpy(out + (size_t)(from + i) * r->n_vocab, outs.out[i].logits,
                   r->n_vocab * sizeof *out);
        from += n;
    }
}

static inline float *rig_new_logits(const rig *r, size_t n)
{
    float *x = calloc(n * r->n_vocab, sizeof *x);
    assert_non_null(x);
    return x;
}

static inline void rig_same(const rig *r, const float *got, const float *want, int32_t from,
                            int32_t to, const char *what)
{
    for (int32_t i = from; i < to; i++)
        if (memcmp(got + (size_t)i * r->n_vocab, want + (size_t)i * r->n_vocab,
                   r->n_vocab * sizeof *got) != 0)
            fail_msg("%s: row %d differs", what, i);
}

/* ---- the checks ---- */

static inline void rig_check_chunks(rig *r, const float *want, int32_t n)
{
    static const int32_t chunks[] = {2, 3, 4, 5, 16, RIG_TOKENS};
    float *got = rig_new_logits(r, (size_t)n);
    for (size_t i = 0; i < TEST_COUNT(chunks); i++) {
        const int32_t seq = rig_new_seq(r, -1, 0);
        rig_feed(r, seq, 0, 0, n, chunks[i], got);
        rig_same(r, got, want, 0, n, "chunks");
        rig_engine->seq_free(r->e, seq);
    }
    free(got);
}

/* Eight sequences grow side by side in uneven steps; each must be what it is alone. */
static inline void rig_check_mixed(rig *r, int32_t n)
{
    int32_t seq[RIG_SEQ], len[RIG_SEQ] = {0};
    float *want = rig_new_logits(r, (size_t)n);
    float *got[RIG_SEQ];
    for (size_t s = 0; s < RIG_SEQ; s++) {
        seq[s] = rig_new_seq(r, -1, 0);
        got[s] = rig_new_logits(r, (size_t)n);
    }
    for (bool more = true; more;) {
        static engine_row rows[RIG_TOKENS];
        size_t n_row = 0;
        size_t at[RIG_SEQ];
        int32_t n_new[RIG_SEQ];
        engine_outs outs;
        for (size_t s = 0; s < RIG_SEQ; s++) {
            const int32_t some = 1 + (int32_t)(rig_rnd(2) ? rig_rnd(3) : rig_rnd(30));
            n_new[s] = n - len[s] < some ? n - len[s] : some;
            at[s] = n_row;
            for (int32_t i = 0; i < n_new[s]; i++)
                rows[n_row++] = rig_row(r, seq[s], s, len[s] + i);
        }
        if (n_row)
            rig_submit(r, rows, n_row, &outs);
        more = n_row > 0;
        for (size_t s = 0; s < RIG_SEQ; s++)
            for (int32_t i = 0; i < n_new[s]; i++)
                memcpy(got[s] + (size_t)(len[s]++) * r->n_vocab, outs.out[at[s] + (size_t)i].logits,
                       r->n_vocab * sizeof **got);
    }
    for (size_t s = 0; s < RIG_SEQ; s++) {
        const int32_t alone = rig_new_seq(r, -1, 0);
        rig_feed(r, alone, s, 0, n, 16, want);
        rig_same(r, got[s], want, 0, n, "mixed batch");
        rig_engine->seq_free(r->e, alone);
        rig_engine->seq_free(r->e, seq[s]);
        free(got[s]);
    }
    free(want);
}

/* Forks at a few places, the fork goes on as the original did, and so does the original. */
static inline void rig_check_reuse(rig *r, const float *want, int32_t n)
{
    float *got = rig_new_logits(r, (size_t)n);
    const int32_t seq = rig_new_seq(r, -1, 0);
    const int32_t half = n / 2;
    rig_feed(r, seq, 0, 0, half, 33, got);
    for (int32_t keep = half; keep > 0; keep /= 2) {
        int32_t pos = -1;
        const int32_t child = rig_new_seq(r, seq, keep);
        assert_int_equal(rig_engine->seq_rewind(r->e, child, keep, &pos), CAMA_OK);
        assert_true(pos >= 0 && pos <= keep);
        memset(got, 0, (size_t)n * r->n_vocab * sizeof *got);
        rig_feed(r, child, 0, pos, n, 50, got);
        rig_same(r, got, want, pos, n, "prefix reuse");
        rig_engine->seq_free(r->e, child);
    }
    rig_feed(r, seq, 0, half, n, 50, got);
    rig_same(r, got, want, half, n, "the original after forks");
    for (int32_t back = n; back > 0; back = back / 2 - 1) {
        int32_t pos = -1;
        assert_int_equal(rig_engine->seq_rewind(r->e, seq, back, &pos), CAMA_OK);
        assert_true(pos >= 0 && pos <= back);
        rig_feed(r, seq, 1, pos, back, 50, got); /* other tokens, and away with them */
        assert_int_equal(rig_engine->seq_rewind(r->e, seq, pos, &pos), CAMA_OK);
        rig_feed(r, seq, 0, pos, n, 50, got);
        rig_same(r, got, want, pos, n, "rewind");
    }
    rig_engine->seq_free(r->e, seq);
    free(got);
}

/* The same logits on n_thread threads. */
static inline void rig_check_threads(rig *r, engine_opts o, const float *want, int32_t n,
                                     uint32_t parts)
{
    float *got = rig_new_logits(r, (size_t)n);
    rig_open_engine(r, &o);
    const int32_t one = rig_new_seq(r, -1, 0);
    const int32_t two = rig_new_seq(r, -1, 0);
    rig_feed(r, one, 0, 0, n - 8, RIG_TOKENS, got);
    rig_feed(r, one, 0, n - 8, n, 1, got); /* few: more threads than cores are slow to meet */
    rig_same(r, got, want, 0, n, "threads, at once, then row by row");
    rig_feed(r, two, 0, 0, n, 60, got);
    rig_same(r, got, want, 0, n, "threads, in chunks");
    const int32_t three = rig_new_seq(r, -1, 0);
    for (int32_t at = 0; at < n; at += 60) {
        rig_engine->set_threads(r->e, 1 + (uint32_t)(at / 60) % o.n_thread, 0);
        rig_feed(r, three, 0, at, at + 60 < n ? at + 60 : n, 60, got);
    }
    rig_same(r, got, want, 0, n, "threads that come and go");
    rig_engine->set_threads(r->e, 0, ENGINE_SPIN_DEFAULT);
    if (parts & RIG_REUSE)
        rig_check_mixed(r, 12);
    rig_engine->close(r->e);
    free(got);
}

/* One set of options: alone, in chunks, in mixed batches, on 2 threads. */
static inline void rig_check(rig *r, engine_opts o, int32_t n, uint32_t parts)
{
    float *want = rig_new_logits(r, (size_t)n);
    engine_stat stat;
    rig_open_engine(r, &o);
    const int32_t seq = rig_new_seq(r, -1, 0);
    rig_feed(r, seq, 0, 0, n, 1, want);
    for (size_t i = 0; i < (size_t)n * r->n_vocab; i++)
        assert_true(isfinite(want[i]));
    rig_check_chunks(r, want, n);
    rig_check_mixed(r, parts & RIG_REUSE ? RIG_MIXED : 12);
    if (parts & RIG_REUSE)
        rig_check_reuse(r, want, n);
    rig_engine->seq_free(r->e, seq);
    rig_engine->stat(r->e, &stat);
    assert_int_equal(stat.n_seq_alive, 0);
    rig_engine->close(r->e);
    const uint32_t n_thread = parts & RIG_CROWDED ? 3 : 2;
    for (o.n_thread = 2; o.n_thread <= n_thread; o.n_thread++)
        rig_check_threads(r, o, want, n, parts);
    free(want);
}

#endif
