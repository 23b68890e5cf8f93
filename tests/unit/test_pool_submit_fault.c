/* Memory and threads run out anywhere on a job's way: it is refused or ends once, and the pool
 * works again afterwards. */
#include "pool_rig.h"

#include "fault.h"

/* The sinks' own memory is the rig's: nothing of the test itself is to fail. */
static void check_after(void)
{
    rig_done(rig_submit("a", "{\"do\":\"echo\"}"));
}

/* Event k of these kinds fails while a job is loaded for and answered. True: there was one. */
static bool one_attempt(unsigned kinds, size_t k)
{
    rig_open(NULL);
    rig_model("a", "");
    err_info err = {0};
    fault_arm(kinds, k);
    seen *s = rig_try(&(rig_job){.key = "a", .head = "{\"do\":\"echo\",\"n\":2}"}, &err);
    if (s)
        rig_end(s);
    const bool met = fault_disarm();
    if (!s)
        assert_int_equal(err.code, CAMA_ERR_NOMEM);
    else if (s->failed && s->err.code != CAMA_ERR_NOMEM && s->err.code != CAMA_ERR_RUNNER &&
             s->err.code != CAMA_ERR_IO)
        fail_msg("event %zu: code %d: %s", k, (int)s->err.code, s->err.text);
    if (!met)
        assert_true(s && !s->failed);
    check_after();
    rig_close();
    return met;
}

static void sweep(unsigned kinds, size_t at_least)
{
    size_t k = 0;
    while (one_attempt(kinds, k))
        k++;
    print_message("%zu events\n", k);
    assert_true(k >= at_least);
}

static void test_memory_runs_out_on_the_way(void **state)
{
    (void)state;
    sweep(FAULT_HEAP, 10);
}

static void test_no_thread_is_to_be_had(void **state)
{
    (void)state;
    sweep(FAULT_THREAD, 2); /* the runner's, and its wire's */
}

static cama_err open_and_close(void *arg, err_info *err)
{
    (void)arg;
    pool *p = NULL;
    const pool_opts o = {.exe = "/bin/true", .kv_type = "q8_0"};
    const cama_err e = pool_open(&o, &p, err);
    if (!e)
        pool_close(p);
    return e;
}

static void test_a_pool_opens_or_says_that_it_cannot(void **state)
{
    (void)state;
    assert_true(fault_sweep(FAULT_HEAP | FAULT_THREAD, open_and_close, NULL) >= 3);
}

static void test_the_list_lacks_memory(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    check_after();
    for (size_t k = 0;; k++) {
        buf b;
        buf_init(&b, 100000);
        err_info err = {0};
        fault_arm(FAULT_HEAP, k);
        const cama_err e = pool_list(rig.pool, &b, &err);
        const bool met = fault_disarm();
        assert_int_equal(e, met ? CAMA_ERR_NOMEM : CAMA_OK);
        buf_done(&b);
        if (!met)
            break;
    }
    rig_close();
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "runner") == 0)
        return fake_runner_main();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_runs_out_on_the_way),
        cmocka_unit_test(test_no_thread_is_to_be_had),
        cmocka_unit_test(test_a_pool_opens_or_says_that_it_cannot),
        cmocka_unit_test(test_the_list_lacks_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
