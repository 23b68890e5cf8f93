/* Every allocation of the base room made to fail, one by one; and the sweep itself. */
#include "test.h"

#include "fault.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/filemap.h"
#include "base/strmap.h"
#include "base/workers.h"

#include <sys/mman.h>

static cama_err fill_arena(void *arg, err_info *err)
{
    (void)arg;
    arena a;
    arena_init(&a, SIZE_MAX);
    cama_err e = CAMA_OK;
    for (int i = 0; i < 40 && !e; i++)
        if (!arena_take(&a, 10000))
            e = err_set(err, CAMA_ERR_NOMEM, "arena: piece %d", i);
    arena_done(&a);
    return e;
}

static cama_err fill_buf(void *arg, err_info *err)
{
    (void)arg;
    buf b;
    buf_init(&b, 100000);
    for (int i = 0; i < 1000; i++)
        (void)buf_printf(&b, "line %d\n", i); /* the failure is sticky and seen below */
    const cama_err e = buf_error(&b, "a list", err);
    buf_done(&b);
    return e;
}

static cama_err fill_strmap(void *arg, err_info *err)
{
    static char keys[1000][4];
    (void)arg;
    strmap m;
    cama_err e = strmap_init(&m, 4);
    bool found = false;
    for (uint32_t i = 0; i < 1000 && !e; i++) {
        const int n = snprintf(keys[i], sizeof keys[i], "%u", i);
        e = i % 2 ? strmap_set(&m, keys[i], (size_t)n, i)
                  : strmap_add(&m, keys[i], (size_t)n, i, &found);
    }
    strmap_done(&m);
    return e ? err_set(err, e, "strmap") : CAMA_OK;
}

static cama_err open_workers(void *arg, err_info *err)
{
    (void)arg;
    workers *w = NULL;
    const cama_err e = workers_open(3, false, &w, err);
    if (!e)
        workers_close(w);
    return e;
}

static void all_of_base(void **state)
{
    (void)state;
    assert_true(fault_sweep(FAULT_HEAP, fill_arena, NULL) >= 6);
    assert_true(fault_sweep(FAULT_HEAP, fill_buf, NULL) >= 5);
    assert_true(fault_sweep(FAULT_HEAP, fill_strmap, NULL) >= 4);
    assert_int_equal(fault_sweep(FAULT_HEAP | FAULT_THREAD, open_workers, NULL), 4);
}

static void a_failed_map_is_out_of_memory(void **state)
{
    (void)state;
    filemap m = {0};
    err_info err;
    fault_arm(FAULT_MMAP, 0);
    assert_int_equal(filemap_open(__FILE__, &m, &err), CAMA_ERR_NOMEM);
    assert_true(fault_disarm());
    assert_non_null(strstr(err.text, "cannot map"));
    assert_null(m.bytes);
}

static void one_failure_exactly(void **state)
{
    (void)state;
    fault_arm(FAULT_HEAP, 2);
    void *p[5];
    for (int i = 0; i < 5; i++)
        p[i] = malloc(8);
    assert_true(fault_disarm());
    assert_int_equal(fault_seen(), 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(p[i] == NULL, i == 2);
        free(p[i]);
    }
    fault_arm(FAULT_MMAP, 0);
    free(strdup("heap is not armed"));
    assert_false(fault_disarm());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_failure_exactly),
        cmocka_unit_test(all_of_base),
        cmocka_unit_test(a_failed_map_is_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
