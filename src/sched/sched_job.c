/* A job from its submission, on any thread, to its end, on the engine thread. */
#include "sched/sched_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define KEEP_ROOM 4 /* tokens of a context that n_keep never covers, as in llama.cpp */

void list_init(job_list *l)
{
    *l = (job_list){.tail = &l->head};
}

void list_append(job_list *l, sched_job *j)
{
    j->next = NULL;
    *l->tail = j;
    l->tail = &j->next;
    l->n++;
}

void list_prepend(job_list *l, sched_job *j)
{
    j->next = l->head;
    l->head = j;
    if (!j->next)
        l->tail = &j->next;
    l->n++;
}

void list_remove(job_list *l, sched_job *j)
{
    sched_job **at = &l->head;
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    if (!j->next)
        l->tail = at;
    l->n--;
}

sched_job *list_take(job_list *l)
{
    sched_job *j = l->head;
    if (j)
        list_remove(l, j);
    return j;
}

void job_free(sched *s, sched_job *j)
{
    if (!j)
        return;
    if (j->id) {
        sched_lock(s);
        if (j->all_prev)
            j->all_prev->all_next = j->all_next;
        else
            s->all = j->all_next;
        if (j->all_next)
            j->all_next->all_prev = j->all_prev;
        sched_unlock(s);
    }
    stream_close(j->stream);
    sample_free(j->sampler);
    free(j->ids);
    free(j);
}

void job_end(sched_job *j, stream_reason reason, bool context_full)
{
    j->state = JOB_OVER;
    j->keep = true;
    const uint64_t now = clock_now_ns();
    const uint64_t admit = j->admit_ns ? j->admit_ns : now;
    const uint64_t first = j->first_ns ? j->first_ns : now;
    stream_end end = {
        .reason = reason,
        .context_full = context_full,
        .stop_index = -1,
        .n_prompt = (uint32_t)j->n_prompt,
        .n_cached = (uint32_t)j->n_cached,
        .n_token = (uint32_t)j->n_token,
        .n_shift = j->n_shift,
        .n_dropped = (uint32_t)j->n_dropped,
        .seed = j->sampler ? sample_seed(j->sampler) : 0,
        .queue_ns = admit - j->submit_ns,
        .prompt_ns = first - admit,
        .eval_ns = j->first_ns ? j->last_ns - j->first_ns : 0,
        .ids = j->ids,
        .n_id = j->n_id,
    };
    stream_done(j->stream, &end);
}

void job_fail(sched_job *j, const err_info *err)
{
    j->state = JOB_OVER;
    j->keep = false; /* what the engine holds of it may be half written */
    stream_fail(j->stream, err);
}

static uint32_t ctx_of(const sched *s, const sched_job_def *def)
{
    return def->n_ctx ? def->n_ctx : s->o.n_ctx;
}

static cama_err check_def(const sched *s, const sched_job_def *def, err_info *err)
{
    if (!def->n_id)
        return err_set(err, CAMA_ERR_ARG, "the prompt has no tokens");
    if (def->n_ctx > s->o.n_ctx)
        return err_set(err, CAMA_ERR_ARG, "a context of %u tokens, the engine holds %u", def->n_ctx,
                       s->o.n_ctx);
    if (def->n_id > ctx_of(s, def))
        return err_set(err, CAMA_ERR_CONTEXT, "the prompt has %zu tokens, the context holds %u",
                       def->n_id, ctx_of(s, def));
    if (def->n_top_logprob > STREAM_MAX_TOP)
        return err_set(err, CAMA_ERR_ARG, "%u alternatives to each token, at most %d",
                       def->n_top_logprob, STREAM_MAX_TOP);
    for (size_t i = 0; i < def->n_id; i++) {
        if (def->ids[i] < 0 || (uint32_t)def->ids[i] >= s->o.n_vocab)
            return err_set(err, CAMA_ERR_ARG,
                           "token %zu of the prompt is %d, the vocabulary has %u", i, def->ids[i],
                           s->o.n_vocab);
    }
    const bool whole = !s->o.causal || (def->kind == SCHED_EMBED && s->o.pooled);
    if (whole && def->n_id > s->o.n_batch)
        return err_set(err, CAMA_ERR_CONTEXT,
                       "the text has %zu tokens and is computed in one step, which holds %u",
                       def->n_id, s->o.n_batch);
    if (def->kind == SCHED_GENERATE && !s->o.causal)
        return err_set(err, CAMA_ERR_UNSUPPORTED, "this model cannot generate: it is not causal");
    return CAMA_OK;
}

/* Room for all that the job's context can hold, so that answering allocates nothing before it is
 * cut. */
static cama_err take_ids(const sched_job_def *def, sched_job *j, err_info *err)
{
    j->cap = j->n_ctx + (size_t)1;
    if (def->kind == SCHED_EMBED ||
        (def->n_predict >= 0 && (size_t)def->n_predict < j->cap - def->n_id))
        j->cap = def->n_id + (def->kind == SCHED_EMBED ? 0 : (size_t)def->n_predict);
    j->ids = malloc(j->cap * sizeof *j->ids);
    if (!j->ids)
        return err_set(err, CAMA_ERR_NOMEM, "sched: no memory for %zu tokens", j->cap);
    memcpy(j->ids, def->ids, def->n_id * sizeof *j->ids);
    j->n_id = j->n_prompt = def->n_id;
    return CAMA_OK;
}

static cama_err take_sampler(const sched *s, const sched_job_def *def, sched_job *j, err_info *err)
{
    if (def->kind == SCHED_EMBED)
        return CAMA_OK;
    sample_params p = def->sample;
    p.last_n_full = (uint32_t)j->n_ctx;
    const cama_err e = sample_new(&p, s->o.n_vocab, &j->sampler, err);
    for (size_t i = 0; !e && i < def->n_id; i++)
        sample_accept(j->sampler, def->ids[i]);
    return e;
}

/* Some tokens behind those that stay must be left to drop, or each new one would cost a cut. */
static size_t keep_of(const sched_job *j, uint32_t n_keep)
{
    const size_t most = j->n_ctx > 2 * KEEP_ROOM ? j->n_ctx - KEEP_ROOM : j->n_ctx / 2;
    return n_keep < most ? n_keep : most;
}

static void take_options(const sched *s, const sched_job_def *def, sched_job *j)
{
    j->kind = def->kind;
    j->no_reuse = def->no_reuse || def->kind == SCHED_EMBED;
    j->n_predict = def->n_predict;
    j->n_ctx = ctx_of(s, def);
    j->shift = def->shift && def->kind == SCHED_GENERATE;
    j->n_keep = keep_of(j, def->n_keep);
    j->n_thread = def->n_thread;
    j->logprobs = def->logprobs && def->kind == SCHED_GENERATE;
    j->n_top = def->n_top_logprob < s->o.n_vocab ? def->n_top_logprob : s->o.n_vocab;
}

static cama_err new_job(const sched *s, const sched_job_def *def, sched_job **out, err_info *err)
{
    sched_job *j = calloc(1, sizeof *j);
    if (!j)
        return err_set(err, CAMA_ERR_NOMEM, "sched: no memory for a job");
    take_options(s, def, j);
    j->seq = -1;
    j->submit_ns = clock_now_ns();
    const stream_opts so = {
        .vocab = s->o.vocab,
        .stop = def->stop,
        .n_stop = def->n_stop,
        .ignore_eog = def->ignore_eog,
        .special = def->special,
    };
    *out = j;
    cama_err e = take_ids(def, j, err);
    if (!e)
        e = take_sampler(s, def, j, err);
    if (!e)
        e = stream_open(&so, &def->sink, &j->stream, err);
    return e;
}

static cama_err enqueue(sched *s, sched_job *j, sched_job_id *out, err_info *err)
{
    cama_err e = CAMA_OK;
    sched_lock(s);
    if (s->n_queued >= s->o.n_queue) {
        e = err_set(err, CAMA_ERR_BUSY, "%u jobs are waiting, the queue holds no more",
                    s->n_queued);
    } else {
        *out = j->id = ++s->last_id;
        j->all_next = s->all;
        if (s->all)
            s->all->all_prev = j;
        s->all = j;
        list_append(&s->incoming, j);
        s->n_queued++;
        sched_signal(s);
    }
    sched_unlock(s);
    return e;
}

cama_err sched_submit(sched *s, const sched_job_def *def, sched_job_id *out, err_info *err)
{
    cama_err e = check_def(s, def, err);
    if (e)
        return e;
    sched_job *j = NULL;
    e = new_job(s, def, &j, err);
    if (!e)
        e = enqueue(s, j, out, err);
    if (e)
        job_free(s, j);
    return e;
}

void sched_cancel(sched *s, sched_job_id id)
{
    sched_lock(s);
    for (sched_job *j = s->all; j; j = j->all_next) {
        if (j->id == id)
            atomic_store_explicit(&j->canceled, true, memory_order_relaxed);
    }
    s->woken = true;
    sched_signal(s);
    sched_unlock(s);
}
