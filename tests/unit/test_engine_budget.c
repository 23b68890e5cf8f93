/* One engine for contexts of any length: KV in tokens of all sequences, grown while it is open, and
 * threads that come and go. */
#include "engine_rig.h"

#include "base/plat.h"
#include "tiny_llama.h"

static rig r;
static uint8_t *bytes;

enum { LONG_CTX = 1 << 20 };

/* A sequence may be long, but all together hold little. */
static engine_opts tight_opts(void)
{
    engine_opts o = rig_opts();
    o.n_ctx = LONG_CTX;
    o.n_seq = 2;
    o.n_batch = 100;
    o.n_kv = 128;
    o.n_kv_max = 4096;
    return o;
}

static cama_err feed_some(int32_t seq, int32_t from, int32_t n, err_info *err)
{
    engine_row rows[100];
    engine_ticket t;
    for (int32_t i = 0; i < n; i++)
        rows[i] = rig_row(&r, seq, 0, from + i);
    const engine_batch b = {.rows = rows, .n_row = (size_t)n};
    return nat_engine.submit(r.e, &b, &t, err);
}

static void a_budget_is_a_number_of_tokens(void **state)
{
    (void)state;
    engine_bytes some, more;
    engine_opts o = tight_opts();
    assert_int_equal(nat_engine.plan(r.model, &o, &some, NULL), CAMA_OK);
    o.n_kv = 128 + 64;
    assert_int_equal(nat_engine.plan(r.model, &o, &more, NULL), CAMA_OK);
    assert_int_equal(some.n_kv, 128);
    assert_int_equal(some.kv, 3 * (more.kv - some.kv)); /* and a page for copies */
    o.n_kv_max = o.n_kv - 1;
    assert_int_equal(nat_engine.plan(r.model, &o, &more, NULL), CAMA_ERR_ARG);
    o.n_kv_max = UINT64_MAX;
    assert_int_equal(nat_engine.plan(r.model, &o, &more, NULL), CAMA_ERR_ARG);
    o = tight_opts();
    o.max_bytes = some.total - some.kv / 2;
    assert_int_equal(nat_engine.plan(r.model, &o, &more, NULL), CAMA_ERR_NO_FIT);
    assert_true(more.n_kv_fits < 128);
    assert_int_equal(more.n_ctx_fits, more.n_kv_fits / 2);
}

static void an_engine_grows_while_it_is_open(void **state)
{
    (void)state;
    err_info err;
    engine_stat stat;
    engine_opts o = tight_opts();
    rig_open_engine(&r, &o);
    const int32_t seq = rig_new_seq(&r, -1, 0);
    int32_t n = 0;
    for (uint64_t n_kv = 128; n_kv < 512; n_kv += 150) {
        assert_int_equal(nat_engine.grow(r.e, n_kv, &err), CAMA_OK);
        nat_engine.stat(r.e, &stat);
        assert_int_equal(stat.n_kv, n_kv);
        assert_int_equal(stat.bytes.n_kv, n_kv);
        while (!feed_some(seq, n, 16, &err))
            n += 16;
        assert_int_equal(err.code, CAMA_ERR_LIMIT);
        assert_true((uint64_t)n >= n_kv && (uint64_t)n <= n_kv + 3 * 64);
        nat_engine.stat(r.e, &stat);
        assert_int_equal(stat.n_token_free, 0);
        assert_int_equal(stat.n_kv_used, n);
    }
    const uint64_t kv_before = stat.bytes.kv;
    assert_int_equal(nat_engine.grow(r.e, 100, &err), CAMA_OK); /* never shrinks */
    nat_engine.stat(r.e, &stat);
    assert_int_equal(stat.bytes.kv, kv_before);
    assert_int_equal(nat_engine.grow(r.e, 4097, &err), CAMA_ERR_LIMIT);
    assert_string_equal(err.text, "KV of 4097 tokens: the engine was opened for at most 4096");
    nat_engine.close(r.e);
}

static void growing_asks_for_memory_again(void **state)
{
    (void)state;
    err_info err;
    engine_stat stat;
    engine_bytes b;
    engine_opts o = tight_opts();
    assert_int_equal(nat_engine.plan(r.model, &o, &b, NULL), CAMA_OK);
    o.max_bytes = b.total + b.kv; /* three pages more */
    rig_open_engine(&r, &o);
    assert_int_equal(nat_engine.grow(r.e, 4096, &err), CAMA_ERR_NO_FIT);
    assert_non_null(strstr(err.text, "the most that fits is 320 tokens, now it is 128"));
    nat_engine.stat(r.e, &stat);
    assert_int_equal(stat.n_kv, 128);
    assert_int_equal(nat_engine.grow(r.e, 321, &err), CAMA_ERR_NO_FIT);
    assert_int_equal(nat_engine.grow(r.e, 320, &err), CAMA_OK);
    nat_engine.close(r.e);
}

/* The same logits from an engine that grew on the way, and from one that had it all. */
static void what_grew_computes_the_same(void **state)
{
    (void)state;
    engine_opts o = rig_opts();
    float *want = rig_new_logits(&r, RIG_TOKENS);
    float *got = rig_new_logits(&r, RIG_TOKENS);
    rig_open_engine(&r, &o);
    rig_feed(&r, rig_new_seq(&r, -1, 0), 0, 0, 500, 100, want);
    nat_engine.close(r.e);
    o = tight_opts();
    rig_open_engine(&r, &o);
    const int32_t seq = rig_new_seq(&r, -1, 0);
    for (int32_t at = 0; at < 500; at += 100) {
        assert_int_equal(nat_engine.grow(r.e, (uint64_t)at + 100, NULL), CAMA_OK);
        rig_feed(&r, seq, 0, at, at + 100, 100, got);
    }
    rig_same(&r, got, want, 0, 500, "an engine that grew");
    nat_engine.close(r.e);
    free(want);
    free(got);
}

static void reserved_room_takes_no_memory(void **state)
{
    (void)state;
    engine_opts o = tight_opts();
    engine_stat stat;
    rig_open_engine(&r, &o);
    assert_int_equal(feed_some(rig_new_seq(&r, -1, 0), 0, 15, NULL), CAMA_OK);
    nat_engine.close(r.e); /* what the first engine of a process takes once */
    const uint64_t before = plat_memory_resident();
    o.n_kv_max = (uint64_t)2 * LONG_CTX;
    o.n_kv = o.n_kv_max / 2;
    o.max_bytes = UINT64_MAX;
    rig_open_engine(&r, &o);
    assert_int_equal(feed_some(rig_new_seq(&r, -1, 0), 0, 15, NULL), CAMA_OK);
    nat_engine.stat(r.e, &stat);
    const uint64_t now = plat_memory_resident();
    print_message("KV of %.0f MB planned, %.2f MB more resident after 15 tokens\n",
                  (double)stat.bytes.kv / 1e6, ((double)now - (double)before) / 1e6);
    assert_true(stat.bytes.kv > 400u << 20);
    assert_true(now < before + (16u << 20)); /* a huge page of KV, page tables, scratch */
    nat_engine.close(r.e);
}

static void threads_come_and_go(void **state)
{
    (void)state;
    engine_opts o = rig_opts();
    engine_stat stat;
    float *want = rig_new_logits(&r, RIG_TOKENS);
    float *got = rig_new_logits(&r, RIG_TOKENS);
    rig_open_engine(&r, &o);
    rig_feed(&r, rig_new_seq(&r, -1, 0), 0, 0, 300, 100, want);
    nat_engine.close(r.e);
    o.n_thread = 4;
    rig_open_engine(&r, &o);
    const int32_t seq = rig_new_seq(&r, -1, 0);
    const uint64_t progress = nat_engine.progress(r.e);
    for (int32_t at = 0; at < 300; at += 10) {
        nat_engine.set_threads(r.e, (uint32_t)(at / 10 % 7), at % 3 ? ENGINE_SPIN_DEFAULT : 0);
        rig_feed(&r, seq, 0, at, at + 10, at % 4 ? 1 : 10, got);
    }
    rig_same(&r, got, want, 0, 300, "threads that come and go");
    assert_true(nat_engine.progress(r.e) > progress);
    nat_engine.stat(r.e, &stat);
    assert_int_equal(stat.n_seq_alive, 1);
    nat_engine.close(r.e);
    free(want);
    free(got);
}

static int open_rig(void **state)
{
    (void)state;
    size_t n;
    gguf_file *f = NULL;
    bytes = tiny_llama(&n);
    if (gguf_open_bytes(bytes, n, &f, NULL))
        return -1;
    rig_open_model(&r, f);
    return 0;
}

static int close_rig(void **state)
{
    (void)state;
    rig_close_model(&r);
    free(bytes);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_budget_is_a_number_of_tokens),
        cmocka_unit_test(an_engine_grows_while_it_is_open),
        cmocka_unit_test(growing_asks_for_memory_again),
        cmocka_unit_test(what_grew_computes_the_same),
        cmocka_unit_test(reserved_room_takes_no_memory),
        cmocka_unit_test(threads_come_and_go),
    };
    return cmocka_run_group_tests(tests, open_rig, close_rig);
}
