#include "pool/pool_int.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/plat.h"

#define MAX_POOL_BYTES 65536u       /* copies of the strings of options */
#define MAX_ABOUT_BYTES (64u << 20) /* of what a runner says of engines */

void pool_lock(pool *p)
{
    (void)pthread_mutex_lock(&p->lock); /* a plain mutex: cannot fail */
}

void pool_unlock(pool *p)
{
    for (;;) {
        pool_tasks ended = p->ended;
        pool_tasks starting = p->starting;
        p->ended = p->starting = (pool_tasks){0};
        (void)pthread_mutex_unlock(&p->lock);
        if (!ended.n && !starting.n)
            return;
        while (ended.first) {
            pool_task *t = ended.first;
            pool_tasks_remove(&ended, t);
            pool_tell_end(t);
            pool_task_told(p, t);
        }
        while (starting.first) {
            pool_task *t = starting.first;
            pool_tasks_remove(&starting, t);
            pool_start_task(p, t);
        }
        pool_lock(p);
    }
}

void pool_log(pool *p, pool_level level, const char *fmt, ...)
{
    if (!p->o.log || (level == POOL_DEBUG && !p->o.log_debug))
        return;
    err_info line; /* its text is scrubbed: lines quote files and runners */
    va_list args;
    va_start(args, fmt);
    (void)err_vset(&line, CAMA_OK, fmt, args); /* gives the code back */
    va_end(args);
    for (char *c = line.text; *c; c++)
        if (*c == '\n')
            *c = ' '; /* nobody writes lines of somebody else's */
    p->o.log(p->o.user, level, line.text);
}

/* ---- life ---- */

static const char *copy_or(arena *a, const char *text, const char *fallback)
{
    const char *given = text ? text : fallback;
    return arena_copy(a, given, strlen(given));
}

static cama_err fill_opts(pool *p, const pool_opts *o, err_info *err)
{
    p->o = *o;
    p->o.exe = o->exe ? copy_or(&p->memory, o->exe, "") : NULL;
    p->o.kv_type = copy_or(&p->memory, o->kv_type, "f16");
    p->o.activations = copy_or(&p->memory, o->activations, "int8");
    p->o.weights = copy_or(&p->memory, o->weights, "auto");
    p->o.data_dir = o->data_dir ? copy_or(&p->memory, o->data_dir, "") : NULL;
    if ((o->data_dir && !p->o.data_dir) || (o->exe && !p->o.exe) || !p->o.kv_type ||
        !p->o.activations || !p->o.weights)
        return err_set(err, CAMA_ERR_NOMEM, "pool: no memory for its options");
    p->o.max_loaded = o->max_loaded ? o->max_loaded : 3;
    p->o.max_queue = o->max_queue ? o->max_queue : 512;
    p->o.n_parallel = o->n_parallel ? o->n_parallel : 1;
    p->o.n_ctx = o->n_ctx ? o->n_ctx : 4096;
    p->o.n_thread = o->n_thread ? o->n_thread : (uint32_t)plat_n_cpu();
    p->o.load_timeout_ns = o->load_timeout_ns ? o->load_timeout_ns : 300000000000ull;
    p->o.hang_timeout_ns = o->hang_timeout_ns ? o->hang_timeout_ns : 30000000000ull;
    if (o->keep_alive_ns == POOL_KEEP_DEFAULT)
        p->o.keep_alive_ns = 300000000000ll;
    else if (o->keep_alive_ns < 0)
        p->o.keep_alive_ns = POOL_KEEP_FOREVER;
    return CAMA_OK;
}

/* Nothing in it is needed to run. */
static cama_err open_hist(pool *p, err_info *err)
{
    err_info why;
    const cama_err e = hist_open(p->o.data_dir, &p->hist, &why);
    if (e)
        return err_set(err, e, "%s", why.text);
    if (why.code)
        pool_log(p, POOL_WARN_LEVEL, "%s: what is learned of engines ends with this server",
                 why.text);
    return CAMA_OK;
}

static cama_err open_wake(pool *p, err_info *err)
{
    if (pipe(p->wake_fd) != 0) {
        p->wake_fd[0] = p->wake_fd[1] = -1;
        return err_set(err, CAMA_ERR_IO, "pool: no pipe for its timer: %s", strerror(errno));
    }
    for (int i = 0; i < 2; i++) {
        (void)fcntl(p->wake_fd[i], F_SETFD, FD_CLOEXEC); /* neither fails on an open pipe */
        (void)fcntl(p->wake_fd[i], F_SETFL, O_NONBLOCK);
    }
    return CAMA_OK;
}

static cama_err start_timer(pool *p, err_info *err)
{
    p->have_lock = pthread_mutex_init(&p->lock, NULL) == 0;
    p->have_changed = pthread_cond_init(&p->changed, NULL) == 0;
    if (!p->have_lock || !p->have_changed)
        return err_set(err, CAMA_ERR_NOMEM, "pool: no memory for its lock");
    sigset_t all;
    sigset_t old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &old); /* fails for no valid `how` */
    const int code = pthread_create(&p->timer, NULL, pool_timer_main, p);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (code)
        return err_set(err, CAMA_ERR_NOMEM, "pool: its timer's thread cannot be started: %s",
                       strerror(code));
    p->have_timer = true;
    return CAMA_OK;
}

static void close_wake(pool *p)
{
    for (int i = 0; i < 2; i++)
        if (p->wake_fd[i] >= 0)
            (void)close(p->wake_fd[i]); /* a pipe: nothing is lost */
}

/* Without runners and timer. */
static void free_pool(pool *p)
{
    while (p->dead) {
        pool_runner *r = p->dead;
        p->dead = r->next;
        (void)pthread_join(r->thread, NULL); /* GONE: on its last lines */
        pool_runner_free(r);
    }
    p->is_closing = true;
    pool_slot_prune(p, clock_now_ns());
    close_wake(p);
    hist_close(p->hist);
    arena_done(&p->about.memory);
    if (p->have_changed)
        (void)pthread_cond_destroy(&p->changed);
    if (p->have_lock)
        (void)pthread_mutex_destroy(&p->lock);
    arena_done(&p->memory);
    free(p);
}

cama_err pool_open(const pool_opts *o, pool **out, err_info *err)
{
    pool *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(err, CAMA_ERR_NOMEM, "pool: no memory to open one");
    p->wake_fd[0] = p->wake_fd[1] = -1;
    p->timer_ns = UINT64_MAX;
    arena_init(&p->memory, MAX_POOL_BYTES);
    arena_init(&p->about.memory, MAX_ABOUT_BYTES);
    cama_err e = fill_opts(p, o, err);
    if (!e)
        e = open_hist(p, err);
    if (!e)
        e = open_wake(p, err);
    if (!e)
        e = start_timer(p, err);
    if (e) {
        free_pool(p);
        return e;
    }
    *out = p;
    return CAMA_OK;
}

void pool_drain(pool *p, uint32_t timeout_ms)
{
    pool_lock(p);
    const uint64_t until_ns = clock_now_ns() + (uint64_t)timeout_ms * 1000000u;
    if (!p->is_draining || until_ns < p->drain_until_ns)
        p->drain_until_ns = until_ns;
    p->is_draining = true;
    pool_step(p);
    while (p->runners || p->n_task) {
        if (p->ended.n || p->starting.n) { /* told by this thread, and not under the lock */
            pool_unlock(p);
            pool_lock(p);
            continue;
        }
        (void)pthread_cond_wait(&p->changed, &p->lock);
    }
    pool_unlock(p);
}

void pool_close(pool *p)
{
    if (!p)
        return;
    pool_drain(p, 0);
    pool_about_close(p);
    pool_lock(p);
    p->stop_timer = true;
    pool_wake_timer(p);
    pool_unlock(p);
    (void)pthread_join(p->timer, NULL); /* started in pool_open */
    free_pool(p);
}

/* ---- jobs ---- */

static cama_err admit(pool *p, pool_task *t, pool_source *source, err_info *err)
{
    if (p->is_draining)
        return err_set(err, CAMA_ERR_BUSY, "the server is shutting down");
    size_t n = 0;
    for (const pool_slot *s = p->slots; s; s = s->next)
        n += pool_slot_pending(p, s);
    pool_slot *slot = pool_slot_get(p, source);
    if (!slot)
        return err_set(err, CAMA_ERR_NOMEM, "pool: no memory for another model");
    const size_t before = pool_slot_pending(p, slot);
    pool_tasks_add(&slot->waiting, t);
    n += pool_slot_pending(p, slot) - before;
    if (n > p->o.max_queue || p->queue_bytes + t->n_head + t->n_data > POOL_MAX_QUEUE_BYTES) {
        pool_tasks_remove(&slot->waiting, t);
        return err_set(err, CAMA_ERR_BUSY, "%s", POOL_BUSY_TEXT);
    }
    t->slot = slot;
    pool_task_register(p, t);
    pool_log(p, POOL_DEBUG, "job %llu of %s submitted: %zu bytes, num_ctx %u",
             (unsigned long long)t->id, slot->source->model.name, t->n_head + t->n_data, t->n_ctx);
    return CAMA_OK;
}

cama_err pool_submit(pool *p, const pool_job *job, pool_job_id *out, err_info *err)
{
    pool_source *source = NULL;
    pool_task *t = NULL;
    cama_err e = pool_source_new(job->model, &source, err);
    if (!e)
        e = pool_task_new(p, job, &t, err);
    pool_lock(p);
    if (!e)
        e = admit(p, t, source, err);
    pool_source_unref(source);
    if (e)
        pool_task_free(t);
    else
        *out = t->id; /* before a sink may want it */
    pool_step(p);
    pool_unlock(p);
    return e;
}

void pool_cancel(pool *p, pool_job_id id)
{
    pool_lock(p);
    pool_task *t = pool_task_find(p, id);
    if (t)
        pool_log(p, POOL_DEBUG, "job %llu canceled", (unsigned long long)id);
    if (t && t->state == TASK_WAITING) {
        err_info err;
        (void)err_set(&err, CAMA_ERR_CANCELED, "the job was canceled before it began");
        pool_tasks_remove(&t->slot->waiting, t);
        pool_task_end(p, t, &err);
    } else if (t && !t->cancel_ns) {
        t->cancel_ns = clock_now_ns();
        if (t->is_sent)
            pool_send(t->runner, WIRE_CANCEL, id, "{}");
    }
    pool_step(p);
    pool_unlock(p);
}

void pool_credit(pool *p, pool_job_id id, size_t n)
{
    pool_lock(p);
    pool_task *t = pool_task_find(p, id);
    if (t && t->state == TASK_RUNNING) {
        t->credit += n;
        if (t->credit >= POOL_CREDIT_STEP) { /* not a frame for every token */
            pool_send(t->runner, WIRE_CREDIT, id, "{\"bytes\":%llu}",
                      (unsigned long long)t->credit);
            t->may_send += (int64_t)t->credit;
            t->credit = 0;
        }
    }
    pool_unlock(p);
}

/* ---- runners ---- */

/* The runner of a key that takes jobs or will; NULL: none. */
static pool_runner *open_runner(pool *p, const char *key)
{
    const pool_slot *s = pool_slot_find(p, key);
    pool_runner *r = s ? s->runner : NULL;
    return r && r->state < RUNNER_LEAVING ? r : NULL;
}

bool pool_unload(pool *p, const char *key)
{
    pool_lock(p);
    pool_runner *r = open_runner(p, key);
    if (r && r->state == RUNNER_READY)
        r->is_closed = true;
    else if (r)
        r->unload_asked = true;
    pool_step(p);
    pool_unlock(p);
    return r != NULL;
}

bool pool_keep(pool *p, const char *key, int64_t keep_alive_ns)
{
    pool_lock(p);
    pool_runner *r = open_runner(p, key);
    if (r) {
        r->keep_ns = keep_alive_ns == POOL_KEEP_DEFAULT ? p->o.keep_alive_ns
                     : keep_alive_ns < 0                ? POOL_KEEP_FOREVER
                                                        : keep_alive_ns;
        if (r->state == RUNNER_READY)
            pool_runner_rests(r, clock_now_ns());
    }
    pool_step(p);
    pool_unlock(p);
    return r != NULL;
}
