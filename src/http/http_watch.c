/* A thread that hears what MHD does not: that the client of a suspended connection left, and that
 * a connection is kept open by a byte now and then. */
#include "http/http_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/http_poll.h"

#define MAX_EVENTS 64
#define WAKE_ID 0

/* What an event names is looked up here: the exchange may be gone when the event is read. */
typedef struct slot {
    exchange *e; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
} slot;

struct watch {
    http *h;
    int poll, wake_in, wake_out;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    slot *slots;                 /* lock, as the rest */
    uint32_t n_slot, first_free; /* n_slot: none is free */
    exchange *drops;
    bool end;
};

static uint64_t slot_id(const watch *w, uint32_t i)
{
    return ((uint64_t)(w->slots[i].generation & 0x7fffffff) << 32) | (i + 1);
}

static void wake(watch *w)
{
    (void)!write(w->wake_in, "w", 1); /* full: it will wake anyway */
}

static void on_leave(watch *w, uint64_t id)
{
    const uint32_t i = (uint32_t)id - 1;
    exchange *e = NULL;
    (void)pthread_mutex_lock(&w->lock);
    if (i < w->n_slot && w->slots[i].e && slot_id(w, i) == id) {
        e = w->slots[i].e;
        exchange_ref(e);
    }
    (void)pthread_mutex_unlock(&w->lock);
    if (e)
        exchange_gone(e);
    exchange_unref(e);
}

static void do_drops(watch *w)
{
    (void)pthread_mutex_lock(&w->lock);
    exchange *e = w->drops;
    w->drops = NULL;
    (void)pthread_mutex_unlock(&w->lock);
    while (e) {
        exchange *next = e->next_drop; /* only this thread has the list now */
        exchange_gone(e);
        exchange_unref(e);
        e = next;
    }
}

static uint32_t or_default(uint32_t v, uint32_t fallback)
{
    return v ? v : fallback;
}

/* Nine of ten connections are taken. h->lock is held. */
static bool is_crowded(const http *h)
{
    size_t n = 0;
    for (const connection *c = h->conns; c; c = c->next)
        n++;
    return n >= (size_t)h->o.max_connections - h->o.max_connections / 10;
}

/* Whether a connection has taken too long over its header or its body. */
static bool is_late(const http *h, connection *c, uint64_t now, bool crowded)
{
    const uint64_t header_ns = (uint64_t)or_default(h->o.header_ms, HTTP_HEADER_MS) * 1000000;
    const uint64_t idle_ns = (uint64_t)or_default(h->o.idle_ms, HTTP_IDLE_MS) * 1000000;
    const uint64_t window_ns =
        (uint64_t)or_default(h->o.body_window_ms, HTTP_BODY_WINDOW_MS) * 1000000;
    if (!c->in_request && crowded) /* who asks for nothing makes room for who does */
        return now - c->idle_ns > (uint64_t)HTTP_CROWDED_IDLE_MS * 1000000;
    if (!c->in_request)
        return now - c->idle_ns > header_ns + (c->first ? 0 : idle_ns);
    if (!c->in_body || now - c->window_ns < window_ns)
        return false;
    const bool late = c->window_bytes < HTTP_BODY_WINDOW_BYTES;
    c->window_ns = now;
    c->window_bytes = 0;
    return late;
}

static void cut_late(http *h)
{
    const uint64_t now = clock_now_ns();
    (void)pthread_mutex_lock(&h->lock);
    const bool crowded = is_crowded(h);
    for (connection *c = h->conns; c; c = c->next) {
        if (c->cut || !(is_late(h, c, now, crowded) || (h->draining && !c->in_request)))
            continue;
        c->cut = true;
        (void)shutdown(c->fd, SHUT_RDWR); /* MHD hears it, and closes the descriptor itself */
    }
    (void)pthread_mutex_unlock(&h->lock);
}

static int tick_ms(const http *h)
{
    uint32_t ms = or_default(h->o.header_ms, HTTP_HEADER_MS);
    if (or_default(h->o.body_window_ms, HTTP_BODY_WINDOW_MS) < ms)
        ms = h->o.body_window_ms;
    ms /= 4;
    return ms > HTTP_TICK_MS ? HTTP_TICK_MS : (int)(ms ? ms : 1);
}

static void *watch_main(void *arg)
{
    watch *w = arg;
    const int tick = tick_ms(w->h);
    uint64_t next_cut = 0;
    for (bool end = false; !end;) {
        uint64_t ids[MAX_EVENTS];
        const size_t n = http_poll_wait(w->poll, tick, ids, MAX_EVENTS);
        for (size_t i = 0; i < n; i++) {
            char bytes[64];
            if (ids[i] == WAKE_ID)
                (void)!read(w->wake_out, bytes, sizeof bytes); /* only to empty it */
            else
                on_leave(w, ids[i]);
        }
        do_drops(w);
        const uint64_t now = clock_now_ns();
        if (now >= next_cut) {
            cut_late(w->h);
            next_cut = now + (uint64_t)tick * 1000000;
        }
        (void)pthread_mutex_lock(&w->lock);
        end = w->end;
        (void)pthread_mutex_unlock(&w->lock);
    }
    return NULL;
}

static cama_err open_wake(watch *w, err_info *err)
{
    int fds[2];
    if (pipe(fds))
        return err_set(err, CAMA_ERR_IO, "http: pipe: %s", strerror(errno));
    w->wake_out = fds[0];
    w->wake_in = fds[1];
    bool ok = true;
    for (int i = 0; i < 2; i++)
        ok = ok && fcntl(fds[i], F_SETFD, FD_CLOEXEC) == 0 &&
             fcntl(fds[i], F_SETFL, O_NONBLOCK) == 0;
    if (!ok || !http_poll_add_reader(w->poll, w->wake_out, WAKE_ID))
        return err_set(err, CAMA_ERR_IO, "http: pipe: %s", strerror(errno));
    return CAMA_OK;
}

cama_err watch_open(http *h, watch **out, err_info *err)
{
    watch *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(err, CAMA_ERR_NOMEM, "http: no memory");
    w->h = h;
    w->poll = w->wake_in = w->wake_out = -1;
    if (pthread_mutex_init(&w->lock, NULL)) {
        free(w);
        return err_set(err, CAMA_ERR_NOMEM, "http: no memory for a lock");
    }
    w->n_slot = h->o.max_connections * HTTP_LISTENERS;
    w->slots = calloc(w->n_slot, sizeof *w->slots);
    cama_err e = w->slots ? CAMA_OK : err_set(err, CAMA_ERR_NOMEM, "http: no memory");
    for (uint32_t i = 0; i < w->n_slot && !e; i++)
        w->slots[i].next_free = i + 1;
    if (!e)
        e = http_poll_open(&w->poll, err);
    if (!e)
        e = open_wake(w, err);
    if (!e && pthread_create(&w->thread, NULL, watch_main, w))
        e = err_set(err, CAMA_ERR_NOMEM, "http: a thread cannot be had");
    w->running = !e;
    if (e) {
        watch_close(w);
        return e;
    }
    *out = w;
    return CAMA_OK;
}

void watch_close(watch *w)
{
    if (!w)
        return;
    if (w->running) {
        (void)pthread_mutex_lock(&w->lock);
        w->end = true;
        (void)pthread_mutex_unlock(&w->lock);
        wake(w);
        (void)pthread_join(w->thread, NULL);
        do_drops(w);
    }
    const int fds[] = {w->poll, w->wake_in, w->wake_out};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    (void)pthread_mutex_destroy(&w->lock);
    free(w->slots);
    free(w);
}

bool watch_add(watch *w, exchange *e, int fd)
{
    (void)pthread_mutex_lock(&w->lock);
    const uint32_t i = w->first_free;
    uint64_t id = 0;
    if (i < w->n_slot) {
        w->first_free = w->slots[i].next_free;
        w->slots[i].e = e;
        w->slots[i].generation++;
        e->watch_slot = i;
        id = slot_id(w, i);
    }
    (void)pthread_mutex_unlock(&w->lock);
    if (!id)
        return false;
    if (http_poll_add(w->poll, fd, id))
        return true;
    watch_remove(w, e, fd);
    return false;
}

void watch_remove(watch *w, exchange *e, int fd)
{
    http_poll_remove(w->poll, fd);
    (void)pthread_mutex_lock(&w->lock);
    slot *s = &w->slots[e->watch_slot];
    s->e = NULL;
    s->next_free = w->first_free;
    w->first_free = e->watch_slot;
    (void)pthread_mutex_unlock(&w->lock);
}

void watch_drop(watch *w, exchange *e)
{
    (void)pthread_mutex_lock(&w->lock);
    const bool again = e->dropped;
    e->dropped = true;
    if (!again) {
        e->next_drop = w->drops;
        w->drops = e;
    }
    (void)pthread_mutex_unlock(&w->lock);
    if (again)
        exchange_unref(e);
    else
        wake(w);
}

void watch_cut(http *h, bool all)
{
    (void)pthread_mutex_lock(&h->lock);
    for (connection *c = h->conns; c; c = c->next) {
        if (c->cut || (c->in_request && !all))
            continue;
        c->cut = true;
        (void)shutdown(c->fd, SHUT_RDWR);
    }
    (void)pthread_mutex_unlock(&h->lock);
}
