/* Memory and time: who fits, who leaves for whom, and how long an idle runner stays. */
#include "pool_rig.h"

static const pool_opts two_at_once = {.max_loaded = 2, .keep_alive_ns = POOL_KEEP_DEFAULT};

static void run(const char *key)
{
    rig_done(rig_submit(key, "{\"do\":\"none\"}"));
}

static bool is_loaded(const char *key)
{
    return rig_field(key, "pid") > 0;
}

static void test_the_least_recently_used_leaves(void **state)
{
    (void)state;
    pool_opts o = two_at_once;
    o.log_debug = true;
    rig_open(&o);
    rig_model("a", "");
    rig_model("b", "");
    rig_model("c", "");
    run("a");
    run("b");
    run("a");
    run("c"); /* b was used longest ago */
    assert_true(is_loaded("a") && is_loaded("c") && !is_loaded("b"));
    run("b");
    assert_true(is_loaded("b") && is_loaded("c") && !is_loaded("a"));
    assert_true(rig_logged("b leaves: c needs its room"));
    assert_true(rig_logged("c waits for room: it needs "));
    assert_true(rig_logged(", 2 others of at most 2 hold "));
    rig_close();
}

static void test_memory_decides_too(void **state)
{
    (void)state;
    const pool_opts o = {.max_bytes = 10000, .keep_alive_ns = POOL_KEEP_DEFAULT};
    rig_open(&o);
    rig_model("a", "total 4000");
    rig_model("b", "total 5000");
    rig_model("c", "total 6000");
    run("a");
    run("b");
    assert_true(is_loaded("a") && is_loaded("b"));
    run("c"); /* 4000 + 6000 are the limit */
    assert_true(is_loaded("c") && !is_loaded("a") && !is_loaded("b"));
    run("a");
    assert_true(is_loaded("c") && is_loaded("a"));
    rig_close();
}

static void test_what_is_free_is_counted_without_what_will_still_be_taken(void **state)
{
    (void)state;
    rig_open(NULL);
    /* As the machine would say it: b and c see the memory that a's weights left. */
    rig_model("a", "total 4000 available 10000");
    rig_model("b", "total 5000 available 6000");
    rig_model("c", "total 980 available 6000");
    run("a");
    run("b"); /* 20 of a's bytes are still to come: 5980 */
    assert_true(is_loaded("a") && is_loaded("b"));
    run("c"); /* b was not there yet, as far as these figures say: it is, so 5960 */
    assert_true(is_loaded("a") && is_loaded("b") && is_loaded("c"));
    rig_close();
}

static void test_loads_that_run_together_are_added_up(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "total 6000 available 10000 load_ms 200");
    rig_model("b", "total 6000 available 10000 load_ms 200");
    seen *a = rig_submit("a", "{}");
    seen *b = rig_submit("b", "{}");
    rig_done(a);
    rig_done(b);
    assert_true(is_loaded("a") != is_loaded("b")); /* one waited, and the other had to leave */
    rig_close();
}

static void test_a_busy_one_leaves_when_its_jobs_are_done(void **state)
{
    (void)state;
    const pool_opts o = {.max_loaded = 1, .keep_alive_ns = POOL_KEEP_DEFAULT};
    rig_open(&o);
    rig_model("a", "");
    rig_model("b", "");
    seen *w = rig_submit("a", "{\"do\":\"wait\"}");
    rig_wait(&w->n_text, 1);
    seen *b = rig_submit("b", "{}");
    rig_wait_list("\"state\":\"leaving\"", true);
    seen *again = rig_submit("a", "{}"); /* not to the one that leaves */
    fake_sleep_ms(100);
    assert_int_equal(b->n_end + again->n_end + w->n_end, 0);
    assert_int_equal(rig_field("a", "waiting"), 1);
    pool_cancel(rig.pool, w->id);
    rig_done(b);
    rig_done(again);
    assert_true(b->queue_ns >= 100 * RIG_MS);
    assert_true(b->end_ns < again->end_ns);
    rig_close();
}

static void test_too_large_alone_is_refused_with_the_runners_figures(void **state)
{
    (void)state;
    const pool_opts o = {.max_bytes = 5000, .keep_alive_ns = POOL_KEEP_DEFAULT};
    rig_open(&o);
    rig_model("a", "total 1000");
    rig_model("big", "total 9000 load nofit");
    run("a");
    rig_failed(rig_submit("big", "{}"), CAMA_ERR_NO_FIT, "9 of 8 bytes");
    assert_false(is_loaded("a"));
    run("a");
    rig_close();
}

/* A runner may see less memory than its plan told: others leave one by one before it is believed.
 */
static void test_a_refusal_for_want_of_memory_is_tried_again_with_more_room(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    rig_model("b", "");
    rig_model("c", "plan nofit");
    run("a");
    run("b");
    seen *c = rig_submit("c", "{}");
    rig_failed(c, CAMA_ERR_NO_FIT, "9 of 8 bytes");
    assert_false(is_loaded("a") || is_loaded("b"));
    run("a");
    rig_close();
}

static void test_who_is_idle_makes_room_for_a_larger_context(void **state)
{
    (void)state;
    const pool_opts o = {.max_bytes = 10000, .keep_alive_ns = POOL_KEEP_DEFAULT};
    rig_open(&o);
    rig_model("a", "total 4000 kv 2000");
    rig_model("b", "total 5000");
    rig_model("c", "total 1000");
    run("a");
    run("b");
    const long long pid = rig_field("a", "pid");
    rig_done(rig_try(&(rig_job){.key = "a", .head = "{}", .n_ctx = 5000, .keep_ns = -1}, NULL));
    assert_true(is_loaded("b")); /* 452 more bytes are there */
    run("c");
    rig_done(rig_try(&(rig_job){.key = "a", .head = "{}", .n_ctx = 8192, .keep_ns = -1}, NULL));
    assert_false(is_loaded("b")); /* 2000 more are not */
    assert_true(is_loaded("c"));
    assert_int_equal(rig_field("a", "pid"), pid);
    /* Alone it must see itself how far it comes. */
    rig_done(rig_try(&(rig_job){.key = "a", .head = "{}", .n_ctx = 80000, .keep_ns = -1}, NULL));
    assert_false(is_loaded("c"));
    assert_int_equal(rig_field("a", "pid"), pid);
    rig_close();
}

static void test_a_slow_load_holds_up_nobody(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("slow", "load_ms 2000");
    rig_model("quick", "");
    seen *slow = rig_submit("slow", "{}");
    rig_wait_list("\"state\":\"loading\"", true);
    run("quick");
    assert_int_equal(slow->n_end, 0);
    pool_cancel(rig.pool, slow->id);
    rig_end(slow);
    rig_close();
}

static void test_many_models_take_turns(void **state)
{
    (void)state;
    rig_open(&two_at_once);
    char key[16];
    seen *s[60];
    for (int i = 0; i < 12; i++) {
        (void)snprintf(key, sizeof key, "m%d", i);
        rig_model(key, "");
    }
    for (int i = 0; i < 60; i++) {
        (void)snprintf(key, sizeof key, "m%d", i % 12);
        s[i] = rig_submit(key, "{\"do\":\"echo\"}");
    }
    for (int i = 0; i < 60; i++)
        rig_done(s[i]);
    rig_close();
}

static void test_keep_alive_zero_unloads_at_once(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    rig_done(rig_try(&(rig_job){.key = "a", .head = "{}", .keep_ns = 0}, NULL));
    rig_wait_list("\"key\"", false);
    /* It waits for the last job. */
    seen *w = rig_submit("a", "{\"do\":\"wait\"}");
    rig_wait(&w->n_text, 1);
    rig_done(rig_try(&(rig_job){.key = "a", .head = "{}", .keep_ns = 0}, NULL));
    assert_true(is_loaded("a"));
    pool_cancel(rig.pool, w->id);
    rig_done(w);
    rig_wait_list("\"key\"", false);
    rig_close();
}

static void test_keep_alive_runs_from_the_end_of_the_job(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    seen *w =
        rig_try(&(rig_job){.key = "a", .head = "{\"do\":\"wait\"}", .keep_ns = 300 * RIG_MS}, NULL);
    rig_wait(&w->n_text, 1);
    fake_sleep_ms(400);
    assert_true(is_loaded("a"));
    pool_cancel(rig.pool, w->id);
    rig_done(w);
    assert_in_range(rig_field("a", "remaining_ns"), 1, 300 * RIG_MS);
    rig_wait_list("\"key\"", false);
    assert_true(clock_now_ns() - w->end_ns >= 300 * (uint64_t)RIG_MS);
    rig_close();
}

static void test_keep_alive_can_be_for_ever_and_be_changed(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    assert_false(pool_keep(rig.pool, "a", 0));
    rig_done(rig_try(&(rig_job){.key = "a", .head = "{}", .keep_ns = POOL_KEEP_FOREVER}, NULL));
    assert_int_equal(rig_field("a", "remaining_ns"), -1);
    assert_true(pool_keep(rig.pool, "a", POOL_KEEP_DEFAULT));
    assert_in_range(rig_field("a", "remaining_ns"), 299000 * RIG_MS, 300000 * RIG_MS);
    assert_true(pool_keep(rig.pool, "a", 0));
    rig_wait_list("\"key\"", false);
    rig_close();
}

static void test_unload_waits_for_what_runs_and_new_jobs_for_the_next_runner(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    assert_false(pool_unload(rig.pool, "a"));
    seen *w = rig_submit("a", "{\"do\":\"wait\"}");
    rig_wait(&w->n_text, 1);
    const long long pid = rig_field("a", "pid");
    assert_true(pool_unload(rig.pool, "a"));
    rig_wait_list("\"state\":\"leaving\"", true);
    seen *next = rig_submit("a", "{}");
    pool_cancel(rig.pool, w->id);
    rig_done(w);
    rig_done(next);
    assert_int_not_equal(rig_field("a", "pid"), pid);
    assert_true(pool_unload(rig.pool, "a"));
    rig_wait_list("\"key\"", false);
    rig_close();
}

static void test_unload_while_loading_serves_who_waits(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "load_ms 200");
    seen *s = rig_submit("a", "{}");
    rig_wait_list("\"state\":\"loading\"", true);
    assert_true(pool_unload(rig.pool, "a"));
    rig_done(s);
    rig_wait_list("\"key\"", false);
    rig_close();
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "runner") == 0)
        return fake_runner_main();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_least_recently_used_leaves),
        cmocka_unit_test(test_memory_decides_too),
        cmocka_unit_test(test_what_is_free_is_counted_without_what_will_still_be_taken),
        cmocka_unit_test(test_loads_that_run_together_are_added_up),
        cmocka_unit_test(test_a_busy_one_leaves_when_its_jobs_are_done),
        cmocka_unit_test(test_too_large_alone_is_refused_with_the_runners_figures),
        cmocka_unit_test(test_a_refusal_for_want_of_memory_is_tried_again_with_more_room),
        cmocka_unit_test(test_who_is_idle_makes_room_for_a_larger_context),
        cmocka_unit_test(test_a_slow_load_holds_up_nobody),
        cmocka_unit_test(test_many_models_take_turns),
        cmocka_unit_test(test_keep_alive_zero_unloads_at_once),
        cmocka_unit_test(test_keep_alive_runs_from_the_end_of_the_job),
        cmocka_unit_test(test_keep_alive_can_be_for_ever_and_be_changed),
        cmocka_unit_test(test_unload_waits_for_what_runs_and_new_jobs_for_the_next_runner),
        cmocka_unit_test(test_unload_while_loading_serves_who_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
