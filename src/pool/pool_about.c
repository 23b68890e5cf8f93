/* Which engines there are: a runner without a model looks, since opening a library or a device may
 * be the end of whoever does it. When it is, the others are asked for once more. */
#include "pool/pool_int.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/spawn.h"

#define GRACE_MS 1000
#define MAX_LIST_BYTES (64u << 20) /* the tree of a whole head */

/* What a runner gave. */
typedef struct answer {
    arena memory;
    json_value *engines;             /* an array, or NULL: it died or was late */
    char looking[POOL_ENGINE_BYTES]; /* at what it looked last */
    char how[96];                    /* it ended; "": in order */
} answer;

/* ---- one runner ---- */

static cama_err spawn(pool *p, wire **out, err_info *err)
{
    static const char *const argv[] = {"cama", "runner", NULL};
    int fd[2];
    pid_t pid = 0;
    cama_err e = wire_pair(fd, err);
    if (e)
        return e;
    const spawn_opts o = {.exe = p->o.exe, .argv = argv, .fd = fd[1], .child_fd = WIRE_RUNNER_FD};
    e = spawn_self(&o, &pid, err);
    (void)close(fd[1]); /* a socket: nothing is lost */
    if (e)
        (void)close(fd[0]);
    else
        e = wire_open(fd[0], &(wire_opts){.side = WIRE_SERVE}, out, err);
    pool_lock(p);
    p->about.pid = pid;
    p->about.wire = e ? NULL : *out;
    p->about.is_late = false;
    p->about.until_ns = clock_now_ns() + POOL_ABOUT_NS;
    pool_wake_timer(p); /* which watches the time */
    if (p->is_closing)
        pool_about_kill(p);
    (void)pthread_mutex_unlock(&p->lock);
    return e;
}

static cama_err ask(wire *w, const char *skip, err_info *err)
{
    char head[64] = "{}";
    if (*skip)
        (void)snprintf(head, sizeof head, "{\"skip\":[\"%s\"]}", skip);
    const wire_out f = {.type = WIRE_ENGINES, .head = head, .n_head = strlen(head)};
    return wire_send(w, &f, err);
}

/* A name that may go into a frame: an engine's. */
static bool is_name(const char *s)
{
    const size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return n > 0 && n < POOL_ENGINE_BYTES && !s[n];
}

static cama_err take_answer(const wire_frame *f, answer *a, err_info *err)
{
    json_value *head = NULL;
    const cama_err e = json_parse(f->head_text, f->n_head, &a->memory, &head, err);
    json_value *engines = e ? NULL : (json_value *)json_get(head, "engines");
    if (!e && (!engines || engines->kind != JSON_ARRAY))
        return err_set(err, CAMA_ERR_FORMAT, "sent a frame ABOUT without engines");
    a->engines = engines;
    return e;
}

static cama_err on_frame(wire *w, const wire_frame *f, const char *skip, answer *a, err_info *err)
{
    for (size_t i = 0; i < f->n_fd; i++)
        (void)close(f->fds[i]); /* nothing was written to it */
    const char *name = wire_str(f, "engine", "");
    switch (f->type) {
    case WIRE_HELLO:
        if (wire_int(f, "version", 0) != WIRE_VERSION)
            return err_set(err, CAMA_ERR_FORMAT, "speaks another version of the wire");
        return ask(w, skip, err);
    case WIRE_PROGRESS:
        if (is_name(name))
            (void)snprintf(a->looking, sizeof a->looking, "%s", name);
        return CAMA_OK;
    case WIRE_ABOUT:
        return take_answer(f, a, err);
    case WIRE_LOG:
        return CAMA_OK;
    default:
        return err_set(err, CAMA_ERR_FORMAT, "sent a frame %s", wire_type_name(f->type));
    }
}

/* Until it has answered, is gone, or talks nonsense: a->how. */
static void listen_to(wire *w, const char *skip, answer *a)
{
    wire_frame f;
    err_info err;
    while (!a->engines) {
        cama_err e = wire_recv(w, &f, &err);
        if (!e)
            e = on_frame(w, &f, skip, a, &err);
        if (e && e != CAMA_ERR_CANCELED)
            (void)snprintf(a->how, sizeof a->how, "%.90s", err.text);
        if (e)
            return;
    }
}

static void end_process(pool *p, wire *w, answer *a)
{
    char how[96] = "never started";
    pool_lock(p);
    const pid_t pid = p->about.pid;
    const bool was_late = p->about.is_late;
    p->about.pid = 0;
    p->about.wire = NULL;
    (void)pthread_mutex_unlock(&p->lock);
    if (w)
        wire_shutdown(w);
    if (pid > 0 && (a->how[0] || !spawn_wait(pid, GRACE_MS, how)))
        spawn_kill(pid, how);
    if (!a->how[0])
        (void)snprintf(a->how, sizeof a->how, "%s", how);
    if (was_late)
        (void)snprintf(a->how, sizeof a->how, "did not answer in %.0f s and was killed",
                       (double)POOL_ABOUT_NS / 1e9);
    wire_close(w);
}

static void run_one(pool *p, const char *skip, answer *a)
{
    wire *w = NULL;
    err_info err;
    *a = (answer){.engines = NULL};
    arena_init(&a->memory, MAX_LIST_BYTES);
    const cama_err e = spawn(p, &w, &err);
    if (!e)
        listen_to(w, skip, a);
    end_process(p, w, a);
    if (e)
        (void)snprintf(a->how, sizeof a->how, "%.90s", err.text);
}

/* ---- the answer ---- */

/* A copy of what was said, in the pool's memory. */
static json_value *copy_engines(pool *p, const json_value *engines)
{
    buf text;
    json_value *copy = NULL;
    buf_init(&text, MAX_LIST_BYTES);
    if (json_write(engines, &text) || json_parse(text.data, text.n, &p->about.memory, &copy, NULL))
        copy = NULL;
    buf_done(&text);
    return copy;
}

/* The engine that the first runner died of. */
static bool add_dead(arena *a, json_value *engines, const answer *dead)
{
    char why[160];
    (void)snprintf(why, sizeof why, "the process that looked for it %s%s",
                   strncmp(dead->how, "killed", 6) == 0 ? "was " : "", dead->how);
    json_value *v = json_new_object(a);
    return v && json_put(a, v, "name", json_new_string(a, dead->looking, strlen(dead->looking))) &&
           json_put(a, v, "available", json_new_bool(a, false)) &&
           json_put(a, v, "why", json_new_string(a, why, strlen(why))) &&
           json_append(a, engines, v);
}

static void keep(pool *p, const answer *a, const answer *dead)
{
    pool_lock(p);
    p->about.engines = NULL;
    arena_done(&p->about.memory);
    json_value *copy = a->engines ? copy_engines(p, a->engines) : json_new_array(&p->about.memory);
    if (copy && dead && dead->looking[0] && !add_dead(&p->about.memory, copy, dead))
        copy = NULL;
    p->about.engines = copy;
    p->about.known_ns = copy && a->engines ? clock_now_ns() : 0; /* else it is asked again */
    p->about.is_asking = false;
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->lock);
}

static void *about_main(void *arg)
{
    pool *p = arg;
    answer first;
    answer second;
    run_one(p, "", &first);
    if (first.engines) {
        keep(p, &first, NULL);
    } else {
        pool_log(p, POOL_WARN_LEVEL, "the process that looked for engines%s%s %s",
                 first.looking[0] ? ", at " : "", first.looking, first.how);
        run_one(p, first.looking, &second);
        keep(p, &second, &first);
        arena_done(&second.memory);
    }
    arena_done(&first.memory);
    return NULL;
}

/* ---- under the lock ---- */

void pool_about_kill(pool *p)
{
    pool_about *a = &p->about;
    a->is_late = true;
    if (a->pid > 0)
        (void)kill(a->pid, SIGKILL); /* fails only for a process that has ended */
    if (a->wire)
        wire_shutdown(a->wire);
}

static void begin(pool *p)
{
    pool_about *a = &p->about;
    if (a->have_thread)
        (void)pthread_join(a->thread, NULL); /* not asking: it is on its last lines */
    sigset_t all;
    sigset_t old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &old); /* fails for no valid `how` */
    a->have_thread = pthread_create(&a->thread, NULL, about_main, p) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    a->is_asking = a->have_thread;
    if (!a->have_thread)
        pool_log(p, POOL_WARN_LEVEL, "no thread to ask which engines there are");
}

void pool_about_close(pool *p)
{
    pool_lock(p);
    p->is_closing = true; /* nobody asks from here on */
    pool_about_kill(p);
    const bool have_thread = p->about.have_thread;
    (void)pthread_mutex_unlock(&p->lock);
    if (have_thread)
        (void)pthread_join(p->about.thread, NULL);
}

static const json_value *find_engine(const pool *p, const char *name)
{
    const json_value *all = p->about.engines;
    for (size_t i = 0; all && i < all->n; i++) {
        const json_value *v = json_get(all->items[i], "name");
        if (v && v->kind == JSON_STRING && !strcmp(v->text, name))
            return all->items[i];
    }
    return NULL;
}

static bool is_text(const json_value *v, const char *key, const json_value *other)
{
    const json_value *text = json_get(v, key);
    return text && other && text->kind == JSON_STRING && other->kind == JSON_STRING &&
           !strcmp(text->text, other->text);
}

void pool_about_check(pool *p, const pool_runner *r)
{
    const json_value *known = find_engine(p, r->engine);
    const json_value *available = json_get(known, "available");
    if (!p->about.engines || (available && available->boolean &&
                              is_text(known, "version", json_get(r->ready, "engine_version"))))
        return;
    p->about.known_ns = 0;
}

/* ---- listing ---- */

static bool is_fresh(const pool *p)
{
    return p->about.known_ns && clock_now_ns() - p->about.known_ns < POOL_ABOUT_AGE_NS;
}

static void wait_for_answer(pool *p, uint32_t wait_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until); /* fails for no such clock only */
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    while (p->about.is_asking && pthread_cond_timedwait(&p->changed, &p->lock, &until) == 0)
        ;
}

static uint32_t in_use(const pool *p, const char *name)
{
    uint32_t n = 0;
    for (const pool_runner *r = p->runners; r; r = r->next)
        n += r->holds_memory && !strcmp(r->engine, name);
    return n;
}

static void put_engines(const pool *p, buf *out)
{
    const json_value *all = p->about.engines;
    (void)buf_puts(out, "{\"engines\":["); /* failures stick */
    for (size_t i = 0; all && i < all->n; i++) {
        const json_value *v = all->items[i];
        const json_value *name = json_get(v, "name");
        if (!name || name->kind != JSON_STRING)
            continue;
        if (out->n && out->data[out->n - 1] != '[')
            (void)buf_putc(out, ',');
        (void)json_write(v, out);
        if (out->n)
            out->n--; /* the bracket */
        (void)buf_printf(out, ",\"in_use\":%u}", in_use(p, name->text));
    }
    (void)buf_puts(out, "],\"failures\":[");
}

static void put_text(buf *b, const char *key, const char *text)
{
    (void)buf_printf(b, "\"%s\":", key); /* failures stick */
    (void)json_write_string(text, strlen(text), b);
    (void)buf_putc(b, ',');
}

static void put_failure(void *user, const hist_failure *f)
{
    buf *b = user;
    char when[32] = "";
    const time_t at = (time_t)f->time_s;
    struct tm t;
    if (gmtime_r(&at, &t))
        (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &t);
    if (b->n && b->data[b->n - 1] == '}')
        (void)buf_putc(b, ','); /* failures stick */
    (void)buf_putc(b, '{');
    put_text(b, "engine", f->engine);
    put_text(b, "build", f->build);
    put_text(b, "digest", f->digest);
    put_text(b, "model", f->model);
    put_text(b, "reason", f->reason);
    (void)buf_printf(b, "\"time\":\"%s\"}", when);
}

cama_err pool_engines(pool *p, uint32_t wait_ms, buf *out, err_info *err)
{
    err_info why;
    pool_lock(p);
    if (!is_fresh(p) && !p->about.is_asking && !p->is_closing)
        begin(p);
    wait_for_answer(p, wait_ms);
    const bool is_asking = p->about.is_asking;
    put_engines(p, out);
    pool_unlock(p);
    if (hist_engine_each(p->hist, NULL, put_failure, out, &why))
        pool_log(p, POOL_WARN_LEVEL, "what engines failed on is not known: %s", why.text);
    (void)buf_printf(out, "],\"state\":\"%s\"}", is_asking ? "asking" : "known");
    return buf_error(out, "list of engines", err);
}

cama_err pool_engines_reset(pool *p, const char *digest, size_t *out_n, err_info *err)
{
    const cama_err e = hist_engine_reset(p->hist, digest, out_n, err);
    pool_lock(p);
    for (pool_slot *s = p->slots; s; s = s->next)
        if (!digest || !strcmp(s->source->model.digest, digest))
            s->choice = (pool_choice){.n_fail = 0};
    pool_unlock(p);
    return e;
}
