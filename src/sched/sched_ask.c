/* What other threads ask of the loop: threads, memory, figures. */
#include "sched/sched_int.h"

void sched_set_threads(sched *s, uint32_t n_thread, uint64_t spin_ns)
{
    sched_lock(s);
    s->budget = (sched_budget){.n_thread = n_thread, .spin_ns = spin_ns};
    s->woken = true; /* a loop that sleeps passes the spin time on */
    sched_signal(s);
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

void sched_get_stat(sched *s, sched_stat *out)
{
    sched_lock(s);
    *out = s->stat;
    sched_unlock(s);
    out->progress = out->n_step;
    if (s->o.vt->progress)
        out->progress += s->o.vt->progress(s->o.engine);
}
