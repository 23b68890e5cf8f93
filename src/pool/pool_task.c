#include "pool/pool_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

void pool_task_free(pool_task *t)
{
    if (!t)
        return;
    free(t->head);
    free(t->data);
    free(t);
}

/* A copy with a NUL behind it; n = 0 gives memory too. */
static void *copy_bytes(const void *bytes, size_t n)
{
    char *copy = malloc(n + 1);
    if (!copy)
        return NULL;
    if (n)
        memcpy(copy, bytes, n);
    copy[n] = '\0';
    return copy;
}

cama_err pool_task_new(const pool *p, const pool_job *job, pool_task **out, err_info *err)
{
    if (job->n_head > WIRE_MAX_HEAD_DOWN || job->n_data > WIRE_MAX_DATA_DOWN)
        return err_set(err, CAMA_ERR_LIMIT,
                       "a job of %zu bytes with %zu bytes of data, allowed are %u and %u",
                       job->n_head, job->n_data, WIRE_MAX_HEAD_DOWN, WIRE_MAX_DATA_DOWN);
    pool_task *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(err, CAMA_ERR_NOMEM, "pool: no memory for a job");
    t->sink = job->sink;
    t->n_ctx = job->n_ctx ? job->n_ctx : p->o.n_ctx;
    t->keep_ns = job->keep_alive_ns == POOL_KEEP_DEFAULT ? p->o.keep_alive_ns : job->keep_alive_ns;
    if (t->keep_ns < 0)
        t->keep_ns = POOL_KEEP_FOREVER;
    t->submit_ns = clock_now_ns();
    t->may_send = WIRE_CREDIT_BYTES;
    t->only_load = !job->head;
    t->collects = job->collects;
    if (!t->only_load) {
        t->n_head = job->n_head;
        t->n_data = job->n_data;
        t->head = copy_bytes(job->head, job->n_head);
        t->data = copy_bytes(job->data, job->n_data);
        if (!t->head || !t->data) {
            pool_task_free(t);
            return err_set(err, CAMA_ERR_NOMEM, "pool: no memory for a job of %zu bytes",
                           job->n_head + job->n_data);
        }
    }
    *out = t;
    return CAMA_OK;
}

void pool_tasks_add(pool_tasks *l, pool_task *t)
{
    t->next = NULL;
    t->prev = l->last;
    if (l->last)
        l->last->next = t;
    else
        l->first = t;
    l->last = t;
    l->n++;
}

void pool_tasks_remove(pool_tasks *l, pool_task *t)
{
    if (t->prev)
        t->prev->next = t->next;
    else
        l->first = t->next;
    if (t->next)
        t->next->prev = t->prev;
    else
        l->last = t->prev;
    t->next = t->prev = NULL;
    l->n--;
}

void pool_task_register(pool *p, pool_task *t)
{
    t->id = ++p->last_id;
    pool_task **bucket = &p->hash[t->id & (POOL_HASH - 1)];
    t->hash_next = *bucket;
    *bucket = t;
    p->n_task++;
    t->is_counted = true;
    p->queue_bytes += t->n_head + t->n_data;
}

void pool_task_release(pool *p, pool_task *t)
{
    if (t->is_counted)
        p->queue_bytes -= t->n_head + t->n_data;
    t->is_counted = false;
    free(t->head);
    free(t->data);
    t->head = NULL;
    t->data = NULL;
}

pool_task *pool_task_find(pool *p, pool_job_id id)
{
    pool_task *t = p->hash[id & (POOL_HASH - 1)];
    while (t && t->id != id)
        t = t->hash_next;
    return t;
}

void pool_task_unregister(pool *p, pool_task *t)
{
    pool_task **at = &p->hash[t->id & (POOL_HASH - 1)];
    while (*at != t)
        at = &(*at)->hash_next;
    *at = t->hash_next;
    if (t->is_counted)
        p->queue_bytes -= t->n_head + t->n_data;
    t->is_counted = false;
}

void pool_task_told(pool *p, pool_task *t)
{
    pool_task_free(t);
    pool_lock(p);
    p->n_task--;
    if (p->is_draining)
        (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->lock); /* nothing changed that has consequences */
}

void pool_task_end(pool *p, pool_task *t, const err_info *err)
{
    pool_task_unregister(p, t);
    t->state = TASK_ENDED;
    t->slot = NULL;
    if (err)
        t->err = *err;
    pool_tasks_add(&p->ended, t);
}

void pool_tasks_fail(pool *p, pool_tasks *l, const err_info *err)
{
    while (l->first) {
        pool_task *t = l->first;
        pool_tasks_remove(l, t);
        pool_task_end(p, t, err);
    }
}

/* In front of those that are younger. */
static void wait_again(pool_slot *s, pool_task *t)
{
    pool_task *at = s->waiting.first;
    while (at && at->id < t->id)
        at = at->next;
    t->state = TASK_WAITING;
    t->runner = NULL;
    t->is_sent = t->has_begun = false;
    t->credit = 0;
    t->may_send = WIRE_CREDIT_BYTES;
    if (!at) {
        pool_tasks_add(&s->waiting, t);
        return;
    }
    t->next = at;
    t->prev = at->prev;
    if (at->prev)
        at->prev->next = t;
    else
        s->waiting.first = t;
    at->prev = t;
    s->waiting.n++;
}

void pool_tasks_again(pool *p, pool_runner *r, const err_info *err)
{
    while (r->tasks.first) {
        pool_task *t = r->tasks.first;
        pool_tasks_remove(&r->tasks, t);
        if (t->head && !t->has_told && !t->cancel_ns)
            wait_again(r->slot, t);
        else
            pool_task_end(p, t, err);
    }
}

void pool_task_claim(pool *p, pool_task *t, pool_runner *r)
{
    pool_tasks_remove(&t->slot->waiting, t);
    t->state = TASK_STARTING;
    t->runner = r;
    r->n_starting++;
    r->n_user++;
    r->keep_ns = t->keep_ns;
    const uint64_t now_ns = clock_now_ns();
    r->used_ns = now_ns;
    /* What it waited for loading is the part of the load that it saw; the line for room is no
     * part of it. */
    const uint64_t line_ns = r->start_ns - r->plan_ns;
    const uint64_t load_ns = r->ready_ns - r->spawn_ns - line_ns;
    const uint64_t seen_ns = r->ready_ns > t->submit_ns ? r->ready_ns - t->submit_ns : 0;
    t->load_ns = load_ns < seen_ns ? load_ns : seen_ns;
    t->queue_ns = now_ns - t->submit_ns - t->load_ns;
    pool_tasks_add(&p->starting, t);
}

size_t pool_slot_pending(const pool *p, const pool_slot *s)
{
    size_t n = s->waiting.n;
    size_t n_begun = 0;
    if (s->runner) {
        n += s->runner->n_starting + s->runner->tasks.n;
        for (const pool_task *t = s->runner->tasks.first; t; t = t->next)
            n_begun += t->has_begun;
    }
    const size_t n_at_once = n_begun > p->o.n_parallel ? n_begun : p->o.n_parallel;
    return n > n_at_once ? n - n_at_once : 0;
}
