/* Threads and life of a runner. */
#include "runner/runner.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runner/runner_int.h"

/* ---- the reader ---- */

static void out_of_turn(const wire_frame *f)
{
    err_info err;
    (void)err_set(&err, CAMA_ERR_FORMAT, "wire: frame %s does not belong here",
                  wire_type_name(f->type));
    for (size_t i = 0; i < f->n_fd; i++)
        (void)close(f->fds[i]); /* nothing was written through it */
    runner_die(&err);
}

/* LOAD, or ENGINES in its place. The loader gets a copy: this thread reads on. */
static void on_load(runner *r, const wire_frame *f)
{
    err_info err;
    char *head = malloc(f->n_head + 1);
    if (head) {
        memcpy(head, f->head_text, f->n_head);
        head[f->n_head] = '\0';
    } else {
        (void)err_set(&err, CAMA_ERR_NOMEM, "runner: no memory to load");
        runner_die(&err);
    }
    runner_lock(r);
    const bool late = r->load_head != NULL || r->import; /* it is this thread's until then */
    if (!late) {
        memcpy(r->fds, f->fds, f->n_fd * sizeof *f->fds);
        r->n_fd = f->n_fd;
        r->load_head = head;
        r->asked_engines = f->type == WIRE_ENGINES;
        (void)pthread_cond_broadcast(&r->wake);
    }
    runner_unlock(r);
    if (late) {
        free(head);
        out_of_turn(f);
    }
}

/* Files of a folder, in as many frames as they need; this thread's until the last one came. */
static void on_import(runner *r, const wire_frame *f)
{
    err_info err;
    bool ready = false;
    runner_lock(r);
    const bool late = r->load_head != NULL;
    runner_unlock(r);
    if (late)
        out_of_turn(f);
    if (runner_import_add(r, f, &ready, &err))
        runner_die(&err);
    char *head = ready ? calloc(1, 1) : NULL;
    if (ready && !head) {
        (void)err_set(&err, CAMA_ERR_NOMEM, "runner: no memory to import");
        runner_die(&err);
    }
    runner_lock(r);
    r->asked_import = ready;
    r->load_head = head;
    (void)pthread_cond_broadcast(&r->wake);
    runner_unlock(r);
}

static void on_start(runner *r, const wire_frame *f)
{
    const int64_t max_bytes = wire_int(f, "max_bytes", 0);
    runner_lock(r);
    const bool wrong = r->has_start || r->stage == RUNNER_WAITS;
    r->has_start = true;
    r->start_max_bytes = max_bytes > 0 ? (uint64_t)max_bytes : 0;
    (void)pthread_cond_broadcast(&r->wake);
    runner_unlock(r);
    if (wrong)
        out_of_turn(f);
}

static void fail_job(runner *r, uint64_t id, const err_info *err)
{
    buf head;
    buf_init(&head, WIRE_MAX_HEAD_UP);
    (void)wire_put_err(&head, err); /* its failure sticks */
    runner_send_head(r, WIRE_FAIL, id, &head);
}

static void on_job(runner *r, const wire_frame *f)
{
    err_info err;
    runner_lock(r);
    const bool early = r->stage != RUNNER_WORKS;
    const bool quits = r->quits;
    runner_unlock(r);
    if (early)
        out_of_turn(f);
    if (quits) {
        (void)err_set(&err, CAMA_ERR_BUSY, "this runner is leaving");
        fail_job(r, f->job, &err);
    } else if (!runner_job_new(r, f)) {
        (void)err_set(&err, CAMA_ERR_NOMEM, "runner: no memory for a job of %zu bytes",
                      f->n_head + f->n_data);
        fail_job(r, f->job, &err);
    }
}

static void on_budget(runner *r, const wire_frame *f)
{
    const int64_t threads = wire_int(f, "threads", 0);
    const int64_t spin_us = wire_int(f, "spin_us", 0);
    runner_lock(r);
    sched *s = r->sched;
    runner_unlock(r);
    if (s && threads >= 0 && threads <= 4096 && spin_us >= 0 && spin_us <= 1000000)
        sched_set_threads(s, (uint32_t)threads, (uint64_t)spin_us * 1000);
}

/* Answered here, not by those who work: steps that stand still while jobs run are a hung engine. */
static void on_ping(runner *r, const wire_frame *f)
{
    sched_stat stat = {0};
    runner_lock(r);
    sched *s = r->sched;
    const uint32_t n_prep = r->n_prep;
    const uint32_t n_submitted = runner_n_submitted(r);
    runner_unlock(r);
    if (s)
        sched_get_stat(s, &stat);
    if (!stat.n_running && n_submitted) /* a step old: one that hangs in its first step runs too */
        stat.n_running = 1;
    buf head;
    buf_init(&head, 1024);
    (void)buf_printf(&head, /* failures stick */
                     "{\"n\":%lld,\"steps\":%llu,\"running\":%u,\"waiting\":%u,\"kv_used\":%llu,"
                     "\"kv_limit\":%llu,\"cached\":%u,\"rows\":%llu}",
                     (long long)wire_int(f, "n", 0), (unsigned long long)stat.n_step,
                     stat.n_running, stat.n_waiting + n_prep, (unsigned long long)stat.kv_used,
                     (unsigned long long)stat.kv_limit, stat.n_cached,
                     (unsigned long long)stat.progress);
    runner_send_head(r, WIRE_PONG, 0, &head);
}

/* What runs may end; a runner without a model has nothing to end. */
static void on_quit(runner *r)
{
    runner_lock(r);
    const bool works = r->stage == RUNNER_WORKS;
    r->quits = true;
    sched *s = r->jobs ? NULL : r->sched;
    runner_unlock(r);
    if (!works)
        _exit(0);
    if (s)
        sched_stop(s);
}

static void on_frame(runner *r, const wire_frame *f)
{
    if (f->n_fd && f->type != WIRE_LOAD && f->type != WIRE_IMPORT)
        out_of_turn(f);
    switch (f->type) {
    case WIRE_LOAD:
    case WIRE_ENGINES:
        on_load(r, f);
        break;
    case WIRE_IMPORT:
        on_import(r, f);
        break;
    case WIRE_START:
        on_start(r, f);
        break;
    case WIRE_JOB:
        on_job(r, f);
        break;
    case WIRE_CREDIT: {
        const int64_t bytes = wire_int(f, "bytes", 0);
        if (bytes > 0)
            runner_job_credit(r, f->job, bytes);
        break;
    }
    case WIRE_CANCEL:
        runner_job_cancel(r, f->job);
        break;
    case WIRE_BUDGET:
        on_budget(r, f);
        break;
    case WIRE_PING:
        on_ping(r, f);
        break;
    case WIRE_QUIT:
        on_quit(r);
        break;
    default:
        out_of_turn(f); /* the wire lets no other through */
    }
}

/* The end of the wire is the end of the process, whatever the other threads do. */
static void *reading(void *arg)
{
    runner *r = arg;
    err_info err;
    for (;;) {
        wire_frame f;
        const cama_err e = wire_recv(r->w, &f, &err);
        runner_lock(r);
        const bool leaves = r->stage == RUNNER_LEAVES;
        runner_unlock(r);
        if (leaves)
            return NULL;
        if (e == CAMA_ERR_CANCELED)
            _exit(0);
        if (e)
            runner_die(&err);
        on_frame(r, &f);
    }
}

/* ---- life ---- */

static void say_hello(runner *r)
{
    char head[160];
    const int n = snprintf(head, sizeof head, "{\"version\":%d,\"build\":\"%s\",\"pid\":%ld}",
                           WIRE_VERSION, CAMA_VERSION, (long)getpid());
    const wire_out f = {.type = WIRE_HELLO, .head = head, .n_head = (size_t)n};
    runner_send(r, &f);
}

/* True: the engines were asked for, and that was all. */
static bool wait_for_load(runner *r)
{
    runner_lock(r);
    while (!r->load_head)
        (void)pthread_cond_wait(&r->wake, &r->lock);
    const bool asked = r->asked_engines;
    if (!asked)
        r->stage = RUNNER_LOADS; /* before PLAN is out: START may follow at once */
    runner_unlock(r);
    return asked;
}

static void wait_for_start(runner *r)
{
    runner_lock(r);
    while (!r->has_start)
        (void)pthread_cond_wait(&r->wake, &r->lock);
    runner_unlock(r);
}

static void set_stage(runner *r, runner_stage stage)
{
    runner_lock(r);
    r->stage = stage;
    (void)pthread_cond_broadcast(&r->wake);
    runner_unlock(r);
}

static bool start(runner *r, int fd, err_info *err)
{
    const wire_opts wo = {.side = WIRE_RUNNER};
    r->prep_last = &r->prep;
    if (wire_open(fd, &wo, &r->w, err))
        return false;
    r->have_lock = pthread_mutex_init(&r->lock, NULL) == 0;
    r->have_wake = pthread_cond_init(&r->wake, NULL) == 0;
    if (!r->have_lock || !r->have_wake) {
        (void)err_set(err, CAMA_ERR_NOMEM, "runner: no lock");
        return false;
    }
    say_hello(r);
    r->have_reader = pthread_create(&r->reader, NULL, reading, r) == 0;
    if (!r->have_reader)
        (void)err_set(err, CAMA_ERR_NOMEM, "runner: no thread to read with");
    return r->have_reader;
}

/* The model, ready; then the engine's loop until QUIT and the last job. */
static int serve(runner *r, err_info *err)
{
    if (wait_for_load(r)) {
        runner_tell_engines(r, r->load_head);
        return 0;
    }
    if (r->asked_import)
        return runner_import_run(r);
    if (runner_model_plan(r))
        return 1;
    wait_for_start(r);
    r->have_preparer = pthread_create(&r->preparer, NULL, runner_preparing, r) == 0;
    if (!r->have_preparer) {
        (void)err_set(err, CAMA_ERR_NOMEM, "runner: no thread to prepare with");
        return 1;
    }
    if (runner_model_open(r))
        return 1;
    set_stage(r, RUNNER_WORKS); /* before READY is out: a job may follow at once */
    runner_model_ready(r);
    sched_run(r->sched);
    return 0;
}

static void leave(runner *r)
{
    if (r->have_lock && r->have_wake)
        set_stage(r, RUNNER_LEAVES);
    if (r->have_preparer)
        (void)pthread_join(r->preparer, NULL);
    if (r->w) {
        (void)wire_flush(r->w, 5000); /* a peer that does not read has its reasons */
        wire_shutdown(r->w);
    }
    if (r->have_reader)
        (void)pthread_join(r->reader, NULL);
    runner_model_close(r);
    runner_import_free(r->import);
    wire_close(r->w);
    if (r->have_wake)
        (void)pthread_cond_destroy(&r->wake);
    if (r->have_lock)
        (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

int runner_run(int fd)
{
    err_info err = {.code = CAMA_OK};
    runner *r = calloc(1, sizeof *r);
    if (!r) {
        (void)close(fd);
        return 1;
    }
    int status = 1;
    if (start(r, fd, &err))
        status = serve(r, &err);
    if (err.code)
        (void)fprintf(stderr, "cama runner: %s\n", err.text); /* the parent's: it may be a log */
    leave(r);
    return status;
}

int runner_main(int argc, char **argv)
{
    (void)argc, (void)argv; /* everything comes over the wire */
    int type = 0;
    socklen_t n = sizeof type;
    if (getsockopt(WIRE_RUNNER_FD, SOL_SOCKET, SO_TYPE, &type, &n) != 0 || type != SOCK_STREAM) {
        (void)fprintf(stderr,
                      "cama runner is started by cama serve, with a socket as descriptor "
                      "%d\n",
                      WIRE_RUNNER_FD);
        return 2;
    }
    /* A library that writes into a closed pipe is no reason to end. */
    (void)signal(SIGPIPE, SIG_IGN); /* fails for no such signal only */
    return runner_run(WIRE_RUNNER_FD);
}
