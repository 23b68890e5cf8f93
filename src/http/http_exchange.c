/* The life of a request: who holds it, its client leaving, a worker's turn with it. */
#include "http/http_int.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

exchange *exchange_new(http *h, const char *target)
{
    exchange *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->h = h;
    e->start_ns = clock_now_ns();
    atomic_init(&e->n_ref, 1);
    buf_init(&e->body, API_MAX_BODY);
    e->target = strdup(target);
    if (!e->target || pthread_mutex_init(&e->lock, NULL)) {
        free(e->target);
        free(e);
        return NULL;
    }
    (void)pthread_mutex_lock(&h->lock);
    h->n_exchange++;
    h->n_open++;
    (void)pthread_mutex_unlock(&h->lock);
    return e;
}

void exchange_ref(exchange *e)
{
    /* relaxed: whoever adds a reference holds one, or a lock under which one is held */
    (void)atomic_fetch_add_explicit(&e->n_ref, 1, memory_order_relaxed);
}

void exchange_unref(exchange *e)
{
    /* acquire and release: all that others did with it happens before it is freed */
    if (!e || atomic_fetch_sub_explicit(&e->n_ref, 1, memory_order_acq_rel) != 1)
        return;
    http *h = e->h;
    body_free(e);
    reply_done(&e->reply);
    while (e->first) {
        piece *next = e->first->next;
        free(e->first);
        e->first = next;
    }
    (void)pthread_mutex_destroy(&e->lock); /* nobody is left who could hold it */
    free(e->target);
    free(e->path);
    free(e->param);
    free(e->user_agent);
    free(e);
    (void)pthread_mutex_lock(&h->lock);
    h->n_exchange--;
    (void)pthread_cond_broadcast(&h->idle);
    (void)pthread_mutex_unlock(&h->lock);
}

void exchange_start(exchange *e)
{
    if (e->working)
        return;
    e->working = true;
    exchange_ref(e);
    work_add(e->h, e);
}

/* The lock is held: the call that must be told, with a reference, or NULL. */
static api_call *call_to_tell(exchange *e)
{
    e->gone = true;
    /* an upload that a dialect has begun must be ended by a worker */
    if (e->route && (e->route->flags & API_UPLOAD) && e->started && !e->upload_over)
        exchange_start(e);
    if (!e->call || e->told || e->ended)
        return NULL;
    e->told = true;
    e->h->o.calls.ref(e->call);
    return e->call;
}

static void tell(exchange *e, api_call *call)
{
    if (!call)
        return;
    e->h->o.calls.gone(call);
    e->h->o.calls.unref(call);
}

void exchange_gone(exchange *e)
{
    (void)pthread_mutex_lock(&e->lock);
    api_call *call = NULL;
    if (e->phase != PHASE_OVER) {
        /* MHD closes the descriptor, but only after exchange_over, which waits for the lock */
        (void)shutdown(e->conn->fd, SHUT_RDWR);
        call = call_to_tell(e);
        mhd_resume(e);
    }
    (void)pthread_mutex_unlock(&e->lock);
    tell(e, call);
}

void exchange_over(exchange *e)
{
    http *h = e->h;
    (void)pthread_mutex_lock(&e->lock);
    api_call *told = call_to_tell(e);
    api_call *call = e->call;
    e->call = NULL;
    e->phase = PHASE_OVER;
    e->conn = NULL;
    (void)pthread_mutex_unlock(&e->lock);
    tell(e, told);
    if (call)
        h->o.calls.unref(call);
    (void)pthread_mutex_lock(&h->lock);
    h->n_open--;
    (void)pthread_cond_broadcast(&h->idle);
    (void)pthread_mutex_unlock(&h->lock);
    exchange_unref(e);
}

/* Makes the call; the worker's reference is given. NULL: the client has left already, or there is
 * no memory, and then the exchange is answered. */
static api_call *open_call(exchange *e)
{
    http *h = e->h;
    (void)pthread_mutex_lock(&e->lock);
    const bool gone = e->gone;
    e->started = !gone;
    (void)pthread_mutex_unlock(&e->lock);
    if (gone)
        return NULL;
    api_out out = reply_out;
    out.user = e;
    api_call *call = h->o.calls.new_call(h->o.api, &e->request, &out);
    if (!call) {
        reply_out.reply(e, cama_err_status(CAMA_ERR_NOMEM), NULL, NULL, 0, "", 0);
        return NULL;
    }
    exchange_ref(e); /* the call's, until out.closed */
    h->o.calls.ref(call);
    (void)pthread_mutex_lock(&e->lock);
    const bool over = e->phase == PHASE_OVER;
    bool tell_now = e->gone;
    if (over) {
        tell_now = true;
    } else {
        e->call = call;
        e->told = tell_now;
    }
    (void)pthread_mutex_unlock(&e->lock);
    if (tell_now)
        h->o.calls.gone(call);
    if (over) /* nobody else would give the door's reference back */
        h->o.calls.unref(call);
    return call;
}

/* An upload's dialect looks at the header, and the body may come. */
static void begin_upload(exchange *e, api_call *call)
{
    api_upload *upload = NULL;
    e->h->o.calls.upload_begin(call, &upload);
    (void)pthread_mutex_lock(&e->lock);
    e->upload = upload;
    e->upload_over = !upload;
    (void)pthread_mutex_unlock(&e->lock);
}

void exchange_work(exchange *e)
{
    const bool upload = (e->route->flags & API_UPLOAD) != 0;
    (void)pthread_mutex_lock(&e->lock);
    const bool first = !e->started;
    (void)pthread_mutex_unlock(&e->lock);
    if (first) {
        api_call *call = open_call(e);
        if (call && upload)
            begin_upload(e, call);
        else if (call)
            e->route->fn(call);
        if (call)
            e->h->o.calls.unref(call);
    }
    (void)pthread_mutex_lock(&e->lock);
    if (!e->head_seen) {
        e->head_seen = true;
        e->upload_over = !e->upload; /* also where no call could be made */
        if (e->phase == PHASE_HEAD)
            mhd_resume(e);
    }
    body_work(e);
    e->working = false;
    (void)pthread_mutex_unlock(&e->lock);
}
