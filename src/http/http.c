#include "http/http.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/http_int.h"
#include "net/host.h"

#define STEP_MS 50             /* how often a wait looks at the clock */
#define CLOSE_TIMEOUT_MS 10000 /* for calls that should have ended long ago */
#define LOG_BYTES 1024

void http_log(http *h, pool_level level, const char *fmt, ...)
{
    char line[LOG_BYTES];
    va_list args;
    if (!h->o.log)
        return;
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    for (char *p = line; *p; p++) /* a target may hold what steers a terminal */
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    h->o.log(h->o.user, level, line);
}

/* Waits until *n is 0, or for timeout_ms. h->lock is held. */
static bool wait_zero(http *h, const size_t *n, uint64_t timeout_ms)
{
    const uint64_t end = clock_now_ns() + timeout_ms * 1000000;
    while (*n > 0) {
        if (clock_now_ns() >= end)
            return false;
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += STEP_MS * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        (void)pthread_cond_timedwait(&h->idle, &h->lock, &until);
    }
    return true;
}

static void free_http(http *h)
{
    http_origins_done(&h->origins);
    (void)pthread_cond_destroy(&h->work_ready);
    (void)pthread_cond_destroy(&h->idle);
    (void)pthread_mutex_destroy(&h->lock);
    free(h);
}

static cama_err open_threads(http *h, err_info *err)
{
    /* signals go to the threads of the program */
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    cama_err e = watch_open(h, &h->watch, err);
    if (!e)
        e = work_open(h, err);
    if (!e && h->o.tcp_fd >= 0)
        e = mhd_open(h, h->o.tcp_fd, false, &h->listeners[0], err);
    if (!e && h->o.unix_fd >= 0)
        e = mhd_open(h, h->o.unix_fd, true, &h->listeners[1], err);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return e;
}

cama_err http_open(const http_opts *o, http **out, err_info *err)
{
    http *h = calloc(1, sizeof *h);
    if (!h)
        return err_set(err, CAMA_ERR_NOMEM, "http: no memory");
    h->o = *o;
    if (!h->o.max_connections)
        h->o.max_connections = HTTP_CONNECTIONS;
    h->loopback = o->tcp_fd >= 0 && net_is_loopback(o->tcp_fd);
    if (gethostname(h->machine, sizeof h->machine - 1))
        h->machine[0] = '\0';
    if (pthread_mutex_init(&h->lock, NULL) || pthread_cond_init(&h->work_ready, NULL) ||
        pthread_cond_init(&h->idle, NULL)) {
        free(h);
        return err_set(err, CAMA_ERR_NOMEM, "http: no memory for locks");
    }
    cama_err e = http_origins_init(&h->origins, o->origins, err);
    if (!e)
        e = open_threads(h, err);
    if (e) {
        /* the sockets stay the caller's: a daemon that runs must not close them */
        for (size_t i = 0; i < HTTP_LISTENERS; i++)
            mhd_abandon(h->listeners[i]);
        work_close(h);
        watch_close(h->watch);
        free_http(h);
        return e;
    }
    *out = h;
    return CAMA_OK;
}

/* Every exchange that still runs loses its client. */
static void drop_all(http *h)
{
    (void)pthread_mutex_lock(&h->lock);
    for (connection *c = h->conns; c; c = c->next) {
        if (!c->current)
            continue;
        exchange_ref(c->current); /* MHD's reference lasts while it is current */
        watch_drop(h->watch, c->current);
    }
    (void)pthread_mutex_unlock(&h->lock);
    watch_cut(h, true);
}

void http_stop(http *h, uint32_t timeout_ms)
{
    (void)pthread_mutex_lock(&h->lock);
    h->draining = true;
    (void)pthread_mutex_unlock(&h->lock);
    for (size_t i = 0; i < HTTP_LISTENERS; i++)
        mhd_quiesce(h->listeners[i]);
    watch_cut(h, false);
    (void)pthread_mutex_lock(&h->lock);
    bool over = wait_zero(h, &h->n_open, timeout_ms);
    while (!over) {
        (void)pthread_mutex_unlock(&h->lock);
        drop_all(h);
        (void)pthread_mutex_lock(&h->lock);
        over = wait_zero(h, &h->n_open, STEP_MS);
    }
    (void)pthread_mutex_unlock(&h->lock);
    for (size_t i = 0; i < HTTP_LISTENERS; i++) {
        mhd_close(h->listeners[i]);
        h->listeners[i] = NULL;
    }
    work_close(h);
    watch_close(h->watch);
    h->watch = NULL;
}

void http_close(http *h)
{
    if (!h)
        return;
    (void)pthread_mutex_lock(&h->lock);
    const bool over = wait_zero(h, &h->n_exchange, CLOSE_TIMEOUT_MS);
    const size_t left = h->n_exchange;
    (void)pthread_mutex_unlock(&h->lock);
    if (over)
        free_http(h);
    else /* who holds them may still write: better a leak than memory that is used after */
        http_log(h, POOL_ERROR, "http: %zu requests have not ended", left);
}
