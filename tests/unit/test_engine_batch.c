/* The same row gives the same bits: alone, in any chunking, beside other sequences, after prefix
 * reuse and after a rewind, on any number of threads; for every tier and both activation forms,
 * every format of weights and every one of the cache. */
#include "engine_rig.h"

#include <dirent.h>

#include "tiny_llama.h"

static const quant_type kv_types[] = {QUANT_F16, QUANT_F32, QUANT_Q8_0, QUANT_Q4_0, QUANT_BF16};

/* Every tier, form and cache, as far as one page. */
static void check_tiers(rig *r)
{
    uint32_t tiers[8];
    const size_t n_tier = rig_tiers(tiers);
    for (size_t t = 0; t < n_tier; t++)
        for (int form = 0; form < 2; form++)
            for (size_t k = 0; k < TEST_COUNT(kv_types); k++) {
                const bool is_usual = t + 1 == n_tier && !form && k == 0;
                engine_opts o = rig_opts();
                o.cpu = tiers[t];
                o.activations = form ? KERN_F32 : KERN_I8;
                o.k_type = o.v_type = kv_types[k];
                uint32_t parts = form && k ? 0 : RIG_REUSE; /* pages do not know the form */
                if (is_usual)
                    parts |= RIG_CROWDED;
                rig_check(r, o, RIG_SHORT, parts);
            }
}

/* A context of several spans, whose attention is merged: alone, at once, in pieces that end
 * anywhere, behind a prefix, on two threads. */
static void check_long(rig *r, engine_opts o)
{
    const int32_t n = RIG_TOKENS;
    float *want = rig_new_logits(r, (size_t)n);
    float *got = rig_new_logits(r, (size_t)n);
    for (o.n_thread = 1; o.n_thread <= 2; o.n_thread++) {
        rig_open_engine(r, &o);
        const int32_t seq = rig_new_seq(r, -1, 0);
        rig_feed(r, seq, 0, 0, n, RIG_TOKENS, o.n_thread == 1 ? want : got);
        if (o.n_thread == 2)
            rig_same(r, got, want, 0, n, "two threads");
        const int32_t pieces = rig_new_seq(r, -1, 0);
        rig_feed(r, pieces, 0, 0, 250, 61, got);
        rig_feed(r, pieces, 0, 250, 265, 1, got); /* over the edge of a span */
        rig_feed(r, pieces, 0, 265, 505, 48, got);
        rig_feed(r, pieces, 0, 505, 520, 1, got);
        rig_feed(r, pieces, 0, 520, n, 7, got);
        rig_same(r, got, want, 0, n, "pieces");
        const int32_t child = rig_new_seq(r, seq, 511);
        rig_feed(r, child, 0, 511, n, 2, got);
        rig_same(r, got, want, 511, n, "behind a prefix");
        nat_engine.close(r->e);
    }
    free(want);
    free(got);
}

static void check_spans(rig *r)
{
    uint32_t tiers[8];
    const size_t n_tier = rig_tiers(tiers);
    for (size_t t = 0; t < n_tier; t++)
        for (size_t k = 0; k < TEST_COUNT(kv_types); k++) {
            engine_opts o = rig_opts();
            o.cpu = tiers[t];
            o.k_type = o.v_type = kv_types[k];
            check_long(r, o);
        }
}

static void open_tiny(rig *r, uint8_t **out_bytes)
{
    size_t n;
    gguf_file *f = NULL;
    *out_bytes = tiny_llama(&n);
    assert_int_equal(gguf_open_bytes(*out_bytes, n, &f, NULL), CAMA_OK);
    rig_open_model(r, f);
}

static void a_row_has_the_same_bits_everywhere(void **state)
{
    (void)state;
    static rig r;
    uint8_t *bytes;
    open_tiny(&r, &bytes);
    check_tiers(&r);
    rig_close_model(&r);
    free(bytes);
}

static void in_long_contexts_too(void **state)
{
    (void)state;
    static rig r;
    uint8_t *bytes;
    open_tiny(&r, &bytes);
    check_spans(&r);
    rig_close_model(&r);
    free(bytes);
}

/* Calls check for each model of a folder of tests/data. */
static size_t each_model(const char *folder, void (*check)(rig *r))
{
    static rig r;
    size_t n_model = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        if (!strstr(d->d_name, ".gguf"))
            continue;
        rig_open_file(&r, folder, d->d_name);
        if (model_get_info(r.model)->causal) {
            check(&r);
            n_model++;
        }
        rig_close_model(&r);
    }
    (void)closedir(dir);
    return n_model;
}

/* One set of options: what the architecture adds is the same on every tier. */
static void check_best_tier(rig *r)
{
    rig_check(r, rig_opts(), RIG_SHORT, RIG_REUSE);
}

static void every_architecture_too(void **state)
{
    (void)state;
    assert_true(each_model(TEST_DATA("tiny"), check_best_tier) >= 40);
}

/* A format meets attention and the rest only through rows of floats: few rows suffice, more than
 * the widest tile of activations; the reference has no tiles. */
static void check_format(rig *r)
{
    uint32_t tiers[8];
    const size_t n_tier = rig_tiers(tiers);
    for (size_t t = 0; t < n_tier; t++)
        for (int form = 0; form < 2; form++) {
            engine_opts o = rig_opts();
            o.cpu = tiers[t];
            o.activations = form ? KERN_F32 : KERN_I8;
            rig_check(r, o, tiers[t] ? 26 : 10, 0);
        }
}

static void every_format_too(void **state)
{
    (void)state;
    assert_true(each_model(TEST_DATA("tiny_quant"), check_format) >= 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_has_the_same_bits_everywhere),
        cmocka_unit_test(in_long_contexts_too),
        cmocka_unit_test(every_architecture_too),
        cmocka_unit_test(every_format_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
