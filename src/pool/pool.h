/* pool.h - loaded runners: who has which model, and jobs on their way to them.
 *
 *     pool_submit -> runner loaded? -> JOB ----------------------> events -> the job's sink
 *                        no: queue, plan, evict, spawn, LOAD, START, READY
 *
 * A runner is a child process that holds one set of weights on one engine; it is keyed by
 * pool_model.key (weights + projector + engine + device as asked for), never by a model's name.
 * When it dies, hangs or talks nonsense, its jobs end at once with CAMA_ERR_RUNNER and the next job
 * gets a new one.
 *
 * Fallback: where another engine may be able to take the model, jobs that have sent nothing yet do
 * not end: they are tried once more on the same engine, then on the other one, with a warning
 * `engine_fallback`. An engine that failed so is remembered for this model (src/hist), and whoever
 * leaves the choice to the pool gets the other one from then on, until pool_engines_reset. A
 * runner's refusal that is a matter of the engine (it cannot run the model, it is not there, it
 * failed) falls back too; one for want of memory only where the engine was not asked for by name.
 *
 * Memory: a runner plans before it loads. When its plan does not fit beside the others, those that
 * are idle go, least recently used first; when none is idle the job waits for one; when it would
 * not fit alone either, it is refused with the figures.
 *
 * Keep-alive: the timer starts when the last job of a runner ends; each job sets its length.
 *
 * Threads: every function from any thread. Sinks are called from a thread of the pool or of any
 * caller of the pool, one call at a time for a job, without a lock of the pool's: they may call it,
 * and must not block. The log may be called under the pool's lock and must not call the pool.
 */
#ifndef POOL_POOL_H
#define POOL_POOL_H

#include "base/err.h"
#include "json/json.h"

#define POOL_KEEP_DEFAULT INT64_MIN /* what pool_opts says */
#define POOL_KEEP_FOREVER INT64_MAX

typedef struct pool pool; /* opaque: the struct is in pool_int.h */

typedef enum pool_level { POOL_DEBUG, POOL_INFO, POOL_WARN_LEVEL, POOL_ERROR } pool_level;

typedef struct pool_opts {
    const char *exe;          /* run as `exe runner`; NULL: this program */
    uint32_t max_loaded;      /* runners at once; 0: 3 */
    uint32_t max_queue;       /* jobs that have not begun; 0: 512 */
    uint32_t n_parallel;      /* sequences planned at full num_ctx; 0: 1 */
    uint32_t n_ctx;           /* num_ctx of jobs that do not say; 0: 4096 */
    uint32_t n_thread;        /* 0: what the machine and its limits give */
    const char *kv_type;      /* NULL: f16 */
    const char *activations;  /* NULL: int8 */
    const char *weights;      /* NULL: auto */
    uint64_t max_bytes;       /* memory for all runners; 0: what is free */
    uint64_t load_timeout_ns; /* no progress while loading; 0: 5 min */
    uint64_t hang_timeout_ns; /* no sign of life while working; 0: 30 s */
    int64_t keep_alive_ns;    /* 0: unload when idle; POOL_KEEP_DEFAULT: 5 min */
    void (*log)(void *user, pool_level level, const char *line); /* any thread; may be NULL */
    void *user;
    bool log_debug; /* lines of the level POOL_DEBUG are wanted */
    const char
        *data_dir; /* folder of cama.db, what is remembered; NULL: nothing outlives the pool */
    bool strict;   /* no fallback, and no engine that does otherwise than it should: CAMA_ERR_ENGINE
                      names engine and reason instead */
} pool_opts;

cama_err pool_open(const pool_opts *o, pool **out, err_info *err);
/* No new jobs (CAMA_ERR_BUSY), those that run may end until timeout_ms, then all runners end. */
void pool_drain(pool *p, uint32_t timeout_ms);
/* Jobs left are failed with CAMA_ERR_CANCELED. Accepts NULL. */
void pool_close(pool *p);

/* What to run. Everything is copied. */
typedef struct pool_model {
    const char *key;          /* equal keys share a runner: engine and device belong to it */
    const char *name;         /* as ps shows it: of the tag that loaded it */
    const char *digest;       /* of its manifest, hex */
    const char *const *paths; /* of the weights: one, or all files of a split GGUF */
    size_t n_path;
    const char *projector; /* path; NULL: none */
    const char *engine;    /* "native", "mlx"; NULL, "" or "auto": the one that fits best */
    const char *device;    /* "cpu", "gpu"; NULL or "": any */
    const char *details;   /* JSON object for ps; NULL: {} */
} pool_model;

typedef enum pool_event_type {
    POOL_LOADED, /* before the job begins: head is the runner's READY, load_ns its cost. It comes
                    again when the runner died before a part of the answer was told (or the sink
                    collects) and another one has the job: forget what the first one said */
    POOL_TEXT,   /* data is UTF-8; head may hold logprobs */
    POOL_THINK,
    POOL_CALLS,
    POOL_TOKENS,  /* data is i32 ids */
    POOL_VECTOR,  /* data is f32 */
    POOL_WARNING, /* head: {"code","text",..}; `engine_fallback` has "from","to","reason" too and
                     comes behind LOADED, for every job of a runner that stands in for another; so
                     does `engine_adapted`, where the engine has a note */
    POOL_DONE,    /* last: head as in docs/wire.md; of a job that only loads: {"reason":"load"} */
    POOL_FAIL     /* last: err */
} pool_event_type;

/* All memory is the pool's, for the call. */
typedef struct pool_event {
    pool_event_type type;
    const json_value *head; /* an object, never NULL */
    const void *data;
    size_t n_data;
    uint64_t load_ns;    /* LOADED: what this job waited for loading; 0: it was there */
    uint64_t queue_ns;   /* LOADED: what it waited for anything else */
    const err_info *err; /* FAIL */
} pool_event;

typedef struct pool_sink {
    void *user;
    void (*event)(void *user, const pool_event *e); /* DONE or FAIL once, and nothing after */
} pool_sink;

typedef uint64_t pool_job_id; /* never 0, never used again */

typedef struct pool_job {
    const pool_model *model;
    const char *head; /* of the JOB frame: JSON text as in docs/wire.md. NULL: only load */
    size_t n_head;
    const void *data;
    size_t n_data;
    bool collects;         /* the sink shows nothing before DONE: the job may run again even after
                              parts of its answer were told, which LOADED then takes back */
    uint32_t n_ctx;        /* 0: pool_opts.n_ctx */
    int64_t keep_alive_ns; /* from the end of the job; POOL_KEEP_DEFAULT, POOL_KEEP_FOREVER, >= 0 */
    pool_sink sink;
} pool_job;

/* Everything is copied; *out is set before the sink hears anything, which may be before this
 * returns. CAMA_ERR_BUSY: the queue is full or the pool drains; CAMA_ERR_NOMEM; CAMA_ERR_LIMIT:
 * more files than a frame can pass, or a job larger than a frame. On failure the sink hears
 * nothing. */
cama_err pool_submit(pool *p, const pool_job *job, pool_job_id *out, err_info *err);
/* The job ends as canceled, also while it waits or loads (a load that nobody else waits for is
 * given up); nothing happens when it has ended already. The sink hears DONE or FAIL. */
void pool_cancel(pool *p, pool_job_id id);
/* The reader took n bytes of text: the job may send as many more. */
void pool_credit(pool *p, pool_job_id id, size_t n);
/* The runner of this key ends as soon as it is idle. False: none is loaded. */
bool pool_unload(pool *p, const char *key);
/* As a job would: sets the keep-alive of a loaded runner and restarts its timer. */
bool pool_keep(pool *p, const char *key, int64_t keep_alive_ns);

/* Appends a JSON array, longest remaining first, an object each: name, digest, key, details,
 * engine, engine_version, device, is_gpu, activations, kv_type, weights, sandbox, exact, forms (as
 * in READY, docs/wire.md), why (why this engine), note (what it does otherwise; ""), fallback (the
 * text of `engine_fallback`; "": none), pid, n_ctx, size, bytes {weights, kv, scratch, available},
 * running, waiting, state ("loading", "ready", "leaving"), remaining_ns (-1: for ever), restarts.
 * running: jobs that the runner holds; waiting: those in the queue here; n_ctx: the largest that a
 * job had. */
cama_err pool_list(pool *p, buf *out, err_info *err);

/* Appends {"engines":[{"name","available","why","version","device","backend","is_gpu","memory",
 * "in_use"}..],"failures":[{"engine","build","digest","model","reason","time"}..],"state"}: every
 * engine of this build, in_use being the runners that compute on it now, and what is remembered of
 * engines that failed on a model (time: RFC 3339, UTC; newest first). Engines are asked by a
 * process of their own, which may die of it (`why` then says how), and the answer is kept for a
 * minute or until a runner says otherwise. Waits at most wait_ms for it (12000 is always enough; 0:
 * never): state is "known", or "asking", and then engines are those of the last answer, or none. */
cama_err pool_engines(pool *p, uint32_t wait_ms, buf *out, err_info *err);
/* Forgets what is remembered of engines that failed on the model of this manifest digest (hex);
 * NULL: on any. The next load chooses anew. *out_n: how many were forgotten. */
cama_err pool_engines_reset(pool *p, const char *digest, size_t *out_n, err_info *err);

#endif
