/* The prefix tree against a list of key arrays that are compared one by one. */
#include "test.h"

#include "kv/kv_tree.h"

#define N_SEQ 24
#define MAX_LEN 40
#define MAX_KEY 400
#define N_OP 30000

static uint32_t rnd_state = 3;

static uint32_t rnd(uint32_t n)
{
    rnd_state = rnd_state * 1664525u + 1013904223u;
    return (rnd_state >> 8) % n;
}

typedef struct held {
    bool used;
    kv_scope scope;
    uint64_t keys[MAX_LEN];
    size_t n;
    uint64_t when;
} held;

static held list[N_SEQ];
static uint64_t now;

static kv_scope random_scope(void)
{
    return (kv_scope){.adapter = (int32_t)rnd(2), .rope = 0, .tenant = rnd(2) ? 1ull << 40 : 0};
}

static bool same_scope(const kv_scope *a, const kv_scope *b)
{
    return a->adapter == b->adapter && a->rope == b->rope && a->tenant == b->tenant;
}

/* Keys of few kinds, so that prefixes meet; sometimes those of a held sequence. */
static size_t random_keys(uint64_t *out)
{
    const held *h = &list[rnd(N_SEQ)];
    size_t n = 1 + rnd(MAX_LEN);
    for (size_t i = 0; i < n; i++)
        out[i] = rnd(2);
    if (h->used && rnd(2))
        memcpy(out, h->keys, (h->n < n ? h->n : n) * sizeof *out);
    return n;
}

static size_t common(const held *h, const kv_scope *s, const uint64_t *keys, size_t n)
{
    size_t i = 0;
    while (h->used && same_scope(&h->scope, s) && i < n && i < h->n && h->keys[i] == keys[i])
        i++;
    return i;
}

static void op_match(kv_tree *t)
{
    uint64_t keys[MAX_LEN];
    const kv_scope s = random_scope();
    const size_t n = random_keys(keys);
    size_t best = 0;
    uint64_t newest = 0;
    for (size_t i = 0; i < N_SEQ; i++) {
        const size_t c = common(&list[i], &s, keys, n);
        if (c > best || (c == best && c && list[i].when > newest)) {
            best = c;
            newest = list[i].when;
        }
    }
    int32_t seq = -1;
    size_t n_match = 0;
    assert_int_equal(kv_tree_match(t, &s, keys, n, &seq, &n_match), best > 0);
    if (!best)
        return;
    assert_int_equal(n_match, best);
    assert_int_equal(common(&list[seq], &s, keys, n), best);
    assert_int_equal(list[seq].when, newest);
    list[seq].when = ++now;
}

static void op_add(kv_tree *t)
{
    held h = {.used = true, .scope = random_scope()};
    const int32_t seq = (int32_t)rnd(N_SEQ);
    h.n = random_keys(h.keys);
    const cama_err e = kv_tree_add(t, &h.scope, h.keys, h.n, seq, NULL);
    if (list[seq].used) {
        assert_int_equal(e, CAMA_ERR_ARG);
    } else if (e) {
        assert_int_equal(e, CAMA_ERR_LIMIT);
        assert_true(kv_tree_n_seq(t) == N_SEQ / 2 || kv_tree_n_key(t) + h.n > MAX_KEY);
    } else {
        h.when = ++now;
        list[seq] = h;
    }
}

static void op_evict(kv_tree *t)
{
    int32_t seq = -1;
    int32_t oldest = -1;
    for (int32_t i = 0; i < N_SEQ; i++)
        if (list[i].used && (oldest < 0 || list[i].when < list[oldest].when))
            oldest = i;
    assert_int_equal(kv_tree_evict(t, &seq), oldest >= 0);
    assert_int_equal(seq, oldest);
    if (oldest >= 0)
        list[oldest].used = false;
}

static void random_ops_agree_with_a_list(void **state)
{
    (void)state;
    kv_tree *t = NULL;
    err_info err = {0};
    assert_int_equal(kv_tree_open(N_SEQ / 2, MAX_KEY, &t, NULL), CAMA_OK);
    for (int i = 0; i < N_OP; i++) {
        const uint32_t what = rnd(10);
        const int32_t seq = (int32_t)rnd(N_SEQ);
        if (what < 4) {
            op_match(t);
        } else if (what < 8) {
            op_add(t);
        } else if (what == 8) {
            op_evict(t);
        } else {
            kv_tree_remove(t, seq);
            list[seq].used = false;
        }
        if (kv_tree_check(t, &err))
            fail_msg("after %d: %s", i, err.text);
    }
    int32_t seq;
    while (kv_tree_evict(t, &seq))
        assert_int_equal(kv_tree_check(t, NULL), CAMA_OK);
    assert_int_equal(kv_tree_n_key(t), 0);
    kv_tree_close(t);
}

static void common_prefixes_are_stored_once(void **state)
{
    (void)state;
    const kv_scope s = {0};
    const uint64_t a[] = {1, 5, 9, 7, 7};
    const uint64_t b[] = {1, 5, 9, 8};
    kv_tree *t = NULL;
    int32_t seq;
    size_t n;
    assert_int_equal(kv_tree_open(4, 100, &t, NULL), CAMA_OK);
    assert_int_equal(kv_tree_add(t, &s, a, 5, 4, NULL), CAMA_OK);
    assert_int_equal(kv_tree_add(t, &s, b, 4, 2, NULL), CAMA_OK);
    assert_int_equal(kv_tree_n_key(t), 6);
    assert_true(kv_tree_match(t, &s, a, 4, &seq, &n));
    assert_int_equal(seq, 4);
    assert_int_equal(n, 4);
    kv_tree_remove(t, 4);
    assert_int_equal(kv_tree_n_key(t), 4);
    assert_true(kv_tree_match(t, &s, a, 5, &seq, &n));
    assert_int_equal(seq, 2);
    assert_int_equal(n, 3);
    assert_false(kv_tree_match(t, &(kv_scope){.tenant = 1}, a, 5, &seq, &n));
    kv_tree_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_ops_agree_with_a_list),
        cmocka_unit_test(common_prefixes_are_stored_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
