/* Which engine a slot asks for: the model's, until it has failed POOL_TRIES times in a row; then
 * the other one. */
#include "pool/pool_int.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define DATE_BYTES 16
#define MAX_AVOID 8 /* entries of LOAD */

static const char *const engines[] = {"native", "mlx"};
enum { N_ENGINE = sizeof engines / sizeof *engines };

/* NULL: an engine that nobody else could stand in for. */
static const char *other_engine(const char *name)
{
    if (!strcmp(name, engines[0]))
        return engines[1];
    return !strcmp(name, engines[1]) ? engines[0] : NULL;
}

bool pool_is_free_choice(const pool_model *m)
{
    return !m->engine || !*m->engine || !strcmp(m->engine, "auto");
}

bool pool_choice_has_other(const wire_frame *f)
{
    const json_value *others = json_get(f->head, "others");
    for (size_t i = 0; others && others->kind == JSON_ARRAY && i < others->n; i++) {
        const json_value *name = others->items[i];
        for (size_t k = 0; k < N_ENGINE; k++)
            if (name->kind == JSON_STRING && !strcmp(name->text, engines[k]))
                return true;
    }
    return false;
}

/* ---- after a failure ---- */

/* How an end is to be answered. */
typedef enum cause {
    NOT_THE_ENGINE,
    ENGINE_FAILED,   /* worth another try */
    ENGINE_REFUSED,  /* it will say the same again */
    ENGINE_NO_MEMORY /* the same, today */
} cause;

static cause cause_of(const pool_runner *r, bool died, const err_info *reason)
{
    if (died)
        return ENGINE_FAILED;
    if (!r->engine_refused)
        return NOT_THE_ENGINE;
    switch (reason->code) {
    case CAMA_ERR_ENGINE:
    case CAMA_ERR_INTERNAL:
        return ENGINE_FAILED;
    case CAMA_ERR_UNSUPPORTED:
        return ENGINE_REFUSED;
    case CAMA_ERR_NOMEM:
        return ENGINE_NO_MEMORY;
    case CAMA_ERR_NO_FIT: /* native needs least: nobody takes what it cannot hold */
        return pool_is_free_choice(&r->source->model) && strcmp(r->engine, "native") != 0
                   ? ENGINE_NO_MEMORY
                   : NOT_THE_ENGINE;
    default:
        return NOT_THE_ENGINE;
    }
}

static void describe(pool_choice *c, cause why, const char *other)
{
    if (why == ENGINE_FAILED)
        (void)snprintf(c->text, sizeof c->text, "%s failed on this model (%s, twice): %s runs it",
                       c->from, c->reason, other);
    else
        (void)snprintf(c->text, sizeof c->text, "%s cannot run this model (%s): %s runs it",
                       c->from, c->reason, other);
}

static void stand_in(pool_runner *r, cause why, const char *how, const err_info *first)
{
    const char *other = other_engine(r->engine);
    pool_choice *c = &r->slot->choice;
    *c = (pool_choice){.n_fail = 0};
    (void)snprintf(c->engine, sizeof c->engine, "%s", other);
    (void)snprintf(c->from, sizeof c->from, "%s", r->engine);
    (void)snprintf(c->from_build, sizeof c->from_build, "%s", r->build);
    (void)snprintf(c->reason, sizeof c->reason, "%.*s", POOL_WHY_BYTES - 1, how);
    /* A refusal of one that was never opened says nothing of the next time. */
    c->is_to_note = why == ENGINE_FAILED || (why == ENGINE_REFUSED && r->build[0]);
    c->was_loaded = r->ready_ns != 0;
    c->first = *first;
    describe(c, why, other);
    pool_log(r->pool, POOL_WARN_LEVEL, "%s: %s", r->source->model.name, c->text);
}

/* Failures in a row, this one included. */
static uint32_t count_failure(pool_choice *c, const char *engine)
{
    if (strcmp(c->failed, engine) != 0)
        c->n_fail = 0;
    (void)snprintf(c->failed, sizeof c->failed, "%s", engine);
    return ++c->n_fail;
}

/* The reason without the sentence that Ollama's clients know. */
static const char *how_of(const pool_runner *r, bool died, const err_info *reason)
{
    return died ? r->slot->last_end : reason->text;
}

pool_fate pool_choice_ended(pool_runner *r, bool died, err_info *reason)
{
    pool *p = r->pool;
    pool_choice *c = &r->slot->choice;
    const cause why = cause_of(r, died, reason);
    if (r->choice.from[0] && why == ENGINE_REFUSED) /* it was no other one: all is as without it */
        *reason = r->choice.first;
    if (!other_engine(r->engine) || why == NOT_THE_ENGINE || p->is_draining ||
        (died && !r->may_fall_back))
        return FATE_OVER;
    if (r->choice.from[0]) { /* both have failed: it may be the model */
        *c = (pool_choice){.n_fail = 0};
        return FATE_OVER;
    }
    const char *how = how_of(r, died, reason);
    if (why == ENGINE_FAILED && count_failure(c, r->engine) < POOL_TRIES) {
        pool_log(p, POOL_WARN_LEVEL, "%s: %s failed on it and is tried once more: %s",
                 r->source->model.name, r->engine, how);
        return FATE_AGAIN;
    }
    if (p->o.strict && reason->code == CAMA_ERR_NO_FIT)
        return FATE_OVER; /* has a type and figures of its own */
    if (!p->o.strict) {
        stand_in(r, why, how, reason);
        return FATE_AGAIN;
    }
    err_info strict;
    (void)err_set(&strict, CAMA_ERR_ENGINE,
                  "engine %s failed on this model and no other one may take it "
                  "(CAMA_ENGINE_STRICT): %s",
                  r->engine, how);
    *reason = strict;
    *c = (pool_choice){.n_fail = 0};
    return FATE_OVER;
}

void pool_choice_worked(pool_runner *r)
{
    r->slot->choice.n_fail = 0;
}

/* ---- what is remembered ---- */

static void build_of(const char *known, char out[POOL_BUILD_BYTES])
{
    if (*known)
        (void)snprintf(out, POOL_BUILD_BYTES, "%s", known);
    else /* it failed before it could say: this cama's, whatever library it finds */
        (void)snprintf(out, POOL_BUILD_BYTES, "unknown, cama " CAMA_VERSION);
}

void pool_choice_note(pool_runner *r, bool has_worked)
{
    pool *p = r->pool;
    pool_choice *c = &r->choice;
    if (!c->is_to_note || c->was_loaded != has_worked || !r->source->model.digest[0])
        return;
    c->is_to_note = false;
    if (r->slot)
        r->slot->choice.is_to_note = false;
    char build[POOL_BUILD_BYTES];
    build_of(c->from_build, build);
    const hist_failure f = {.engine = c->from,
                            .build = build,
                            .digest = r->source->model.digest,
                            .model = r->source->model.name,
                            .reason = c->reason,
                            .time_s = (int64_t)time(NULL)};
    err_info err;
    pool_unlock(p); /* it waits for a disk */
    const cama_err e = hist_engine_failed(p->hist, &f, &err);
    pool_lock(p);
    if (e)
        pool_log(p, POOL_WARN_LEVEL, "that %s failed on %s is not remembered: %s", c->from,
                 r->source->model.name, err.text);
}

/* ---- LOAD ---- */

static void put_text(buf *b, const char *key, const char *text)
{
    (void)buf_printf(b, "\"%s\":", key); /* the buffer keeps the first failure */
    (void)json_write_string(text, strlen(text), b);
}

/* What goes into LOAD of what is remembered. */
typedef struct avoid_list {
    buf *out;
    size_t n;
} avoid_list;

static void put_avoid(void *user, const hist_failure *f)
{
    avoid_list *l = user;
    char unknown[POOL_BUILD_BYTES];
    char date[DATE_BYTES] = "";
    char why[POOL_TELL_BYTES];
    build_of("", unknown);
    const bool is_unknown = !strncmp(f->build, "unknown,", 8);
    if ((is_unknown && strcmp(f->build, unknown) != 0) || l->n == MAX_AVOID)
        return; /* of another cama; or enough, newest first */
    const time_t at = (time_t)f->time_s;
    struct tm day;
    if (gmtime_r(&at, &day))
        (void)strftime(date, sizeof date, "%Y-%m-%d", &day);
    (void)snprintf(why, sizeof why, "%s failed on this model on %s: %.300s", f->engine, date,
                   f->reason);
    (void)buf_puts(l->out, l->n++ ? ",{" : "{"); /* the buffer keeps the first failure */
    put_text(l->out, "engine", f->engine);
    (void)buf_putc(l->out, ',');
    put_text(l->out, "build", is_unknown ? "" : f->build);
    (void)buf_putc(l->out, ',');
    put_text(l->out, "why", why);
    (void)buf_putc(l->out, '}');
}

void pool_choice_write(pool_runner *r, buf *b)
{
    const pool_model *m = &r->source->model;
    const pool_choice *c = &r->choice;
    const bool is_free = !c->engine[0] && pool_is_free_choice(m);
    (void)buf_putc(b, ','); /* the buffer keeps the first failure */
    put_text(b, "engine", c->engine[0] ? c->engine : is_free ? "" : m->engine);
    (void)buf_putc(b, ',');
    put_text(b, "device", c->engine[0] ? "" : m->device); /* the other one has what it has */
    (void)buf_putc(b, ',');
    put_text(b, "why", c->text);
    if (!is_free || !m->digest[0])
        return;
    avoid_list l = {.out = b};
    err_info err;
    (void)buf_puts(b, ",\"avoid\":[");
    if (hist_engine_each(r->pool->hist, m->digest, put_avoid, &l, &err))
        pool_log(r->pool, POOL_WARN_LEVEL, "what failed on %s before is not known: %s", m->name,
                 err.text);
    (void)buf_putc(b, ']');
}
