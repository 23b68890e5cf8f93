/* sched.h - who runs next: a queue of jobs, and the one loop that turns an engine.
 *
 *     submit (any thread) -> queue -> sched_tick (engine thread) -> the job's sink
 *
 * A job is a prompt and what to do with it. Each tick takes one row of every job that is answering
 * and a bounded chunk of the prompts that are not yet read, so a long prompt delays the others by
 * no more than a chunk. Because an engine gives a row the same bits whatever shares its step, a
 * job's answer does not depend on its neighbours.
 *
 * Finished sequences stay in the engine as long as there is room; a new prompt that begins as one
 * of them starts behind what they share. The least recently used makes room first; when none is
 * left, the youngest running job goes back to the queue and later reads its tokens again.
 *
 * Context: a job may have a smaller one than the engine's sequences. Full, it ends the answer, or
 * is cut: the first n_keep tokens stay, of the rest the older half goes, and what remains is
 * computed again, so that the answer goes on as if it had been a prompt.
 *
 * Threads: sched_submit, sched_cancel, sched_wake, sched_stop, sched_set_threads, sched_grow and
 * sched_get_stat from any thread; all else, and every call into the engine and the sinks, on the
 * engine thread.
 */
#ifndef SCHED_SCHED_H
#define SCHED_SCHED_H

#include "engine/engine.h"
#include "sample/sample.h"
#include "stream/stream.h"

#define SCHED_MAX_RUNNING 256
#define SCHED_MAX_QUEUE 65536
#define SCHED_MAX_IDS (1u << 26) /* prompt and answer of one job, whatever was cut */

typedef struct sched sched; /* opaque: the struct is in sched_int.h */

typedef struct sched_opts {
    const engine_vt *vt;
    engine *engine; /* borrowed, as the vocabulary */
    const tok_vocab *vocab;
    uint32_t n_vocab, n_embd;
    uint32_t n_ctx;     /* tokens of one sequence */
    uint32_t n_batch;   /* rows of a step */
    uint32_t n_running; /* most jobs computed together, at most n_batch; 0: SCHED_MAX_RUNNING */
    uint32_t n_queue;   /* most jobs waiting; 0: 512 */
    uint32_t n_cached;  /* finished sequences kept; 0: none, no prefix reuse */
    bool causal;        /* false: a prompt is one step, every row sees all others */
    bool pooled;        /* the engine pools; else embeddings are the last row's hidden state */
    bool ahead;         /* submit step n + 1 before collecting n: for engines that overlap */
    uint32_t
        n_chunk; /* most rows of prompts in a step; 0: as many as take a fraction of a second */
} sched_opts;

typedef enum sched_kind { SCHED_GENERATE, SCHED_EMBED } sched_kind;

typedef uint64_t sched_job_id; /* never 0, never used again */

/* Everything is copied by sched_submit but the vocabulary and what the sink's user points at. */
typedef struct sched_job_def {
    sched_kind kind;
    const int32_t *ids; /* n_id >= 1 */
    size_t n_id;
    sample_params sample;
    int32_t n_predict; /* negative: until the context is full */
    const char *const *stop;
    size_t n_stop;
    bool ignore_eog;
    bool special;
    bool no_reuse;     /* neither takes from the cached sequences nor leaves one */
    uint32_t n_ctx;    /* tokens of its context, at most sched_opts.n_ctx, which 0 stands for */
    bool shift;        /* a full context is cut and the answer goes on */
    uint32_t n_keep;   /* with shift: first tokens that stay; at most n_ctx - 4 do */
    uint32_t n_thread; /* 0: all of the budget. A step has the most that one of its jobs asks */
    bool logprobs;     /* the sink is told each token's probability */
    uint32_t n_top_logprob; /* and the likeliest ones in its place, at most STREAM_MAX_TOP */
    stream_sink sink;
} sched_job_def;

/* CAMA_ERR_ARG for options that contradict each other, CAMA_ERR_NOMEM. */
cama_err sched_open(const sched_opts *o, sched **out, err_info *err);
/* Fails what is left with CAMA_ERR_CANCELED and frees the engine's sequences. Accepts NULL. */
void sched_close(sched *s);

/* CAMA_ERR_BUSY: the queue is full; CAMA_ERR_CONTEXT names the prompt's tokens and the context's;
 * CAMA_ERR_ARG: no tokens, or an id outside the vocabulary, or a bad parameter; CAMA_ERR_LIMIT:
 * stop strings. On failure the sink hears nothing; on success it hears done or fail, once. */
cama_err sched_submit(sched *s, const sched_job_def *def, sched_job_id *out, err_info *err);
/* The job ends as canceled within a step; nothing happens when it has ended already. */
void sched_cancel(sched *s, sched_job_id id);
/* Something outside changed (a sink is ready again): sched_run looks. */
void sched_wake(sched *s);

/* Threads that steps may use (0: all that the engine has) and how long an idle one spins before it
 * sleeps (ENGINE_SPIN_DEFAULT: the engine knows), from the next step on. */
void sched_set_threads(sched *s, uint32_t n_thread, uint64_t spin_ns);
/* Raises the tokens that all sequences may hold together (engine_vt.grow) between two steps, and
 * waits for it: not on the engine thread. CAMA_ERR_NO_FIT, CAMA_ERR_LIMIT as the engine says;
 * CAMA_ERR_CANCELED: the loop has been stopped. */
cama_err sched_grow(sched *s, uint64_t n_kv, err_info *err);

/* One turn of the loop. False: nothing can be done now (no job, or all are paused). */
bool sched_tick(sched *s);
/* Ticks, and sleeps while there is nothing to do, until sched_stop. */
void sched_run(sched *s);
void sched_stop(sched *s);

/* Gives the least recently used cached sequence back to the engine; false: none is left. */
bool sched_evict(sched *s);

typedef struct sched_stat {
    uint32_t n_waiting, n_running, n_cached;
    uint64_t n_step, n_row; /* submitted since the start */
    uint64_t n_preempted;
    uint64_t n_prefill;         /* rows of running jobs' prompts still to be read */
    uint64_t kv_used, kv_limit; /* tokens: held by all sequences, cached ones too; of the budget */
    uint64_t progress;          /* grows while the engine computes, within a step too */
} sched_stat;
/* Any thread, never waits for a step. The figures may be a step old, but for progress. */
void sched_get_stat(sched *s, sched_stat *out);

#endif
