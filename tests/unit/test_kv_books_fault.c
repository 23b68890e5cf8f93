/* Allocations of the books and of the prefix tree are made to fail, one by one. */
#include "test.h"

#include "fault.h"
#include "kv/kv.h"
#include "kv/kv_tree.h"

static cama_err open_books(void *arg, err_info *err)
{
    (void)arg;
    const kv_group_opts g[] = {{.n_page = 10}, {.window = 64, .n_page = 10}};
    const kv_opts o = {
        .n_seq = 4, .n_ctx = 100, .groups = g, .n_group = 2, .n_state = 6, .n_check = 2};
    kv_cache *kv = NULL;
    const cama_err e = kv_open(&o, &kv, err);
    kv_close(kv);
    return e;
}

/* Three sequences that split each other's edges; a failure leaves a tree that is whole. */
static cama_err fill_tree(void *arg, err_info *err)
{
    (void)arg;
    static const uint64_t keys[3][5] = {{1, 2, 3, 4, 5}, {1, 2, 7, 8, 9}, {1, 4, 4, 4, 4}};
    const kv_scope s = {0};
    kv_tree *t = NULL;
    cama_err e = kv_tree_open(4, 100, &t, err);
    for (int32_t i = 0; i < 3 && !e; i++)
        e = kv_tree_add(t, &s, keys[i], 5, i, err);
    if (t)
        assert_int_equal(kv_tree_check(t, NULL), CAMA_OK);
    if (!e)
        kv_tree_remove(t, 0);
    if (!e)
        assert_int_equal(kv_tree_check(t, NULL), CAMA_OK);
    kv_tree_close(t);
    return e;
}

static void books_take_all_or_nothing(void **state)
{
    (void)state;
    assert_true(fault_sweep(FAULT_HEAP, open_books, NULL) > 5);
}

static void a_tree_stays_whole(void **state)
{
    (void)state;
    fault_allow_ok(true); /* joining two nodes can be done without */
    assert_true(fault_sweep(FAULT_HEAP, fill_tree, NULL) > 5);
    fault_allow_ok(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(books_take_all_or_nothing),
        cmocka_unit_test(a_tree_stays_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
