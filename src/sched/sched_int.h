/* sched_int.h - jobs and steps, shared by the files of this room. */
#ifndef SCHED_SCHED_INT_H
#define SCHED_SCHED_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "kv/kv_tree.h"
#include "sched/sched.h"

typedef enum job_state {
    JOB_WAITING, /* in the queue: no sequence */
    JOB_RUNNING,
    JOB_PAUSED, /* its sink is full */
    JOB_OVER    /* told its end; retired at the end of the tick */
} job_state;

/* A job is a run of tokens of which n_done are in the engine: reading the prompt and answering
 * differ only in how many are left. Preempted, it has none there and reads everything again.
 *
 * When its context was cut, n_dropped tokens behind the first n_keep are not in the context any
 * more; job_len and job_token see it as it is now. */
typedef struct sched_job sched_job;
struct sched_job {
    sched_job *next;                /* in its list */
    sched_job *all_prev, *all_next; /* under the lock: every job, for sched_cancel */
    sched_job_id id;
    sched_kind kind;
    job_state state;
    bool is_held;         /* waits, and its sink was full when it had to go */
    bool no_reuse, keep;  /* keep: the sequence may be cached when the job is over */
    atomic_bool canceled; /* relaxed: a flag that nothing else is ordered by */
    int32_t *ids;         /* [cap]: prompt, then answer */
    size_t n_id, cap, n_prompt, n_cached, n_done, n_token;
    size_t n_ctx, n_keep, n_dropped;
    uint32_t n_shift;
    bool shift;
    bool logprobs;
    uint32_t n_top; /* alternatives told with each token */
    uint32_t n_thread;
    int32_t n_predict;
    int32_t seq;       /* -1: none */
    uint8_t in_flight; /* steps under way that hold rows of it: two where one was planned ahead */
    size_t n_planned;  /* tokens computed, or in those steps */
    sampler *sampler;
    stream *stream;
    uint64_t submit_ns, admit_ns, first_ns, last_ns;
};

/* Tokens that the context should hold: computed, or left to compute. */
static inline size_t job_len(const sched_job *j)
{
    return j->n_id - j->n_dropped;
}

/* The i-th of them. */
static inline int32_t job_token(const sched_job *j, size_t i)
{
    return j->ids[i < j->n_keep ? i : i + j->n_dropped];
}

/* Candidates that its rows must give. */
static inline uint32_t job_n_candidate(const sched_job *j)
{
    const uint32_t need = j->sampler ? sample_need(j->sampler) : 0;
    const uint32_t told = j->logprobs ? (j->n_top ? j->n_top : 1) : 0;
    return need > told ? need : told;
}

typedef struct job_list {
    sched_job *head, **tail;
    uint32_t n;
} job_list;

void list_init(job_list *l);
void list_append(job_list *l, sched_job *j);
void list_prepend(job_list *l, sched_job *j);
sched_job *list_take(job_list *l); /* the first, or NULL */
void list_remove(job_list *l, sched_job *j);

/* A submitted batch and whose rows it holds. */
typedef struct sched_step {
    engine_ticket ticket;
    bool live;
    engine_row *rows;   /* [n_batch] */
    sched_job **of_row; /* [n_batch] */
    size_t n_row;
    uint32_t n_candidate;
    uint64_t begin_ns;
} sched_step;

/* What sched_set_threads said last. */
typedef struct sched_budget {
    uint32_t n_thread; /* 0: all */
    uint64_t spin_ns;
} sched_budget;

/* A call of sched_grow, on the caller's stack until it is done. */
typedef struct sched_ask sched_ask;
struct sched_ask {
    sched_ask *next;
    uint64_t n_kv;
    cama_err e;
    err_info err;
    bool done;
};

struct sched {
    sched_opts o;
    kv_tree *tree;    /* NULL: no prefix reuse */
    job_list waiting; /* engine thread's, in order; preempted jobs first */
    job_list running;
    sched_step steps[2];            /* the second is used when o.ahead */
    int i_step;                     /* the one to fill next */
    sample_cand *cand;              /* [SAMPLE_MAX_NEED] scratch */
    uint64_t *keys;                 /* [n_ctx + 1] scratch */
    stream_alt top[STREAM_MAX_TOP]; /* scratch */
    uint64_t row_ns;                /* what a row of a large step took lately; 0: not known */
    bool whole_waits;        /* a text that is computed in one step found no room beside others */
    sched_budget budget_now; /* the engine thread's copy */
    sched_budget in_use;     /* what the engine was told last */

    /* They were made: a scheduler that is half built is closed too. */
    bool have_lock, have_wake, have_told;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    pthread_cond_t told; /* asks are done */
    sched_ask *asks;
    sched_budget budget;
    job_list incoming;
    uint32_t n_queued; /* incoming and waiting together */
    sched_job_id last_id;
    sched_job *all;
    bool stop, woken;
    sched_stat stat;
};

/* A plain mutex that is held for no foreign code: none of the three can fail. */
static inline void sched_lock(sched *s)
{
    (void)pthread_mutex_lock(&s->lock);
}

static inline void sched_unlock(sched *s)
{
    (void)pthread_mutex_unlock(&s->lock);
}

/* Under the lock: the loop looks again. */
static inline void sched_signal(sched *s)
{
    (void)pthread_cond_signal(&s->wake);
}

void job_free(sched *s, sched_job *j); /* unlinks it from `all` */
/* Ends a job for its reader. The sequence is dealt with when it is retired. */
void job_end(sched_job *j, stream_reason reason, bool context_full);
void job_fail(sched_job *j, const err_info *err);

/* sched_ask.c */
void sched_take_asks(sched *s);
/* The threads that the step's jobs may have, before it is submitted. */
void sched_use_threads(sched *s, const sched_step *step);
/* The figures of sched_get_stat, at the end of a tick. */
void sched_put_stat(sched *s);
void sched_refuse_asks(sched *s);

/* sched_plan.c */
void sched_admit(sched *s);
/* A job that waits, and whose reader does not keep it waiting. */
bool sched_may_start(const sched_job *j);
bool sched_is_whole(const sched *s, const sched_job *j); /* must be computed in one step */
void sched_plan(sched *s, sched_step *step);
/* Gives back what the engine holds of j. */
void sched_drop(sched *s, sched_job *j);

/* sched_out.c */
void sched_submit_step(sched *s, sched_step *step);
void sched_collect_step(sched *s, sched_step *step);
void sched_retire(sched *s);

#endif
