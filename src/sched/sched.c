#include "sched/sched_int.h"

#include <stdlib.h>

#define DEFAULT_QUEUE 512

static cama_err check_opts(const sched_opts *o, err_info *err)
{
    if (!o->n_ctx || !o->n_batch || !o->n_vocab)
        return err_set(err, CAMA_ERR_ARG, "sched: n_ctx, n_batch and n_vocab must not be 0");
    if (o->n_running > SCHED_MAX_RUNNING || o->n_queue > SCHED_MAX_QUEUE)
        return err_set(err, CAMA_ERR_ARG,
                       "sched: %u running and %u waiting jobs, at most %d and %d", o->n_running,
                       o->n_queue, SCHED_MAX_RUNNING, SCHED_MAX_QUEUE);
    return CAMA_OK;
}

static bool take_step(sched_step *step, uint32_t n_batch)
{
    step->rows = calloc(n_batch, sizeof *step->rows);
    step->of_row = calloc(n_batch, sizeof *step->of_row);
    return step->rows && step->of_row;
}

static bool take_memory(sched *s)
{
    s->cand = calloc(SAMPLE_MAX_NEED, sizeof *s->cand);
    s->keys = calloc(s->o.n_ctx + (size_t)1, sizeof *s->keys);
    return s->cand && s->keys && take_step(&s->steps[0], s->o.n_batch) &&
           take_step(&s->steps[1], s->o.n_batch);
}

cama_err sched_open(const sched_opts *o, sched **out, err_info *err)
{
    cama_err e = check_opts(o, err);
    if (e)
        return e;
    sched *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, CAMA_ERR_NOMEM, "sched: no memory for a scheduler");
    s->o = *o;
    s->budget.spin_ns = s->in_use.spin_ns = ENGINE_SPIN_DEFAULT;
    if (!s->o.n_running)
        s->o.n_running = SCHED_MAX_RUNNING;
    if (s->o.n_running > s->o.n_batch) /* every answering job must get its row */
        s->o.n_running = s->o.n_batch;
    if (!s->o.n_queue)
        s->o.n_queue = DEFAULT_QUEUE;
    list_init(&s->waiting);
    list_init(&s->running);
    list_init(&s->incoming);
    s->have_lock = pthread_mutex_init(&s->lock, NULL) == 0;
    s->have_wake = pthread_cond_init(&s->wake, NULL) == 0;
    s->have_told = pthread_cond_init(&s->told, NULL) == 0;
    if (!s->have_lock || !s->have_wake || !s->have_told || !take_memory(s))
        e = err_set(err, CAMA_ERR_NOMEM, "sched: no memory for steps of %u rows", o->n_batch);
    if (!e && o->n_cached && o->causal)
        e = kv_tree_open(o->n_cached, (uint64_t)o->n_cached * o->n_ctx, &s->tree, err);
    if (e) {
        sched_close(s);
        return e;
    }
    *out = s;
    return CAMA_OK;
}

static void drop_list(sched *s, job_list *l)
{
    const err_info err = {CAMA_ERR_CANCELED, "the model is being closed"};
    for (sched_job *j; (j = list_take(l));) {
        if (j->state != JOB_OVER)
            job_fail(j, &err);
        sched_drop(s, j);
        job_free(s, j);
    }
}

void sched_close(sched *s)
{
    if (!s)
        return;
    for (int i = 0; i < 2; i++)
        sched_collect_step(s, &s->steps[i]); /* the engine must not be left in a step */
    drop_list(s, &s->running);
    drop_list(s, &s->waiting);
    drop_list(s, &s->incoming);
    while (sched_evict(s))
        ;
    kv_tree_close(s->tree);
    for (int i = 0; i < 2; i++) {
        free(s->steps[i].rows);
        free(s->steps[i].of_row);
    }
    free(s->cand);
    free(s->keys);
    if (s->have_told)
        (void)pthread_cond_destroy(&s->told); /* nobody waits: the loop has stopped */
    if (s->have_wake)
        (void)pthread_cond_destroy(&s->wake);
    if (s->have_lock)
        (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Whether the next tick has something to do. */
static bool can_go_on(sched *s)
{
    bool more = s->steps[0].live || s->steps[1].live;
    for (const sched_job *j = s->running.head; j && !more; j = j->next)
        more = j->state == JOB_RUNNING || (j->state == JOB_PAUSED && stream_ready(j->stream));
    /* Jobs that wait behind paused ones cannot go on before something else happens. */
    for (const sched_job *j = s->waiting.head; j && !more && !s->running.n; j = j->next)
        more = sched_may_start(j);
    sched_lock(s);
    more = more || s->incoming.n;
    sched_unlock(s);
    return more;
}

/* One turn of the engine thread, and the only place where a token is born. An engine that overlaps
 * computes step n + 1 while the tokens of step n are chosen, wherever they are not its input. */
bool sched_tick(sched *s)
{
    sched_take_asks(s);
    sched_admit(s); /* queued -> running, while KV fits */
    sched_step *next = &s->steps[s->i_step];
    sched_plan(s, next); /* one row per token; jobs with a token under way sit out */
    sched_submit_step(s, next);
    sched_step *due = s->o.ahead ? &s->steps[!s->i_step] : next;
    sched_collect_step(s, due);
    if (s->o.ahead)
        s->i_step = !s->i_step;
    sched_retire(s); /* jobs that are over give back their KV, or leave it to the next prompt */
    sched_put_stat(s);
    return can_go_on(s);
}

void sched_run(sched *s)
{
    bool stop = false;
    while (!stop) {
        const bool more = sched_tick(s);
        sched_lock(s);
        while (!more && !s->stop && !s->woken && !s->incoming.n)
            (void)pthread_cond_wait(&s->wake, &s->lock); /* without a deadline it cannot fail */
        s->woken = false;
        stop = s->stop;
        sched_unlock(s);
    }
    sched_refuse_asks(s);
}

void sched_wake(sched *s)
{
    sched_lock(s);
    s->woken = true;
    sched_signal(s);
    sched_unlock(s);
}

void sched_stop(sched *s)
{
    sched_lock(s);
    s->stop = true;
    sched_signal(s);
    sched_unlock(s);
}
