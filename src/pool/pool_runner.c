#include "pool/pool_int.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/spawn.h"

#define MAX_LOAD_HEAD (64u << 10)
#define MAX_READY_BYTES (64u << 20) /* of READY's tree */
#define GRACE_MS 1000               /* from end-of-file, or REFUSE, to the end of the process */
#define MAX_COUNT (1ull << 53)      /* sums of so many never overflow */

/* What a frame means for the one who reads. */
typedef enum verdict {
    GO_ON,
    IT_IS_OVER, /* in order: it refused */
    IT_IS_GARBAGE
} verdict;

static verdict garbage(err_info *err, const wire_frame *f, const char *why)
{
    (void)err_set(err, CAMA_ERR_FORMAT, "a frame %s %s", wire_type_name(f->type), why);
    return IT_IS_GARBAGE;
}

/* ---- loading ---- */

static cama_err open_file(const char *path, int *out_fd, err_info *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hold us up */
    if (fd < 0)
        return err_set(err, errno == ENOENT ? CAMA_ERR_NOT_FOUND : CAMA_ERR_IO,
                       "model file '%s' cannot be opened: %s", path, strerror(errno));
    *out_fd = fd;
    return CAMA_OK;
}

static cama_err open_files(const pool_model *m, int out_fd[WIRE_MAX_FD], size_t *out_n,
                           err_info *err)
{
    size_t n = 0;
    cama_err e = CAMA_OK;
    for (size_t i = 0; i < m->n_path && !e; i++) {
        e = open_file(m->paths[i], &out_fd[n], err);
        n += !e;
    }
    if (!e && m->projector) {
        e = open_file(m->projector, &out_fd[n], err);
        n += !e;
    }
    *out_n = n; /* on failure too: those are to be closed */
    return e;
}

static void put_text(buf *b, const char *key, const char *text)
{
    (void)buf_printf(b, ",\"%s\":", key); /* the buffer keeps the first failure */
    (void)json_write_string(text, strlen(text), b);
}

static void write_load_head(pool_runner *r, buf *b)
{
    const pool_opts *o = &r->pool->o;
    const pool_model *m = &r->source->model;
    (void)buf_printf(b,
                     "{\"files\":%zu,\"projector\":%s,\"n_ctx\":%u,\"n_parallel\":%u,"
                     "\"n_batch\":0,\"threads\":%u,\"max_bytes\":%llu",
                     m->n_path, m->projector ? "true" : "false", r->load_n_ctx, o->n_parallel,
                     o->n_thread, (unsigned long long)o->max_bytes);
    put_text(b, "kv_type", o->kv_type);
    put_text(b, "activations", o->activations);
    put_text(b, "weights", o->weights);
    put_text(b, "name", m->name);
    pool_choice_write(r, b);
    (void)buf_putc(b, '}');
}

static cama_err send_load(pool_runner *r, err_info *err)
{
    int fds[WIRE_MAX_FD];
    size_t n_fd = 0;
    buf head;
    buf_init(&head, MAX_LOAD_HEAD);
    cama_err e = open_files(&r->source->model, fds, &n_fd, err);
    if (!e) {
        write_load_head(r, &head);
        e = buf_error(&head, "LOAD", err);
    }
    if (!e) {
        const wire_out f = {
            .type = WIRE_LOAD, .head = head.data, .n_head = head.n, .fds = fds, .n_fd = n_fd};
        e = wire_send(r->wire, &f, err);
    }
    for (size_t i = 0; i < n_fd; i++)
        (void)close(fds[i]); /* read-only: nothing to lose */
    buf_done(&head);
    return e;
}

/* ---- frames ---- */

static verdict on_hello(pool_runner *r, const wire_frame *f, err_info *err)
{
    if (r->state >= RUNNER_LEAVING)
        return GO_ON;
    if (r->state != RUNNER_SPAWNING)
        return garbage(err, f, "in the middle of the talk");
    if (wire_int(f, "version", 0) != WIRE_VERSION)
        return garbage(err, f, "of another version of the wire");
    r->state = RUNNER_PLANNING;
    pool_runner_watch(r);
    r->load_n_ctx = 0;
    for (const pool_task *t = r->slot->waiting.first; t; t = t->next)
        if (t->n_ctx > r->load_n_ctx)
            r->load_n_ctx = t->n_ctx;
    pool_unlock(r->pool); /* files may lie on a slow disk */
    const cama_err e = send_load(r, err);
    pool_lock(r->pool);
    pool_step(r->pool); /* the timer has other deadlines to watch from here on */
    if (!e || e == CAMA_ERR_CANCELED)
        return GO_ON;
    r->refused = *err;
    return IT_IS_OVER;
}

/* A count of the runner's: at most MAX_COUNT, and never negative. */
static uint64_t count_in(const wire_frame *f, const char *key)
{
    const int64_t n = wire_int(f, key, 0);
    return n<0 ? 0 : n>(1ll << 53) ? 1ull << 53 : (uint64_t)n;
}

static pool_figures read_figures(const wire_frame *f)
{
    const uint64_t n_ctx = count_in(f, "n_ctx");
    const uint64_t available = count_in(f, "available");
    return (pool_figures){
        .weights = count_in(f, "weights"),
        .kv = count_in(f, "kv"),
        .scratch = count_in(f, "scratch"),
        .total = count_in(f, "total"),
        .available = available ? available : MAX_COUNT, /* the system does not say */
        .n_ctx = n_ctx < UINT32_MAX ? (uint32_t)n_ctx : UINT32_MAX,
    };
}

static verdict on_plan(pool_runner *r, const wire_frame *f, err_info *err)
{
    if (r->state >= RUNNER_LEAVING)
        return GO_ON;
    if (r->state != RUNNER_PLANNING)
        return garbage(err, f, "that nobody asked for");
    r->plan = read_figures(f);
    r->n_ctx = r->plan.n_ctx;
    (void)snprintf(r->engine, sizeof r->engine, "%s", wire_str(f, "engine", ""));
    (void)snprintf(r->build, sizeof r->build, "%s", wire_str(f, "build", ""));
    (void)snprintf(r->why_engine, sizeof r->why_engine, "%s", wire_str(f, "why", ""));
    r->may_fall_back = pool_choice_has_other(f);
    r->state = RUNNER_PLANNED;
    r->plan_ns = clock_now_ns();
    r->planned_turn = ++r->pool->n_turn;
    pool_step(r->pool);
    return GO_ON;
}

/* A sign of life; before the plan also which engine is looked at, which may be the end of the
 * process. native opens no library: who dies of looking at that dies of the file. */
static void on_progress(pool_runner *r, const wire_frame *f)
{
    const char *name = wire_str(f, "engine", "");
    r->alive_ns = clock_now_ns();
    if (r->state != RUNNER_PLANNING || !*name)
        return;
    (void)snprintf(r->engine, sizeof r->engine, "%s", name);
    r->may_fall_back = strcmp(name, "native") != 0;
}

static verdict on_refuse(pool_runner *r, const wire_frame *f, err_info *err)
{
    if (r->state >= RUNNER_LEAVING)
        return GO_ON;
    if (r->state == RUNNER_SPAWNING || r->state == RUNNER_READY)
        return garbage(err, f, "out of its place");
    wire_get_err(f->head, &r->refused);
    if (r->refused.code == CAMA_OK)
        r->refused.code = CAMA_ERR_ENGINE;
    const char *name = wire_str(f, "engine", "");
    if (*name) {
        r->engine_refused = true;
        (void)snprintf(r->engine, sizeof r->engine, "%s", name);
        (void)snprintf(r->build, sizeof r->build, "%s", wire_str(f, "build", ""));
    }
    return IT_IS_OVER;
}

static verdict on_ready(pool_runner *r, const wire_frame *f, err_info *err)
{
    if (r->state >= RUNNER_LEAVING)
        return GO_ON;
    if (r->state != RUNNER_LOADING)
        return garbage(err, f, "before it was told to load");
    const cama_err e = json_parse(f->head_text, f->n_head, &r->ready_memory, &r->ready, err);
    if (e) {
        r->refused = *err;
        return IT_IS_OVER;
    }
    if (r->pool->o.strict && *wire_str(f, "note", "")) {
        (void)err_set(&r->refused, CAMA_ERR_ENGINE,
                      "engine %s does not run this model as it should (CAMA_ENGINE_STRICT): %s",
                      r->engine, wire_str(f, "note", ""));
        pool_runner_kill(r, NULL);
        return IT_IS_OVER;
    }
    pool_choice_note(r, false);
    if (r->state != RUNNER_LOADING) /* the pool changed its mind meanwhile */
        return GO_ON;
    r->plan = read_figures(f);
    r->n_ctx = r->plan.n_ctx;
    r->budget_threads = 0; /* told again: there was nothing to set while it loaded */
    r->weights_in_memory = strcmp(wire_str(f, "weights_in", ""), "memory") == 0;
    r->state = RUNNER_READY;
    r->ready_ns = r->alive_ns = clock_now_ns();
    const pool_task *first = r->slot->waiting.first;
    r->keep_ns = first ? first->keep_ns : r->pool->o.keep_alive_ns;
    pool_runner_rests(r, r->ready_ns);
    pool_about_check(r->pool, r);
    pool_log(r->pool, POOL_INFO, "loaded %s in %.2f s on %s, %s (%s)", r->source->model.name,
             (double)(r->ready_ns - r->start_ns) / 1e9, wire_str(f, "engine", "?"),
             wire_str(f, "device", "?"), wire_str(f, "why", ""));
    pool_step(r->pool);
    return GO_ON;
}

/* Jobs that may stand still because their readers do. A reader that keeps up leaves them far more
 * than a step of credit. */
static int64_t n_stalled(const pool_runner *r)
{
    int64_t n = 0;
    for (const pool_task *t = r->tasks.first; t; t = t->next)
        n += t->may_send < POOL_CREDIT_STEP;
    return n;
}

static void on_pong(pool_runner *r, const wire_frame *f)
{
    const uint64_t steps = count_in(f, "steps");
    const uint64_t rows = count_in(f, "rows");
    r->pong_ns = clock_now_ns();
    if (steps != r->pong_steps || rows != r->pong_rows || wire_int(f, "running", 0) <= n_stalled(r))
        r->move_ns = r->pong_ns;
    r->pong_steps = steps;
    r->pong_rows = rows;
}

static void on_log(pool_runner *r, const wire_frame *f)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    const char *level = wire_str(f, "level", "info");
    pool_level l = POOL_INFO;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(level, names[i]) == 0)
            l = (pool_level)i;
    const int n = f->n_data < ERR_TEXT_BYTES ? (int)f->n_data : ERR_TEXT_BYTES;
    pool_log(r->pool, l, "runner of %s: %.*s", r->source->model.name, n,
             n ? (const char *)f->data : "");
}

static verdict on_own_frame(pool_runner *r, const wire_frame *f, err_info *err)
{
    switch (f->type) {
    case WIRE_HELLO:
        return on_hello(r, f, err);
    case WIRE_PLAN:
        return on_plan(r, f, err);
    case WIRE_REFUSE:
        return on_refuse(r, f, err);
    case WIRE_READY:
        return on_ready(r, f, err);
    case WIRE_PROGRESS:
        on_progress(r, f);
        return GO_ON;
    case WIRE_PONG:
        on_pong(r, f);
        return GO_ON;
    case WIRE_LOG:
        on_log(r, f);
        return GO_ON;
    default:
        return garbage(err, f, "that a runner does not send");
    }
}

static verdict on_frame(pool_runner *r, const wire_frame *f, err_info *err)
{
    if (f->n_fd) {
        for (size_t i = 0; i < f->n_fd; i++)
            (void)close(f->fds[i]); /* nothing was written to it */
        return garbage(err, f, "with a descriptor");
    }
    if (f->type >= WIRE_TEXT && f->type <= WIRE_FAIL)
        return pool_job_frame(r, f, err) ? GO_ON : IT_IS_GARBAGE;
    pool_lock(r->pool);
    const verdict v = on_own_frame(r, f, err);
    pool_unlock(r->pool);
    return v;
}

/* ---- the process ---- */

static cama_err spawn(pool_runner *r, err_info *err)
{
    int fd[2];
    cama_err e = wire_pair(fd, err);
    if (e)
        return e;
    static const char *const argv[] = {"cama", "runner", NULL};
    const spawn_opts o = {
        .exe = r->pool->o.exe, .argv = argv, .fd = fd[1], .child_fd = WIRE_RUNNER_FD};
    pid_t pid = 0;
    wire *w = NULL;
    e = spawn_self(&o, &pid, err);
    (void)close(fd[1]); /* a socket: nothing is lost */
    if (e)
        (void)close(fd[0]);
    else
        e = wire_open(fd[0], &(wire_opts){.side = WIRE_SERVE}, &w, err);
    pool_lock(r->pool);
    r->pid = pid;
    r->wire = w;
    if (r->state >= RUNNER_LEAVING) /* the pool changed its mind meanwhile */
        pool_runner_kill(r, NULL);
    pool_unlock(r->pool);
    return e;
}

/* Until its end, for which it gives the reason when that was garbage. */
static verdict read_frames(pool_runner *r, err_info *err)
{
    for (;;) {
        wire_frame f;
        const cama_err e = wire_recv(r->wire, &f, err);
        if (e)
            return e == CAMA_ERR_CANCELED ? IT_IS_OVER : IT_IS_GARBAGE;
        const verdict v = on_frame(r, &f, err);
        if (v != GO_ON)
            return v;
    }
}

/* Ends the process and the wire; how it ended. Afterwards nobody else uses the runner's parts. */
static void reap(pool_runner *r, bool is_garbage, char out_how[96])
{
    pool *p = r->pool;
    pool_lock(p);
    const pid_t pid = r->pid;
    r->pid = 0;
    r->state = RUNNER_LEAVING;
    if (r->wire)
        wire_shutdown(r->wire);
    pool_unlock(p);
    (void)snprintf(out_how, 96, "never started");
    if (pid > 0 && (is_garbage || !spawn_wait(pid, GRACE_MS, out_how)))
        spawn_kill(pid, out_how);
    pool_lock(p);
    while (r->n_user)
        (void)pthread_cond_wait(&p->changed, &p->lock);
    wire *w = r->wire;
    r->wire = NULL;
    pool_unlock(p);
    wire_close(w);
}

/* What its jobs are told; CAMA_OK: it left in order. */
static void end_reason(pool_runner *r, const err_info *garbage_err, const char *how, err_info *out)
{
    pool *p = r->pool;
    *out = (err_info){0};
    if (p->is_closing) {
        (void)err_set(out, CAMA_ERR_CANCELED, "the server is shutting down");
    } else if (r->refused.code) {
        *out = r->refused;
        pool_log(p, POOL_WARN_LEVEL, "%s cannot be loaded: %s", r->source->model.name, out->text);
    } else if (garbage_err) {
        pool_died_error(garbage_err->text, out);
    } else if (r->why[0]) {
        pool_died_error(r->why, out);
    } else if (!r->leave_ns || r->tasks.n) {
        pool_died_error(how, out);
    }
}

/* It refused for want of memory that others hold: one of them goes, then it is tried again. */
static bool is_worth_another_try(const pool_runner *r, const err_info *reason)
{
    return reason->code == CAMA_ERR_NO_FIT && !r->pool->is_draining &&
           pool_has_other_holder(r->pool, r);
}

/* Jobs of a runner that ended: they are told why, or wait for another one. */
static void end_jobs(pool_runner *r, bool died, err_info *reason)
{
    pool *p = r->pool;
    pool_slot *s = r->slot;
    if (is_worth_another_try(r, reason)) {
        s->wants_room = true;
        s->refused_gone = p->n_gone;
        return;
    }
    /* Whoever ends without work, as an idle one that is killed, did not die of its model. */
    const bool of_model = died && (!r->ready_ns || r->tasks.n);
    if (!reason->code)
        return;
    err_info told = *reason;
    const bool again = pool_choice_ended(r, of_model, &told) == FATE_AGAIN;
    if (again)
        pool_tasks_again(p, r, reason);
    else
        pool_tasks_fail(p, &r->tasks, &told);
    if (!again && !r->ready_ns)
        pool_tasks_fail(p, &s->waiting, &told);
}

/* Under the lock: its jobs end, and its slot may have another one. */
static void detach(pool_runner *r, const err_info *garbage_err, const char *how)
{
    pool *p = r->pool;
    pool_slot *s = r->slot;
    err_info reason;
    end_reason(r, garbage_err, how, &reason);
    if (reason.code == CAMA_ERR_RUNNER) {
        const char *said = garbage_err ? garbage_err->text : r->why[0] ? r->why : how;
        if (r->ready_ns)
            pool_log(p, POOL_ERROR, "runner of %s ended with %zu jobs: %s", r->source->model.name,
                     r->tasks.n, said);
        else
            pool_log(p, POOL_ERROR, "runner of %s ended before it was loaded, %zu jobs waited: %s",
                     r->source->model.name, s->waiting.n, said);
        pool_slot_failed(p, s, said);
    }
    end_jobs(r, reason.code == CAMA_ERR_RUNNER && !garbage_err, &reason);
    s->runner = NULL;
    r->slot = NULL;
    r->state = RUNNER_GONE;
    if (r->holds_memory)
        pool_room_freed(p, r);
}

static void bury(pool *p, pool_runner *r)
{
    pool_runner **at = &p->runners;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    r->next = p->dead;
    p->dead = r;
    pool_step(p);
    pool_wake_timer(p);
    (void)pthread_cond_broadcast(&p->changed);
}

/* Spawned and read by one thread, because Linux kills the child when the spawning thread ends. */
static void *runner_main(void *arg)
{
    pool_runner *r = arg;
    pool *p = r->pool;
    err_info err = {0};
    char how[96];
    verdict v = IT_IS_OVER;
    if (spawn(r, &err)) {
        pool_lock(p);
        r->refused = err;
        pool_unlock(p);
    } else {
        v = read_frames(r, &err);
    }
    reap(r, v == IT_IS_GARBAGE, how);
    pool_lock(p);
    /* What comes after the pool itself cut the wire is no garbage of the runner's. */
    const bool is_garbage = v == IT_IS_GARBAGE && !r->leave_ns;
    detach(r, is_garbage ? &err : NULL, how);
    bury(p, r);
    pool_unlock(p);
    return NULL;
}

cama_err pool_runner_start(pool *p, pool_slot *s, err_info *err)
{
    pool_runner *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, CAMA_ERR_NOMEM, "pool: no memory for a runner");
    r->pool = p;
    r->slot = s;
    r->source = s->source;
    r->source->n_ref++;
    r->choice = s->choice;
    r->spawn_ns = r->alive_ns = clock_now_ns();
    arena_init(&r->ready_memory, MAX_READY_BYTES);
    sigset_t all;
    sigset_t old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &old); /* fails for no valid `how` */
    const int code = pthread_create(&r->thread, NULL, runner_main, r);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (code) {
        pool_runner_free(r);
        return err_set(err, CAMA_ERR_NOMEM, "pool: a thread for a runner cannot be started: %s",
                       strerror(code));
    }
    s->runner = r;
    r->next = p->runners;
    p->runners = r;
    return CAMA_OK;
}

void pool_runner_free(pool_runner *r)
{
    if (!r)
        return;
    pool_source_unref(r->source);
    arena_done(&r->ready_memory);
    free(r);
}
