/* Jobs by their number. The table is a list: serve bounds how many there are. */
#include "runner/runner_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static runner_job *find(runner *r, uint64_t id)
{
    runner_job *j = r->jobs;
    while (j && j->id != id)
        j = j->next;
    return j;
}

static void job_free(runner_job *j)
{
    answer_close(j->answer); /* before what it looks at */
    arena_done(&j->tree);
    tok_ids_done(&j->uncut);
    buf_done(&j->said);
    buf_done(&j->probs);
    tok_ids_done(&j->inputs.ids);
    free(j->inputs.end);
    free(j->head);
    free(j->data);
    free(j);
}

static void *copy(const void *from, size_t n)
{
    void *to = malloc(n + 1);
    if (to && n)
        memcpy(to, from, n);
    return to;
}

static runner_job *make(runner *r, const wire_frame *f)
{
    runner_job *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->r = r;
    j->id = f->job;
    j->n_ref = 2; /* the table's and the preparer's */
    j->arrival_ns = clock_now_ns();
    j->path = "raw";
    j->n_head = f->n_head;
    j->n_data = f->n_data;
    j->head = copy(f->head_text, f->n_head);
    j->data = copy(f->data, f->n_data);
    const int64_t credit = wire_int(f, "credit", WIRE_CREDIT_BYTES);
    atomic_init(&j->credit, credit > 0 && credit < WIRE_CREDIT_BYTES ? credit : WIRE_CREDIT_BYTES);
    tok_ids_init(&j->uncut, RUNNER_MAX_TEXT);
    tok_ids_init(&j->inputs.ids, RUNNER_MAX_TEXT);
    buf_init(&j->said, RUNNER_MAX_TEXT);
    buf_init(&j->probs, WIRE_MAX_HEAD_UP / 2);
    for (int i = 0; i < RUNNER_TOGETHER; i++)
        j->parts[i].job = j;
    if (!j->head || !j->data) {
        job_free(j);
        return NULL;
    }
    return j;
}

runner_job *runner_job_new(runner *r, const wire_frame *f)
{
    runner_job *j = make(r, f);
    if (!j)
        return NULL;
    runner_lock(r);
    j->next = r->jobs;
    r->jobs = j;
    *r->prep_last = j;
    r->prep_last = &j->next_prep;
    r->n_prep++;
    (void)pthread_cond_broadcast(&r->wake);
    runner_unlock(r);
    return j;
}

runner_job *runner_job_take(runner *r)
{
    runner_lock(r);
    while (!r->prep && r->stage != RUNNER_LEAVES)
        (void)pthread_cond_wait(&r->wake, &r->lock);
    runner_job *j = r->stage == RUNNER_LEAVES ? NULL : r->prep;
    if (j) {
        r->prep = j->next_prep;
        if (!r->prep)
            r->prep_last = &r->prep;
        r->n_prep--;
    }
    runner_unlock(r);
    return j;
}

void runner_job_ref(runner_job *j)
{
    runner_lock(j->r);
    j->n_ref++;
    runner_unlock(j->r);
}

void runner_job_unref(runner_job *j)
{
    runner *r = j->r;
    runner_lock(r);
    const bool last = --j->n_ref == 0;
    runner_unlock(r);
    if (last)
        job_free(j);
}

void runner_job_over(runner_job *j)
{
    runner *r = j->r;
    runner_lock(r);
    runner_job **at = &r->jobs;
    while (*at && *at != j)
        at = &(*at)->next;
    const bool listed = *at != NULL;
    if (listed)
        *at = j->next;
    const bool leave = r->quits && !r->jobs && r->sched;
    runner_unlock(r);
    if (listed)
        runner_job_unref(j);
    if (leave)
        sched_stop(r->sched);
}

uint32_t runner_n_submitted(const runner *r)
{
    uint32_t n = 0;
    for (const runner_job *j = r->jobs; j; j = j->next)
        n += j->parts[0].id != 0;
    return n;
}

void runner_job_credit(runner *r, uint64_t id, int64_t bytes)
{
    runner_lock(r);
    runner_job *j = find(r, id);
    sched *s = j ? r->sched : NULL; /* late: the job has ended */
    if (j)
        (void)atomic_fetch_add_explicit(&j->credit, bytes, memory_order_relaxed);
    runner_unlock(r);
    if (s)
        sched_wake(s);
}

void runner_job_cancel(runner *r, uint64_t id)
{
    sched_job_id ids[RUNNER_TOGETHER];
    size_t n = 0;
    runner_lock(r);
    runner_job *j = find(r, id);
    if (j) {
        atomic_store_explicit(&j->canceled, true, memory_order_relaxed);
        for (int i = 0; i < RUNNER_TOGETHER; i++) {
            if (j->parts[i].id)
                ids[n++] = j->parts[i].id;
        }
    }
    runner_unlock(r);
    for (size_t i = 0; i < n; i++)
        sched_cancel(r->sched, ids[i]);
}

void runner_part_set(runner_part *p, sched_job_id id)
{
    runner *r = p->job->r;
    runner_lock(r);
    p->id = id;
    const bool canceled = job_is_canceled(p->job);
    runner_unlock(r);
    if (canceled)
        sched_cancel(r->sched, id);
}
