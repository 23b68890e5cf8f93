/* workers.h - a pool of threads that computes together and meets at barriers.
 *
 * The threads live as long as the pool. workers_run hands one function to all of them, the caller
 * being thread 0; inside it they may meet as often as they like:
 *
 *     static void two_steps(void *arg, int i_thread, int n_thread)
 *     {
 *         job *j = arg;
 *         first_half(j, i_thread, n_thread);
 *         workers_barrier(j->pool, i_thread);       all writes of the first half are seen here
 *         size_t i;
 *         while ((i = workers_next(&j->next, 4)) < j->n)
 *             second_half(j, i, i + 4);
 *     }
 *
 * Waiting, at a barrier or for the next run, goes through three stages: spin for the budget (the
 * partner is on its core and will come within microseconds), then give the core away with
 * sched_yield (the partner may need this one), then sleep. So a barrier between running threads
 * costs 0.1 to 0.3 us, and on a machine with fewer free cores than threads the pool slows down by
 * what it lacks and not by what it spins. A pool with more threads than plat_n_cpu never spins.
 * Without a budget a thread that waits for the next run sleeps at once; at a barrier it still
 * yields first, because its partners are at the same work.
 *
 * Fewer threads than there are may take part (workers_set); the others sleep meanwhile.
 */
#ifndef BASE_WORKERS_H
#define BASE_WORKERS_H

#include "base/err.h"

#include <stdatomic.h>

#define WORKERS_MAX 256
#define WORKERS_SPIN_US 50 /* the budget of a new pool: longer than most steps of a small model */

typedef struct workers workers;

typedef void (*workers_fn)(void *arg, int i_thread, int n_thread);

/* n_thread threads in all, the caller's among them; 0 means plat_n_cpu(). pin binds thread i to the
 * i-th CPU of the mask, the calling thread too, which then stays bound after workers_close.
 * Signals go to other threads of the process. CAMA_ERR_ARG outside 0..WORKERS_MAX,
 * CAMA_ERR_NOMEM when a thread cannot be had. */
cama_err workers_open(int n_thread, bool pin, workers **out, err_info *err);
void workers_close(workers *w);         /* not from inside a run; accepts NULL */
int workers_n_thread(const workers *w); /* that take part in a run */
int workers_n_made(const workers *w);   /* that exist */

/* How long a waiting thread spins before it yields; 0 never spins, for a process whose cores are
 * wanted by others. Any thread, any time. */
void workers_set_spin(workers *w, uint32_t spin_us);

/* Between runs, on the thread that calls them: n_thread of the threads take part from now on (0, or
 * more than there are: all), and a waiting one spins for spin_us. Cost: nothing when n_thread does
 * not change; a run when it falls. */
void workers_set(workers *w, int n_thread, uint32_t spin_us);

/* Calls fn(arg, i, n_thread) once on each thread, and returns when all have returned: what they
 * wrote is then visible to the caller, as is to them what the caller wrote before. One caller at a
 * time, always the same thread when pinned; never from inside fn. */
void workers_run(workers *w, workers_fn fn, void *arg);

/* Inside fn only, by every thread of the run: returns when all have arrived. */
void workers_barrier(workers *w, int i_thread);

/* The first index of the next `chunk` untaken ones; past the end means none is left. Each index is
 * given once. Reset the counter where a barrier lies before and after. */
static inline size_t workers_next(atomic_size_t *counter, size_t chunk)
{
    /* relaxed: the count itself is all that is shared; the data is ordered by the barriers */
    return atomic_fetch_add_explicit(counter, chunk, memory_order_relaxed);
}

#endif
