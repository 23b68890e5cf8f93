#include "base/workers.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/plat.h"

#define CACHE_LINE 128      /* Apple's; twice x86's, where it keeps the pair prefetcher quiet */
#define YIELD_NS 200000u    /* a scheduler's shortest slice: past that the partner is not near */
#define SPIN_CHECK 32       /* spins between two looks at the clock */
#define STACK_BYTES 2097152 /* macOS gives 512 KB by default, less than kernels may want */

typedef struct worker {
    workers *pool;
    pthread_t thread;
    int index;
    bool parked; /* its own: it leaves the runs until there is a seat for it again */
} worker;

struct workers {
    /* Each of the three words that threads wait on or count in has a line of its own. */
    alignas(CACHE_LINE) atomic_uint epoch;     /* runs begun; waited on between runs */
    alignas(CACHE_LINE) atomic_uint phase;     /* barriers passed; waited on inside a run */
    alignas(CACHE_LINE) atomic_uint n_arrived; /* at the current barrier */

    alignas(CACHE_LINE) atomic_uint n_sleeper;
    pthread_mutex_t lock; /* with `wake`: only threads that gave up spinning come here */
    pthread_cond_t wake;
    pthread_cond_t seated; /* for those that do not take part: no barrier wakes them */
    int n_seat;            /* under the lock: threads that take part */
    unsigned seat_epoch;   /* under the lock: of the last time that seats were added */
    bool have_lock;
    bool have_wake;
    bool have_seated;

    workers_fn fn; /* NULL: leave. Written before epoch, read after it. */
    void *arg;
    int n_active; /* n_seat, for the runs: changes between them only */
    int n_next;   /* what it will be when seats are taken away */
    int n_thread;
    int n_started; /* threads that exist, thread 0 not counted */
    bool pin;
    atomic_uint spin_us;
    atomic_bool eager; /* between runs, yield before sleeping */
    worker *worker;    /* [n_thread], entry 0 unused */
};

#if defined(__x86_64__) || defined(__i386__)
static void relax(void)
{
    __builtin_ia32_pause();
}
#elif defined(__aarch64__)
static void relax(void)
{
    /* isb empties the pipeline, about as long as x86's pause; yield is a no-op on most cores */
    __asm__ volatile("isb" ::: "memory");
}
#else
static void relax(void)
{
}
#endif

/* acquire: what the thread that changed the word wrote before is read after. */
static bool is_still(atomic_uint *word, unsigned old)
{
    return atomic_load_explicit(word, memory_order_acquire) == old;
}

/* The slow end of a wait. seq_cst on n_sleeper and, in change(), on the word: either the changer
 * sees this sleeper, or the sleeper sees the change. With weaker orders both could miss. */
static void sleep_while(workers *w, atomic_uint *word, unsigned old)
{
    (void)pthread_mutex_lock(&w->lock); /* a plain mutex, held for no foreign code: cannot fail */
    atomic_fetch_add_explicit(&w->n_sleeper, 1, memory_order_seq_cst);
    while (atomic_load_explicit(word, memory_order_seq_cst) == old)
        (void)pthread_cond_wait(&w->wake, &w->lock);
    atomic_fetch_sub_explicit(&w->n_sleeper, 1, memory_order_relaxed); /* only a hint from here */
    (void)pthread_mutex_unlock(&w->lock);
}

static void put_spin(workers *w, int n_thread, uint32_t spin_us)
{
    /* relaxed: budgets, no more */
    atomic_store_explicit(&w->eager, spin_us > 0, memory_order_relaxed);
    if (n_thread > plat_n_cpu())
        spin_us = 0; /* a spinning thread would hold the core that its partner waits for */
    atomic_store_explicit(&w->spin_us, spin_us, memory_order_relaxed);
}

void workers_set_spin(workers *w, uint32_t spin_us)
{
    put_spin(w, w->n_thread, spin_us);
}

/* Returns when *word no longer is old. yield_ns: how long it yields after spinning. */
static void wait_while(workers *w, atomic_uint *word, unsigned old, uint64_t yield_ns)
{
    /* relaxed: a budget, read whenever */
    const uint64_t spin_ns = 1000ull * atomic_load_explicit(&w->spin_us, memory_order_relaxed);
    for (int i = 0; spin_ns && i < SPIN_CHECK; i++) { /* most waits end here, without the clock */
        if (!is_still(word, old))
            return;
        relax();
    }
    const uint64_t start_ns = clock_now_ns();
    uint64_t waited_ns = 0;
    while (waited_ns < spin_ns + yield_ns) {
        for (int i = 0; i < SPIN_CHECK; i++) {
            if (!is_still(word, old))
                return;
            if (waited_ns >= spin_ns)
                break;
            relax();
        }
        if (waited_ns >= spin_ns)
            (void)sched_yield(); /* never fails on the systems we run on; if it did, we spin */
        waited_ns = clock_now_ns() - start_ns;
    }
    sleep_while(w, word, old);
}

/* Moves the word on and wakes who sleeps. The orders: see sleep_while. */
static void change(workers *w, atomic_uint *word, unsigned value)
{
    atomic_store_explicit(word, value, memory_order_seq_cst);
    if (atomic_load_explicit(&w->n_sleeper, memory_order_seq_cst) == 0)
        return;
    (void)pthread_mutex_lock(&w->lock);
    (void)pthread_cond_broadcast(&w->wake);
    (void)pthread_mutex_unlock(&w->lock);
}

void workers_barrier(workers *w, int i_thread)
{
    assert(i_thread >= 0 && i_thread < w->n_active);
    (void)i_thread; /* this form of the barrier does not need it, others do */
    /* Read before arriving: the last barrier of a run may be followed by a change. */
    const unsigned n_active = (unsigned)w->n_active;
    /* relaxed: the phase cannot move before this thread has arrived */
    const unsigned phase = atomic_load_explicit(&w->phase, memory_order_relaxed);
    /* acq_rel: releases this thread's writes to the last one, which gathers those of all */
    const unsigned n = atomic_fetch_add_explicit(&w->n_arrived, 1, memory_order_acq_rel) + 1;
    if (n < n_active) {
        wait_while(w, &w->phase, phase, YIELD_NS);
        return;
    }
    /* relaxed: nobody counts again before it has seen the phase that follows */
    atomic_store_explicit(&w->n_arrived, 0, memory_order_relaxed);
    change(w, &w->phase, phase + 1);
}

/* Sleeps until there is a seat; gives the epoch of the last run that went without this thread. */
static unsigned wait_for_seat(workers *w, worker *me)
{
    (void)pthread_mutex_lock(&w->lock);
    while (me->index >= w->n_seat)
        (void)pthread_cond_wait(&w->seated, &w->lock);
    const unsigned epoch = w->seat_epoch;
    (void)pthread_mutex_unlock(&w->lock);
    me->parked = false;
    return epoch;
}

static void *worker_main(void *arg)
{
    worker *me = arg;
    workers *w = me->pool;
    unsigned epoch = 0;
    if (w->pin)
        plat_pin_thread(me->index);
    for (;;) {
        /* relaxed: a budget, as in wait_while */
        const bool eager = atomic_load_explicit(&w->eager, memory_order_relaxed);
        wait_while(w, &w->epoch, epoch, eager ? YIELD_NS : 0);
        epoch++;
        if (!w->fn)
            return NULL;
        w->fn(w->arg, me->index, w->n_active);
        workers_barrier(w, me->index);
        if (me->parked)
            epoch = wait_for_seat(w, me);
    }
}

static void begin_run(workers *w, workers_fn fn, void *arg)
{
    w->fn = fn;
    w->arg = arg;
    /* relaxed: only the caller's thread writes epoch */
    change(w, &w->epoch, atomic_load_explicit(&w->epoch, memory_order_relaxed) + 1);
}

void workers_run(workers *w, workers_fn fn, void *arg)
{
    if (w->n_active > 1)
        begin_run(w, fn, arg);
    fn(arg, 0, w->n_active);
    workers_barrier(w, 0);
}

static void put_seats(workers *w, int n)
{
    (void)pthread_mutex_lock(&w->lock);
    w->n_seat = n;
    /* relaxed: only the caller's thread writes epoch, and that is this one */
    w->seat_epoch = atomic_load_explicit(&w->epoch, memory_order_relaxed);
    (void)pthread_cond_broadcast(&w->seated);
    (void)pthread_mutex_unlock(&w->lock);
}

static void leave_seat(void *arg, int i_thread, int n_thread)
{
    workers *w = arg;
    (void)n_thread;
    workers_barrier(w, i_thread); /* who was given a seat a moment ago has taken it now */
    w->worker[i_thread].parked = i_thread >= w->n_next;
    if (i_thread == 0)
        put_seats(w, w->n_next); /* before the run ends: who leaves finds the new number */
}

static void set_seats(workers *w, int n)
{
    w->n_next = n;
    if (n < w->n_active) {
        workers_run(w, leave_seat, w);
        w->n_active = n;
    } else if (n > w->n_active) {
        w->n_active = n;
        put_seats(w, n);
    }
}

void workers_set(workers *w, int n_thread, uint32_t spin_us)
{
    set_seats(w, n_thread > 0 && n_thread < w->n_thread ? n_thread : w->n_thread);
    put_spin(w, w->n_active, spin_us);
}

int workers_n_thread(const workers *w)
{
    return w->n_active;
}

int workers_n_made(const workers *w)
{
    return w->n_thread;
}

static cama_err start_threads(workers *w, err_info *err)
{
    pthread_attr_t attr;
    sigset_t all;
    sigset_t old;
    if (pthread_attr_init(&attr) != 0)
        return err_set(err, CAMA_ERR_NOMEM, "workers: no memory for thread attributes");
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES); /* refused: the system's default serves */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &old); /* threads inherit it; fails for no valid `how` */
    int code = 0;
    for (int i = 1; i < w->n_thread && !code; i++) {
        w->worker[i] = (worker){.pool = w, .index = i};
        code = pthread_create(&w->worker[i].thread, &attr, worker_main, &w->worker[i]);
        if (!code)
            w->n_started = i;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attr);
    if (code)
        return err_set(err, CAMA_ERR_NOMEM, "workers: thread %d of %d cannot be started: %s",
                       w->n_started + 1, w->n_thread, strerror(code));
    return CAMA_OK;
}

cama_err workers_open(int n_thread, bool pin, workers **out, err_info *err)
{
    if (n_thread < 0 || n_thread > WORKERS_MAX)
        return err_set(err, CAMA_ERR_ARG, "workers: %d threads, allowed are 0 (all CPUs) to %d",
                       n_thread, WORKERS_MAX);
    if (n_thread == 0)
        n_thread = plat_n_cpu() < WORKERS_MAX ? plat_n_cpu() : WORKERS_MAX;
    void *mem = NULL;
    if (posix_memalign(&mem, CACHE_LINE, sizeof(workers)) != 0)
        return err_set(err, CAMA_ERR_NOMEM, "workers: no memory for a pool");
    workers *w = memset(mem, 0, sizeof *w);
    w->n_thread = w->n_active = w->n_seat = n_thread;
    w->pin = pin;
    workers_set_spin(w, WORKERS_SPIN_US);
    w->worker = calloc((size_t)n_thread, sizeof *w->worker);
    w->have_lock = pthread_mutex_init(&w->lock, NULL) == 0;
    w->have_wake = pthread_cond_init(&w->wake, NULL) == 0;
    w->have_seated = pthread_cond_init(&w->seated, NULL) == 0;
    cama_err e = CAMA_OK;
    if (!w->worker || !w->have_lock || !w->have_wake || !w->have_seated)
        e = err_set(err, CAMA_ERR_NOMEM, "workers: no memory for %d threads", n_thread);
    if (!e)
        e = start_threads(w, err);
    if (e) {
        workers_close(w);
        return e;
    }
    if (pin)
        plat_pin_thread(0); /* last: threads take their masks from their maker's */
    *out = w;
    return CAMA_OK;
}

void workers_close(workers *w)
{
    if (!w)
        return;
    set_seats(w, w->n_thread); /* who sleeps without a seat must hear it too */
    if (w->n_started)
        begin_run(w, NULL, NULL);
    for (int i = 1; w->worker && i <= w->n_started; i++)
        (void)pthread_join(w->worker[i].thread, NULL); /* fails only for a thread never made */
    if (w->have_seated)
        (void)pthread_cond_destroy(&w->seated);
    if (w->have_wake)
        (void)pthread_cond_destroy(&w->wake);
    if (w->have_lock)
        (void)pthread_mutex_destroy(&w->lock);
    free(w->worker);
    free(w);
}
