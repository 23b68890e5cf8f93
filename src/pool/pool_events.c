#include "pool/pool_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"

static const json_value no_fields = {.kind = JSON_OBJECT};

static json_value load_word = {.kind = JSON_STRING, .text = "load", .n = 4};
static json_member load_reason = {.key = "reason", .n_key = 6, .value = &load_word};
/* DONE of a job that only loads. */
static const json_value only_loaded = {.kind = JSON_OBJECT, .n = 1, .members = &load_reason};

static void tell(const pool_task *t, const pool_event *e)
{
    if (t->sink.event)
        t->sink.event(t->sink.user, e);
}

static void tell_loaded(const pool_task *t)
{
    const pool_event e = {.type = POOL_LOADED,
                          .head = t->runner->ready,
                          .load_ns = t->load_ns,
                          .queue_ns = t->queue_ns};
    tell(t, &e);
}

#define MAX_FIELD 5 /* of a warning that is made here */

static void warn(const pool_task *t, const char *const (*fields)[2], size_t n)
{
    json_value values[MAX_FIELD] = {0};
    json_member members[MAX_FIELD] = {0};
    for (size_t i = 0; i < n; i++) {
        const char *text = fields[i][1];
        values[i] = (json_value){.kind = JSON_STRING, .text = text, .n = strlen(text)};
        members[i] =
            (json_member){.key = fields[i][0], .n_key = strlen(fields[i][0]), .value = &values[i]};
    }
    const json_value head = {.kind = JSON_OBJECT, .n = n, .members = members};
    const pool_event e = {.type = POOL_WARNING, .head = &head};
    tell(t, &e);
}

/* For every job of a runner that stands in for another engine, or whose engine does otherwise than
 * it would. */
static void tell_engine(const pool_task *t)
{
    const pool_choice *c = &t->runner->choice;
    const json_value *note = json_get(t->runner->ready, "note");
    if (c->from[0]) {
        const char *const fields[MAX_FIELD][2] = {{"code", "engine_fallback"},
                                                  {"text", c->text},
                                                  {"from", c->from},
                                                  {"to", c->engine},
                                                  {"reason", c->reason}};
        warn(t, fields, MAX_FIELD);
    }
    const bool is_told = t->n_run && !c->from[0]; /* by the try before on the same engine */
    if (note && note->kind == JSON_STRING && note->n && !is_told) {
        const char *const fields[][2] = {{"code", "engine_adapted"}, {"text", note->text}};
        warn(t, fields, sizeof fields / sizeof *fields);
    }
}

void pool_tell_end(const pool_task *t)
{
    const bool failed = t->err.code != CAMA_OK;
    const pool_event e = {.type = failed ? POOL_FAIL : POOL_DONE,
                          .head = failed ? &no_fields : &only_loaded,
                          .err = failed ? &t->err : NULL};
    tell(t, &e);
}

/* ---- a job begins ---- */

/* What was sent of a job, and is its sender's meanwhile. */
typedef struct parcel {
    pool_job_id id;
    char *head;
    void *data;
} parcel;

/* The job that was just sent, or could not be; it may have ended meanwhile. It keeps what it would
 * need to run again, until a part of its answer is told. */
static void after_send(pool *p, const parcel *sent, const err_info *err)
{
    const pool_job_id id = sent->id;
    pool_task *t = pool_task_find(p, id);
    if (!t) {
        free(sent->head);
        free(sent->data);
        return;
    }
    t->head = sent->head;
    t->data = sent->data;
    if (!t->runner->may_fall_back || t->has_told)
        pool_task_release(p, t);
    if (err->code == CAMA_ERR_LIMIT || err->code == CAMA_ERR_NOMEM) {
        err_info busy = *err;
        if (err->code == CAMA_ERR_LIMIT) /* the runner reads nothing and its queue is full */
            (void)err_set(&busy, CAMA_ERR_BUSY, "%s", POOL_BUSY_TEXT);
        pool_tasks_remove(&t->runner->tasks, t);
        pool_runner_rests(t->runner, clock_now_ns());
        pool_task_end(p, t, &busy);
        return;
    }
    t->is_sent = true;
    if (t->cancel_ns)
        pool_send(t->runner, WIRE_CANCEL, id, "{}");
}

/* Under the lock, which is given up for the sending: the copy may be large. A runner that died
 * meanwhile is no special case: the job is among its jobs and ends with them. */
static void send_job(pool *p, pool_task *t)
{
    pool_runner *r = t->runner;
    if (r->tasks.n == 0)
        pool_runner_watch(r);
    t->state = TASK_RUNNING;
    t->n_run++;
    pool_tasks_add(&r->tasks, t);
    pool_log(p, POOL_DEBUG, "job %llu of %s begins after %.3f s, %.3f s of it loading",
             (unsigned long long)t->id, r->source->model.name,
             (double)(t->load_ns + t->queue_ns) / 1e9, (double)t->load_ns / 1e9);
    const parcel sent = {.id = t->id, .head = t->head, .data = t->data};
    const wire_out f = {.type = WIRE_JOB,
                        .job = t->id,
                        .head = t->head,
                        .n_head = t->n_head,
                        .data = t->data,
                        .n_data = t->n_data};
    t->head = NULL; /* the reading thread may end the job while it is sent */
    t->data = NULL;
    (void)pthread_mutex_unlock(&p->lock);
    err_info err = {0};
    (void)wire_send(r->wire, &f, &err); /* after_send looks at err */
    pool_lock(p);
    after_send(p, &sent, &err);
}

void pool_start_task(pool *p, pool_task *t)
{
    pool_runner *r = t->runner;
    tell_loaded(t);
    tell_engine(t);
    pool_lock(p);
    r->n_starting--;
    if (t->cancel_ns) {
        err_info err;
        (void)err_set(&err, CAMA_ERR_CANCELED, "the job was canceled before it began");
        pool_task_end(p, t, &err);
    } else if (t->only_load) {
        pool_task_end(p, t, NULL);
    } else {
        send_job(p, t);
    }
    r->n_user--;
    pool_runner_rests(r, clock_now_ns());
    pool_step(p);
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->lock);
}

/* ---- its frames ---- */

static bool is_well_formed(const wire_frame *f, err_info *err)
{
    if ((f->type == WIRE_TEXT || f->type == WIRE_THINK) && !utf8_valid(f->data, f->n_data)) {
        (void)err_set(err, CAMA_ERR_FORMAT, "a frame %s whose %zu bytes are no UTF-8",
                      wire_type_name(f->type), f->n_data);
        return false;
    }
    if ((f->type == WIRE_TOKENS || f->type == WIRE_VECTOR) && f->n_data % 4) {
        (void)err_set(err, CAMA_ERR_FORMAT, "a frame %s of %zu bytes, which are no whole numbers",
                      wire_type_name(f->type), f->n_data);
        return false;
    }
    return true;
}

static pool_event_type event_of(wire_type t)
{
    switch (t) {
    case WIRE_TEXT:
        return POOL_TEXT;
    case WIRE_THINK:
        return POOL_THINK;
    case WIRE_CALLS:
        return POOL_CALLS;
    case WIRE_TOKENS:
        return POOL_TOKENS;
    case WIRE_VECTOR:
        return POOL_VECTOR;
    case WIRE_WARN:
        return POOL_WARNING;
    case WIRE_DONE:
        return POOL_DONE;
    default:
        return POOL_FAIL;
    }
}

/* A job had a larger context than was planned: the runner has grown. */
static void note_context(pool_runner *r, int64_t n_ctx)
{
    if (n_ctx <= (int64_t)r->n_ctx || n_ctx > UINT32_MAX)
        return;
    if (r->n_ctx) {
        const double kv = (double)r->plan.kv * (double)n_ctx / r->n_ctx;
        const uint64_t more = kv < 1e18 ? (uint64_t)kv - r->plan.kv : 0;
        r->plan.kv += more;
        r->plan.total += more;
    }
    r->n_ctx = (uint32_t)n_ctx;
}

static double ms_in(const wire_frame *f, const char *key)
{
    return (double)wire_int(f, key, 0) / 1e6;
}

/* Figures only: an error's text may quote a template or a request. */
static void log_end(pool *p, const pool_task *t, const wire_frame *f)
{
    const char *name = t->runner->source->model.name;
    err_info failure;
    if (!p->o.log_debug)
        return;
    if (f->type == WIRE_DONE) {
        pool_log(
            p, POOL_DEBUG,
            "job %llu of %s done (%.16s): prompt %lld tokens, %lld of them cached, %.1f ms; answer "
            "%lld tokens, %.1f ms",
            (unsigned long long)t->id, name, wire_str(f, "reason", ""),
            (long long)wire_int(f, "n_prompt", 0), (long long)wire_int(f, "n_cached", 0),
            ms_in(f, "prompt_ns"), (long long)wire_int(f, "n_token", 0), ms_in(f, "eval_ns"));
    } else {
        wire_get_err(f->head, &failure);
        pool_log(p, POOL_DEBUG, "job %llu of %s failed: %s", (unsigned long long)t->id, name,
                 cama_err_text(failure.code));
    }
}

static void finish(pool *p, pool_task *t, const wire_frame *f)
{
    pool_runner *r = t->runner;
    log_end(p, t, f);
    if (f->type == WIRE_DONE)
        note_context(r, wire_int(f, "n_ctx", 0));
    pool_tasks_remove(&r->tasks, t);
    pool_task_unregister(p, t);
    pool_slot_finished(r->slot);
    pool_choice_worked(r);
    pool_runner_rests(r, clock_now_ns());
    pool_step(p);
}

/* The job of a frame, under the lock; NULL and *err: the runner may not send it. */
static pool_task *find_task(pool_runner *r, const wire_frame *f, err_info *err)
{
    pool *p = r->pool;
    pool_task *t = pool_task_find(p, f->job);
    if (!t || t->state != TASK_RUNNING || t->runner != r) {
        (void)err_set(err, CAMA_ERR_FORMAT, "a frame %s of job %llu, which it does not have",
                      wire_type_name(f->type), (unsigned long long)f->job);
        return NULL;
    }
    t->has_begun = true;
    if (f->type != WIRE_WARN && f->type != WIRE_FAIL && !t->has_told && !t->collects) {
        t->has_told = true;
        if (t->is_sent) /* else whoever sends it sees to that */
            pool_task_release(p, t);
    }
    if (f->type == WIRE_TEXT || f->type == WIRE_THINK)
        t->may_send -= (int64_t)f->n_data;
    if (t->may_send >= -POOL_MAX_OVERDRAFT)
        return t;
    (void)err_set(err, CAMA_ERR_LIMIT, "%lld bytes of text that its reader has no room for",
                  (long long)-t->may_send);
    return NULL;
}

/* A warning that the client knows from a run of the job that came to nothing. */
static bool is_known_warning(pool_task *t, const wire_frame *f)
{
    if (f->type != WIRE_WARN)
        return false;
    uint64_t hash = 14695981039346656037ull; /* FNV-1a */
    for (size_t i = 0; i < f->n_head; i++)
        hash = (hash ^ (unsigned char)f->head_text[i]) * 1099511628211ull;
    for (uint32_t i = 0; t->n_run > 1 && i < t->n_told; i++)
        if (t->told[i] == hash)
            return true;
    if (t->n_told < POOL_MAX_TOLD)
        t->told[t->n_told++] = hash;
    return false;
}

/* The engine, and not the request, is at fault, and another one may take the job: it is as if the
 * runner had died of it. */
static bool is_engine_failure(const pool_runner *r, const pool_task *t, const wire_frame *f)
{
    err_info failure;
    if (f->type != WIRE_FAIL || t->has_told || t->cancel_ns || !r->may_fall_back)
        return false;
    wire_get_err(f->head, &failure);
    return failure.code == CAMA_ERR_ENGINE;
}

bool pool_job_frame(pool_runner *r, const wire_frame *f, err_info *err)
{
    if (!is_well_formed(f, err))
        return false;
    const bool is_last = f->type == WIRE_DONE || f->type == WIRE_FAIL;
    pool *p = r->pool;
    pool_lock(p);
    pool_task *t = find_task(r, f, err);
    if (!t) {
        pool_unlock(p);
        return false;
    }
    if (is_engine_failure(r, t, f)) {
        err_info failure;
        wire_get_err(f->head, &failure);
        pool_runner_kill(r, "%s", failure.text);
        pool_unlock(p);
        return true;
    }
    const bool is_known = is_known_warning(t, f);
    if (f->type == WIRE_DONE && strcmp(wire_str(f, "reason", ""), "canceled") != 0)
        pool_choice_note(r, true); /* t stays: this thread alone ends it */
    if (is_last)
        finish(p, t, f);
    pool_unlock(p);
    if (is_known)
        return true;

    /* Only this thread tells and frees the tasks of this runner. */
    err_info failure;
    pool_event e = {
        .type = event_of(f->type), .head = f->head, .data = f->data, .n_data = f->n_data};
    if (f->type == WIRE_FAIL) {
        wire_get_err(f->head, &failure);
        e.err = &failure;
    }
    tell(t, &e);
    if (is_last)
        pool_task_told(p, t);
    return true;
}
