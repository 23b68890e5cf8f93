/* What forwards record: places in the KV, heads of plans, and RoPE with its scalings folded in. */
#include "test.h"

#include "model/model.h"

typedef struct rig {
    gguf_file *file;
    model_desc *model;
    arena a;
    const plan *plan;
} rig;

static void rig_init(rig *r, const char *name, uint32_t n_ctx)
{
    char path[512];
    err_info err = {0};
    const model_record_opts opts = {.n_ctx = n_ctx};
    (void)snprintf(path, sizeof path, "%s/tiny/%s.gguf", TEST_DATA_DIR, name);
    arena_init(&r->a, (size_t)64 << 20);
    if (gguf_open(path, &r->file, &err) || model_open(r->file, &r->model, &err) ||
        model_record(r->model, &opts, &r->a, &r->plan, &err))
        fail_msg("%s: %s", name, err.text);
}

static void rig_done(rig *r)
{
    arena_done(&r->a);
    model_close(r->model);
    gguf_close(r->file);
}

static size_t count(const plan *p, plan_op op)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_node; i++)
        n += p->nodes[i].op == op;
    return n;
}

/* The first RoPE of a layer. */
static const plan_rope *rope_of(const plan *p, int32_t layer)
{
    for (size_t i = 0; i < p->n_node; i++)
        if (p->nodes[i].op == PLAN_ROPE && p->nodes[i].layer == layer)
            return &p->nodes[i].par.rope;
    fail_msg("layer %d has no RoPE", (int)layer);
    return NULL;
}

static void test_places_of_gemma3(void **state)
{
    (void)state;
    rig r;
    rig_init(&r, "gemma3", 64);
    assert_int_equal(r.plan->n_slot, 6);
    assert_int_equal(r.plan->n_group, 2);
    for (size_t i = 0; i < r.plan->n_slot; i++) {
        assert_int_equal(r.plan->slots[i].kind, i == 5 ? PLAN_KV_FULL : PLAN_KV_WINDOW);
        assert_int_equal(r.plan->slots[i].window, i == 5 ? 0 : 7);
    }
    /* Windowed layers have a base of their own and no scaling. */
    TEST_NEAR(rope_of(r.plan, 0)->inv_freq[0], 1, 1e-12, "windowed, pair 0");
    TEST_NEAR(rope_of(r.plan, 0)->inv_freq[1], pow(10000, -0.125), 1e-12, "windowed, pair 1");
    TEST_NEAR(rope_of(r.plan, 5)->inv_freq[0], 0.125, 1e-12, "full, pair 0");
    TEST_NEAR(rope_of(r.plan, 5)->inv_freq[1], pow(1e6, -0.125) / 8, 1e-12, "full, pair 1");
    rig_done(&r);
}

static void test_places_of_hybrids(void **state)
{
    (void)state;
    rig r;
    rig_init(&r, "qwen35", 64);
    assert_int_equal(count(r.plan, PLAN_DELTA), 3);
    assert_int_equal(count(r.plan, PLAN_CONV), 3);
    assert_int_equal(count(r.plan, PLAN_ATTEND), 1);
    assert_int_equal(r.plan->n_slot, 7);
    assert_int_equal(r.plan->n_group, 3); /* convolutions, states, attention */
    rig_done(&r);
}

static void test_places_of_mla(void **state)
{
    (void)state;
    rig r;
    rig_init(&r, "deepseek2", 64);
    assert_int_equal(r.plan->n_group, 1);
    assert_true(r.plan->groups[0].shape.v_in_k);
    assert_int_equal(r.plan->groups[0].shape.n_kv_head, 1);
    assert_int_equal(r.plan->groups[0].shape.dim_k, 32);
    assert_int_equal(r.plan->groups[0].shape.dim_v, 24);
    rig_done(&r);
}

static void test_encoders_see_everything(void **state)
{
    (void)state;
    rig r;
    rig_init(&r, "nomic-bert", 64);
    assert_false(r.plan->causal);
    assert_int_equal(count(r.plan, PLAN_POOL), 1);
    for (size_t i = 0; i < r.plan->n_node; i++)
        if (r.plan->nodes[i].op == PLAN_ATTEND)
            assert_int_equal(r.plan->nodes[i].par.attend.mask, PLAN_FULL);
    rig_done(&r);
}

/* Factors are chosen by the context, counted in steps of 256 tokens. */
static double second_freq(const char *name, uint32_t n_ctx)
{
    rig r;
    rig_init(&r, name, n_ctx);
    const plan_rope *rope = rope_of(r.plan, 0);
    const double freq = rope->inv_freq[1];
    TEST_NEAR(rope->mscale, 1.19F, 1e-7, "%s: magnitude", name);
    rig_done(&r);
    return freq * pow(10000, 0.125); /* 1 / factor: 1 when short, 1 / 1.5 when long */
}

static void test_long_and_short_factors(void **state)
{
    (void)state;
    TEST_NEAR(second_freq("llama-long", 1), 1 / 1.5, 1e-9, "limit 255, context 1");
    TEST_NEAR(second_freq("llama-short", 1), 1, 1e-9, "limit 256, context 1");
    TEST_NEAR(second_freq("llama-short", 256), 1, 1e-9, "limit 256, context 256");
    TEST_NEAR(second_freq("llama-short", 257), 1 / 1.5, 1e-9, "limit 256, context 257");
}

static void test_scalings(void **state)
{
    (void)state;
    rig r;
    rig_init(&r, "llama-linear", 64);
    for (size_t i = 0; i < 8; i++)
        TEST_NEAR(rope_of(r.plan, 0)->inv_freq[i], pow(10000, -(double)i / 8) / 4, 1e-12,
                  "linear, pair %zu", i);
    assert_true(rope_of(r.plan, 0)->mscale == 1);
    rig_done(&r);
    rig_init(&r, "llama-yarn", 64);
    TEST_NEAR(rope_of(r.plan, 0)->inv_freq[0], 1, 1e-12, "yarn keeps what turns fast");
    TEST_NEAR(rope_of(r.plan, 0)->inv_freq[7], pow(10000, -7.0 / 8) / 4, 1e-12,
              "yarn stretches what turns slowly");
    TEST_NEAR(rope_of(r.plan, 0)->mscale, 1 + 0.1 * log(4), 1e-6, "yarn's magnitude");
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places_of_gemma3),
        cmocka_unit_test(test_places_of_hybrids),
        cmocka_unit_test(test_places_of_mla),
        cmocka_unit_test(test_encoders_see_everything),
        cmocka_unit_test(test_long_and_short_factors),
        cmocka_unit_test(test_scalings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
