#include "pool/pool_int.h"

#include <string.h>

#include "base/clock.h"
#include "base/plat.h"

/* ---- memory ---- */

/* Memory of r that "available" lacks already, as measured at that time. Caches and scratch are
 * touched when they are used, and a mapped file counts as free: those are taken as still to come,
 * which errs on the side that does not kill. */
static uint64_t resident_at(const pool_runner *r, uint64_t time_ns)
{
    const bool was_there = r->ready_ns && r->ready_ns < time_ns;
    return was_there && r->weights_in_memory ? r->plan.weights : 0;
}

void pool_room_freed(pool *p, const pool_runner *r)
{
    p->n_gone++;
    for (pool_runner *q = p->runners; q; q = q->next)
        if (q->state == RUNNER_PLANNED)
            q->plan.available += resident_at(r, q->plan_ns);
}

bool pool_has_other_holder(const pool *p, const pool_runner *r)
{
    for (const pool_runner *q = p->runners; q; q = q->next)
        if (q != r && q->holds_memory)
            return true;
    return false;
}

/* Whether w has room beside all others as they are. */
static bool fits(const pool *p, const pool_runner *w)
{
    uint32_t n = 0;
    uint64_t taken = 0;
    for (const pool_runner *r = p->runners; r; r = r->next) {
        if (!r->holds_memory)
            continue;
        n++;
        const uint64_t there = p->o.max_bytes ? 0 : resident_at(r, w->plan_ns);
        taken += r->plan.total - (there < r->plan.total ? there : r->plan.total);
    }
    const uint64_t limit = p->o.max_bytes ? p->o.max_bytes : w->plan.available;
    return n < p->o.max_loaded && (n == 0 || (taken <= limit && w->plan.total <= limit - taken));
}

/* The one that was used longest ago among those that are ready, open, and idle or not. */
static pool_runner *least_recent(const pool *p, bool idle, const pool_runner *but)
{
    pool_runner *found = NULL;
    for (pool_runner *r = p->runners; r; r = r->next)
        if (r != but && r->state == RUNNER_READY && !r->is_closed &&
            pool_runner_is_idle(r) == idle && (!found || r->used_ns < found->used_ns))
            found = r;
    return found;
}

static bool any_in_state(const pool *p, pool_runner_state state, bool closed)
{
    for (const pool_runner *r = p->runners; r; r = r->next)
        if (r->state == state && r->holds_memory && r->is_closed == closed)
            return true;
    return false;
}

/* Sees to it that some memory comes back. False: there is nobody who could give any. */
static bool free_some(pool *p, const char *for_whom)
{
    if (any_in_state(p, RUNNER_LEAVING, false) || any_in_state(p, RUNNER_LEAVING, true))
        return true;
    pool_runner *r = least_recent(p, true, NULL);
    if (r) {
        pool_log(p, POOL_INFO, "%s leaves: %s needs its room", r->source->model.name, for_whom);
        pool_runner_quit(r);
        return true;
    }
    if (any_in_state(p, RUNNER_READY, true) || any_in_state(p, RUNNER_LOADING, false))
        return true;
    r = least_recent(p, false, NULL);
    if (!r)
        return false;
    pool_log(p, POOL_INFO, "%s leaves after its jobs: %s needs its room", r->source->model.name,
             for_whom);
    r->is_closed = true;
    return true;
}

/* ---- growing ---- */

/* What the larger context of t takes beyond the plan of r. */
static uint64_t growth(const pool_runner *r, const pool_task *t)
{
    if (r->n_ctx == 0 || t->n_ctx <= r->n_ctx)
        return 0;
    const double more = (double)r->plan.kv * (t->n_ctx - r->n_ctx) / r->n_ctx;
    return more < 1e18 ? (uint64_t)more : (uint64_t)1e18;
}

/* Memory that nobody has or is about to take. */
static uint64_t unclaimed(const pool *p, uint64_t now_ns)
{
    uint64_t limit = p->o.max_bytes;
    if (!limit)
        limit = plat_memory_available();
    if (!limit)
        return UINT64_MAX; /* the system does not say */
    uint64_t taken = 0;
    for (const pool_runner *r = p->runners; r; r = r->next)
        if (r->holds_memory)
            taken += r->plan.total - (p->o.max_bytes ? 0 : resident_at(r, now_ns));
    return taken < limit ? limit - taken : 0;
}

/* Whether t may go to its ready runner, which may have to grow for it: others that are idle leave
 * first where memory is short. When there are none the runner itself grows or refuses. */
static bool may_start(pool *p, pool_runner *r, const pool_task *t, uint64_t now_ns)
{
    const uint64_t more = growth(r, t);
    if (more == 0 || more <= unclaimed(p, now_ns))
        return true;
    if (any_in_state(p, RUNNER_LEAVING, false) || any_in_state(p, RUNNER_LEAVING, true))
        return false;
    pool_runner *idle = least_recent(p, true, r);
    if (!idle)
        return true;
    pool_log(p, POOL_INFO, "%s leaves: %s grows to %u tokens", idle->source->model.name,
             r->source->model.name, t->n_ctx);
    pool_runner_quit(idle);
    return false;
}

/* ---- the line for room ---- */

static pool_runner *first_planned(const pool *p)
{
    pool_runner *found = NULL;
    for (pool_runner *r = p->runners; r; r = r->next)
        if (r->state == RUNNER_PLANNED && (!found || r->planned_turn < found->planned_turn))
            found = r;
    return found;
}

static void log_wait(const pool *p, pool_runner *w)
{
    uint32_t n = 0;
    uint64_t taken = 0;
    if (w->wait_is_told)
        return;
    for (const pool_runner *r = p->runners; r; r = r->next) {
        n += r->holds_memory;
        taken += r->holds_memory ? r->plan.total : 0;
    }
    w->wait_is_told = true;
    pool_log(w->pool, POOL_DEBUG,
             "%s waits for room: it needs %.1f MB, %u others of at most %u hold %.1f MB of %.1f",
             w->source->model.name, (double)w->plan.total / 1e6, n, p->o.max_loaded,
             (double)taken / 1e6,
             (double)(p->o.max_bytes ? p->o.max_bytes : w->plan.available) / 1e6);
}

/* In the order of their plans: a small one must not keep a large one waiting for ever. */
static void make_room(pool *p)
{
    pool_runner *w;
    while ((w = first_planned(p))) {
        if (!fits(p, w) && free_some(p, w->source->model.name)) {
            log_wait(p, w);
            return;
        }
        pool_runner_go(w); /* alone it may refuse: it knows the figures */
    }
}

/* ---- slots ---- */

static void step_runner(pool *p, pool_slot *s, uint64_t now_ns)
{
    pool_runner *r = s->runner;
    if (r->state < RUNNER_READY && (s->waiting.n == 0 || p->is_draining)) {
        pool_runner_kill(r, NULL);
        return;
    }
    if (r->state != RUNNER_READY)
        return;
    while (!r->is_closed && s->waiting.first && may_start(p, r, s->waiting.first, now_ns))
        pool_task_claim(p, s->waiting.first, r);
    r->is_closed = r->is_closed || r->unload_asked || p->is_draining;
    if (pool_runner_is_idle(r)) {
        if (!r->is_closed && (s->waiting.n || now_ns < r->expires_ns))
            return;
        pool_log(p, POOL_INFO, "%s leaves: %s", r->source->model.name,
                 r->is_closed ? "it was told to" : "its keep-alive is over");
        pool_runner_quit(r);
    } else if (p->is_closing) {
        pool_runner_kill(r, NULL);
    }
}

/* Jobs that cannot wait: the pool ends, or the key backs off. */
static void fail_hopeless(pool *p, pool_slot *s, uint64_t now_ns)
{
    err_info err;
    if (p->is_draining)
        (void)err_set(&err, CAMA_ERR_CANCELED, "the server is shutting down");
    else if (s->runner || !pool_slot_backs_off(s, now_ns, &err))
        return;
    pool_tasks_fail(p, &s->waiting, &err);
}

/* The slot whose first job waits longest among those that need a runner. */
static pool_slot *next_to_start(const pool *p)
{
    pool_slot *found = NULL;
    for (pool_slot *s = p->slots; s; s = s->next)
        if (!s->runner && s->waiting.first && !s->wants_room &&
            (!found || s->waiting.first->id < found->waiting.first->id))
            found = s;
    return found;
}

static size_t n_planning(const pool *p)
{
    size_t n = 0;
    for (const pool_runner *r = p->runners; r; r = r->next)
        n += r->state < RUNNER_LOADING;
    return n;
}

static void start_runners(pool *p)
{
    pool_slot *s;
    while (n_planning(p) < POOL_MAX_PLANNING && (s = next_to_start(p))) {
        err_info err;
        if (pool_runner_start(p, s, &err))
            pool_tasks_fail(p, &s->waiting, &err);
    }
}

/* A slot whose runner found too little memory tries again when one of the others is gone. */
static void step_refused(pool *p, pool_slot *s)
{
    if (s->waiting.n == 0 || p->n_gone != s->refused_gone || !free_some(p, s->source->model.name))
        s->wants_room = false;
}

/* ---- budgets ---- */

static bool is_busy(const pool_runner *r)
{
    return r->state == RUNNER_LOADING || (r->state == RUNNER_READY && !pool_runner_is_idle(r));
}

/* Two pools of threads that spin on the same cores cost each other far more than half. */
static void set_budgets(pool *p)
{
    uint32_t n_busy = 0;
    for (const pool_runner *r = p->runners; r; r = r->next)
        n_busy += is_busy(r);
    if (n_busy == 0)
        return;
    const uint32_t threads = p->o.n_thread > n_busy ? p->o.n_thread / n_busy : 1;
    const uint32_t spin_us = n_busy > 1 ? 0 : POOL_SPIN_US;
    for (pool_runner *r = p->runners; r; r = r->next) {
        if (!is_busy(r) || (r->budget_threads == threads && r->budget_us == spin_us))
            continue;
        r->budget_threads = threads;
        r->budget_us = spin_us;
        pool_send(r, WIRE_BUDGET, 0, "{\"threads\":%u,\"spin_us\":%u}", threads, spin_us);
    }
}

void pool_step(pool *p)
{
    const uint64_t now_ns = clock_now_ns();
    if (p->is_draining && now_ns >= p->drain_until_ns)
        p->is_closing = true;
    for (pool_slot *s = p->slots; s; s = s->next) {
        fail_hopeless(p, s, now_ns);
        if (s->wants_room)
            step_refused(p, s);
        if (s->runner)
            step_runner(p, s, now_ns);
    }
    start_runners(p);
    make_room(p);
    set_budgets(p);
    pool_slot_prune(p, now_ns);
    if (pool_next_ns(p, now_ns) < p->timer_ns)
        pool_wake_timer(p);
}
