/* runner_int.h - the one model of this process and the jobs on their way through it.
 *
 * runner.c        threads and life: reader, preparer, engine loop
 * runner_model.c  LOAD to READY
 * runner_ready.c  what PLAN and READY say
 * runner_job.c    jobs by their number: who may still touch one
 * runner_say.c    frames to serve
 * runner_import.c a folder's files into one GGUF: instead of a model
 * runner_about.c  what engines there are, instead of a model
 * runner_prep.c   a JOB becomes work for the scheduler
 * runner_prompt.c messages -> prompt -> ids that fit the context
 * runner_sink.c   what the scheduler tells becomes frames
 * runner_embed.c  inputs to vectors, text to ids and back
 */
#ifndef RUNNER_RUNNER_INT_H
#define RUNNER_RUNNER_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "chat/answer.h"
#include "chat/chat.h"
#include "chat/gotmpl.h"
#include "runner/load.h"
#include "runner/runner.h"
#include "sched/sched.h"
#include "wire/wire.h"

#define RUNNER_TEMPLATE_KEY "tokenizer.chat_template"
#define RUNNER_MAX_TEXT ((size_t)256 << 20) /* bytes of a prompt */
#define RUNNER_MAX_TREE ((size_t)2 << 30)   /* of a job's JSON and what is made of it */
#define RUNNER_TOGETHER 8                   /* inputs of one embed job computed at once */

typedef struct runner runner;
typedef struct runner_import runner_import; /* runner_import.c */

/* One piece of an embed job, and the sink of its vector. */
typedef struct runner_part {
    struct runner_job *job;
    uint32_t index;
    sched_job_id id; /* under the runner's lock; 0: none */
} runner_part;

/* The inputs of an embed job, as ids one after the other. */
typedef struct runner_inputs {
    tok_ids ids;
    uint32_t *end; /* [n]: where each one ends in ids */
    uint32_t n;
    atomic_uint next;   /* relaxed: a count */
    atomic_uint n_open; /* in the scheduler now, and the preparer while it submits */
    atomic_bool failed; /* relaxed: `broken` says why, under the lock while others run */
    int32_t dimensions;
    uint32_t n_thread;
    bool normalize;
    uint32_t n_prompt; /* engine thread's: tokens of those that are done */
    stream_sink sink;  /* but for its user */
} runner_inputs;

/* The reader makes it, the preparer fills it, and sched_submit hands it to the engine thread. */
typedef struct runner_job runner_job;
struct runner_job {
    runner *r;
    uint64_t id;
    runner_job *next, *next_prep; /* under the lock: of the table; of the queue */
    int n_ref;                    /* under the lock: the table's, the preparer's, the scheduler's */
    atomic_bool canceled;         /* relaxed: a flag that nothing else is ordered by */
    atomic_int_fast64_t credit;   /* relaxed: a count */
    char *head;                   /* JSON text */
    size_t n_head;
    void *data;
    size_t n_data;
    uint64_t arrival_ns, submit_ns;

    /* the preparer's until sched_submit, the engine thread's from then on */
    uint32_t num_ctx; /* as asked for, or what is left of that */
    uint32_t n_ctx;   /* the same, rounded up: what the scheduler gives it */
    const char *path; /* "go", "jinja", "chatml", "raw" */
    bool want_context, logprobs, has_stop;
    arena tree; /* of the job's JSON, where the answer still looks at its tools */
    bool keeps_tree;
    answer *answer;  /* NULL: text goes out as it comes */
    tok_ids uncut;   /* the prompt before its middle was cut; n = 0: it was not */
    buf said;        /* the answer's text, where `context` cannot be had from the ids */
    err_info broken; /* code not CAMA_OK: why the answer cannot go on */
    buf probs;       /* JSON of probabilities that no frame has taken yet */
    runner_part parts[RUNNER_TOGETHER];
    runner_inputs inputs;
};

typedef enum runner_stage { RUNNER_WAITS, RUNNER_LOADS, RUNNER_WORKS, RUNNER_LEAVES } runner_stage;

struct runner {
    wire *w;
    const char *name; /* for texts: as LOAD gives it */

    runner_import *import; /* the reader's until asked_import; NULL: none */

    /* made by the loading thread, fixed before RUNNER_WORKS */
    int fds[WIRE_MAX_FD];
    size_t n_fd;
    arena load_arena; /* what LOAD said */
    gguf_file *file;
    model_desc *desc;
    tok_vocab *vocab;
    load_choice choice; /* vt NULL: not made yet */
    const engine_vt *vt;
    engine *engine;
    engine_opts eo;
    engine_bytes planned;
    bool in_memory;
    load_place place;
    uint32_t n_ctx, n_parallel; /* what LOAD asked for */
    bool is_whole;              /* a text is computed in one step */
    sched *sched;

    /* the preparer's */
    tmpl *tmpl; /* the file's own, parsed at first use; or ChatML */
    chat_caps caps;
    bool is_chatml;
    err_info tmpl_err; /* code not CAMA_OK: the file's template cannot be used */
    gotmpl *gotmpl;    /* the last one */
    char *go_source;   /* its text */

    bool have_lock, have_wake, have_reader, have_preparer;
    pthread_t reader, preparer;
    pthread_mutex_t lock; /* guards what follows, and fields of jobs that say so */
    pthread_cond_t wake;  /* the stage changed, or the preparer has work */
    runner_stage stage;
    bool has_start, quits;
    bool asked_engines; /* ENGINES came, with the engines to leave out in load_head */
    bool asked_import;  /* all frames of an IMPORT came; load_head is "" */
    bool knows_vocab;   /* the preparer has opened it, or vocab_err says why not */
    err_info vocab_err;
    uint64_t start_max_bytes;
    char *load_head;  /* JSON text of LOAD; set once, with the descriptors */
    runner_job *jobs; /* all that have not ended */
    runner_job *prep, **prep_last;
    uint32_t n_prep;
    uint64_t load_ns;
    uint64_t n_kv; /* the preparer's: budget of the engine, as last asked */
};

static inline void runner_lock(runner *r)
{
    (void)pthread_mutex_lock(&r->lock); /* a plain mutex, held for no foreign code */
}

static inline void runner_unlock(runner *r)
{
    (void)pthread_mutex_unlock(&r->lock);
}

/* Contexts are rounded up to a step of 256, as llama.cpp does under Ollama. */
static inline uint32_t runner_round_ctx(uint32_t n_ctx, uint32_t most)
{
    const uint32_t rounded = n_ctx > UINT32_MAX - 255 ? most : (n_ctx + 255) / 256 * 256;
    return rounded < most ? rounded : most;
}

static inline bool job_is_canceled(runner_job *j)
{
    return atomic_load_explicit(&j->canceled, memory_order_relaxed);
}

/* Serves the wire on fd, which it takes. Gives the exit status; ends the process when serve goes.
 */
int runner_run(int fd);

/* ---- runner_say.c ---- */

typedef enum runner_level { RUNNER_DEBUG, RUNNER_INFO, RUNNER_WARNING, RUNNER_ERROR } runner_level;

/* A frame. What cannot be sent ends the process: nobody would hear of the job's end. */
void runner_send(runner *r, const wire_out *f);
/* The same with a head that is being built; frees the buffer. */
void runner_send_head(runner *r, wire_type t, uint64_t job, buf *head);
void runner_log(runner *r, runner_level level, const char *fmt, ...) ERR_PRINTF(3, 4);
/* figures: more fields of the head, `,"n":1`, or "". */
void runner_warn(runner_job *j, const char *code, const char *figures, const char *fmt, ...)
    ERR_PRINTF(4, 5);
/* The last frame of a job, before runner_job_over. figures as above. */
void runner_fail(runner_job *j, const err_info *err, const char *figures);
/* The end of a job that never reached the scheduler. */
void runner_done_early(runner_job *j, const char *reason, const char *figures);
/* UTF-8 text in pieces that a frame holds. */
void runner_send_text(runner_job *j, const char *text, size_t n);
/* Closes the connection's other end for good: serve sees the end and replaces this process. */
_Noreturn void runner_die(const err_info *err);

/* ---- runner_ready.c ---- */

void runner_put_text(buf *out, const char *key, const char *text); /* ,"key":"text" */
void runner_say_plan(runner *r);
void runner_model_ready(runner *r);

/* ---- runner_about.c ---- */

/* Tells serve which engine is looked at, before that may be the end of this process. */
void runner_looks_at(void *r, const char *name);

/* Sends ABOUT. skip: JSON text of ENGINES. */
void runner_tell_engines(runner *r, const char *skip);

/* ---- runner_import.c ---- */

/* Takes the frame's descriptors. *out_ready: it was the last one. */
cama_err runner_import_add(runner *r, const wire_frame *f, bool *out_ready, err_info *err);
/* Converts, tells PROGRESS and the end; gives the exit status. */
int runner_import_run(runner *r);
void runner_import_free(runner_import *im);

/* ---- runner_model.c ---- */

/* From what LOAD said to PLAN, and from START to what READY tells. On failure REFUSE was sent. */
cama_err runner_model_plan(runner *r);
cama_err runner_model_open(runner *r);
/* The context of a job for which memory is there. */
uint32_t runner_ctx_fits(const runner *r);
/* The preparer's part of the opening, beside runner_model_open: the vocabulary. */
void runner_model_vocab(runner *r);
void runner_model_close(runner *r);
/* Raises the engine's budget so that a sequence of n_ctx tokens fits. Preparer only. */
cama_err runner_make_room(runner *r, uint32_t n_ctx, err_info *err);

/* ---- runner_job.c ---- */

/* Copies the frame; in the table and in the preparer's queue. NULL: no memory. */
runner_job *runner_job_new(runner *r, const wire_frame *f);
/* For the preparer: the next one with a reference, or NULL when the runner leaves. */
runner_job *runner_job_take(runner *r);
void runner_job_unref(runner_job *j);
/* Its last frame was sent: out of the table. The caller's own reference stays. */
void runner_job_over(runner_job *j);
/* One more who holds it. */
void runner_job_ref(runner_job *j);
/* Under the lock: jobs that the scheduler has. */
uint32_t runner_n_submitted(const runner *r);
void runner_job_credit(runner *r, uint64_t id, int64_t bytes);
void runner_job_cancel(runner *r, uint64_t id);
/* Remembers the scheduler's number, and cancels it where that was asked meanwhile. */
void runner_part_set(runner_part *p, sched_job_id id);

/* ---- runner_prep.c ---- */

/* What the preparer knows of a job while it works on it. */
typedef struct runner_prep {
    runner *r;
    runner_job *j;
    arena tree; /* of the job's JSON, and what is made of it */
    const json_value *head, *options;
    const char *kind;
    uint32_t n_limit; /* tokens that a prompt may have: num_ctx */
    buf text;         /* the prompt */
    tok_ids ids;
    const char *prefill; /* the answer's beginning, from the caller; NULL: none */
    gochat_tags tags;
    const char *call_tag; /* NULL: no tools */
} runner_prep;

void *runner_preparing(void *arg); /* thread */
int64_t prep_int(const runner_prep *p, const char *option);
double prep_float(const runner_prep *p, const char *option);
int64_t prep_head_int(const runner_prep *p, const char *key); /* 0: absent */
uint32_t prep_threads(const runner_prep *p);
const char *prep_str(const runner_prep *p, const char *key); /* NULL: absent */
bool prep_bool(const runner_prep *p, const char *key, bool fallback);
/* num_ctx of the job into j->n_ctx and n_limit, warned where it is reduced. */
cama_err prep_context(runner_prep *p, err_info *err);

/* ---- runner_prompt.c ---- */

/* Parses the file's template before the first job asks for it. */
void runner_prompt_warm(runner *r);
/* text and ids of the job; its path; figures of an ERR_CONTEXT into `figures`. */
cama_err runner_prompt(runner_prep *p, char figures[96], err_info *err);

/* ---- runner_embed.c ---- */

cama_err runner_embed(runner_prep *p, char figures[96], err_info *err);
cama_err runner_tokenize(runner_prep *p, err_info *err);
cama_err runner_detokenize(runner_prep *p, err_info *err);

/* ---- runner_sink.c ---- */

stream_sink runner_text_sink(runner_part *p);
/* Where the answer's parts go. */
void runner_answer_event(void *job, answer_kind kind, const char *text, size_t n);

#endif
