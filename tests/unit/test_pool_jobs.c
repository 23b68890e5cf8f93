/* Jobs on their way: loading, answers, the queue, cancellation, credit, budgets, the list. */
#include "pool_rig.h"

static void test_a_job_loads_its_model_and_answers(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "load_ms 30 total 4000");
    seen *first = rig_submit("a", "{\"do\":\"echo\",\"text\":\"hé\",\"n\":3}");
    rig_done(first);
    assert_int_equal(first->n_loaded, 1);
    assert_string_equal(first->text, "héhéhé");
    assert_string_equal(first->reason, "stop");
    assert_true(first->load_ns >= 30 * RIG_MS);
    assert_true(rig_logged("weights 0 MB + kv 0 MB + scratch 0 MB = 0 MB of 1.0 GB free, "
                           "n_ctx 4096, engine fake"));
    seen *second = rig_submit("a", "{\"do\":\"none\"}");
    rig_done(second);
    assert_int_equal(second->n_loaded, 1);
    assert_int_equal(second->load_ns, 0);
    assert_int_equal(rig_field("a", "restarts"), 0);
    rig_close();
}

static void test_a_job_without_head_only_loads(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    seen *s = rig_submit("a", NULL);
    rig_done(s);
    assert_int_equal(s->n_loaded, 1);
    assert_string_equal(s->reason, "load");
    s = rig_submit("a", NULL); /* it is there: heard before the call returns */
    assert_int_equal(s->n_end, 1);
    rig_close();
}

static void test_the_plan_covers_the_largest_context_that_waits(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    seen *s = rig_try(&(rig_job){.key = "a", .head = "{\"do\":\"report\"}", .n_ctx = 9000}, NULL);
    rig_done(s);
    assert_non_null(strstr(s->text, "n_ctx 9000"));
    rig_close();
}

static void test_a_failure_of_the_runners_comes_with_its_figures(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    seen *s = rig_submit("a", "{\"do\":\"fail\"}");
    rig_failed(s, CAMA_ERR_CONTEXT, "9 of 8");
    assert_int_equal(s->n_prompt, 9);
    rig_done(rig_submit("a", "{\"do\":\"none\"}"));
    assert_int_equal(rig_field("a", "restarts"), 0);
    rig_close();
}

static void test_a_missing_file_is_an_error_of_its_own(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_failed(rig_submit("nowhere", "{}"), CAMA_ERR_NOT_FOUND, "/nowhere' cannot be opened");
    rig_close();
}

static void test_the_queue_has_an_end(void **state)
{
    (void)state;
    const pool_opts o = {.max_queue = 2, .keep_alive_ns = POOL_KEEP_DEFAULT};
    rig_open(&o);
    rig_model("a", "load_ms 100");
    seen *s[3];
    for (int i = 0; i < 3; i++) /* one that the runner may compute, two in the queue */
        s[i] = rig_submit("a", "{\"do\":\"wait\"}");
    err_info err;
    assert_null(rig_try(&(rig_job){.key = "a", .head = "{}"}, &err));
    assert_int_equal(err.code, CAMA_ERR_BUSY);
    assert_string_equal(err.text,
                        "server busy, please try again.  maximum pending requests exceeded");
    for (int i = 0; i < 3; i++)
        rig_wait(&s[i]->n_text, 1); /* all have begun: the queue is empty again */
    rig_done(rig_submit("a", "{\"do\":\"release\"}"));
    for (int i = 0; i < 3; i++)
        rig_done(s[i]);
    rig_close();
}

static void test_a_waiting_job_is_canceled_at_once_and_its_load_given_up(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "load silent");
    seen *one = rig_submit("a", "{\"do\":\"none\"}");
    seen *two = rig_submit("a", "{\"do\":\"none\"}");
    rig_wait_list("\"state\":\"loading\"", true);
    pool_cancel(rig.pool, one->id);
    assert_int_equal(one->n_end, 1);
    rig_failed(one, CAMA_ERR_CANCELED, "before it began");
    assert_int_not_equal(rig_field("a", "pid"), -999); /* the other one still waits for it */
    pool_cancel(rig.pool, two->id);
    assert_int_equal(two->n_end, 1);
    rig_wait_list("\"key\"", false);
    pool_cancel(rig.pool, two->id); /* nothing happens */
    pool_cancel(rig.pool, 12345);
    rig_close();
}

static void test_a_running_job_is_canceled_by_its_runner(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    seen *s = rig_submit("a", "{\"do\":\"wait\"}");
    rig_wait(&s->n_text, 1);
    assert_int_equal(rig_field("a", "running"), 1);
    pool_cancel(rig.pool, s->id);
    rig_done(s);
    assert_string_equal(s->reason, "canceled");
    assert_int_equal(rig_field("a", "running"), 0);
    seen *report = rig_submit("a", "{\"do\":\"report\"}");
    rig_done(report);
    assert_non_null(strstr(report->text, "cancels 1"));
    rig_close();
}

/* Cancel comes at any moment of a job's life: it ends once, and the runner lives. */
static void test_cancel_at_any_moment(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    rig_done(rig_submit("a", "{\"do\":\"none\"}"));
    const long long pid = rig_field("a", "pid");
    for (int i = 0; i < 200; i++) {
        seen *s = rig_submit("a", i % 2 ? "{\"do\":\"echo\",\"n\":20}" : "{\"do\":\"wait\"}");
        for (volatile int spin = 0; spin < i * 200; spin++)
            ;
        pool_cancel(rig.pool, s->id);
        rig_end(s);
    }
    assert_int_equal(rig_field("a", "pid"), pid);
    rig_close();
}

static void test_text_waits_for_the_reader(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    const size_t n = 2 * WIRE_CREDIT_BYTES + 1000;
    char head[64];
    (void)snprintf(head, sizeof head, "{\"do\":\"flood\",\"n\":%zu}", n);
    seen *slow = rig_submit("a", head);
    rig_wait(&slow->n_text, WIRE_CREDIT_BYTES / FAKE_PIECE);
    /* A reader that stopped holds up nobody else. */
    seen *quick = rig_try(
        &(rig_job){.key = "a", .head = head, .keep_ns = POOL_KEEP_DEFAULT, .gives_credit = true},
        NULL);
    rig_done(quick);
    assert_int_equal(quick->n_bytes, n);
    assert_int_equal(slow->n_bytes, WIRE_CREDIT_BYTES);
    assert_int_equal(slow->n_end, 0);
    for (size_t i = 0; i < n; i += 1000)
        pool_credit(rig.pool, slow->id, 1000);
    rig_done(slow);
    assert_int_equal(slow->n_bytes, n);
    seen *report = rig_submit("a", "{\"do\":\"report\"}");
    rig_done(report);
    const char *at = strstr(report->text, "credits ");
    assert_non_null(at);
    assert_in_range(atoi(at + 8), 4, 2 * (n / (WIRE_CREDIT_BYTES / 4) + 1));
    rig_close();
}

/* A sink that calls the pool from inside: cancels what it hears, and submits the next job. */
typedef struct chain {
    pthread_mutex_t lock; /* for left */
    int left;
    pool_job_id id;
} chain;

static void chain_event(void *user, const pool_event *e);

static void chain_submit(chain *c, pool_job_id *out)
{
    char path[128];
    rig_path("a", path);
    const char *const paths[] = {path};
    const pool_model m = {.key = "a", .name = "a", .paths = paths, .n_path = 1};
    static const char head[] = "{\"do\":\"wait\"}";
    const pool_job j = {.model = &m,
                        .head = head,
                        .n_head = sizeof head - 1,
                        .keep_alive_ns = POOL_KEEP_DEFAULT,
                        .sink = {c, chain_event}};
    assert_int_equal(pool_submit(rig.pool, &j, out, NULL), CAMA_OK);
}

static void chain_event(void *user, const pool_event *e)
{
    chain *c = user;
    if (e->type == POOL_TEXT)
        pool_cancel(rig.pool, c->id);
    if (e->type != POOL_DONE)
        return;
    char list[4096];
    rig_list(list, sizeof list);
    (void)pthread_mutex_lock(&c->lock);
    const bool more = --c->left > 0;
    (void)pthread_mutex_unlock(&c->lock);
    if (more)
        chain_submit(c, &c->id);
}

static void test_a_sink_may_call_the_pool(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    chain c = {.left = 100};
    assert_int_equal(pthread_mutex_init(&c.lock, NULL), 0);
    chain_submit(&c, &c.id);
    int left = 1;
    for (int i = 0; left && i < RIG_PATIENCE_S * 100; i++) {
        fake_sleep_ms(10);
        (void)pthread_mutex_lock(&c.lock);
        left = c.left;
        (void)pthread_mutex_unlock(&c.lock);
    }
    assert_int_equal(left, 0);
    rig_close();
    (void)pthread_mutex_destroy(&c.lock);
}

static long reported(const char *key, const char *word)
{
    seen *s = rig_submit(key, "{\"do\":\"report\"}");
    rig_done(s);
    const char *at = strstr(s->text, word);
    assert_non_null(at);
    return atol(at + strlen(word));
}

static void test_busy_runners_share_the_cores(void **state)
{
    (void)state;
    const pool_opts o = {.n_thread = 8, .keep_alive_ns = POOL_KEEP_DEFAULT};
    rig_open(&o);
    rig_model("a", "");
    rig_model("b", "");
    assert_int_equal(reported("a", "threads "), 8);
    assert_true(reported("a", "spin ") > 0);
    seen *w = rig_submit("a", "{\"do\":\"wait\"}");
    rig_wait(&w->n_text, 1);
    assert_int_equal(reported("b", "threads "), 4);
    assert_int_equal(reported("b", "spin "), 0);
    assert_int_equal(reported("a", "threads "), 8); /* b is idle again */
    seen *v = rig_submit("b", "{\"do\":\"wait\"}");
    rig_wait(&v->n_text, 1);
    assert_int_equal(reported("a", "threads "), 4);
    assert_int_equal(reported("a", "spin "), 0);
    pool_cancel(rig.pool, v->id);
    rig_done(v);
    assert_int_equal(reported("a", "threads "), 8);
    pool_cancel(rig.pool, w->id);
    rig_done(w);
    rig_close();
}

static void test_the_list_says_what_is_loaded(void **state)
{
    (void)state;
    rig_open(NULL);
    char list[8192];
    rig_list(list, sizeof list);
    assert_string_equal(list, "[]");
    rig_model("short", "total 5000 n_ctx 77");
    rig_model("long", "");
    rig_done(rig_try(&(rig_job){.key = "short", .head = "{}", .keep_ns = 100000 * RIG_MS}, NULL));
    rig_done(rig_try(&(rig_job){.key = "long", .head = "{}", .keep_ns = POOL_KEEP_FOREVER}, NULL));
    rig_list(list, sizeof list);
    arena a;
    arena_init(&a, 1 << 20);
    json_value *v;
    assert_int_equal(json_parse(list, strlen(list), &a, &v, NULL), CAMA_OK);
    assert_int_equal(v->n, 2);
    assert_string_equal(json_get(v->items[0], "key")->text, "long");
    assert_int_equal(json_get(v->items[0], "remaining_ns")->integer, -1);
    const json_value *s = v->items[1];
    assert_string_equal(json_get(s, "name")->text, "short");
    assert_string_equal(json_get(s, "digest")->text, "0123");
    assert_string_equal(json_get(s, "engine")->text, "fake");
    assert_string_equal(json_get(s, "device")->text, "cpu");
    assert_string_equal(json_get(s, "weights")->text, "memory");
    assert_string_equal(json_get(s, "kv_type")->text, "f16");
    assert_string_equal(json_get(s, "sandbox")->text, "none");
    assert_string_equal(json_get(s, "state")->text, "ready");
    assert_string_equal(json_get(json_get(s, "details"), "family")->text, "fake");
    assert_int_equal(json_get(s, "size")->integer, 5000);
    assert_int_equal(json_get(json_get(s, "bytes"), "weights")->integer, 4980);
    assert_int_equal(json_get(s, "n_ctx")->integer, 77);
    assert_true(json_get(s, "pid")->integer > 1);
    assert_in_range(json_get(s, "remaining_ns")->integer, 1, 100000 * RIG_MS);
    arena_done(&a);
    rig_close();
}

static void test_drain_lets_jobs_end_and_takes_no_new_ones(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    rig_model("b", "load_ms 10000");
    seen *w = rig_submit("a", "{\"do\":\"wait\"}");
    rig_wait(&w->n_text, 1);
    seen *waits = rig_submit("b", "{}");
    pool_drain(rig.pool, 200);
    rig_failed(w, CAMA_ERR_CANCELED, "shutting down");
    rig_failed(waits, CAMA_ERR_CANCELED, "shutting down");
    err_info err;
    assert_null(rig_try(&(rig_job){.key = "a", .head = "{}"}, &err));
    assert_int_equal(err.code, CAMA_ERR_BUSY);
    rig_close();
}

static void *cancel_soon(void *arg)
{
    fake_sleep_ms(100);
    pool_cancel(rig.pool, *(const pool_job_id *)arg);
    return NULL;
}

static void test_drain_is_over_when_the_last_job_is(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    seen *w = rig_submit("a", "{\"do\":\"wait\"}");
    rig_wait(&w->n_text, 1);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, cancel_soon, &w->id), 0);
    pool_drain(rig.pool, 600000);
    assert_int_equal(w->n_end, 1);
    assert_string_equal(w->reason, "canceled");
    assert_int_equal(pthread_join(t, NULL), 0);
    rig_close();
}

static void test_what_cannot_be_a_job(void **state)
{
    (void)state;
    rig_open(NULL);
    const char *paths[WIRE_MAX_FD + 1];
    for (size_t i = 0; i < TEST_COUNT(paths); i++)
        paths[i] = "/dev/null";
    pool_model m = {.key = "k", .name = "many", .paths = paths, .n_path = WIRE_MAX_FD + 1};
    pool_job j = {.model = &m, .head = "{}", .n_head = 2};
    pool_job_id id = 0;
    err_info err;
    assert_int_equal(pool_submit(rig.pool, &j, &id, &err), CAMA_ERR_LIMIT);
    assert_string_equal(err.text, "model 'many' has 17 files, at most 16 can be loaded");
    m.n_path = 0;
    assert_int_equal(pool_submit(rig.pool, &j, &id, &err), CAMA_ERR_ARG);
    m.n_path = 1;
    j.n_head = WIRE_MAX_HEAD_DOWN + 1; /* refused before a byte is read */
    assert_int_equal(pool_submit(rig.pool, &j, &id, &err), CAMA_ERR_LIMIT);
    assert_int_equal(id, 0);
    rig_close();
    pool_close(NULL);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "runner") == 0)
        return fake_runner_main();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_job_loads_its_model_and_answers),
        cmocka_unit_test(test_a_job_without_head_only_loads),
        cmocka_unit_test(test_the_plan_covers_the_largest_context_that_waits),
        cmocka_unit_test(test_a_failure_of_the_runners_comes_with_its_figures),
        cmocka_unit_test(test_a_missing_file_is_an_error_of_its_own),
        cmocka_unit_test(test_the_queue_has_an_end),
        cmocka_unit_test(test_a_waiting_job_is_canceled_at_once_and_its_load_given_up),
        cmocka_unit_test(test_a_running_job_is_canceled_by_its_runner),
        cmocka_unit_test(test_cancel_at_any_moment),
        cmocka_unit_test(test_text_waits_for_the_reader),
        cmocka_unit_test(test_a_sink_may_call_the_pool),
        cmocka_unit_test(test_busy_runners_share_the_cores),
        cmocka_unit_test(test_the_list_says_what_is_loaded),
        cmocka_unit_test(test_drain_lets_jobs_end_and_takes_no_new_ones),
        cmocka_unit_test(test_drain_is_over_when_the_last_job_is),
        cmocka_unit_test(test_what_cannot_be_a_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
