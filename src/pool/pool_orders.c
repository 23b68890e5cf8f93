#include "pool/pool_int.h"

#include <signal.h>
#include <stdio.h>

#include "base/clock.h"

#define MAX_ORDER_BYTES 256

void pool_send(pool_runner *r, wire_type type, pool_job_id job, const char *fmt, ...)
{
    if (!r->wire || r->state == RUNNER_GONE)
        return;
    char head[MAX_ORDER_BYTES];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(head, sizeof head, fmt, args);
    va_end(args);
    const wire_out f = {.type = type, .job = job, .head = head, .n_head = n > 0 ? (size_t)n : 0};
    err_info err;
    const cama_err e = wire_send(r->wire, &f, &err);
    /* An ended connection is seen by the reading thread; a full one is a runner that reads nothing.
     */
    if (e && e != CAMA_ERR_CANCELED)
        pool_runner_kill(r, "it could not be told %s: %s", wire_type_name(type), err.text);
}

/* "94 MB", "18.2 GB". */
static const char *in_words(uint64_t bytes, char out[16])
{
    if (bytes < 1000000000ull)
        (void)snprintf(out, 16, "%.0f MB", (double)bytes / 1e6);
    else
        (void)snprintf(out, 16, "%.1f GB", (double)bytes / 1e9);
    return out;
}

static void log_plan(const pool_runner *r)
{
    const pool_figures *f = &r->plan;
    char text[5][16];
    pool_log(r->pool, POOL_INFO,
             "loading %s: weights %s + kv %s + scratch %s = %s of %s free, n_ctx %u, engine %s",
             r->source->model.name, in_words(f->weights, text[0]), in_words(f->kv, text[1]),
             in_words(f->scratch, text[2]), in_words(f->total, text[3]),
             in_words(f->available, text[4]), f->n_ctx, r->engine);
}

/* What is left of the limit beside the others; 0 (no limit of ours): what is free. */
static uint64_t bytes_for(const pool_runner *r)
{
    const pool *p = r->pool;
    if (!p->o.max_bytes)
        return 0;
    uint64_t others = 0;
    for (const pool_runner *q = p->runners; q; q = q->next)
        if (q != r && q->holds_memory)
            others += q->plan.total;
    return p->o.max_bytes > others ? p->o.max_bytes - others : 1;
}

void pool_runner_watch(pool_runner *r)
{
    r->alive_ns = r->pong_ns = r->move_ns = r->ping_ns = clock_now_ns();
}

void pool_runner_go(pool_runner *r)
{
    log_plan(r);
    const uint64_t max_bytes = bytes_for(r);
    r->state = RUNNER_LOADING;
    r->holds_memory = true;
    r->start_ns = clock_now_ns();
    pool_runner_watch(r);
    pool_send(r, WIRE_START, 0, "{\"max_bytes\":%llu}", (unsigned long long)max_bytes);
}

void pool_runner_quit(pool_runner *r)
{
    r->state = RUNNER_LEAVING;
    r->leave_ns = clock_now_ns();
    pool_send(r, WIRE_QUIT, 0, "{}");
}

void pool_runner_kill(pool_runner *r, const char *fmt, ...)
{
    if (r->state == RUNNER_GONE)
        return;
    if (fmt && !r->why[0]) {
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(r->why, sizeof r->why, fmt, args);
        va_end(args);
    }
    r->state = RUNNER_LEAVING;
    r->leave_ns = clock_now_ns();
    if (r->pid > 0)
        (void)kill(r->pid, SIGKILL); /* fails only for a process that has ended */
    if (r->wire)
        wire_shutdown(r->wire); /* also when the process hangs in the kernel */
}

bool pool_runner_is_idle(const pool_runner *r)
{
    return r->tasks.n == 0 && r->n_starting == 0;
}

void pool_runner_rests(pool_runner *r, uint64_t now_ns)
{
    if (!pool_runner_is_idle(r))
        return;
    r->used_ns = now_ns;
    const uint64_t keep_ns = r->keep_ns < 0 ? 0 : (uint64_t)r->keep_ns;
    r->expires_ns = keep_ns < UINT64_MAX / 2 ? now_ns + keep_ns : UINT64_MAX;
}
