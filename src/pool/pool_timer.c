#include "pool/pool_int.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"

#define MAX_SLEEP_MS 3600000

static uint64_t ping_every_ns(const pool *p)
{
    return p->o.hang_timeout_ns / 4;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t after(uint64_t start_ns, uint64_t wait_ns)
{
    return wait_ns < UINT64_MAX - start_ns ? start_ns + wait_ns : UINT64_MAX;
}

static uint64_t hello_timeout_ns(const pool *p)
{
    return earlier(POOL_HELLO_NS, p->o.load_timeout_ns);
}

/* When r must be looked at, as far as its state says. */
static uint64_t runner_next_ns(const pool *p, const pool_runner *r)
{
    switch (r->state) {
    case RUNNER_SPAWNING:
        return after(r->spawn_ns, hello_timeout_ns(p));
    case RUNNER_PLANNING:
    case RUNNER_LOADING:
        return earlier(after(r->alive_ns, p->o.load_timeout_ns),
                       after(r->ping_ns, ping_every_ns(p)));
    case RUNNER_READY:
        if (r->tasks.n)
            return after(r->ping_ns, ping_every_ns(p));
        return pool_runner_is_idle(r) ? r->expires_ns : UINT64_MAX;
    case RUNNER_LEAVING:
        return r->pid > 0 ? after(r->leave_ns, POOL_QUIT_NS) : UINT64_MAX;
    default:
        return UINT64_MAX;
    }
}

uint64_t pool_next_ns(const pool *p, uint64_t now_ns)
{
    if (p->stop_timer || p->dead)
        return now_ns;
    uint64_t next_ns = p->is_draining && !p->is_closing ? p->drain_until_ns : UINT64_MAX;
    for (const pool_runner *r = p->runners; r; r = r->next)
        next_ns = earlier(next_ns, runner_next_ns(p, r));
    if (p->about.pid > 0 && !p->about.is_late)
        next_ns = earlier(next_ns, p->about.until_ns);
    return next_ns;
}

void pool_wake_timer(pool *p)
{
    p->timer_ns = 0; /* once is enough until it has been awake */
    ssize_t n;
    do
        n = write(p->wake_fd[1], "", 1);
    while (n < 0 && errno == EINTR);
    /* EAGAIN: the pipe is full of such bytes already */
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* A runner's reading thread answers whatever the others do: one that does not stands still. */
static void check_answers(pool *p, pool_runner *r, uint64_t now_ns)
{
    const uint64_t hang_ns = p->o.hang_timeout_ns;
    if (now_ns - r->pong_ns > hang_ns) {
        pool_runner_kill(r, "it did not answer for %.1f s and was killed", seconds(hang_ns));
    } else if (now_ns - r->ping_ns >= ping_every_ns(p)) {
        r->ping_ns = now_ns;
        pool_send(r, WIRE_PING, 0, "{\"n\":%llu}", (unsigned long long)++r->n_ping);
    }
}

static void check_load(pool *p, pool_runner *r, uint64_t now_ns)
{
    const uint64_t timeout_ns = p->o.load_timeout_ns;
    if (now_ns - r->alive_ns >= timeout_ns)
        pool_runner_kill(r, "loading made no progress for %.1f s", seconds(timeout_ns));
    else
        check_answers(p, r, now_ns);
}

static void check_work(pool *p, pool_runner *r, uint64_t now_ns)
{
    const uint64_t hang_ns = p->o.hang_timeout_ns;
    const bool answers = r->pong_ns >= r->ping_ns;
    if (answers && now_ns - r->move_ns > hang_ns) {
        pool_runner_kill(r, "its engine made no step for %.1f s and it was killed",
                         seconds(hang_ns));
        return;
    }
    for (const pool_task *t = r->tasks.first; t; t = t->next) {
        if (t->cancel_ns && now_ns - t->cancel_ns > hang_ns) {
            pool_runner_kill(r, "it did not end a canceled job within %.1f s and was killed",
                             seconds(hang_ns));
            return;
        }
    }
    check_answers(p, r, now_ns);
}

static void check_runner(pool *p, pool_runner *r, uint64_t now_ns)
{
    const bool is_due = runner_next_ns(p, r) <= now_ns;
    if (!is_due)
        return;
    switch (r->state) {
    case RUNNER_SPAWNING:
        pool_runner_kill(r, "it said nothing for %.1f s after its start",
                         seconds(hello_timeout_ns(p)));
        break;
    case RUNNER_PLANNING:
    case RUNNER_LOADING:
        check_load(p, r, now_ns);
        break;
    case RUNNER_LEAVING:
        pool_runner_kill(r, NULL);
        break;
    default:
        if (r->tasks.n)
            check_work(p, r, now_ns);
        break; /* a keep-alive that is over: pool_step sees it */
    }
}

/* After this process itself stood still (stopped, swapped out, starved), nobody else is to blame
 * for the time that passed. */
static void forgive(pool *p, uint64_t now_ns)
{
    for (pool_runner *r = p->runners; r; r = r->next) {
        r->alive_ns = r->pong_ns = r->move_ns = now_ns;
        if (r->state == RUNNER_SPAWNING)
            r->spawn_ns = now_ns;
        for (pool_task *t = r->tasks.first; t; t = t->next)
            if (t->cancel_ns)
                t->cancel_ns = now_ns;
    }
}

static void join_dead(pool *p)
{
    while (p->dead) {
        pool_runner *r = p->dead;
        p->dead = r->next;
        pool_unlock(p);
        (void)pthread_join(r->thread, NULL); /* it is on its last lines */
        pool_lock(p);
        pool_runner_free(r);
    }
}

static void wait_until(pool *p, uint64_t next_ns, uint64_t now_ns)
{
    int ms = MAX_SLEEP_MS;
    if (next_ns <= now_ns)
        ms = 0;
    else if (next_ns - now_ns < MAX_SLEEP_MS * 1000000ull)
        ms = (int)((next_ns - now_ns) / 1000000 + 1);
    struct pollfd fd = {.fd = p->wake_fd[0], .events = POLLIN};
    if (poll(&fd, 1, ms) <= 0)
        return; /* time is over, or a signal: the caller looks again */
    char bytes[64];
    while (read(p->wake_fd[0], bytes, sizeof bytes) == (ssize_t)sizeof bytes)
        ;
}

void *pool_timer_main(void *arg)
{
    pool *p = arg;
    pool_lock(p);
    while (!p->stop_timer) {
        uint64_t now_ns = clock_now_ns();
        for (pool_runner *r = p->runners; r; r = r->next)
            check_runner(p, r, now_ns);
        if (p->about.pid > 0 && now_ns >= p->about.until_ns)
            pool_about_kill(p);
        join_dead(p);
        pool_step(p);
        const uint64_t next_ns = pool_next_ns(p, now_ns);
        p->timer_ns = next_ns;
        pool_unlock(p);
        wait_until(p, next_ns, now_ns);
        pool_lock(p);
        now_ns = clock_now_ns();
        if (next_ns < UINT64_MAX && now_ns > after(next_ns, ping_every_ns(p)))
            forgive(p, now_ns);
    }
    pool_unlock(p);
    return NULL;
}
