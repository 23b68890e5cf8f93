#include "pool/pool_import.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/spawn.h"
#include "pool/pool_int.h"

#define LOOK_NS 250000000ull /* how often it is asked whether the import goes on */
#define GRACE_MS 2000        /* from its last frame to the end of the process */
#define FILES_A_FRAME (WIRE_MAX_FD - 1)

/* One import: the caller's thread reads frames, a second one watches the time. */
typedef struct import_job {
    pool *pool;
    const pool_import *what;
    pid_t pid;
    wire *wire;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t ended; /* is_over was set */
    bool is_over;
    uint64_t alive_ns; /* when a frame came */
    err_info killed;   /* code not OK: why the watcher ended it */
} import_job;

/* ---- the watcher ---- */

/* An import may take minutes: it does not go on while the server stops. */
static bool is_closing(pool *p)
{
    (void)pthread_mutex_lock(&p->lock); /* nothing changes under it that has consequences */
    const bool closing = p->is_closing || p->is_draining;
    (void)pthread_mutex_unlock(&p->lock);
    return closing;
}

static void wait_a_look(import_job *j)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until); /* it is always there */
    until.tv_nsec += (long)LOOK_NS;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&j->ended, &j->lock, &until); /* early or late is the same */
}

static void look(import_job *j, bool goes_on, bool closing)
{
    const uint64_t silent_ns = clock_now_ns() - j->alive_ns;
    if (!goes_on || closing)
        (void)err_set(&j->killed, CAMA_ERR_CANCELED, "the import was canceled");
    else if (silent_ns > j->pool->o.load_timeout_ns)
        (void)err_set(&j->killed, CAMA_ERR_RUNNER, "the import said nothing for %llu s",
                      (unsigned long long)(silent_ns / 1000000000u));
    if (j->killed.code)
        (void)kill(j->pid, SIGKILL); /* not reaped before this thread has ended */
}

static void *watching(void *arg)
{
    import_job *j = arg;
    (void)pthread_mutex_lock(&j->lock);
    while (!j->is_over && !j->killed.code) {
        wait_a_look(j);
        if (j->is_over)
            break;
        (void)pthread_mutex_unlock(&j->lock); /* foreign code is not called under it */
        const bool goes_on = !j->what->goes_on || j->what->goes_on(j->what->user);
        const bool closing = is_closing(j->pool);
        (void)pthread_mutex_lock(&j->lock);
        if (!j->is_over)
            look(j, goes_on, closing);
    }
    (void)pthread_mutex_unlock(&j->lock);
    return NULL;
}

/* ---- frames ---- */

/* Files [from, from + n), and with the last ones the output. */
static cama_err send_files(import_job *j, size_t from, size_t n, err_info *err)
{
    const pool_import *what = j->what;
    const bool more = from + n < what->n;
    int fds[WIRE_MAX_FD];
    buf head;
    buf_init(&head, WIRE_MAX_HEAD_DOWN);
    (void)buf_puts(&head, "{\"names\":["); /* failures stick */
    for (size_t i = 0; i < n; i++) {
        fds[i] = what->fds[from + i];
        (void)buf_puts(&head, i ? "," : "");
        (void)json_write_string(what->names[from + i], strlen(what->names[from + i]), &head);
    }
    (void)buf_printf(&head, "],\"more\":%s}", more ? "true" : "false");
    if (!more)
        fds[n] = what->out_fd;
    cama_err e = buf_error(&head, "the names of files", err);
    const wire_out f = {
        .type = WIRE_IMPORT, .head = head.data, .n_head = head.n, .fds = fds, .n_fd = n + !more};
    if (!e)
        e = wire_send(j->wire, &f, err);
    buf_done(&head);
    return e;
}

static cama_err send_all(import_job *j, err_info *err)
{
    cama_err e = CAMA_OK;
    for (size_t at = 0; !e && at < j->what->n; at += FILES_A_FRAME) {
        const size_t left = j->what->n - at;
        e = send_files(j, at, left < FILES_A_FRAME ? left : FILES_A_FRAME, err);
    }
    return e;
}

/* True: the import is over, and *err has its end. */
static bool on_frame(import_job *j, const wire_frame *f, err_info *err)
{
    (void)pthread_mutex_lock(&j->lock);
    j->alive_ns = clock_now_ns();
    (void)pthread_mutex_unlock(&j->lock);
    for (size_t i = 0; i < f->n_fd; i++)
        (void)close(f->fds[i]); /* nothing was written to it */
    const int64_t done = wire_int(f, "done", 0), all = wire_int(f, "all", 0);
    switch (f->type) {
    case WIRE_HELLO:
        if (wire_int(f, "version", 0) == WIRE_VERSION)
            return false;
        (void)err_set(err, CAMA_ERR_RUNNER, "the import speaks another version of the wire");
        return true;
    case WIRE_PROGRESS:
        if (j->what->progress && done >= 0 && all >= done)
            j->what->progress(j->what->user, (uint64_t)done, (uint64_t)all);
        return false;
    case WIRE_LOG:
        return false;
    case WIRE_DONE:
        err->code = CAMA_OK;
        return true;
    case WIRE_FAIL:
        wire_get_err(f->head, err);
        if (!err->code)
            err->code = CAMA_ERR_ENGINE;
        return true;
    default:
        (void)err_set(err, CAMA_ERR_RUNNER, "the import sent a frame %s", wire_type_name(f->type));
        return true;
    }
}

static void read_frames(import_job *j, err_info *err)
{
    for (;;) {
        wire_frame f;
        if (wire_recv(j->wire, &f, err)) {
            if (err->code != CAMA_ERR_NOMEM)
                err->code = CAMA_ERR_RUNNER; /* before its end was told: the caller adds how */
            return;
        }
        if (on_frame(j, &f, err))
            return;
    }
}

/* ---- the process ---- */

static cama_err start(import_job *j, err_info *err)
{
    static const char *const argv[] = {"cama", "runner", NULL};
    int fd[2];
    cama_err e = wire_pair(fd, err);
    if (e)
        return e;
    const spawn_opts o = {
        .exe = j->pool->o.exe, .argv = argv, .fd = fd[1], .child_fd = WIRE_RUNNER_FD};
    e = spawn_self(&o, &j->pid, err);
    (void)close(fd[1]); /* a socket: nothing is lost */
    if (e)
        (void)close(fd[0]);
    else
        e = wire_open(fd[0], &(wire_opts){.side = WIRE_SERVE}, &j->wire, err);
    return e;
}

static void end_process(import_job *j, bool in_order, char how[96])
{
    if (j->wire)
        wire_shutdown(j->wire);
    (void)memcpy(how, "never started", sizeof "never started");
    if (j->pid > 0 && (!in_order || !spawn_wait(j->pid, GRACE_MS, how)))
        spawn_kill(j->pid, how);
    wire_close(j->wire);
}

static void stop_watching(import_job *j, pthread_t watcher)
{
    (void)pthread_mutex_lock(&j->lock);
    j->is_over = true;
    (void)pthread_cond_broadcast(&j->ended);
    (void)pthread_mutex_unlock(&j->lock);
    (void)pthread_join(watcher, NULL);
}

/* Sends the files and hears the end; *err has it. */
static void talk(import_job *j, err_info *err)
{
    pthread_t watcher;
    j->alive_ns = clock_now_ns();
    if (pthread_create(&watcher, NULL, watching, j)) {
        (void)err_set(err, CAMA_ERR_NOMEM, "pool: no thread to watch an import with");
        return;
    }
    const cama_err e = send_all(j, err);
    if (!e || e == CAMA_ERR_CANCELED) /* it has gone already: what it said is still there */
        read_frames(j, err);
    stop_watching(j, watcher);
    if (j->killed.code)
        *err = j->killed;
}

cama_err pool_import_run(pool *p, const pool_import *what, err_info *err)
{
    import_job j = {.pool = p, .what = what};
    err_info end = {.code = CAMA_OK};
    char how[96];
    if (what->n == 0 || what->n > POOL_IMPORT_MAX_FILE)
        return err_set(err, CAMA_ERR_LIMIT, "%zu files to import, allowed are 1 to %d", what->n,
                       POOL_IMPORT_MAX_FILE);
    if (pthread_mutex_init(&j.lock, NULL))
        return err_set(err, CAMA_ERR_NOMEM, "pool: no lock for an import");
    if (pthread_cond_init(&j.ended, NULL)) {
        (void)pthread_mutex_destroy(&j.lock);
        return err_set(err, CAMA_ERR_NOMEM, "pool: no lock for an import");
    }
    if (!start(&j, &end))
        talk(&j, &end);
    const bool died = end.code == CAMA_ERR_RUNNER && !j.killed.code;
    end_process(&j, !end.code || (!died && !j.killed.code), how);
    (void)pthread_cond_destroy(&j.ended);
    (void)pthread_mutex_destroy(&j.lock);
    if (!end.code)
        return CAMA_OK;
    if (died)
        return err_set(err, CAMA_ERR_RUNNER, "the process that imports ended: %s (%s)", how,
                       end.text);
    return err_set(err, end.code, "%s", end.text);
}
