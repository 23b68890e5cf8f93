/* Who takes part in the next step: admission, prefix reuse, and the rows of the batch. */
#include "sched/sched_int.h"

#include "base/clock.h"

#define STEP_SHARED_NS 250000000u /* of a step with prompts, while others answer */
#define STEP_ALONE_NS 600000000u  /* while none does: a cancelled prompt is left within a second */
#define MIN_CHUNK 64 /* fewer rows would waste what reading and unpacking weights costs */

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
    const size_t len = job_len(j);
    for (size_t i = 0; i < len; i++)
        s->keys[i] = (uint64_t)job_token(j, i);
    int32_t from;
    int32_t got = 0;
    size_t n;
    if (!kv_tree_match(s->tree, &(kv_scope){0}, s->keys, len - 1, &from, &n))
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

static uint64_t in_pages(uint64_t n_token, uint32_t page_tokens)
{
    const uint64_t page = page_tokens ? page_tokens : 1;
    return (n_token + page - 1) / page * page;
}

/* Tokens' worth of pages that j will take in one group until its prompt is read and it has said a
 * word. */
static uint64_t will_take(const sched_job *j, const engine_room *r, uint32_t page_tokens)
{
    const uint64_t most = in_pages(r->n_token_seq, page_tokens);
    const uint64_t then = in_pages(job_len(j) + 1, page_tokens);
    const uint64_t now = in_pages(j->n_done, page_tokens);
    return (then < most ? then : most) - (now < most ? now : most);
}

/* Room in every group for j and for those that are let in, but have not read all yet. A job that
 * had to go finds none before another has ended: the one for which it went took of its pages. */
static bool fits(const sched *s, const sched_job *j, const engine_stat *e)
{
    if (e->n_seq_room && e->n_seq_alive > e->n_seq_room)
        return false;
    const engine_room all = {.n_token_free = e->n_token_free, .n_token_seq = UINT32_MAX};
    const engine_room *rooms = e->n_room ? e->room : &all;
    for (size_t i = 0; i < (e->n_room ? e->n_room : 1); i++) {
        uint64_t need = will_take(j, &rooms[i], e->page_tokens);
        for (const sched_job *r = s->running.head; r; r = r->next)
            need += will_take(r, &rooms[i], e->page_tokens);
        if (need > rooms[i].n_token_free)
            return false;
    }
    return true;
}

/* Whether the engine has pages for what the job must read. A lone job is always let in: if it does
 * not fit, the engine says so with its own figures. */
static bool has_room(sched *s, const sched_job *j)
{
    if (!s->running.n)
        return true;
    engine_stat stat;
    do {
        s->o.vt->stat(s->o.engine, &stat);
        if (fits(s, j, &stat))
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

bool sched_may_start(const sched_job *j)
{
    return !j->is_held || stream_ready(j->stream);
}

void sched_admit(sched *s)
{
    take_incoming(s);
    end_canceled(s);
    sched_retire(s); /* before the step, which may be long: their room is free for others now */
    for (sched_job *j = s->waiting.head, *next; j && s->running.n < s->o.n_running; j = next) {
        next = j->next;
        if (!sched_may_start(j))
            continue;
        j->is_held = false;
        if (!admit(s, j))
            break;
    }
}

/* ---- the rows of a step ---- */

/* The output that the job's last row is asked for. */
static uint32_t wanted(const sched *s, const sched_job *j)
{
    if (j->kind == SCHED_EMBED)
        return s->o.pooled ? ENGINE_POOLED : ENGINE_HIDDEN;
    if (j->n_predict == 0)
        return 0;
    return (sample_need(j->sampler) ? 0 : ENGINE_LOGITS) |
           (job_n_candidate(j) ? ENGINE_CANDIDATES : 0);
}

/* Rows for the job's next n tokens. */
static void add_rows(const sched *s, sched_step *step, sched_job *j, size_t n)
{
    const size_t len = job_len(j);
    for (size_t i = j->n_done; i < j->n_done + n; i++) {
        const int32_t pos = (int32_t)i;
        step->of_row[step->n_row] = j;
        step->rows[step->n_row++] = (engine_row){
            .seq = j->seq,
            .source = ENGINE_TOKEN,
            .id = job_token(j, i),
            .pos = {pos, pos, pos, pos},
            .visible_end = s->o.causal ? pos + 1 : (int32_t)len,
            .flags = i + 1 == len ? wanted(s, j) : 0,
        };
    }
    j->in_flight++;
    j->n_planned = j->n_done + n;
    if (job_n_candidate(j) > step->n_candidate)
        step->n_candidate = job_n_candidate(j);
}

bool sched_is_whole(const sched *s, const sched_job *j)
{
    return !s->o.causal || (j->kind == SCHED_EMBED && s->o.pooled);
}

/* How many rows of prompts a step may have: so many that it is over in a fraction of a second, for
 * the sake of those who wait for their next token, and of those who want to leave. */
static size_t chunk_rows(const sched *s, bool alone)
{
    if (s->o.n_chunk)
        return s->o.n_chunk;
    if (!s->row_ns)
        return MIN_CHUNK; /* nothing is known of the speed yet */
    const uint64_t n = (alone ? STEP_ALONE_NS : STEP_SHARED_NS) / s->row_ns;
    return n < MIN_CHUNK ? MIN_CHUNK : (size_t)n;
}

/* Whether the token that is under way will be the engine's own greedy choice, and will neither end
 * the answer nor fill the context: then the step after it can be planned before it is known. Where
 * it ends the answer all the same, by a stop string or the end of the text, that step's output is
 * dropped. */
static bool may_go_ahead(const sched *s, const sched_job *j)
{
    return s->o.ahead && j->in_flight == 1 && j->kind == SCHED_GENERATE &&
           j->n_planned == job_len(j) && sample_need(j->sampler) == 1 && !is_canceled(j) &&
           (j->n_predict < 0 || j->n_token + 1 < (size_t)j->n_predict) && job_len(j) < j->n_ctx;
}

/* A row for the token that the engine chose last, whichever it was. */
static void add_choice(const sched *s, sched_step *step, sched_job *j)
{
    const int32_t pos = (int32_t)j->n_planned++;
    step->of_row[step->n_row] = j;
    step->rows[step->n_row++] = (engine_row){
        .seq = j->seq,
        .source = ENGINE_PREV,
        .pos = {pos, pos, pos, pos},
        .visible_end = pos + 1,
        .flags = wanted(s, j),
    };
    j->in_flight++;
    if (job_n_candidate(j) > step->n_candidate)
        step->n_candidate = job_n_candidate(j);
}

/* A row of every job that answers. */
static void add_answers(sched *s, sched_step *step)
{
    for (sched_job *j = s->running.head; j && step->n_row < s->o.n_batch; j = j->next) {
        if (j->state == JOB_RUNNING && may_go_ahead(s, j)) {
            add_choice(s, step, j);
            continue;
        }
        if (j->state == JOB_RUNNING && !j->in_flight && !sched_is_whole(s, j) &&
            job_len(j) - j->n_done == 1)
            add_rows(s, step, j, 1);
    }
}

/* Texts that are computed whole, as long as they fit. */
static void add_wholes(sched *s, sched_step *step)
{
    for (sched_job *j = s->running.head; j; j = j->next) {
        if (j->state != JOB_RUNNING || j->in_flight || !sched_is_whole(s, j))
            continue;
        if (job_len(j) <= s->o.n_batch - step->n_row)
            add_rows(s, step, j, job_len(j));
        else
            s->whole_waits = true;
    }
}

/* Prompts, oldest first, together no more than a chunk. */
static void add_prompts(sched *s, sched_step *step)
{
    size_t chunk = chunk_rows(s, step->n_row == 0);
    for (sched_job *j = s->running.head; j && chunk; j = j->next) {
        if (j->state != JOB_RUNNING || j->in_flight || sched_is_whole(s, j))
            continue;
        const size_t room = s->o.n_batch - step->n_row;
        size_t n = job_len(j) - j->n_done;
        n = n < room ? n : room;
        n = n < chunk ? n : chunk;
        if (!n)
            return;
        add_rows(s, step, j, n);
        chunk -= n;
    }
}

/* Answers come first, so that no prompt delays them by more than a chunk. A text that is computed
 * whole and finds too little room beside them comes first in the next step. */
void sched_plan(sched *s, sched_step *step)
{
    const bool wholes_first = s->whole_waits;
    step->n_row = 0;
    step->n_candidate = 0;
    s->whole_waits = false;
    if (wholes_first)
        add_wholes(s, step);
    add_answers(s, step);
    if (!wholes_first)
        add_wholes(s, step);
    add_prompts(s, step);
}
