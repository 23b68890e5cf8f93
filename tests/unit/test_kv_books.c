/* The books of the KV against a model that stores, for every sequence, what each token is. Pages
 * are played by arrays: what a sequence reads through its table must be what was written to it. */
#include "test.h"

#include "kv/kv.h"

#define N_SEQ 12
#define N_CTX 700
#define N_PAGE 60
#define N_STATE 14
#define N_OP 20000

static uint32_t rnd_state = 1;

static uint32_t rnd(uint32_t n)
{
    rnd_state = rnd_state * 1664525u + 1013904223u;
    return (rnd_state >> 8) % n;
}

static const kv_group_opts groups[] = {
    {.n_page = N_PAGE, .n_open = 9},
    {.window = 100, .keep = 20, .n_page = N_PAGE},
    {.window = 1, .n_page = N_PAGE},
};
#define N_GROUP TEST_COUNT(groups)

typedef struct model {
    kv_cache *kv;
    int32_t page[N_GROUP][N_PAGE][KV_PAGE_TOKENS]; /* the token that was written there */
    int64_t state[N_STATE];                        /* hash of all tokens so far */
    bool alive[N_SEQ];
    int32_t n[N_SEQ];
    int32_t token[N_SEQ][N_CTX];
    int32_t next_token;
    bool has_state;
} model;

static int64_t hash_upto(const int32_t *token, int32_t n)
{
    int64_t h = 7;
    for (int32_t i = 0; i < n; i++)
        h = (int64_t)((uint64_t)h * 31 + (uint64_t)token[i]);
    return h;
}

/* What rows at position n and later could see is there, in every group. */
static void check_seq(model *m, int32_t seq)
{
    const int32_t n = m->n[seq];
    assert_int_equal(kv_len(m->kv, seq), n);
    for (size_t g = 0; g < N_GROUP; g++) {
        const int32_t *table = kv_table(m->kv, seq, g);
        const int32_t window = (int32_t)groups[g].window;
        for (int32_t i = window && n >= window ? n - window + 1 : 0; i < n; i++) {
            assert_in_range(table[i / KV_PAGE_TOKENS], 0, N_PAGE - 1);
            assert_int_equal(m->page[g][table[i / KV_PAGE_TOKENS]][i % KV_PAGE_TOKENS],
                             m->token[seq][i]);
        }
    }
    if (m->has_state && n)
        assert_int_equal(m->state[kv_state(m->kv, seq)], hash_upto(m->token[seq], n));
}

static void make_copies(model *m, const kv_copy *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (c[i].group < 0)
            m->state[c[i].to] = c[i].from < 0 ? 7 : m->state[c[i].from];
        else
            memcpy(m->page[c[i].group][c[i].to], m->page[c[i].group][c[i].from],
                   sizeof m->page[0][0]);
    }
}

static void write_token(model *m, int32_t seq, int32_t pos)
{
    m->token[seq][pos] = m->next_token++;
    for (size_t g = 0; g < N_GROUP; g++)
        m->page[g][kv_table(m->kv, seq, g)[pos / KV_PAGE_TOKENS]][pos % KV_PAGE_TOKENS] =
            m->token[seq][pos];
    if (m->has_state) {
        int64_t *h = &m->state[kv_state(m->kv, seq)];
        *h = (int64_t)((uint64_t)*h * 31 + (uint64_t)m->token[seq][pos]);
    }
}

static void op_extend(model *m)
{
    kv_need needs[3];
    size_t n = 0;
    const int32_t first = (int32_t)rnd(N_SEQ);
    for (int32_t i = 0; i < N_SEQ && n < 1 + rnd(3); i++) {
        const int32_t seq = (first + i) % N_SEQ;
        if (m->alive[seq])
            needs[n++] = (kv_need){seq, 1 + (int32_t)(rnd(3) ? rnd(3) : rnd(200))};
    }
    const kv_copy *copies;
    size_t n_copy;
    const cama_err e = kv_extend(m->kv, needs, n, &copies, &n_copy, NULL);
    if (e) {
        assert_true(e == CAMA_ERR_LIMIT || e == CAMA_ERR_CONTEXT);
        return;
    }
    make_copies(m, copies, n_copy);
    for (size_t i = 0; i < n; i++)
        for (int32_t k = 0; k < needs[i].n_new; k++)
            write_token(m, needs[i].seq, m->n[needs[i].seq]++);
    for (size_t i = 0; i < n; i++)
        kv_settle(m->kv, needs[i].seq);
}

static void op_fork(model *m)
{
    int32_t seq = -1;
    int32_t from = (int32_t)rnd(N_SEQ + 1) - 1;
    if (from >= 0 && !m->alive[from])
        from = -1;
    const int32_t keep = from < 0 ? 0 : (int32_t)rnd((uint32_t)m->n[from] + 1);
    const cama_err e = kv_fork(m->kv, from, rnd(2) || from < 0 ? keep : m->n[from], &seq, NULL);
    if (e) {
        assert_int_equal(e, CAMA_ERR_LIMIT);
        assert_int_equal(kv_n_alive(m->kv), N_SEQ);
        return;
    }
    assert_false(m->alive[seq]);
    m->alive[seq] = true;
    m->n[seq] = kv_len(m->kv, seq);
    assert_true(from >= 0 || m->n[seq] == 0);
    if (from >= 0)
        memcpy(m->token[seq], m->token[from], sizeof m->token[0]);
}

static void op_rewind(model *m, int32_t seq)
{
    int32_t got = -1;
    const int32_t want = (int32_t)rnd((uint32_t)m->n[seq] + 1);
    assert_int_equal(kv_rewind(m->kv, seq, want, &got, NULL), CAMA_OK);
    assert_true(got >= 0 && got <= want);
    if (want == m->n[seq])
        assert_int_equal(got, want);
    if (!m->has_state && m->n[seq] <= 100) /* nothing has left any window but the last one's */
        assert_true(got == want || want < m->n[seq]);
    m->n[seq] = got;
}

static void one_op(model *m)
{
    const int32_t seq = (int32_t)rnd(N_SEQ);
    const uint32_t what = rnd(10);
    if (what < 6) {
        op_extend(m);
    } else if (what < 8) {
        op_fork(m);
    } else if (m->alive[seq] && what == 8) {
        op_rewind(m, seq);
    } else if (m->alive[seq]) {
        kv_free(m->kv, seq);
        m->alive[seq] = false;
    }
}

static void play(bool has_state)
{
    static model m;
    err_info err = {0};
    memset(&m, 0, sizeof m);
    m.has_state = has_state;
    const kv_opts o = {.n_seq = N_SEQ,
                       .n_ctx = N_CTX,
                       .groups = groups,
                       .n_group = N_GROUP,
                       .n_state = has_state ? N_STATE : 0,
                       .n_check = has_state ? 3 : 0};
    assert_int_equal(kv_open(&o, &m.kv, &err), CAMA_OK);
    for (int i = 0; i < N_OP; i++) {
        if (i % 250 == 249 && kv_n_open_page(m.kv, 0) < N_PAGE)
            assert_int_equal(kv_raise(m.kv, 0, kv_n_open_page(m.kv, 0) + 1, &err), CAMA_OK);
        one_op(&m);
        assert_true(kv_n_touched_page(m.kv, 0) <= kv_n_open_page(m.kv, 0));
        if (kv_check(m.kv, &err))
            fail_msg("after %d: %s", i, err.text);
        for (int32_t seq = 0; seq < N_SEQ; seq++)
            if (m.alive[seq] && (i % 7 == 0 || seq == (int32_t)(rnd_state % N_SEQ)))
                check_seq(&m, seq);
    }
    for (int32_t seq = 0; seq < N_SEQ; seq++)
        kv_free(m.kv, seq);
    assert_int_equal(kv_check(m.kv, &err), CAMA_OK);
    for (size_t g = 0; g < N_GROUP; g++)
        assert_int_equal(kv_n_free_page(m.kv, g), N_PAGE);
    assert_int_equal(kv_n_free_state(m.kv), has_state ? N_STATE : 0);
    kv_close(m.kv);
}

static void random_ops_keep_every_token(void **state)
{
    (void)state;
    play(false);
}

static void random_ops_keep_every_state(void **state)
{
    (void)state;
    play(true);
}

static kv_cache *open_one(kv_group_opts g, uint32_t n_state)
{
    kv_cache *kv = NULL;
    const kv_opts o = {.n_seq = 4,
                       .n_ctx = 1000,
                       .groups = &g,
                       .n_group = 1,
                       .n_state = n_state,
                       .n_check = n_state ? 2 : 0};
    assert_int_equal(kv_open(&o, &kv, NULL), CAMA_OK);
    return kv;
}

static int32_t grow(kv_cache *kv, int32_t seq, int32_t n)
{
    const kv_copy *copies;
    size_t n_copy = 0;
    const kv_need need = {seq, n};
    assert_int_equal(kv_extend(kv, &need, 1, &copies, &n_copy, NULL), CAMA_OK);
    kv_settle(kv, seq);
    return (int32_t)n_copy;
}

static void a_shared_page_is_copied_once(void **state)
{
    (void)state;
    int32_t a, b;
    kv_cache *kv = open_one((kv_group_opts){.n_page = 10}, 0);
    assert_int_equal(kv_fork(kv, -1, 0, &a, NULL), CAMA_OK);
    assert_int_equal(grow(kv, a, 100), 0);
    assert_int_equal(kv_fork(kv, a, 100, &b, NULL), CAMA_OK);
    assert_int_equal(kv_n_free_page(kv, 0), 8);
    assert_int_equal(grow(kv, b, 1), 1);
    assert_int_equal(grow(kv, a, 1), 0); /* its own again */
    assert_int_equal(kv_n_free_page(kv, 0), 7);
    kv_close(kv);
}

static void a_pool_is_opened_bit_by_bit(void **state)
{
    (void)state;
    int32_t a;
    err_info err;
    const kv_copy *copies;
    size_t n_copy;
    kv_cache *kv = open_one((kv_group_opts){.n_page = 8, .n_open = 2}, 0);
    assert_int_equal(kv_fork(kv, -1, 0, &a, NULL), CAMA_OK);
    (void)grow(kv, a, 100);
    const kv_need need = {a, 64};
    assert_int_equal(kv_extend(kv, &need, 1, &copies, &n_copy, &err), CAMA_ERR_LIMIT);
    assert_int_equal(kv_raise(kv, 0, 4, &err), CAMA_OK);
    assert_int_equal(kv_n_free_page(kv, 0), 2);
    assert_int_equal(kv_n_touched_page(kv, 0), 2);
    assert_int_equal(kv_extend(kv, &need, 1, &copies, &n_copy, &err), CAMA_OK);
    assert_int_equal(kv_table(kv, a, 0)[2], 2); /* memory is taken from the front */
    assert_int_equal(kv_raise(kv, 0, 1, &err), CAMA_OK);
    assert_int_equal(kv_n_open_page(kv, 0), 4);
    assert_int_equal(kv_raise(kv, 0, 9, &err), CAMA_ERR_ARG);
    assert_string_equal(err.text, "kv: 9 pages in group 0, the pool has 8");
    assert_int_equal(kv_check(kv, NULL), CAMA_OK);
    kv_close(kv);
}

static void too_much_changes_nothing(void **state)
{
    (void)state;
    int32_t a;
    err_info err;
    const kv_copy *copies;
    size_t n_copy;
    kv_cache *kv = open_one((kv_group_opts){.n_page = 3}, 0);
    assert_int_equal(kv_fork(kv, -1, 0, &a, NULL), CAMA_OK);
    (void)grow(kv, a, 100);
    const kv_need many = {a, 150};
    assert_int_equal(kv_extend(kv, &many, 1, &copies, &n_copy, &err), CAMA_ERR_LIMIT);
    const kv_need past = {a, 901};
    assert_int_equal(kv_extend(kv, &past, 1, &copies, &n_copy, &err), CAMA_ERR_CONTEXT);
    const kv_need twice[] = {{a, 1}, {a, 1}};
    assert_int_equal(kv_extend(kv, twice, 2, &copies, &n_copy, &err), CAMA_ERR_ARG);
    assert_int_equal(kv_len(kv, a), 100);
    assert_int_equal(kv_n_free_page(kv, 0), 1);
    (void)grow(kv, a, 92);
    kv_close(kv);
}

static void a_window_frees_what_lies_behind(void **state)
{
    (void)state;
    int32_t a, got;
    kv_cache *kv = open_one((kv_group_opts){.window = 64, .keep = 0, .n_page = 10}, 0);
    assert_int_equal(kv_fork(kv, -1, 0, &a, NULL), CAMA_OK);
    for (int i = 0; i < 10; i++)
        (void)grow(kv, a, 100);
    assert_true(kv_n_free_page(kv, 0) >= 8);
    assert_int_equal(kv_resume(kv, a, 960), 960); /* sees 897 and later: 896 .. 959 are a page */
    assert_int_equal(kv_rewind(kv, a, 950, &got, NULL), CAMA_OK);
    assert_int_equal(got, 0); /* would see 887 */
    kv_close(kv);
}

static void states_come_back_at_checkpoints(void **state)
{
    (void)state;
    int32_t a, b, got;
    kv_cache *kv = open_one((kv_group_opts){.n_page = 30}, 5);
    assert_int_equal(kv_fork(kv, -1, 0, &a, NULL), CAMA_OK);
    (void)grow(kv, a, 100);
    (void)grow(kv, a, 100); /* leaves a checkpoint at 100 */
    for (int i = 0; i < 5; i++)
        (void)grow(kv, a, 1); /* and one at 200 */
    assert_int_equal(kv_resume(kv, a, 203), 200);
    assert_int_equal(kv_resume(kv, a, 199), 100);
    assert_int_equal(kv_resume(kv, a, 99), 0);
    assert_int_equal(kv_fork(kv, a, 150, &b, NULL), CAMA_OK);
    assert_int_equal(kv_len(kv, b), 100);
    assert_int_equal(kv_rewind(kv, a, 204, &got, NULL), CAMA_OK);
    assert_int_equal(got, 200);
    assert_int_equal(kv_check(kv, NULL), CAMA_OK);
    kv_close(kv);
}

static void options_have_limits(void **state)
{
    (void)state;
    kv_cache *kv = NULL;
    err_info err;
    const kv_group_opts g = {.n_page = 1};
    kv_opts o = {.n_seq = 0, .n_ctx = 1, .groups = &g, .n_group = 1};
    assert_int_equal(kv_open(&o, &kv, &err), CAMA_ERR_ARG);
    o.n_seq = 1;
    o.n_ctx = KV_MAX_CTX + 1;
    assert_int_equal(kv_open(&o, &kv, &err), CAMA_ERR_ARG);
    assert_null(kv);
    const kv_group_opts full = {0};
    const kv_group_opts window = {.window = 100, .keep = 28};
    assert_int_equal(kv_pages_for(&full, 4096, 512), 65);
    assert_int_equal(kv_pages_for(&window, 4096, 512), 13);
    assert_int_equal(kv_pages_for(&window, 64, 512), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_ops_keep_every_token),
        cmocka_unit_test(random_ops_keep_every_state),
        cmocka_unit_test(a_shared_page_is_copied_once),
        cmocka_unit_test(a_pool_is_opened_bit_by_bit),
        cmocka_unit_test(too_much_changes_nothing),
        cmocka_unit_test(a_window_frees_what_lies_behind),
        cmocka_unit_test(states_come_back_at_checkpoints),
        cmocka_unit_test(options_have_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
