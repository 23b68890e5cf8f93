#include "pool/pool_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* INT64_MAX: for ever. The timer of one that works or loads has not started. */
static int64_t remaining_ns(const pool_runner *r, uint64_t now_ns)
{
    if (r->state == RUNNER_LEAVING || r->is_closed)
        return 0;
    if (r->state == RUNNER_READY && pool_runner_is_idle(r)) {
        if (r->expires_ns == UINT64_MAX)
            return POOL_KEEP_FOREVER;
        return r->expires_ns > now_ns ? (int64_t)(r->expires_ns - now_ns) : 0;
    }
    if (r->state == RUNNER_READY)
        return r->keep_ns;
    const pool_task *first = r->slot->waiting.first;
    return first ? first->keep_ns : 0;
}

static const char *state_name(const pool_runner *r)
{
    if (r->state == RUNNER_LEAVING || r->is_closed)
        return "leaving";
    return r->state == RUNNER_READY ? "ready" : "loading";
}

static void put_string(buf *b, const char *key, const char *text)
{
    (void)buf_printf(b, "\"%s\":", key); /* the buffer keeps the first failure */
    (void)json_write_string(text, strlen(text), b);
    (void)buf_putc(b, ',');
}

/* A field of READY, or what is known before. */
static void put_ready(buf *b, const pool_runner *r, const char *key, const char *field,
                      const char *fallback)
{
    const json_value *v = r->ready_ns ? json_get(r->ready, field) : NULL;
    put_string(b, key, v && v->kind == JSON_STRING ? v->text : fallback);
}

/* A field of READY as it is, where it is of that kind. */
static void put_json(buf *b, const pool_runner *r, const char *key, json_kind kind,
                     const char *fallback)
{
    const json_value *v = r->ready_ns ? json_get(r->ready, key) : NULL;
    (void)buf_printf(b, "\"%s\":", key); /* the buffer keeps the first failure */
    if (v && v->kind == kind)
        (void)json_write(v, b);
    else
        (void)buf_puts(b, fallback);
    (void)buf_putc(b, ',');
}

static void put_runner(buf *b, const pool_runner *r, uint64_t now_ns)
{
    const pool_model *m = &r->source->model;
    const pool_figures *f = &r->plan;
    const int64_t left_ns = remaining_ns(r, now_ns);
    (void)buf_putc(b, '{');
    put_string(b, "name", m->name);
    put_string(b, "digest", m->digest);
    put_string(b, "key", m->key);
    (void)buf_printf(b, "\"details\":%s,", m->details);
    put_ready(b, r, "engine", "engine", r->engine);
    put_ready(b, r, "engine_version", "engine_version", "");
    put_ready(b, r, "why", "why", r->why_engine);
    put_ready(b, r, "note", "note", "");
    put_string(b, "fallback", r->choice.from[0] ? r->choice.text : "");
    put_json(b, r, "is_gpu", JSON_BOOL, "false");
    put_json(b, r, "exact", JSON_BOOL, "false");
    put_json(b, r, "forms", JSON_ARRAY, "[]");
    put_ready(b, r, "device", "device", "");
    put_ready(b, r, "activations", "activations", r->pool->o.activations);
    put_ready(b, r, "kv_type", "kv_type", r->pool->o.kv_type);
    put_ready(b, r, "weights", "weights_in", "");
    put_ready(b, r, "sandbox", "sandbox", "none");
    put_string(b, "state", state_name(r));
    (void)buf_printf(b,
                     "\"pid\":%ld,\"n_ctx\":%u,\"size\":%llu,\"bytes\":{\"weights\":%llu,"
                     "\"kv\":%llu,\"scratch\":%llu,\"available\":%llu},",
                     (long)r->pid, r->n_ctx, (unsigned long long)f->total,
                     (unsigned long long)f->weights, (unsigned long long)f->kv,
                     (unsigned long long)f->scratch, (unsigned long long)f->available);
    (void)buf_printf(b, "\"running\":%zu,\"waiting\":%zu,\"remaining_ns\":%lld,\"restarts\":%u}",
                     r->tasks.n + r->n_starting, r->slot->waiting.n,
                     left_ns == POOL_KEEP_FOREVER ? -1ll : (long long)left_ns, r->slot->n_restart);
}

/* A runner and its place in the list. */
typedef struct entry {
    const pool_runner *runner;
    int64_t remaining_ns;
} entry;

static int by_remaining(const void *a, const void *b)
{
    const entry *x = a;
    const entry *y = b;
    return (x->remaining_ns < y->remaining_ns) - (x->remaining_ns > y->remaining_ns);
}

static cama_err list(const pool *p, buf *out, err_info *err)
{
    const uint64_t now_ns = clock_now_ns();
    size_t n = 0;
    for (const pool_runner *r = p->runners; r; r = r->next)
        n++;
    entry *entries = malloc((n + 1) * sizeof *entries);
    if (!entries)
        return err_set(err, CAMA_ERR_NOMEM, "pool: no memory to list %zu runners", n);
    n = 0;
    for (const pool_runner *r = p->runners; r; r = r->next)
        entries[n++] = (entry){r, remaining_ns(r, now_ns)};
    qsort(entries, n, sizeof *entries, by_remaining);
    (void)buf_putc(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            (void)buf_putc(out, ',');
        put_runner(out, entries[i].runner, now_ns);
    }
    (void)buf_putc(out, ']');
    free(entries);
    return buf_error(out, "list of runners", err);
}

cama_err pool_list(pool *p, buf *out, err_info *err)
{
    pool_lock(p);
    const cama_err e = list(p, out, err);
    pool_unlock(p);
    return e;
}
