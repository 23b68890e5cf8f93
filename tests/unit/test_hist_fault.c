/* Memory that is not to be had, call by call: SQLite's own as well. */
#include "fault.h"
#include "test.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <unistd.h>

#include "hist/hist.h"

/* SQLite asks these for memory: the one that fails next is told by n_left. */
static sqlite3_mem_methods real;
static long n_left = -1; /* -1: none fails */

static void *failing_malloc(int n)
{
    if (n_left == 0)
        return NULL;
    n_left -= n_left > 0;
    return real.xMalloc(n);
}

static void *failing_realloc(void *p, int n)
{
    if (n_left == 0)
        return NULL;
    n_left -= n_left > 0;
    return real.xRealloc(p, n);
}

static void count(void *user, const hist_failure *f)
{
    (void)f;
    ++*(int *)user;
}

/* Everything once. The first failure, or CAMA_OK. */
static cama_err all(const char *dir)
{
    hist *h = NULL;
    err_info err = {.code = CAMA_OK};
    int n = 0;
    size_t n_reset = 0;
    const hist_failure f = {
        .engine = "mlx", .build = "b", .digest = "aa", .model = "m", .reason = "r", .time_s = 1};
    cama_err e = hist_open(dir, &h, &err);
    if (e)
        return e;
    if (err.code) { /* in memory, where that was to be had */
        hist_close(h);
        return err.code;
    }
    e = hist_engine_failed(h, &f, &err);
    if (!e)
        e = hist_engine_each(h, "aa", count, &n, &err);
    if (!e && n != 1)
        e = CAMA_ERR_INTERNAL;
    if (!e)
        e = hist_engine_reset(h, NULL, &n_reset, &err);
    if (!e && n_reset != 1)
        e = CAMA_ERR_INTERNAL;
    hist_close(h);
    return e;
}

static void test_sqlite_without_memory(void **state)
{
    (void)state;
    char dir[] = "/tmp/cama_hist_XXXXXX";
    assert_non_null(mkdtemp(dir));
    cama_err e = CAMA_ERR_NOMEM;
    long at = 0;
    for (; e && at < 100000; at++) {
        n_left = at;
        e = all(dir);
        n_left = -1;
        /* It may do without, or call it a disk that cannot be read. */
        assert_true(e == CAMA_OK || e == CAMA_ERR_NOMEM || e == CAMA_ERR_IO);
    }
    assert_int_equal(e, CAMA_OK);
    assert_true(at > 20);
    assert_int_equal(all(dir), CAMA_OK); /* the file is whole */
    char path[64];
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < TEST_COUNT(ends); i++) {
        (void)snprintf(path, sizeof path, "%s/%s%s", dir, HIST_FILE, ends[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(dir), 0);
}

static void test_ours_without_memory(void **state)
{
    (void)state;
    fault_arm(FAULT_HEAP, 0);
    hist *h = NULL;
    err_info err;
    assert_int_equal(hist_open(NULL, &h, &err), CAMA_ERR_NOMEM);
    assert_true(fault_disarm());
    assert_null(h);
    assert_int_equal(err.code, CAMA_ERR_NOMEM);
}

int main(void)
{
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real) != SQLITE_OK)
        return 1;
    sqlite3_mem_methods failing = real;
    failing.xMalloc = failing_malloc;
    failing.xRealloc = failing_realloc;
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &failing) != SQLITE_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sqlite_without_memory),
        cmocka_unit_test(test_ours_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
