/* Who takes part in the next step: admission, prefix reuse, and the rows of the batch. */
#include "sched/sched_int.h"

#include "base/clock.h"

void sched_drop(sched *s, sched_job *j)
{
    if (j->seq >= 0)
        s->o.vt->seq_free(s->o.engine, j->seq);
    j->seq = -1;
    j->n_done = 0;
}

bool sched_evict(sched *s)
{
    int32_t seq;
    if (!s->tree || !kv_tree_evict(s->tree, &seq))
        return false;
    s->o.vt->seq_free(s->o.engine, seq);
    return true;
}

/* Jobs that other threads brought since the last tick. */
static void take_incoming(sched *s)
{
    sched_lock(s);
    for (sched_job *j; (j = list_take(&s->incoming));)
        list_append(&s->waiting, j);
    sched_unlock(s);
}

static bool is_canceled(const sched_job *j)
{
    return atomic_load_explicit(&j->canceled, memory_order_relaxed);
}

/* A new sequence, beginning as `from` does; makes room once for each cached one if it must. */
static cama_err fork_seq(sched *s, int32_t from, size_t n_keep, int32_t *out)
{
    cama_err e;
    do {
        e = s->o.vt->seq_fork(s->o.engine, from, (int32_t)n_keep, out);
    } while (e == CAMA_ERR_LIMIT && from < 0 && sched_evict(s));
    return e;
}

/* Looks for a cached sequence that begins as the job does. The last token is always computed: it
 * is the one whose output is wanted. */
static void reuse_prefix(sched *s, sched_job *j)
{
    if (!s->tree || j->no_reuse)
        return;
    for (size_t i = 0; i < j->n_id; i++)
        s->keys[i] = (uint64_t)j->ids[i];
    int32_t from;
    int32_t got = 0;
    size_t n;
    if (!kv_tree_match(s->tree, &(kv_scope){0}, s->keys, j->n_id - 1, &from, &n))
        return;
    if (fork_seq(s, from, n, &j->seq))
        return;
    /* The engine may have gone back further than asked: only it knows where it can resume. */
    if (s->o.vt->seq_rewind(s->o.engine, j->seq, (int32_t)n, &got) || got <= 0) {
        sched_drop(s, j);
        return;
    }
    j->n_done = (size_t)got;
    if (!j->n_token) /* a job that was preempted keeps what it told of its first reading */
        j->n_cached = (size_t)got;
}

/* Whether the engine has pages for what the job must read. A lone job is always let in: if it does
 * not fit, the engine says so with its own figures. */
static bool has_room(sched *s, const sched_job *j)
{
    if (!s->running.n)
        return true;
    size_t need = j->n_id - j->n_done + 1;
    for (const sched_job *r = s->running.head; r; r = r->next)
        need += r->n_id - r->n_done; /* let in, but not read yet */
    engine_stat stat;
    do {
        s->o.vt->stat(s->o.engine, &stat);
        if (need <= stat.n_token_free)
            return true;
    } while (sched_evict(s));
    return false;
}

static void leave_queue(sched *s, sched_job *j)
{
    list_remove(&s->waiting, j);
    sched_lock(s);
    s->n_queued--;
    sched_unlock(s);
    list_append(&s->running, j);
}

/* False: it must wait for others to finish. */
static bool admit(sched *s, sched_job *j)
{
    err_info err = {.code = CAMA_OK};
    reuse_prefix(s, j);
    cama_err e = CAMA_OK;
    if (j->seq < 0)
        e = fork_seq(s, -1, 0, &j->seq);
    if (!e && !has_room(s, j))
        e = CAMA_ERR_LIMIT;
    if (e) {
        sched_drop(s, j);
        if (e == CAMA_ERR_LIMIT && s->running.n)
            return false;
        (void)err_set(&err, e, "the engine has no room for a sequence: %s", cama_err_text(e));
    }
    leave_queue(s, j);
    j->state = JOB_RUNNING;
    if (!j->admit_ns)
        j->admit_ns = clock_now_ns();
    if (e)
        job_fail(j, &err);
    return true;
}

static void end_canceled(sched *s)
{
    for (sched_job *j = s->waiting.head, *next; j; j = next) {
        next = j->next;
        if (!is_canceled(j))
            continue;
        leave_queue(s, j);
        job_end(j, STREAM_CANCELED, false);
    }
    for (sched_job *j = s->running.head; j; j = j->next) {
        if (j->state != JOB_OVER && !j->in_flight && is_canceled(j))
            job_end(j, STREAM_CANCELED, false);
        if (j->state == JOB_PAUSED && stream_ready(j->stream))
            j->state = JOB_RUNNING;
    }
}

void sched_admit(sched *s)
{
    take_incoming(s);
    end_canceled(s);
    while (s->waiting.head && s->running.n < s->o.n_running && admit(s, s->waiting.head))
        ;
}

/* The output that the job's last row is asked for. */
static uint32_t wanted(const sched *s, const sched_job *j)
{
    if (j->kind == SCHED_EMBED)
        return s->o.pooled ? ENGINE_POOLED : ENGINE_HIDDEN;
    if (j->n_predict == 0)
        return 0;
    return sample_need(j->sampler) ? ENGINE_CANDIDATES : ENGINE_LOGITS;
}

/* Rows for the job's next n tokens. */
static void add_rows(const sched *s, sched_step *step, sched_job *j, size_t n)
{
    for (size_t i = j->n_done; i < j->n_done + n; i++) {
        const int32_t pos = (int32_t)i;
        step->of_row[step->n_row] = j;
        step->rows[step->n_row++] = (engine_row){
            .seq = j->seq,
            .source = ENGINE_TOKEN,
            .id = j->ids[i],
            .pos = {pos, pos, pos, pos},
            .visible_end = s->o.causal ? pos + 1 : (int32_t)j->n_id,
            .flags = i + 1 == j->n_id ? wanted(s, j) : 0,
        };
    }
    j->in_flight = true;
    if (j->sampler && sample_need(j->sampler) > step->n_candidate)
        step->n_candidate = sample_need(j->sampler);
}

/* In this order: texts that must be computed whole, a row of every job that answers, and prompts
 * with what is left, oldest first. */
void sched_plan(sched *s, sched_step *step)
{
    step->n_row = 0;
    step->n_candidate = 0;
    for (int turn = 0; turn < 3; turn++) {
        for (sched_job *j = s->running.head; j; j = j->next) {
            const size_t room = s->o.n_batch - step->n_row;
            const size_t left = j->n_id - j->n_done;
            const bool whole = !s->o.causal || (j->kind == SCHED_EMBED && s->o.pooled);
            const int its_turn = whole ? 0 : left == 1 ? 1 : 2;
            if (j->state != JOB_RUNNING || j->in_flight || its_turn != turn || !room ||
                (whole && left > room))
                continue;
            add_rows(s, step, j, left < room ? left : room);
        }
    }
}
