/* Many: a thousand loads, two hundred clients at a short queue, everything at once. */
#include "pool_rig.h"

#include "base/plat.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define IS_SLOW 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define IS_SLOW 1
#endif
#endif
#ifndef IS_SLOW
#define IS_SLOW 0
#endif

enum { N_LOAD = 1000, N_CLIENT = 200, N_CHAOS = 8, N_CHAOS_JOB = IS_SLOW ? 60 : 200, N_KEY = 5 };

static void forget_seen(void)
{
    rig_check_ends();
    (void)pthread_mutex_lock(&rig.lock);
    memset(rig.seen, 0, rig.n_seen * sizeof *rig.seen);
    rig.n_seen = 0;
    (void)pthread_mutex_unlock(&rig.lock);
}

static void load_once(void)
{
    rig_done(rig_try(&(rig_job){.key = "a", .head = "{\"do\":\"echo\"}", .keep_ns = 0}, NULL));
}

static void test_a_thousand_loads_leave_nothing_behind(void **state)
{
    (void)state;
    rig_open(NULL);
    rig_model("a", "");
    for (int i = 0; i < 50; i++)
        load_once();
    rig_wait_list("\"key\"", false);
    fake_sleep_ms(50); /* the timer joins the last thread */
    const int n_fd = rig_n_fd();
    const uint64_t bytes = plat_memory_resident();
    for (int i = 0; i < N_LOAD; i++) {
        load_once();
        if (i % 100 == 0)
            forget_seen();
    }
    rig_wait_list("\"key\"", false);
    fake_sleep_ms(50);
    assert_in_range(rig_n_fd(), n_fd - 1, n_fd + 1);
    if (!IS_SLOW) /* sanitizers keep what was freed for a while */
        assert_true(plat_memory_resident() < bytes + (4 << 20));
    rig_close();
}

typedef struct client {
    pthread_t thread;
    seen *seen;
    err_info err;
} client;

static void *client_main(void *arg)
{
    client *c = arg;
    c->seen = rig_try(&(rig_job){.key = "a", .head = "{\"do\":\"echo\",\"n\":3}"}, &c->err);
    return NULL;
}

static void test_two_hundred_clients_at_a_queue_of_64(void **state)
{
    (void)state;
    const pool_opts o = {.max_queue = 64, .keep_alive_ns = POOL_KEEP_DEFAULT};
    rig_open(&o);
    rig_model("a", "load_ms 300");
    static client c[N_CLIENT];
    for (int i = 0; i < N_CLIENT; i++) {
        c[i] = (client){0};
        assert_int_equal(pthread_create(&c[i].thread, NULL, client_main, &c[i]), 0);
    }
    int n_busy = 0;
    int n_done = 0;
    for (int i = 0; i < N_CLIENT; i++) {
        assert_int_equal(pthread_join(c[i].thread, NULL), 0);
        if (!c[i].seen) {
            assert_int_equal(c[i].err.code, CAMA_ERR_BUSY);
            n_busy++;
            continue;
        }
        rig_done(c[i].seen);
        assert_string_equal(c[i].seen->text, "hellohellohello");
        n_done++;
    }
    assert_int_equal(n_done + n_busy, N_CLIENT);
    assert_true(n_done >= 65);
    rig_close();
}

static unsigned next_random(unsigned *x)
{
    *x = *x * 1664525u + 1013904223u;
    return *x >> 16;
}

static void chaos_step(unsigned *x)
{
    static const char *const jobs[] = {
        "{\"do\":\"echo\",\"n\":5}", "{\"do\":\"none\"}", "{\"do\":\"fail\"}",
        "{\"do\":\"wait\"}",         "{\"do\":\"wait\"}", "{\"do\":\"flood\",\"n\":400000}",
    };
    char key[8];
    (void)snprintf(key, sizeof key, "k%u", next_random(x) % N_KEY);
    const unsigned what = next_random(x) % 64;
    if (what == 0) {
        (void)pool_unload(rig.pool, key); /* whether one is loaded is chance */
    } else if (what == 1) {
        (void)pool_keep(rig.pool, key, 0);
    } else if (what == 2) {
        char list[8192];
        rig_list(list, sizeof list);
    } else {
        const char *head = what == 3   ? "{\"do\":\"die\"}"
                           : what == 4 ? NULL
                                       : jobs[what % TEST_COUNT(jobs)];
        seen *s = rig_try(&(rig_job){.key = key,
                                     .head = head,
                                     .keep_ns = (int64_t)(what % 3) * 5 * RIG_MS,
                                     .gives_credit = true},
                          NULL);
        if (s && head && strstr(head, "wait")) {
            if (what & 8)
                fake_sleep_ms(1);
            pool_cancel(rig.pool, s->id);
        }
        if (s)
            rig_end(s);
    }
}

static void *chaos_main(void *arg)
{
    unsigned x = *(const unsigned *)arg;
    for (int i = 0; i < N_CHAOS_JOB; i++)
        chaos_step(&x);
    return NULL;
}

static void test_everything_at_once(void **state)
{
    (void)state;
    const pool_opts o = {.max_loaded = 2, .max_queue = 6, .keep_alive_ns = POOL_KEEP_DEFAULT};
    rig_open(&o);
    for (int i = 0; i < N_KEY; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "k%d", i);
        rig_model(key, i == 0 ? "load_ms 20" : i == 1 ? "load refuse" : "");
    }
    pthread_t t[N_CHAOS];
    unsigned seeds[N_CHAOS];
    for (unsigned i = 0; i < N_CHAOS; i++) {
        seeds[i] = 12345 + i;
        assert_int_equal(pthread_create(&t[i], NULL, chaos_main, &seeds[i]), 0);
    }
    for (int i = 0; i < N_CHAOS; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    rig_close(); /* each job ended once */
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "runner") == 0)
        return fake_runner_main();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_thousand_loads_leave_nothing_behind),
        cmocka_unit_test(test_two_hundred_clients_at_a_queue_of_64),
        cmocka_unit_test(test_everything_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
