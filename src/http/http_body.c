/* The body of a request: kept whole for most routes, handed on in pieces for uploads, or dropped
 * where the answer is known already. A connection that were closed under a client that still sends
 * would lose the answer: the system resets it. */
#include "http/http_int.h"

#include <stdlib.h>
#include <string.h>

/* Of a body that nobody wants, before the connection is closed after all. */
#define DROP_BYTES ((uint64_t)2 * API_MAX_BODY)

/* Room for n more bytes of bodies, over all requests. The beginning of each is free, so that small
 * requests are answered however many large ones are on their way. */
static bool book(exchange *e, size_t n)
{
    http *h = e->h;
    const size_t whole = e->body.n + n;
    if (whole <= HTTP_BODY_FREE_BYTES)
        return true;
    n = whole - HTTP_BODY_FREE_BYTES - e->n_body_booked;
    (void)pthread_mutex_lock(&h->lock);
    const bool ok = n <= HTTP_BODIES_BYTES - h->n_body_bytes;
    if (ok) {
        h->n_body_bytes += n;
        e->n_body_booked += n;
    }
    (void)pthread_mutex_unlock(&h->lock);
    return ok;
}

static void drop_kept(exchange *e)
{
    http *h = e->h;
    buf_done(&e->body);
    if (e->n_body_booked == 0)
        return;
    (void)pthread_mutex_lock(&h->lock);
    h->n_body_bytes -= e->n_body_booked;
    e->n_body_booked = 0;
    (void)pthread_mutex_unlock(&h->lock);
}

static void refuse(exchange *e, int status, const char *text)
{
    drop_kept(e);
    reply_error(e, status, text);
    e->dropping = true;
}

static body_result keep(exchange *e, const char *bytes, size_t n)
{
    if (n > API_MAX_BODY - e->body.n)
        refuse(e, 413, "request body too large");
    else if (!book(e, n))
        refuse(e, 503, "server busy, please try again.  too many large requests");
    else if (buf_append(&e->body, bytes, n))
        refuse(e, cama_err_status(CAMA_ERR_NOMEM), "no memory for the request body");
    return BODY_TAKEN;
}

static body_result upload(exchange *e, const char *bytes, size_t n)
{
    body_result result = BODY_TAKEN;
    piece *p = malloc(sizeof *p + n);
    if (!p)
        return BODY_CLOSE;
    *p = (piece){.n = n};
    memcpy(p->bytes, bytes, n);
    (void)pthread_mutex_lock(&e->lock);
    if (e->gone) {
        result = BODY_CLOSE;
    } else if (e->upload_over) { /* answered before its end: the rest is dropped */
        e->dropping = true;
    } else if (n > HTTP_UPLOAD_BYTES - e->n_up) {
        mhd_suspend(e);
        result = BODY_WAIT;
    } else {
        if (e->up_last)
            e->up_last->next = p;
        else
            e->up_first = p;
        e->up_last = p;
        e->n_up += n;
        p = NULL;
        exchange_start(e);
    }
    (void)pthread_mutex_unlock(&e->lock);
    free(p);
    return result;
}

body_result body_add(exchange *e, const char *bytes, size_t n)
{
    if (e->dropping) {
        e->n_drop += n;
        const bool endless = e->n_drop > DROP_BYTES && !(e->route && e->route->flags & API_UPLOAD);
        return endless ? BODY_CLOSE : BODY_TAKEN;
    }
    return e->route->flags & API_UPLOAD ? upload(e, bytes, n) : keep(e, bytes, n);
}

static void free_pieces(piece *p)
{
    while (p) {
        piece *next = p->next;
        free(p);
        p = next;
    }
}

/* All that waits goes to the dialect. The lock is held, but not while the dialect works. */
static void hand_on(exchange *e)
{
    piece *list = e->up_first;
    e->up_first = e->up_last = NULL;
    e->n_up = 0;
    if (e->phase == PHASE_BODY)
        mhd_resume(e);
    api_upload *u = e->upload;
    (void)pthread_mutex_unlock(&e->lock);
    for (const piece *p = list; p; p = p->next)
        e->h->o.calls.upload_data(u, p->bytes, p->n);
    free_pieces(list);
    (void)pthread_mutex_lock(&e->lock);
}

void body_work(exchange *e)
{
    while (e->upload && (e->up_first || e->body_whole || e->gone)) {
        if (e->up_first && !e->gone) {
            hand_on(e);
            continue;
        }
        api_upload *u = e->upload;
        const bool complete = !e->gone;
        e->upload = NULL;
        e->upload_over = true;
        (void)pthread_mutex_unlock(&e->lock);
        e->h->o.calls.upload_end(u, complete);
        (void)pthread_mutex_lock(&e->lock);
    }
}

void body_free(exchange *e)
{
    free_pieces(e->up_first);
    e->up_first = e->up_last = NULL;
    drop_kept(e);
}
