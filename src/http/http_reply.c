/* The way out: what dialects write from any thread, and what MHD's thread takes of it. */
#include "http/http_int.h"

#include <stdlib.h>
#include <string.h>

bool reply_add(reply *r, const char *name, const char *value)
{
    if (r->n_header == HTTP_MAX_REPLY_HEADERS)
        return true;
    reply_header *to = &r->headers[r->n_header];
    to->name = strdup(name);
    to->value = strdup(value);
    r->n_header++;
    return to->name && to->value;
}

void reply_done(reply *r)
{
    for (size_t i = 0; i < r->n_header; i++) {
        free(r->headers[i].name);
        free(r->headers[i].value);
    }
    free(r->body);
    *r = (reply){0};
}

static bool fill(reply *r, int status, const char *content_type, const api_header *headers,
                 size_t n_header)
{
    bool ok = true;
    r->status = status;
    if (content_type)
        ok = reply_add(r, "Content-Type", content_type);
    for (size_t i = 0; i < n_header && ok; i++)
        ok = reply_add(r, headers[i].name, headers[i].value);
    return ok;
}

/* The reply as it can be told without memory. */
static void fill_bare(reply *r)
{
    reply_done(r);
    r->status = cama_err_status(CAMA_ERR_NOMEM);
    r->close = true;
}

/* r becomes the answer, unless there is one or nobody waits for it. */
static void set_reply(exchange *e, reply *r, bool ended)
{
    (void)pthread_mutex_lock(&e->lock);
    if (e->phase == PHASE_OVER || e->answered) {
        reply_done(r);
    } else {
        e->reply = *r;
        e->answered = true;
        e->ended = ended;
        if (e->phase == PHASE_RUN)
            mhd_resume(e);
    }
    (void)pthread_mutex_unlock(&e->lock);
}

static void on_reply(void *user, int status, const char *content_type, const api_header *headers,
                     size_t n_header, const char *body, size_t n_body)
{
    reply r = {0};
    bool ok = fill(&r, status, content_type, headers, n_header);
    if (ok && n_body > 0) {
        r.body = malloc(n_body);
        ok = r.body != NULL;
    }
    if (!ok) {
        fill_bare(&r);
    } else if (n_body > 0) {
        memcpy(r.body, body, n_body);
        r.n_body = n_body;
    }
    set_reply(user, &r, true);
}

static void on_begin(void *user, int status, const char *content_type, const api_header *headers,
                     size_t n_header)
{
    reply r = {.stream = true};
    if (!fill(&r, status, content_type, headers, n_header)) {
        fill_bare(&r);
        r.stream = true;
    }
    set_reply(user, &r, false);
}

/* A dialect may hold locks of its own here, so that the client is dropped by the watcher. */
static void drop(exchange *e)
{
    exchange_ref(e);
    watch_drop(e->h->watch, e);
}

static void on_piece(void *user, const char *bytes, size_t n)
{
    exchange *e = user;
    if (n == 0)
        return; /* a chunk of no bytes would end the reply */
    piece *p = malloc(sizeof *p + n);
    if (p) {
        *p = (piece){.n = n};
        memcpy(p->bytes, bytes, n);
    }
    (void)pthread_mutex_lock(&e->lock);
    const bool wanted = e->phase != PHASE_OVER && !e->gone && e->answered && !e->ended;
    const bool full = wanted && (!p || n > HTTP_PIECES_BYTES - e->n_queued);
    if (wanted && !full) {
        if (e->last)
            e->last->next = p;
        else
            e->first = p;
        e->last = p;
        e->n_queued += n;
        p = NULL;
        mhd_resume(e);
    }
    (void)pthread_mutex_unlock(&e->lock);
    free(p);
    if (full)
        drop(e);
}

static void on_end(void *user)
{
    exchange *e = user;
    (void)pthread_mutex_lock(&e->lock);
    e->ended = e->answered;
    if (e->phase != PHASE_OVER && e->answered)
        mhd_resume(e);
    (void)pthread_mutex_unlock(&e->lock);
}

static void on_closed(void *user)
{
    exchange_unref(user);
}

const api_out reply_out = {
    .reply = on_reply,
    .begin = on_begin,
    .piece = on_piece,
    .end = on_end,
    .closed = on_closed,
};

void reply_text(exchange *e, int status, const char *content_type, const char *body)
{
    on_reply(e, status, content_type, NULL, 0, body, strlen(body));
}

void reply_error(exchange *e, int status, const char *text)
{
    buf body;
    buf_init(&body, 1 << 16);
    if (e->h->o.calls.error_body(e->route ? e->route->flags : 0, status, text, &body))
        buf_clear(&body);
    on_reply(e, status, "application/json; charset=utf-8", NULL, 0, body.n ? body.data : "",
             body.n);
    buf_done(&body);
}

take reply_take(exchange *e, char *to, size_t max, size_t *out_n)
{
    take result = TAKE_WAIT;
    (void)pthread_mutex_lock(&e->lock);
    piece *p = e->first;
    if (e->gone) {
        result = TAKE_GONE;
    } else if (p) {
        const size_t left = p->n - p->n_sent;
        const size_t n = left < max ? left : max;
        memcpy(to, p->bytes + p->n_sent, n);
        p->n_sent += n;
        e->n_queued -= n;
        *out_n = n;
        if (p->n_sent == p->n) {
            e->first = p->next;
            if (!e->first)
                e->last = NULL;
            free(p);
        }
        result = TAKE_BYTES;
    } else if (e->ended) {
        result = TAKE_END;
    } else {
        mhd_suspend(e);
    }
    (void)pthread_mutex_unlock(&e->lock);
    return result;
}
