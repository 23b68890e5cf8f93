/* What other threads ask of the loop: threads, memory, figures. */
#include "sched/sched_int.h"

void sched_set_threads(sched *s, uint32_t n_thread, uint64_t spin_ns)
{
    sched_lock(s);
    s->budget = (sched_budget){.n_thread = n_thread, .spin_ns = spin_ns};
    sched_unlock(s);
}

/* Under the lock: what is asked is not done. */
static void refuse_asks(sched *s)
{
    for (sched_ask *a = s->asks; a; a = a->next) {
        a->e = err_set(&a->err, CAMA_ERR_CANCELED, "the model is being closed");
        a->done = true;
    }
    s->asks = NULL;
    (void)pthread_cond_broadcast(&s->told);
}

cama_err sched_grow(sched *s, uint64_t n_kv, err_info *err)
{
    sched_ask ask = {.n_kv = n_kv};
    sched_lock(s);
    ask.next = s->asks;
    s->asks = &ask;
    if (s->stop)
        refuse_asks(s);
    s->woken = true;
    sched_signal(s);
    while (!ask.done)
        (void)pthread_cond_wait(&s->told, &s->lock); /* without a deadline it cannot fail */
    sched_unlock(s);
    if (ask.e && err)
        *err = ask.err;
    return ask.e;
}

static void do_ask(sched *s, sched_ask *a)
{
    if (!s->o.vt->grow)
        a->e = err_set(&a->err, CAMA_ERR_LIMIT, "the engine cannot hold more than it began with");
    else
        a->e = s->o.vt->grow(s->o.engine, a->n_kv, &a->err);
}

void sched_take_asks(sched *s)
{
    sched_lock(s);
    sched_ask *asks = s->asks;
    s->asks = NULL;
    s->budget_now = s->budget;
    sched_unlock(s);
    for (sched_ask *a = asks; a; a = a->next)
        do_ask(s, a);
    if (!asks)
        return;
    sched_lock(s);
    for (sched_ask *a = asks, *next; a; a = next) {
        next = a->next; /* it is its owner's once it is done */
        a->done = true;
    }
    (void)pthread_cond_broadcast(&s->told);
    sched_unlock(s);
}

void sched_refuse_asks(sched *s)
{
    sched_lock(s);
    refuse_asks(s);
    sched_unlock(s);
}

void sched_use_threads(sched *s, const sched_step *step)
{
    const sched_budget *b = &s->budget_now;
    sched_budget use = {.spin_ns = b->spin_ns};
    for (size_t i = 0; i < step->n_row; i++) {
        const uint32_t n = step->of_row[i]->n_thread;
        if (n == 0) {
            use.n_thread = 0;
            break;
        }
        use.n_thread = n > use.n_thread ? n : use.n_thread;
    }
    if (b->n_thread && (use.n_thread == 0 || use.n_thread > b->n_thread))
        use.n_thread = b->n_thread;
    if (!s->o.vt->set_threads ||
        (use.n_thread == s->in_use.n_thread && use.spin_ns == s->in_use.spin_ns))
        return;
    s->o.vt->set_threads(s->o.engine, use.n_thread, use.spin_ns);
    s->in_use = use;
}

void sched_put_stat(sched *s)
{
    engine_stat e;
    s->o.vt->stat(s->o.engine, &e);
    uint64_t n_prefill = 0;
    for (const sched_job *j = s->running.head; j; j = j->next) {
        const size_t left = job_len(j) - j->n_done;
        n_prefill += left > 1 ? left : 0;
    }
    sched_lock(s);
    s->stat.n_waiting = s->n_queued;
    s->stat.n_running = s->running.n;
    s->stat.n_cached = s->tree ? kv_tree_n_seq(s->tree) : 0;
    s->stat.n_prefill = n_prefill;
    s->stat.kv_used = e.n_kv_used;
    s->stat.kv_limit = e.n_kv;
    sched_unlock(s);
}

void sched_get_stat(sched *s, sched_stat *out)
{
    sched_lock(s);
    *out = s->stat;
    sched_unlock(s);
    out->progress = out->n_step;
    if (s->o.vt->progress)
        out->progress += s->o.vt->progress(s->o.engine);
}
