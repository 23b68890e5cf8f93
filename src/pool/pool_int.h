/* pool_int.h - the parts of the pool, and who owns what.
 *
 *     pool --- slot (a key) --- waiting tasks           slot: lives while there is work, a runner,
 *                +--- runner --- tasks that it holds          or a failure to remember
 *                       +--- process, wire, reading thread
 *
 * One lock, pool.lock, over everything here that is marked [lock]; what is not marked is written
 * before others can see it. Whoever changes something under the lock calls pool_step, which draws
 * all consequences (spawn, start, evict, quit, budgets), and leaves through pool_unlock, which
 * tells sinks what happened: a sink is never called under the lock.
 *
 * A task (a job of the caller) belongs at any moment to one place:
 *     WAITING    its slot's list; any thread under the lock may take it from there
 *     STARTING   the thread that took it: it tells LOADED and sends the JOB frame
 *     RUNNING    its runner's list; its events are told by the runner's reading thread only
 *     ENDED      the thread that took it from pool.ended: it tells the end and frees it
 *
 * A runner's process is reaped by its reading thread, and pid is 0 from just before that: so
 * whoever holds the lock may send a signal to a pid that is not 0.
 */
#ifndef POOL_POOL_INT_H
#define POOL_POOL_INT_H

#include <pthread.h>
#include <sys/types.h>

#include "base/workers.h"
#include "hist/hist.h"
#include "pool/pool.h"
#include "wire/wire.h"

#define POOL_HASH 256                     /* buckets of ids; a power of two */
#define POOL_MAX_PLANNING 4               /* processes that plan or wait for room */
#define POOL_MAX_QUEUE_BYTES (1ull << 30) /* of heads and data of tasks that wait */
#define POOL_HELLO_NS 10000000000ull
#define POOL_QUIT_NS 5000000000ull   /* from QUIT to the end of the process */
#define POOL_SPIN_US WORKERS_SPIN_US /* of a runner that is alone at work */
#define POOL_N_FAIL 3                /* so many failures within POOL_FAIL_NS, and it backs off */
#define POOL_FAIL_NS 60000000000ull
#define POOL_BACKOFF_NS 30000000000ull      /* the first; each further one doubles */
#define POOL_MAX_BACKOFF_NS 300000000000ull /* the longest */
#define POOL_CREDIT_STEP (WIRE_CREDIT_BYTES / 4)
/* Text past its credit that a job may send: rendered prompts know no credit. */
#define POOL_MAX_OVERDRAFT ((int64_t)WIRE_MAX_DATA_DOWN)
#define POOL_WHY_BYTES 256
#define POOL_ENGINE_BYTES 32
#define POOL_BUILD_BYTES 96
#define POOL_TELL_BYTES 512              /* texts of fallbacks and choices */
#define POOL_TRIES 2                     /* failures of an engine before another one takes over */
#define POOL_COUNT_NS 3600000000000ull   /* so long a failure counts when no job finished since */
#define POOL_ABOUT_NS 10000000000ull     /* what a runner may take to say which engines there are */
#define POOL_ABOUT_AGE_NS 60000000000ull /* so long that answer is believed */
#define POOL_MAX_TOLD 8                  /* warnings of a job that are known if it runs again */
/* Ollama's words, which clients know. */
#define POOL_BUSY_TEXT "server busy, please try again.  maximum pending requests exceeded"

typedef struct pool_slot pool_slot;
typedef struct pool_runner pool_runner;

/* A copy of a pool_model, shared by a slot and its runner. */
typedef struct pool_source {
    unsigned n_ref; /* [lock] */
    arena memory;
    pool_model model;
} pool_source;

typedef enum pool_task_state {
    TASK_WAITING,
    TASK_STARTING,
    TASK_RUNNING,
    TASK_ENDED
} pool_task_state;

/* A job may run more than once: until something of it was told (warnings are no answer), its head
 * and data are kept where another engine may have to take over. */
typedef struct pool_task {
    struct pool_task *next, *prev; /* [lock] in the list of its state */
    struct pool_task *hash_next;   /* [lock] */
    pool_job_id id;
    pool_task_state state; /* [lock] */
    pool_slot *slot;       /* [lock] until it has ended */
    pool_runner *runner;   /* [lock] from STARTING on */
    pool_sink sink;
    char *head; /* freed when it is sent and cannot run again; [lock] in RUNNING */
    void *data;
    size_t n_head, n_data;
    bool only_load, collects;
    uint32_t n_ctx;
    int64_t keep_ns;
    uint64_t submit_ns;
    uint64_t load_ns, queue_ns;   /* set when it starts */
    uint64_t cancel_ns;           /* [lock] when it was canceled, or 0 */
    uint64_t credit;              /* [lock] granted by the reader and not sent yet */
    int64_t may_send;             /* [lock] bytes of text that the runner may still send */
    bool is_sent;                 /* [lock] the JOB frame is on its way */
    bool has_begun;               /* [lock] a frame of it has come */
    bool has_told;                /* [lock] a part of its answer has come */
    bool is_counted;              /* [lock] in pool.queue_bytes */
    uint32_t n_run;               /* [lock] times that it was sent */
    uint64_t told[POOL_MAX_TOLD]; /* its runner's reading thread's: hashes of its warnings */
    uint32_t n_told;
    err_info err; /* ENDED: OK is DONE */
} pool_task;

typedef struct pool_tasks {
    pool_task *first, *last;
    size_t n;
} pool_tasks;

typedef enum pool_runner_state {
    RUNNER_SPAWNING, /* its thread is on the way to HELLO */
    RUNNER_PLANNING, /* LOAD is sent */
    RUNNER_PLANNED,  /* waits for room */
    RUNNER_LOADING,  /* START is sent */
    RUNNER_READY,
    RUNNER_LEAVING, /* QUIT is sent, or it is killed: it takes nothing */
    RUNNER_GONE     /* the process is reaped; its thread is about to end */
} pool_runner_state;

/* What PLAN and READY say, in bytes. */
typedef struct pool_figures {
    uint64_t weights, kv, scratch, total, available;
    uint32_t n_ctx;
} pool_figures;

/* What a slot asks of its next runner, and what it knows of engines that failed. */
typedef struct pool_choice {
    char engine[POOL_ENGINE_BYTES]; /* "": as the model says */
    char from[POOL_ENGINE_BYTES];   /* the engine that this one stands in for; "": none */
    char from_build[POOL_BUILD_BYTES];
    char reason[POOL_WHY_BYTES];    /* how that one failed */
    char text[POOL_TELL_BYTES];     /* the same in a sentence: of the warning */
    bool is_to_note;                /* in hist, as soon as the other engine did better */
    err_info first;                 /* what jobs would have been told of that failure */
    bool was_loaded;                /* it failed in a job */
    char failed[POOL_ENGINE_BYTES]; /* the engine that failed last; n_fail times in a row */
    uint32_t n_fail;
} pool_choice;

struct pool_runner {
    pool *pool;
    pool_slot *slot; /* [lock] */
    pool_source *source;
    pool_runner *next; /* [lock] in pool.runners, then in pool.dead */
    pthread_t thread;
    pool_runner_state state; /* [lock] */
    bool is_closed;          /* [lock] READY: takes no new jobs and leaves when it is idle */
    bool unload_asked;       /* [lock] not READY yet: is_closed as soon as its jobs have started */
    bool holds_memory;       /* [lock] START was sent */
    pid_t pid;               /* [lock] 0: not spawned yet, or reaped */
    wire *wire;              /* [lock] to set; NULL before it is open */
    unsigned n_user;         /* [lock] threads that use wire or ready outside the lock */
    pool_tasks tasks;        /* [lock] RUNNING */
    unsigned n_starting;     /* [lock] tasks in STARTING */
    uint32_t load_n_ctx;     /* planned for; set before LOAD */

    pool_choice choice;               /* of its slot, when it began */
    pool_figures plan;                /* [lock] */
    char engine[POOL_ENGINE_BYTES];   /* [lock] from PLAN; before that the one that is looked at */
    char build[POOL_BUILD_BYTES];     /* [lock] from PLAN; "": not known */
    char why_engine[POOL_TELL_BYTES]; /* [lock] from PLAN */
    bool may_fall_back;               /* [lock] another engine could take the model */
    uint64_t planned_turn;            /* [lock] place in the line for room */
    bool wait_is_told;                /* [lock] in the log, that it waits there */
    json_value *ready; /* READY's head, in ready_memory; written before the state is READY */
    arena ready_memory;
    bool weights_in_memory; /* [lock] private memory, not the system's cache of the file */
    uint32_t n_ctx;         /* [lock] largest that was had */

    uint64_t spawn_ns, plan_ns, start_ns, ready_ns; /* [lock] when; 0: not yet */
    uint64_t alive_ns;                              /* [lock] the last sign of life in this state */
    uint64_t used_ns;                               /* [lock] when a job came or ended */
    uint64_t expires_ns;                            /* [lock] idle: when it leaves */
    int64_t keep_ns;                                /* [lock] from the last job */
    uint64_t leave_ns;                              /* [lock] when it was told to leave */

    uint64_t ping_ns, n_ping;           /* [lock] the last PING */
    uint64_t pong_ns;                   /* [lock] when PONG came, or work began */
    uint64_t move_ns;                   /* [lock] when the engine was last seen to move */
    uint64_t pong_steps, pong_rows;     /* [lock] */
    uint32_t budget_threads, budget_us; /* [lock] as sent; 0 threads: nothing yet */

    char why[POOL_WHY_BYTES]; /* [lock] the pool's reason to end it; "" : it ended by itself */
    err_info refused;         /* [lock] code != OK: REFUSE came, or it could not be started */
    bool engine_refused;      /* [lock] it was a REFUSE that names an engine */
};

struct pool_slot {
    pool_slot *next;     /* [lock] all of it */
    pool_source *source; /* of whoever will load it next */
    pool_runner *runner;
    pool_tasks waiting;
    uint32_t n_restart;
    uint64_t fail_ns[POOL_N_FAIL]; /* newest first; 0: none */
    uint32_t n_backoff;            /* since the last job that finished */
    uint64_t backoff_until_ns;
    char last_end[POOL_WHY_BYTES];
    pool_choice choice;
    bool wants_room;       /* its runner refused for want of memory: one of the others goes first */
    uint64_t refused_gone; /* pool.n_gone at that time */
};

/* The question which engines there are: asked of a runner by a thread of its own. */
typedef struct pool_about {
    pthread_t thread;
    bool have_thread;    /* [lock] to be joined */
    bool is_asking;      /* [lock] */
    bool is_late;        /* [lock] its time is over: the process was killed */
    pid_t pid;           /* [lock] 0: none */
    wire *wire;          /* [lock] NULL: none */
    uint64_t until_ns;   /* [lock] while there is a process */
    uint64_t known_ns;   /* [lock] when the answer came; 0: none that may be believed */
    arena memory;        /* [lock] of the answer */
    json_value *engines; /* [lock] an array, or NULL */
} pool_about;

struct pool {
    pool_opts o; /* defaults filled in; strings are in memory */
    arena memory;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* with lock: something ended */
    bool have_lock, have_changed, have_timer;
    pthread_t timer;
    int wake_fd[2]; /* a byte wakes the timer */

    hist *hist;
    pool_about about;
    pool_slot *slots;           /* [lock] */
    pool_runner *runners;       /* [lock] not GONE */
    pool_runner *dead;          /* [lock] GONE, to be joined */
    size_t n_runner;            /* [lock] of both lists */
    uint64_t n_gone;            /* [lock] runners that held memory and are gone */
    uint64_t n_turn;            /* [lock] */
    pool_task *hash[POOL_HASH]; /* [lock] tasks that have not ended */
    size_t n_task;              /* [lock] tasks whose end was not told yet */
    uint64_t queue_bytes;       /* [lock] */
    pool_job_id last_id;        /* [lock] */
    pool_tasks starting;        /* [lock] to be started by pool_unlock */
    pool_tasks ended;           /* [lock] to be told by pool_unlock */
    uint64_t timer_ns;          /* [lock] when the timer wakes by itself */
    uint64_t drain_until_ns;    /* [lock] draining: when patience ends; 0: not draining */
    bool is_draining;           /* [lock] no new jobs */
    bool is_closing;            /* [lock] nothing may go on */
    bool stop_timer;            /* [lock] */
};

/* ---- pool.c ---- */
void pool_lock(pool *p);
/* Starts and tells what the lock's holder put on pool.starting and pool.ended, then returns. */
void pool_unlock(pool *p);
void pool_log(pool *p, pool_level level, const char *fmt, ...) ERR_PRINTF(3, 4);

/* ---- pool_task.c: lists and ids; under the lock ---- */
cama_err pool_task_new(const pool *p, const pool_job *job, pool_task **out, err_info *err);
void pool_task_free(pool_task *t);
void pool_tasks_add(pool_tasks *l, pool_task *t);
void pool_tasks_remove(pool_tasks *l, pool_task *t);
void pool_task_register(pool *p, pool_task *t); /* gives it an id */
pool_task *pool_task_find(pool *p, pool_job_id id);
void pool_task_unregister(pool *p, pool_task *t);
/* Its end was told: frees it. Not under the lock. */
void pool_task_told(pool *p, pool_task *t);
/* Out of the table and onto pool.ended; the caller has taken it from its list. err NULL: DONE. */
void pool_task_end(pool *p, pool_task *t, const err_info *err);
/* All of a list. */
void pool_tasks_fail(pool *p, pool_tasks *l, const err_info *err);
/* Its head and data are not needed any more. */
void pool_task_release(pool *p, pool_task *t);
/* Those of a runner that ended wait again, before the others of their slot, unless a part of their
 * answer was told: those fail. */
void pool_tasks_again(pool *p, pool_runner *r, const err_info *err);
/* From its slot's list to pool.starting. */
void pool_task_claim(pool *p, pool_task *t, pool_runner *r);
/* Jobs of a slot that have not begun, but for those that a runner may compute at once. */
size_t pool_slot_pending(const pool *p, const pool_slot *s);

/* ---- pool_slot.c: keys; under the lock ---- */
cama_err pool_source_new(const pool_model *m, pool_source **out, err_info *err);
void pool_source_unref(pool_source *s);
pool_slot *pool_slot_find(const pool *p, const char *key);
/* NULL: no memory. Takes a reference of source. */
pool_slot *pool_slot_get(pool *p, pool_source *source);
void pool_slot_prune(pool *p, uint64_t now_ns); /* frees those with nothing left to say */
void pool_slot_failed(pool *p, pool_slot *s, const char *how);
void pool_slot_finished(pool_slot *s);
/* Whether it may not start a runner now; fills *err. */
bool pool_slot_backs_off(const pool_slot *s, uint64_t now_ns, err_info *err);
void pool_died_error(const char *how, err_info *err);

/* ---- pool_choice.c: which engine; under the lock where nothing else is said ---- */

/* What becomes of the jobs of a runner that ended. */
typedef enum pool_fate {
    FATE_OVER, /* they are told why */
    FATE_AGAIN /* they wait for the next runner: on the same engine, or on another one */
} pool_fate;

/* Decides what the slot of r asks of its next runner. reason is how r ended; it may be replaced by
 * what jobs are to be told. died: it crashed or hung. */
pool_fate pool_choice_ended(pool_runner *r, bool died, err_info *reason);
/* A job has finished on r. */
void pool_choice_worked(pool_runner *r);
/* Gives an engine a note in hist when r, which stands in for it, has loaded what it could not load,
 * or (has_worked) finished a job where it failed in one. Gives the lock up. Reading thread. */
void pool_choice_note(pool_runner *r, bool has_worked);
/* ,"engine":..,"device":..,"why":..,"avoid":[..] of LOAD. Not under the lock. */
void pool_choice_write(pool_runner *r, buf *b);
/* Whether the head of PLAN names another engine that could take the model. */
bool pool_choice_has_other(const wire_frame *f);
bool pool_is_free_choice(const pool_model *m);

/* ---- pool_about.c ---- */

/* What a runner said of its engine: the answer is asked for anew when it was another. Under the
 * lock. */
void pool_about_check(pool *p, const pool_runner *r);
/* Its time is over, or the pool ends. Under the lock. */
void pool_about_kill(pool *p);
void pool_about_close(pool *p); /* accepts one that was never used */

/* ---- pool_runner.c: the process and its thread ---- */
/* Under the lock. CAMA_ERR_NOMEM: no thread. */
cama_err pool_runner_start(pool *p, pool_slot *s, err_info *err);
void pool_runner_free(pool_runner *r); /* after its thread was joined */

/* ---- pool_orders.c: what a runner is told; all under the lock ---- */
void pool_send(pool_runner *r, wire_type type, pool_job_id job, const char *fmt, ...)
    ERR_PRINTF(4, 5);
void pool_runner_go(pool_runner *r);   /* START */
void pool_runner_quit(pool_runner *r); /* QUIT */
/* From now on it must answer and move. */
void pool_runner_watch(pool_runner *r);
/* SIGKILL; fmt NULL: nobody needs it any more, else the reason that its jobs are told. */
void pool_runner_kill(pool_runner *r, const char *fmt, ...) ERR_PRINTF(2, 3);
bool pool_runner_is_idle(const pool_runner *r);
/* It holds no job now: the keep-alive begins. */
void pool_runner_rests(pool_runner *r, uint64_t now_ns);

/* ---- pool_events.c: frames -> sinks; not under the lock ---- */
void pool_tell_end(const pool_task *t); /* t is ENDED */
void pool_start_task(pool *p, pool_task *t);
/* A frame of a job. False and *err: it is garbage. Reading thread. */
bool pool_job_frame(pool_runner *r, const wire_frame *f, err_info *err);

/* ---- pool_room.c: under the lock ---- */
/* Draws all consequences of what has changed. */
void pool_step(pool *p);
/* r, which held memory, is gone. */
void pool_room_freed(pool *p, const pool_runner *r);
bool pool_has_other_holder(const pool *p, const pool_runner *r);

/* ---- pool_timer.c ---- */
void *pool_timer_main(void *arg);
void pool_wake_timer(pool *p);
uint64_t pool_next_ns(const pool *p, uint64_t now_ns); /* under the lock; UINT64_MAX: never */

#endif
