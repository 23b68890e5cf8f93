/* What a step gives: errors and their remedies, tokens, vectors, and the end of jobs. */
#include "sched/sched_int.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"

#define MEASURED_ROWS 16 /* fewer say nothing about the speed of prompts */

/* A job's rows of a step lie side by side. */
static bool is_first_row(const sched_step *step, size_t i)
{
    return i == 0 || step->of_row[i] != step->of_row[i - 1];
}

/* No row of the step was computed: its jobs are as before. */
static void undo(sched_step *step)
{
    for (size_t i = 0; i < step->n_row; i++) {
        step->of_row[i]->n_planned--;
        if (is_first_row(step, i))
            step->of_row[i]->in_flight--;
    }
    step->n_row = 0;
}

static void fail_all(sched_step *step, const err_info *err)
{
    for (size_t i = 0; i < step->n_row; i++) {
        if (step->of_row[i]->state != JOB_OVER)
            job_fail(step->of_row[i], err);
    }
    undo(step);
}

/* Who must go for another to go on: a job whose reader keeps it waiting anyway, else the youngest.
 * Those in a step under way cannot. */
static sched_job *victim(const sched *s)
{
    sched_job *paused = NULL;
    sched_job *youngest = NULL;
    uint32_t n_running = 0;
    for (sched_job *j = s->running.head; j; j = j->next) {
        n_running += j->state == JOB_RUNNING;
        if (j->state == JOB_OVER || j->in_flight)
            continue;
        if (j->state == JOB_PAUSED)
            paused = j;
        else
            youngest = j;
    }
    if (paused && n_running)
        return paused;
    return n_running > 1 ? youngest : NULL;
}

/* Sends one job back to the queue; false: none can go. */
static bool preempt(sched *s)
{
    sched_job *j = victim(s);
    if (!j)
        return false;
    list_remove(&s->running, j);
    sched_drop(s, j);
    j->is_held = j->state == JOB_PAUSED;
    j->state = JOB_WAITING;
    list_prepend(&s->waiting, j);
    sched_lock(s);
    s->n_queued++;
    s->stat.n_preempted++;
    sched_unlock(s);
    return true;
}

/* How long a row of a large step takes, the last ones counting most. */
static void measure(sched *s, const sched_step *step)
{
    if (step->n_row < MEASURED_ROWS)
        return;
    const uint64_t ns = (clock_now_ns() - step->begin_ns) / step->n_row + 1;
    s->row_ns = s->row_ns ? (s->row_ns + ns) / 2 : ns;
}

static void count_step(sched *s, const sched_step *step)
{
    sched_lock(s);
    s->stat.n_step++;
    s->stat.n_row += step->n_row;
    sched_unlock(s);
}

void sched_submit_step(sched *s, sched_step *step)
{
    step->live = false;
    while (step->n_row) {
        const engine_batch batch = {
            .rows = step->rows,
            .n_row = step->n_row,
            .n_candidate = step->n_candidate,
        };
        err_info err = {.code = CAMA_OK};
        sched_use_threads(s, step);
        step->begin_ns = clock_now_ns();
        const cama_err e = s->o.vt->submit(s->o.engine, &batch, &step->ticket, &err);
        if (!e) {
            step->live = true;
            count_step(s, step);
            return;
        }
        if (e != CAMA_ERR_LIMIT || !s->o.causal) {
            fail_all(step, &err);
            return;
        }
        /* No free page, nothing was changed: make room, and plan anew without who had to go. */
        if (sched_evict(s))
            continue;
        undo(step);
        if (s->steps[0].live || s->steps[1].live)
            return; /* what is under way may end and make room */
        if (!preempt(s)) {
            sched_plan(s, step);
            fail_all(step, &err);
            return;
        }
        sched_plan(s, step);
    }
}

static void born(sched_job *j)
{
    j->last_ns = clock_now_ns();
    if (!j->n_token)
        j->first_ns = j->last_ns;
    j->n_token++;
}

static cama_err choose(sched *s, sched_job *j, const engine_out *out, int32_t *out_id,
                       err_info *err)
{
    sample_row row = {.logits = out->logits, .n_cand = out->n_cand};
    if (!out->logits) {
        row.n_cand = out->n_cand < SAMPLE_MAX_NEED ? out->n_cand : SAMPLE_MAX_NEED;
        for (size_t i = 0; i < row.n_cand; i++)
            s->cand[i] = (sample_cand){out->cand[i].id, out->cand[i].logit};
        row.cand = s->cand;
    }
    return sample_next(j->sampler, &row, out_id, err);
}

static float logit_of(const engine_out *out, int32_t id)
{
    if (out->logits)
        return out->logits[id];
    size_t i = 0;
    while (i < out->n_cand && out->cand[i].id != id)
        i++;
    return i < out->n_cand ? out->cand[i].logit : -INFINITY; /* samplers choose candidates only */
}

/* Of the raw logits: what the model thinks, whatever the sampler made of it. */
static stream_prob prob_of(sched *s, const sched_job *j, const engine_out *out, int32_t id)
{
    const size_t n = j->n_top < out->n_cand ? j->n_top : out->n_cand;
    for (size_t i = 0; i < n; i++)
        s->top[i] = (stream_alt){
            .id = out->cand[i].id,
            .logprob = out->cand[i].logit - out->logsumexp,
        };
    return (stream_prob){
        .token = {.id = id, .logprob = logit_of(out, id) - out->logsumexp},
        .top = s->top,
        .n_top = n,
    };
}

/* Cuts the full context as llama.cpp does, but for the computing: what stays is computed again at
 * its new place, so that the answer goes on as it would from a prompt of these tokens. */
static void shift(sched *s, sched_job *j)
{
    const size_t n_drop = (job_len(j) - 1 - j->n_keep) / 2;
    const size_t keep = j->n_keep < j->n_done ? j->n_keep : j->n_done;
    int32_t got = 0;
    j->n_dropped += n_drop ? n_drop : 1;
    j->n_shift++;
    const cama_err e = s->o.vt->seq_rewind(s->o.engine, j->seq, (int32_t)keep, &got);
    j->n_done = e ? 0 : (size_t)got;
    if (!e)
        return;
    err_info err;
    (void)err_set(&err, e, "the engine cannot go back to token %zu of a full context", keep);
    job_fail(j, &err);
}

/* Room for one more id: a context that was cut has no end of them. False: the job is over. */
static bool room_for_id(sched_job *j)
{
    if (j->n_id < j->cap)
        return true;
    if (j->cap >= SCHED_MAX_IDS) {
        job_end(j, STREAM_LENGTH, true);
        return false;
    }
    const size_t cap = 2 * j->cap < SCHED_MAX_IDS ? 2 * j->cap : SCHED_MAX_IDS;
    int32_t *ids = realloc(j->ids, cap * sizeof *ids);
    if (!ids) {
        err_info err;
        (void)err_set(&err, CAMA_ERR_NOMEM, "sched: no memory for %zu tokens", cap);
        job_fail(j, &err);
        return false;
    }
    j->ids = ids;
    j->cap = cap;
    return true;
}

static void look_for_end(sched *s, sched_job *j)
{
    if (j->n_predict >= 0 && j->n_token >= (size_t)j->n_predict)
        job_end(j, STREAM_LENGTH, false);
    else if (job_len(j) > j->n_ctx && j->shift)
        shift(s, j);
    else if (job_len(j) > j->n_ctx)
        job_end(j, STREAM_LENGTH, true);
}

/* A token is chosen and told. */
static void next_token(sched *s, sched_job *j, const engine_out *out)
{
    err_info err = {.code = CAMA_OK};
    int32_t id;
    if (!room_for_id(j))
        return;
    if (choose(s, j, out, &id, &err)) {
        job_fail(j, &err);
        return;
    }
    sample_accept(j->sampler, id);
    j->ids[j->n_id++] = id;
    born(j);
    stream_prob prob;
    if (j->logprobs)
        prob = prob_of(s, j, out, id);
    switch (stream_token(j->stream, id, j->logprobs ? &prob : NULL, &err)) {
    case STREAM_RUNS:
        break;
    case STREAM_PAUSED:
        j->state = JOB_PAUSED;
        break;
    case STREAM_ENDED:
        job_end(j, STREAM_STOP, false);
        return;
    case STREAM_LEFT:
        job_end(j, STREAM_CANCELED, false);
        return;
    case STREAM_BROKEN:
        job_fail(j, &err);
        return;
    }
    look_for_end(s, j);
}

/* Planned ahead, and meanwhile its reader is full: the last row is computed again when it goes on.
 */
static void take_back(sched *s, sched_job *j)
{
    int32_t got = 0;
    const cama_err e = s->o.vt->seq_rewind(s->o.engine, j->seq, (int32_t)j->n_done - 1, &got);
    err_info err;
    j->n_done = e ? 0 : (size_t)got;
    if (!e)
        return;
    (void)err_set(&err, e, "the engine cannot go back by a token");
    job_fail(j, &err);
}

static void take_out(sched *s, sched_job *j, const engine_out *out)
{
    if (j->state == JOB_OVER)
        return;
    if (j->state == JOB_PAUSED) {
        take_back(s, j);
        return;
    }
    if (j->kind == SCHED_GENERATE) {
        next_token(s, j, out);
        return;
    }
    born(j);
    j->n_token = 0; /* a vector is none */
    stream_vector(j->stream, s->o.pooled ? out->pooled : out->hidden, s->o.n_embd);
    job_end(j, STREAM_STOP, false);
}

/* The step's rows are in the engine now. */
static void advance(sched_step *step)
{
    for (size_t i = 0; i < step->n_row; i++) {
        sched_job *j = step->of_row[i];
        if (is_first_row(step, i))
            j->in_flight--;
        j->n_done++;
        if (j->n_done == job_len(j) && j->n_predict == 0 && j->kind == SCHED_GENERATE &&
            j->state != JOB_OVER)
            job_end(j, STREAM_LENGTH, false);
    }
}

void sched_collect_step(sched *s, sched_step *step)
{
    if (!step->live)
        return;
    step->live = false;
    engine_outs outs = {0};
    err_info err = {.code = CAMA_OK};
    if (s->o.vt->collect(s->o.engine, step->ticket, &outs, &err)) {
        fail_all(step, &err);
        return;
    }
    measure(s, step);
    advance(step);
    for (size_t i = 0; i < outs.n; i++) {
        if (outs.out[i].row < step->n_row)
            take_out(s, step->of_row[outs.out[i].row], &outs.out[i]);
    }
    step->n_row = 0;
}

/* Keeps the sequence for the next prompt that begins alike. True: the tree has it now. */
static bool cache(sched *s, sched_job *j)
{
    /* A step that was planned ahead of a failure computed a token that nobody has. */
    if (!s->tree || j->no_reuse || !j->keep || j->seq < 0 || !j->n_done || j->n_done > job_len(j))
        return false;
    for (size_t i = 0; i < j->n_done; i++)
        s->keys[i] = (uint64_t)job_token(j, i);
    cama_err e;
    do {
        e = kv_tree_add(s->tree, &(kv_scope){0}, s->keys, j->n_done, j->seq, NULL);
    } while (e == CAMA_ERR_LIMIT && sched_evict(s));
    return e == CAMA_OK; /* no memory to remember it: then it is forgotten */
}

void sched_retire(sched *s)
{
    for (sched_job *j = s->running.head, *next; j; j = next) {
        next = j->next;
        if (j->state != JOB_OVER || j->in_flight)
            continue;
        list_remove(&s->running, j);
        if (cache(s, j))
            j->seq = -1;
        sched_drop(s, j);
        job_free(s, j);
    }
}
