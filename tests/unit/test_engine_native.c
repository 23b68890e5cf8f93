/* The native engine's contract: what it refuses, what it hands out, what a refusal leaves behind.
 */
#include "test.h"

#include "engine/engine.h"
#include "tiny_llama.h"

static uint8_t *bytes;
static gguf_file *file;
static model_desc *model;

static engine_opts small_opts(void)
{
    engine_opts o = engine_opts_init();
    o.n_ctx = 256;
    o.n_seq = 2;
    o.n_batch = 100;
    o.n_thread = 2;
    return o;
}

static engine *open_with(const engine_opts *o)
{
    engine *e = NULL;
    err_info err = {0};
    if (nat_engine.open(model, o, &e, &err))
        fail_msg("%s", err.text);
    return e;
}

static int32_t new_seq(engine *e)
{
    int32_t seq = -1;
    assert_int_equal(nat_engine.seq_fork(e, -1, 0, &seq), CAMA_OK);
    return seq;
}

static engine_row row_of(int32_t seq, int32_t pos, uint32_t flags)
{
    return (engine_row){.seq = seq,
                        .id = (pos * 31 + 5) % TINY_VOCAB,
                        .pos = {pos, pos, pos, pos},
                        .visible_end = pos + 1,
                        .flags = flags};
}

static cama_err submit(engine *e, const engine_batch *b, engine_outs *outs)
{
    engine_ticket t;
    err_info err = {0};
    const cama_err fail = nat_engine.submit(e, b, &t, &err);
    if (fail) {
        assert_true(err.text[0]);
        return fail;
    }
    assert_int_equal(nat_engine.collect(e, t, outs, &err), CAMA_OK);
    return CAMA_OK;
}

/* n rows from pos on, the last one with flags. */
static cama_err feed(engine *e, int32_t seq, int32_t pos, int32_t n, uint32_t flags,
                     engine_outs *outs)
{
    engine_row rows[128];
    for (int32_t i = 0; i < n; i++)
        rows[i] = row_of(seq, pos + i, i + 1 == n ? flags : 0);
    const engine_batch b = {.rows = rows, .n_row = (size_t)n, .n_candidate = 3};
    return submit(e, &b, outs);
}

static void rows_that_break_a_rule_are_refused(void **state)
{
    (void)state;
    const engine_opts o = small_opts();
    engine *e = open_with(&o);
    engine_outs outs;
    const int32_t seq = new_seq(e);
    const engine_row good = row_of(seq, 0, 0);
    engine_row bad[12];
    for (size_t i = 0; i < TEST_COUNT(bad); i++)
        bad[i] = good;
    bad[0].seq = 7;
    bad[1].seq = -1;
    bad[2].id = TINY_VOCAB;
    bad[3].id = -1;
    bad[4].pos[0] = 1;
    bad[5].visible_end = 0;
    bad[6].visible_end = 2;
    bad[7].flags = 16;
    bad[8].source = ENGINE_PREV;
    bad[9].source = ENGINE_EMBED;
    bad[10].pos[2] = -1;
    bad[11].source = (engine_source)9;
    for (size_t i = 0; i < TEST_COUNT(bad); i++) {
        const engine_batch b = {.rows = &bad[i], .n_row = 1};
        assert_int_equal(submit(e, &b, &outs), CAMA_ERR_ARG);
    }
    engine_row adapter = good;
    adapter.adapter = 1;
    assert_int_equal(submit(e, &(engine_batch){.rows = &adapter, .n_row = 1}, &outs),
                     CAMA_ERR_UNSUPPORTED);
    const engine_row apart[] = {row_of(seq, 0, 0), row_of(new_seq(e), 0, 0), row_of(seq, 1, 0)};
    assert_int_equal(submit(e, &(engine_batch){.rows = apart, .n_row = 3}, &outs), CAMA_ERR_ARG);
    assert_int_equal(submit(e, &(engine_batch){.rows = &good, .n_row = 0}, &outs), CAMA_ERR_ARG);
    const int32_t id = TINY_VOCAB;
    assert_int_equal(
        submit(e, &(engine_batch){.rows = &good, .n_row = 1, .ids = &id, .n_id = 1}, &outs),
        CAMA_ERR_ARG);
    assert_int_equal(feed(e, seq, 0, 1, ENGINE_LOGITS, &outs), CAMA_OK); /* nothing was changed */
    nat_engine.close(e);
}

static void the_context_ends_and_memory_too(void **state)
{
    (void)state;
    const engine_opts o = small_opts();
    engine *e = open_with(&o);
    engine_outs outs;
    int32_t seq[3];
    for (int i = 0; i < 3; i++)
        seq[i] = new_seq(e);
    for (int i = 0; i < 2; i++)
        for (int32_t pos = 0; pos < 250; pos += 50)
            assert_int_equal(feed(e, seq[i], pos, 50, 0, &outs), CAMA_OK);
    assert_int_equal(feed(e, seq[0], 250, 7, 0, &outs), CAMA_ERR_CONTEXT);
    /* two full sequences and a page each to spare: a third has no room for this */
    assert_int_equal(feed(e, seq[2], 0, 100, 0, &outs), CAMA_OK);
    assert_int_equal(feed(e, seq[2], 100, 100, 0, &outs), CAMA_ERR_LIMIT);
    assert_int_equal(feed(e, seq[2], 100, 20, 0, &outs), CAMA_OK);
    nat_engine.seq_free(e, seq[1]);
    assert_int_equal(feed(e, seq[2], 120, 100, ENGINE_LOGITS, &outs), CAMA_OK);
    nat_engine.close(e);
}

static void candidates_are_the_best_of_the_logits(void **state)
{
    (void)state;
    const engine_opts o = small_opts();
    engine *e = open_with(&o);
    engine_outs outs;
    const int32_t ids[] = {98, 0, 98};
    engine_row rows[3];
    const int32_t seq = new_seq(e);
    for (int32_t i = 0; i < 3; i++)
        rows[i] = row_of(seq, i, i == 1 ? 0 : ENGINE_LOGITS | ENGINE_CANDIDATES | ENGINE_HIDDEN);
    const engine_batch b = {
        .rows = rows, .n_row = 3, .n_candidate = TINY_VOCAB - 1, .ids = ids, .n_id = 3};
    assert_int_equal(submit(e, &b, &outs), CAMA_OK);
    assert_int_equal(outs.n, 2);
    for (size_t i = 0; i < 2; i++) {
        const engine_out *out = &outs.out[i];
        double sum = 0;
        assert_int_equal(out->row, 2 * i);
        assert_int_equal(out->seq, seq);
        assert_int_equal(out->n_cand, TINY_VOCAB - 1);
        assert_non_null(out->hidden);
        assert_null(out->pooled);
        for (size_t k = 0; k < out->n_cand; k++) {
            assert_true(out->cand[k].logit == out->logits[out->cand[k].id]);
            assert_true(k == 0 || out->cand[k].logit <= out->cand[k - 1].logit);
        }
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(out->cand[out->n_cand + k].id, ids[k]);
            assert_true(out->cand[out->n_cand + k].logit == out->logits[ids[k]]);
        }
        for (size_t k = 0; k < TINY_VOCAB; k++)
            sum += exp((double)out->logits[k]);
        TEST_NEAR(out->logsumexp, log(sum), 1e-4, "logsumexp");
    }
    nat_engine.close(e);
}

static void prev_is_the_greedy_choice(void **state)
{
    (void)state;
    const engine_opts o = small_opts();
    engine *e = open_with(&o);
    engine_outs outs;
    float want[TINY_VOCAB];
    const int32_t a = new_seq(e);
    const int32_t b = new_seq(e);
    assert_int_equal(feed(e, a, 0, 5, ENGINE_CANDIDATES, &outs), CAMA_OK);
    engine_row row = row_of(a, 5, ENGINE_LOGITS);
    row.id = outs.out[0].cand[0].id;
    assert_int_equal(submit(e, &(engine_batch){.rows = &row, .n_row = 1}, &outs), CAMA_OK);
    memcpy(want, outs.out[0].logits, sizeof want);
    assert_int_equal(feed(e, b, 0, 5, ENGINE_LOGITS, &outs), CAMA_OK);
    row.seq = b;
    row.source = ENGINE_PREV;
    assert_int_equal(submit(e, &(engine_batch){.rows = &row, .n_row = 1}, &outs), CAMA_OK);
    TEST_SAME_BITS(outs.out[0].logits, want, TINY_VOCAB);
    nat_engine.close(e);
}

static void two_steps_can_be_outstanding(void **state)
{
    (void)state;
    const engine_opts o = small_opts();
    engine *e = open_with(&o);
    engine_outs outs;
    engine_ticket t[3];
    float first[TINY_VOCAB];
    err_info err;
    const int32_t seq = new_seq(e);
    for (int32_t i = 0; i < 3; i++) {
        const engine_row row = row_of(seq, i, ENGINE_LOGITS);
        const engine_batch b = {.rows = &row, .n_row = 1};
        assert_int_equal(nat_engine.submit(e, &b, &t[i], &err), CAMA_OK);
        if (i == 0) {
            assert_int_equal(nat_engine.collect(e, t[0], &outs, &err), CAMA_OK);
            memcpy(first, outs.out[0].logits, sizeof first);
        }
        if (i == 1) { /* step 0 is still there */
            assert_int_equal(nat_engine.collect(e, t[0], &outs, &err), CAMA_OK);
            TEST_SAME_BITS(outs.out[0].logits, first, TINY_VOCAB);
        }
    }
    assert_int_equal(nat_engine.collect(e, t[0], &outs, &err), CAMA_ERR_ARG);
    assert_int_equal(nat_engine.collect(e, t[1], &outs, &err), CAMA_OK);
    assert_int_equal(nat_engine.collect(e, t[2], &outs, &err), CAMA_OK);
    assert_int_equal(nat_engine.collect(e, t[2] + 1, &outs, &err), CAMA_ERR_ARG);
    assert_int_equal(nat_engine.collect(e, 0, &outs, &err), CAMA_ERR_ARG);
    nat_engine.close(e);
}

/* Embeddings of tokens, given by hand, are the tokens. */
static void embedding_rows_stand_for_tokens(void **state)
{
    (void)state;
    const engine_opts o = small_opts();
    engine *e = open_with(&o);
    engine_outs outs;
    float want[TINY_VOCAB];
    float embeds[3][TINY_EMBD];
    const gguf_tensor *t = gguf_find_tensor(file, "token_embd.weight");
    engine_row rows[3];
    const int32_t a = new_seq(e);
    const int32_t b = new_seq(e);
    for (int32_t i = 0; i < 3; i++) {
        rows[i] = row_of(b, i, i == 2 ? ENGINE_LOGITS : 0);
        quant_dequant(t->type, t->data + (size_t)rows[i].id * quant_row_bytes(t->type, TINY_EMBD),
                      embeds[2 - i], TINY_EMBD);
        rows[i].source = ENGINE_EMBED;
        rows[i].id = 2 - i;
    }
    assert_int_equal(feed(e, a, 0, 3, ENGINE_LOGITS, &outs), CAMA_OK);
    memcpy(want, outs.out[0].logits, sizeof want);
    const engine_batch batch = {.rows = rows, .n_row = 3, .embeds = embeds[0], .n_embed = 3};
    assert_int_equal(submit(e, &batch, &outs), CAMA_OK);
    TEST_SAME_BITS(outs.out[0].logits, want, TINY_VOCAB);
    nat_engine.close(e);
}

static void what_does_not_fit_is_refused_with_figures(void **state)
{
    (void)state;
    engine *e = NULL;
    engine_bytes all, less;
    err_info err;
    engine_opts o = small_opts();
    assert_int_equal(nat_engine.plan(model, &o, &all, &err), CAMA_OK);
    assert_true(all.total == all.weights + all.kv + all.scratch);
    assert_int_equal(all.n_ctx, 256);
    assert_int_equal(all.n_ctx_fits, 256);
    o.max_bytes = all.total;
    assert_int_equal(nat_engine.plan(model, &o, &less, &err), CAMA_OK);
    o.max_bytes = all.total - all.kv / 2;
    assert_int_equal(nat_engine.plan(model, &o, &less, &err), CAMA_ERR_NO_FIT);
    assert_true(less.n_ctx_fits > 0 && less.n_ctx_fits < 256);
    assert_non_null(strstr(err.text, "MB"));
    assert_int_equal(nat_engine.open(model, &o, &e, &err), CAMA_ERR_NO_FIT);
    assert_null(e);
    o.n_ctx = less.n_ctx_fits;
    assert_int_equal(nat_engine.plan(model, &o, &all, &err), CAMA_OK);
    o.n_ctx++;
    assert_int_equal(nat_engine.plan(model, &o, &all, &err), CAMA_ERR_NO_FIT);
    o.max_bytes = 1000;
    assert_int_equal(nat_engine.plan(model, &o, &less, &err), CAMA_ERR_NO_FIT);
    assert_int_equal(less.n_ctx_fits, 0);
}

static void options_are_checked(void **state)
{
    (void)state;
    engine *e = NULL;
    engine_opts bad[5];
    for (size_t i = 0; i < TEST_COUNT(bad); i++)
        bad[i] = small_opts();
    bad[0].n_seq = 0;
    bad[1].n_seq = ENGINE_MAX_SEQ + 1;
    bad[2].k_type = QUANT_Q4_K;
    bad[3].n_thread = 100000;
    bad[4].n_ctx = UINT32_MAX;
    for (size_t i = 0; i < TEST_COUNT(bad); i++)
        assert_int_equal(nat_engine.open(model, &bad[i], &e, NULL), CAMA_ERR_ARG);
    assert_null(e);
}

static void engines_are_listed(void **state)
{
    (void)state;
    err_info why = {0};
    assert_ptr_equal(engine_at(0), &nat_engine);
    assert_true(engine_at(0)->probe(model, NULL) > 0);
    assert_ptr_equal(engine_at(1), &emlx_engine);
    assert_int_equal(engine_at(1)->probe(model, &why), 0); /* main says that it has no plugin */
    assert_non_null(strstr(why.text, "CAMA_MLX_PLUGIN=none"));
    assert_null(engine_at(2));
}

/* Nothing of it can be had without its plugin, and that is what it says. */
static void an_absent_engine_refuses(void **state)
{
    (void)state;
    const engine_opts o = engine_opts_init();
    engine_bytes bytes_planned;
    engine_about about;
    engine *e = NULL;
    buf report;
    err_info err = {0};
    assert_int_equal(emlx_engine.plan(model, &o, &bytes_planned, &err), CAMA_ERR_ENGINE);
    assert_non_null(strstr(err.text, "CAMA_MLX_PLUGIN=none"));
    assert_int_equal(emlx_engine.open(model, &o, &e, &err), CAMA_ERR_ENGINE);
    assert_null(e);
    emlx_engine.about(&about);
    assert_false(about.available);
    assert_non_null(strstr(about.why, "CAMA_MLX_PLUGIN=none"));
    buf_init(&report, 4096);
    assert_int_equal(emlx_engine.selftest(ENGINE_ANY_DEVICE, &report, &err), CAMA_ERR_UNSUPPORTED);
    buf_done(&report);
}

static int open_model(void **state)
{
    (void)state;
    size_t n;
    bytes = tiny_llama(&n);
    return gguf_open_bytes(bytes, n, &file, NULL) || model_open(file, &model, NULL);
}

static int close_model(void **state)
{
    (void)state;
    model_close(model);
    gguf_close(file);
    free(bytes);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_break_a_rule_are_refused),
        cmocka_unit_test(the_context_ends_and_memory_too),
        cmocka_unit_test(candidates_are_the_best_of_the_logits),
        cmocka_unit_test(prev_is_the_greedy_choice),
        cmocka_unit_test(two_steps_can_be_outstanding),
        cmocka_unit_test(embedding_rows_stand_for_tokens),
        cmocka_unit_test(what_does_not_fit_is_refused_with_figures),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(engines_are_listed),
        cmocka_unit_test(an_absent_engine_refuses),
    };
    (void)setenv("CAMA_MLX_PLUGIN", "none", 1);
    return cmocka_run_group_tests(tests, open_model, close_model);
}
