/* The pool's promises, with plain (not atomic) data, so that ThreadSanitizer sees a missing order.
 */
#include "test.h"

#include "base/clock.h"
#include "base/workers.h"

#include <pthread.h>
#include <time.h>

#define MAX_THREAD 9

typedef struct rounds {
    workers *pool;
    int n_round;
    int n_wrong;
    long cell[MAX_THREAD][32]; /* one writer each; read by all after the barrier */
} rounds;

/* In round r each thread writes its cell and then reads everybody's. */
static void write_meet_read(void *arg, int i_thread, int n_thread)
{
    rounds *r = arg;
    int n_wrong = 0;
    for (int round = 1; round <= r->n_round; round++) {
        r->cell[i_thread][0] = round;
        workers_barrier(r->pool, i_thread);
        for (int i = 0; i < n_thread; i++)
            n_wrong += r->cell[i][0] != round;
        workers_barrier(r->pool, i_thread);
    }
    r->cell[i_thread][1] = n_wrong;
}

static void check_pool(int n_thread, int n_run, int n_round, int spin_us)
{
    workers *pool;
    rounds r = {.n_round = n_round};
    assert_int_equal(workers_open(n_thread, false, &pool, NULL), CAMA_OK);
    if (spin_us >= 0)
        workers_set_spin(pool, (uint32_t)spin_us);
    r.pool = pool;
    assert_int_equal(workers_n_thread(pool), n_thread);
    for (int i = 0; i < n_run; i++) {
        memset(r.cell, 0, sizeof r.cell);
        workers_run(pool, write_meet_read, &r);
        for (int t = 0; t < n_thread; t++) {
            assert_int_equal(r.cell[t][0], n_round);
            assert_int_equal(r.cell[t][1], 0);
        }
    }
    workers_close(pool);
}

static void barrier_orders_all_writes(void **state)
{
    (void)state;
    for (int n = 1; n <= MAX_THREAD; n += n < 4 ? 1 : 5)
        check_pool(n, 20, 50, -1);
}

static void sleepers_are_woken(void **state)
{
    (void)state;
    check_pool(2, 300, 3, 0);
    check_pool(MAX_THREAD, 50, 3, 0);
}

static void more_and_fewer_take_part(void **state)
{
    (void)state;
    static const int sizes[] = {2, 2, 1, 1, 3, 4, 4, 1, 4, 2, 3, 0, 1, 0};
    workers *pool;
    assert_int_equal(workers_open(4, false, &pool, NULL), CAMA_OK);
    for (int round = 0; round < 60; round++) {
        for (size_t i = 0; i < TEST_COUNT(sizes); i++) {
            const int n = sizes[i] ? sizes[i] : 4;
            workers_set(pool, sizes[i], (uint32_t)(round % 3) * 20);
            assert_int_equal(workers_n_thread(pool), n);
            if (round % 4 == 3 && i % 3 == 1)
                continue; /* a change upon a change, with no run between */
            rounds r = {.pool = pool, .n_round = 2};
            workers_run(pool, write_meet_read, &r);
            for (int t = 0; t < 4; t++)
                assert_int_equal(r.cell[t][0], t < n ? 2 : 0);
        }
    }
    assert_int_equal(workers_n_made(pool), 4);
    workers_set(pool, 2, 0);
    workers_close(pool); /* two are asleep without a seat */
}

typedef struct counting {
    workers *pool;
    atomic_size_t next;
    size_t n;
    unsigned char taken[1000]; /* each index is written by the one thread that took it */
} counting;

static void take_all(void *arg, int i_thread, int n_thread)
{
    counting *c = arg;
    (void)i_thread;
    (void)n_thread;
    for (size_t i; (i = workers_next(&c->next, 7)) < c->n;)
        for (size_t k = i; k < c->n && k < i + 7; k++)
            c->taken[k]++;
}

static void counter_gives_each_index_once(void **state)
{
    (void)state;
    counting c = {.n = 1000};
    assert_int_equal(workers_open(3, false, &c.pool, NULL), CAMA_OK);
    for (int run = 1; run <= 20; run++) {
        atomic_init(&c.next, 0);
        workers_run(c.pool, take_all, &c);
        for (size_t i = 0; i < c.n; i++)
            assert_int_equal(c.taken[i], run);
    }
    workers_close(c.pool);
}

static void one_thread_is_late(void *arg, int i_thread, int n_thread)
{
    workers *pool = arg;
    (void)n_thread;
    const struct timespec pause = {.tv_nsec = 3000000};
    if (i_thread == 1)
        (void)nanosleep(&pause, NULL);
    workers_barrier(pool, i_thread);
    if (i_thread == 0)
        (void)nanosleep(&pause, NULL);
}

/* 3 ms is past every spin and yield: whoever waits sleeps, at the barrier and at the end. */
static void late_threads_are_waited_for(void **state)
{
    (void)state;
    workers *pool;
    assert_int_equal(workers_open(3, false, &pool, NULL), CAMA_OK);
    const uint64_t start_ns = clock_now_ns();
    for (int i = 0; i < 5; i++)
        workers_run(pool, one_thread_is_late, pool);
    assert_true(clock_now_ns() - start_ns >= 5 * 2 * 3000000ull);
    workers_close(pool);
}

static void bad_sizes_are_refused(void **state)
{
    (void)state;
    workers *pool = NULL;
    err_info err = {0};
    assert_int_equal(workers_open(-1, false, &pool, &err), CAMA_ERR_ARG);
    assert_int_equal(workers_open(WORKERS_MAX + 1, false, &pool, &err), CAMA_ERR_ARG);
    assert_non_null(strstr(err.text, "257 threads"));
    assert_null(pool);
    workers_close(NULL);
    assert_int_equal(workers_open(0, false, &pool, &err), CAMA_OK);
    assert_true(workers_n_thread(pool) >= 1);
    workers_close(pool);
}

static void *pinned_life(void *arg)
{
    (void)arg;
    workers *pool;
    rounds r = {.n_round = 10};
    if (workers_open(2, true, &pool, NULL))
        return NULL;
    r.pool = pool;
    workers_run(pool, write_meet_read, &r);
    workers_close(pool);
    return r.cell[0][1] + r.cell[1][1] == 0 && r.cell[1][0] == 10 ? "ok" : NULL;
}

static void a_pinned_pool_works(void **state)
{
    (void)state;
    pthread_t t; /* a thread of its own, because pinning outlives the pool */
    void *said = NULL;
    assert_int_equal(pthread_create(&t, NULL, pinned_life, NULL), 0);
    assert_int_equal(pthread_join(t, &said), 0);
    assert_string_equal(said ? said : "failed", "ok");
}

/* Not a benchmark: a collapse (100x and more) must show, a busy machine must not. */
static void crowded_cores_do_not_collapse(void **state)
{
    (void)state;
    const int n_round = 200;
    workers *pool;
    rounds r = {.n_round = n_round};
    assert_int_equal(workers_open(MAX_THREAD, false, &pool, NULL), CAMA_OK);
    r.pool = pool;
    const uint64_t start_ns = clock_now_ns();
    workers_run(pool, write_meet_read, &r);
    const double us = (double)(clock_now_ns() - start_ns) / 1e3 / (2 * n_round);
    workers_close(pool);
    print_message("%d threads: %.1f us a barrier\n", MAX_THREAD, us);
    assert_true(us < 20000);
}

static void only_barriers(void *arg, int i_thread, int n_thread)
{
    const rounds *r = arg;
    (void)n_thread;
    for (int round = 0; round < r->n_round; round++)
        workers_barrier(r->pool, i_thread);
}

static void only_return(void *arg, int i_thread, int n_thread)
{
    (void)arg;
    (void)i_thread;
    (void)n_thread;
}

/* Prints what a barrier and a run cost here, the best of several tries; asserts nothing on time. */
static void print_costs(void **state)
{
    (void)state;
    workers *pool;
    rounds r = {.n_round = 2000};
    assert_int_equal(workers_open(2, false, &pool, NULL), CAMA_OK);
    r.pool = pool;
    double barrier_ns = 1e9;
    double run_ns = 1e9;
    for (int i = 0; i < 20; i++) {
        uint64_t start_ns = clock_now_ns();
        workers_run(pool, only_barriers, &r);
        barrier_ns = fmin(barrier_ns, (double)(clock_now_ns() - start_ns) / r.n_round);
        start_ns = clock_now_ns();
        for (int k = 0; k < 200; k++)
            workers_run(pool, only_return, NULL);
        run_ns = fmin(run_ns, (double)(clock_now_ns() - start_ns) / 200);
    }
    print_message("2 threads: %.0f ns a barrier, %.0f ns a run\n", barrier_ns, run_ns);
    workers_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(barrier_orders_all_writes),
        cmocka_unit_test(sleepers_are_woken),
        cmocka_unit_test(more_and_fewer_take_part),
        cmocka_unit_test(counter_gives_each_index_once),
        cmocka_unit_test(late_threads_are_waited_for),
        cmocka_unit_test(bad_sizes_are_refused),
        cmocka_unit_test(a_pinned_pool_works),
        cmocka_unit_test(crowded_cores_do_not_collapse),
        cmocka_unit_test(print_costs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
