/* The same row gives the same bits: alone, in any chunking, beside other sequences, after prefix
 * reuse and after a rewind, on any number of threads; for every tier and both activation forms. */
#include "test.h"

#include <dirent.h>

#include "engine/engine.h"
#include "tiny_llama.h"

#define N_TOKEN 290 /* past one span of pages, so that spans are merged */
#define N_SHORT 70
#define MAX_SEQ 8

static uint32_t rnd_state = 1;

static uint32_t rnd(uint32_t n)
{
    rnd_state = rnd_state * 1664525u + 1013904223u;
    return (rnd_state >> 8) % n;
}

/* ---- a rig: one model, one engine ---- */

typedef struct rig {
    gguf_file *file;
    model_desc *model;
    engine *e;
    size_t n_vocab;
    int32_t token[MAX_SEQ][N_TOKEN];
} rig;

static engine_opts small_opts(void)
{
    engine_opts o = engine_opts_init();
    o.n_ctx = 320;
    o.n_seq = 4 * MAX_SEQ;
    o.n_batch = 300;
    o.n_thread = 1;
    return o;
}

static void open_engine(rig *r, const engine_opts *o)
{
    err_info err = {0};
    if (nat_engine.open(r->model, o, &r->e, &err))
        fail_msg("%s", err.text);
}

/* false: an architecture that is not known. */
static bool open_model(rig *r, gguf_file *f)
{
    err_info err = {0};
    const cama_err fail = model_open(f, &r->model, &err);
    r->file = f;
    if (fail == CAMA_ERR_UNSUPPORTED) {
        print_message("skipped: %s\n", err.text);
        return false;
    }
    if (fail)
        fail_msg("%s", err.text);
    r->n_vocab = (size_t)gguf_find_tensor(f, "token_embd.weight")->ne[1];
    for (size_t s = 0; s < MAX_SEQ; s++)
        for (size_t i = 0; i < N_TOKEN; i++)
            r->token[s][i] = (int32_t)rnd((uint32_t)r->n_vocab);
    return true;
}

static int32_t new_seq(rig *r, int32_t from, int32_t n)
{
    int32_t seq = -1;
    assert_int_equal(nat_engine.seq_fork(r->e, from, n, &seq), CAMA_OK);
    return seq;
}

static engine_row row_of(const rig *r, int32_t seq, size_t which, int32_t pos)
{
    return (engine_row){.seq = seq,
                        .id = r->token[which][pos],
                        .pos = {pos, pos, pos, pos},
                        .visible_end = pos + 1,
                        .flags = ENGINE_LOGITS};
}

static void submit(rig *r, const engine_row *rows, size_t n, engine_outs *outs)
{
    err_info err = {0};
    engine_ticket t;
    const engine_batch b = {.rows = rows, .n_row = n};
    if (nat_engine.submit(r->e, &b, &t, &err) || nat_engine.collect(r->e, t, outs, &err))
        fail_msg("%s", err.text);
    assert_int_equal(outs->n, n);
}

/* Rows [from, to) of the sequence in pieces of at most `chunk`; logits [to][n_vocab] into out. */
static void feed(rig *r, int32_t seq, size_t which, int32_t from, int32_t to, int32_t chunk,
                 float *out)
{
    static engine_row rows[N_TOKEN];
    engine_outs outs;
    while (from < to) {
        const int32_t n = to - from < chunk ? to - from : chunk;
        for (int32_t i = 0; i < n; i++)
            rows[i] = row_of(r, seq, which, from + i);
        submit(r, rows, (size_t)n, &outs);
        for (int32_t i = 0; i < n; i++)
            memcpy(out + (size_t)(from + i) * r->n_vocab, outs.out[i].logits,
                   r->n_vocab * sizeof *out);
        from += n;
    }
}

static float *new_logits(const rig *r, size_t n)
{
    float *x = calloc(n * r->n_vocab, sizeof *x);
    assert_non_null(x);
    return x;
}

static void same(const rig *r, const float *got, const float *want, int32_t from, int32_t to,
                 const char *what)
{
    for (int32_t i = from; i < to; i++)
        if (memcmp(got + (size_t)i * r->n_vocab, want + (size_t)i * r->n_vocab,
                   r->n_vocab * sizeof *got) != 0)
            fail_msg("%s: row %d differs", what, i);
}

/* ---- the checks ---- */

static void check_chunks(rig *r, const float *want, int32_t n)
{
    static const int32_t chunks[] = {2, 3, 4, 61, N_TOKEN};
    float *got = new_logits(r, (size_t)n);
    for (size_t i = 0; i < TEST_COUNT(chunks); i++) {
        const int32_t seq = new_seq(r, -1, 0);
        feed(r, seq, 0, 0, n, chunks[i], got);
        same(r, got, want, 0, n, "chunks");
        nat_engine.seq_free(r->e, seq);
    }
    free(got);
}

/* Eight sequences grow side by side in uneven steps; each must be what it is alone. */
static void check_mixed(rig *r, int32_t n)
{
    int32_t seq[MAX_SEQ], len[MAX_SEQ] = {0};
    float *want = new_logits(r, (size_t)n);
    float *got[MAX_SEQ];
    for (size_t s = 0; s < MAX_SEQ; s++) {
        seq[s] = new_seq(r, -1, 0);
        got[s] = new_logits(r, (size_t)n);
    }
    for (bool more = true; more;) {
        static engine_row rows[N_TOKEN];
        size_t n_row = 0;
        size_t at[MAX_SEQ];
        int32_t n_new[MAX_SEQ];
        engine_outs outs;
        for (size_t s = 0; s < MAX_SEQ; s++) {
            const int32_t some = 1 + (int32_t)(rnd(2) ? rnd(3) : rnd(30));
            n_new[s] = n - len[s] < some ? n - len[s] : some;
            at[s] = n_row;
            for (int32_t i = 0; i < n_new[s]; i++)
                rows[n_row++] = row_of(r, seq[s], s, len[s] + i);
        }
        if (n_row)
            submit(r, rows, n_row, &outs);
        more = n_row > 0;
        for (size_t s = 0; s < MAX_SEQ; s++)
            for (int32_t i = 0; i < n_new[s]; i++)
                memcpy(got[s] + (size_t)(len[s]++) * r->n_vocab, outs.out[at[s] + (size_t)i].logits,
                       r->n_vocab * sizeof **got);
    }
    for (size_t s = 0; s < MAX_SEQ; s++) {
        const int32_t alone = new_seq(r, -1, 0);
        feed(r, alone, s, 0, n, 16, want);
        same(r, got[s], want, 0, n, "mixed batch");
        nat_engine.seq_free(r->e, alone);
        nat_engine.seq_free(r->e, seq[s]);
        free(got[s]);
    }
    free(want);
}

/* Forks at a few places, the fork goes on as the original did, and so does the original. */
static void check_reuse(rig *r, const float *want, int32_t n)
{
    float *got = new_logits(r, (size_t)n);
    const int32_t seq = new_seq(r, -1, 0);
    const int32_t half = n / 2;
    feed(r, seq, 0, 0, half, 33, got);
    for (int32_t keep = half; keep > 0; keep /= 2) {
        int32_t pos = -1;
        const int32_t child = new_seq(r, seq, keep);
        assert_int_equal(nat_engine.seq_rewind(r->e, child, keep, &pos), CAMA_OK);
        assert_true(pos >= 0 && pos <= keep);
        memset(got, 0, (size_t)n * r->n_vocab * sizeof *got);
        feed(r, child, 0, pos, n, 50, got);
        same(r, got, want, pos, n, "prefix reuse");
        nat_engine.seq_free(r->e, child);
    }
    feed(r, seq, 0, half, n, 50, got);
    same(r, got, want, half, n, "the original after forks");
    for (int32_t back = n; back > 0; back = back / 2 - 1) {
        int32_t pos = -1;
        assert_int_equal(nat_engine.seq_rewind(r->e, seq, back, &pos), CAMA_OK);
        assert_true(pos >= 0 && pos <= back);
        feed(r, seq, 1, pos, back, 50, got); /* other tokens, and away with them */
        assert_int_equal(nat_engine.seq_rewind(r->e, seq, pos, &pos), CAMA_OK);
        feed(r, seq, 0, pos, n, 50, got);
        same(r, got, want, pos, n, "rewind");
    }
    nat_engine.seq_free(r->e, seq);
    free(got);
}

/* All checks for one set of options; threads: the same logits on 2 and 3. */
static void check_model(rig *r, engine_opts o, int32_t n)
{
    float *want = new_logits(r, (size_t)n);
    float *got = new_logits(r, (size_t)n);
    engine_stat stat;
    open_engine(r, &o);
    const int32_t seq = new_seq(r, -1, 0);
    feed(r, seq, 0, 0, n, 1, want);
    check_chunks(r, want, n);
    check_mixed(r, n < 60 ? n : 60);
    check_reuse(r, want, n);
    nat_engine.seq_free(r->e, seq);
    nat_engine.stat(r->e, &stat);
    assert_int_equal(stat.n_seq_alive, 0);
    nat_engine.close(r->e);
    for (o.n_thread = 2; o.n_thread <= 3; o.n_thread++) {
        open_engine(r, &o);
        const int32_t one = new_seq(r, -1, 0);
        const int32_t two = new_seq(r, -1, 0);
        feed(r, one, 0, 0, n - 8, N_TOKEN, got);
        feed(r, one, 0, n - 8, n, 1, got); /* few: barriers of more threads than cores are slow */
        same(r, got, want, 0, n, "threads, at once, then row by row");
        feed(r, two, 0, 0, n, 60, got);
        same(r, got, want, 0, n, "threads, in chunks");
        check_mixed(r, 12);
        nat_engine.close(r->e);
    }
    for (size_t i = 0; i < (size_t)n * r->n_vocab; i++)
        assert_true(isfinite(want[i]));
    free(want);
    free(got);
}

/* One set of options: what the architecture adds is the same on every tier. */
static void check_best_tier(rig *r)
{
    check_model(r, small_opts(), N_SHORT);
}

static void check_tiers(rig *r)
{
    static const quant_type kv[] = {QUANT_F16, QUANT_F32, QUANT_Q8_0, QUANT_Q4_0, QUANT_BF16};
    uint32_t tiers[8];
    const size_t n_tier = kern_tiers(tiers);
    for (size_t t = 0; t < n_tier; t++)
        for (int form = 0; form < 2; form++)
            for (size_t k = 0; k < (form ? 1 : TEST_COUNT(kv)); k++) {
                engine_opts o = small_opts();
                o.cpu = tiers[t];
                o.activations = form ? KERN_F32 : KERN_I8;
                o.k_type = o.v_type = kv[k];
                check_model(r, o, k + (size_t)form == 0 && t + 1 == n_tier ? N_TOKEN : N_SHORT);
            }
}

static void a_row_has_the_same_bits_everywhere(void **state)
{
    (void)state;
    static rig r;
    size_t n;
    gguf_file *f = NULL;
    uint8_t *bytes = tiny_llama(&n);
    assert_int_equal(gguf_open_bytes(bytes, n, &f, NULL), CAMA_OK);
    assert_true(open_model(&r, f));
    check_tiers(&r);
    model_close(r.model);
    gguf_close(f);
    free(bytes);
}

/* The tiny models of all architectures that generate. */
static void every_architecture_too(void **state)
{
    (void)state;
    static rig r;
    DIR *dir = opendir(TEST_DATA("tiny"));
    if (!dir)
        skip(); /* their data is not there */
    size_t n_model = 0;
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        char path[512];
        gguf_file *f = NULL;
        if (!strstr(d->d_name, ".gguf"))
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", TEST_DATA("tiny"), d->d_name);
        if (gguf_open(path, &f, NULL))
            fail_msg("cannot open %s", path);
        if (!open_model(&r, f)) {
            gguf_close(f);
            continue;
        }
        if (model_get_info(r.model)->causal) {
            print_message("%s\n", d->d_name);
            check_best_tier(&r);
            n_model++;
        }
        model_close(r.model);
        gguf_close(f);
    }
    (void)closedir(dir);
    assert_true(n_model > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_has_the_same_bits_everywhere),
        cmocka_unit_test(every_architecture_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
