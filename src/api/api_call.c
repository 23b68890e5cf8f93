/* A request on its way through this room: who holds it, what the client took, how it is answered.
 */
#include "api/api_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/plat.h"

#define TRIM_BYTES ((size_t)8 << 20) /* of a request; parsing took more than that */

api_call *api_call_new(api *a, const api_request *r, const api_out *out)
{
    api_call *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->api = a;
    c->request = r;
    c->out = *out;
    c->start_ns = clock_now_ns();
    atomic_init(&c->n_ref, 1);
    arena_init(&c->request_arena, API_MAX_REQUEST_BYTES);
    if (pthread_mutex_init(&c->lock, NULL)) {
        free(c);
        return NULL;
    }
    return c;
}

void api_call_ref(api_call *c)
{
    /* relaxed: whoever adds a reference holds one already */
    (void)atomic_fetch_add_explicit(&c->n_ref, 1, memory_order_relaxed);
}

void api_call_unref(api_call *c)
{
    /* acquire and release: all that others did with it happens before it is freed */
    if (!c || atomic_fetch_sub_explicit(&c->n_ref, 1, memory_order_acq_rel) != 1)
        return;
    const bool was_large = c->request_arena.used_bytes + c->request->n_body > TRIM_BYTES;
    arena_done(&c->request_arena);
    (void)pthread_mutex_destroy(&c->lock); /* nobody is left who could hold it */
    if (c->out.closed)
        c->out.closed(c->out.user);
    free(c);
    if (was_large)
        plat_trim_memory(); /* each worker's part of the heap would keep it for itself */
}

void api_call_gone(api_call *c)
{
    (void)pthread_mutex_lock(&c->lock);
    c->gone = true;
    const pool_job_id job = c->job;
    (void)pthread_mutex_unlock(&c->lock);
    if (job)
        pool_cancel(c->api->pool, job);
}

void api_cancel(api_call *c)
{
    (void)pthread_mutex_lock(&c->lock);
    c->canceled = true;
    const pool_job_id job = c->job;
    (void)pthread_mutex_unlock(&c->lock);
    if (job)
        pool_cancel(c->api->pool, job);
}

/* What the client takes is JSON around the text; the job gets back the same share of its text. */
void api_call_taken(api_call *c, size_t n)
{
    (void)pthread_mutex_lock(&c->lock);
    size_t credit = c->text_bytes;
    if (n < c->piece_bytes)
        credit = (size_t)((double)c->text_bytes * ((double)n / (double)c->piece_bytes));
    c->piece_bytes -= n < c->piece_bytes ? n : c->piece_bytes;
    c->text_bytes -= credit;
    const pool_job_id job = c->job;
    if (!job) {
        c->early_bytes += credit;
        credit = 0;
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (credit)
        pool_credit(c->api->pool, job, credit);
}

void api_owe(api_call *c, size_t n, bool kept)
{
    if (n == 0)
        return;
    (void)pthread_mutex_lock(&c->lock);
    const pool_job_id job = c->job;
    if (!kept)
        c->text_bytes += n;
    else if (!job)
        c->early_bytes += n;
    (void)pthread_mutex_unlock(&c->lock);
    if (kept && job)
        pool_credit(c->api->pool, job, n);
}

void api_debug(const api *a, const char *fmt, ...)
{
    err_info text;
    va_list args;
    if (!a->log || !a->log_debug)
        return;
    va_start(args, fmt);
    (void)err_vset(&text, CAMA_OK, fmt, args); /* gives the code back */
    va_end(args);
    a->log(a->user, POOL_DEBUG, text.text);
}

cama_err api_submit(api_call *c, const pool_job *job, err_info *err)
{
    pool_job_id id = 0;
    const cama_err e = pool_submit(c->api->pool, job, &id, err);
    if (e)
        return e;
    (void)pthread_mutex_lock(&c->lock);
    c->job = id;
    const bool unwanted = c->gone || c->canceled;
    const size_t early = c->early_bytes;
    c->early_bytes = 0;
    (void)pthread_mutex_unlock(&c->lock);
    if (unwanted) /* from before the job had a number to be canceled by */
        pool_cancel(c->api->pool, id);
    else if (early)
        pool_credit(c->api->pool, id, early);
    return CAMA_OK;
}

bool api_is_gone(api_call *c)
{
    (void)pthread_mutex_lock(&c->lock);
    const bool gone = c->gone;
    (void)pthread_mutex_unlock(&c->lock);
    return gone;
}

/* At most two, those that there are. */
static size_t put_marks(const api_marks *m, api_header out[2])
{
    size_t n = 0;
    if (m && m->engine && *m->engine)
        out[n++] = (api_header){"Cama-Engine", m->engine};
    if (m && m->warnings && *m->warnings)
        out[n++] = (api_header){"Cama-Warning", m->warnings};
    return n;
}

void api_reply_from(api_call *c, int status, const char *content_type, const api_marks *marks,
                    buf *body)
{
    static const char no_memory[] = "{\"error\":\"out of memory\"}";
    api_header headers[2];
    const size_t n_header = put_marks(marks, headers);
    if (api_is_gone(c)) {
        buf_clear(body);
        return;
    }
    if (body->fail)
        c->out.reply(c->out.user, cama_err_status(body->fail), API_JSON_UTF8, NULL, 0, no_memory,
                     sizeof no_memory - 1);
    else
        c->out.reply(c->out.user, status, content_type, headers, n_header,
                     body->data ? body->data : "", body->n);
    buf_clear(body);
}

void api_reply(api_call *c, int status, const char *content_type, buf *body)
{
    api_reply_from(c, status, content_type, NULL, body);
}

void api_reply_empty(api_call *c, int status)
{
    if (!api_is_gone(c))
        c->out.reply(c->out.user, status, NULL, NULL, 0, "", 0);
}

static void fail_text(api_call *c, int status, const char *text)
{
    buf body;
    buf_init(&body, API_MAX_REPLY);
    (void)api_error_body(0, status, text, &body); /* sticks in body */
    api_reply(c, status, API_JSON_UTF8, &body);
    buf_done(&body);
}

void api_fail(api_call *c, int status, const char *fmt, ...)
{
    err_info text;
    va_list args;
    va_start(args, fmt);
    (void)err_vset(&text, CAMA_ERR_ARG, fmt, args);
    va_end(args);
    fail_text(c, status, text.text);
}

void api_begin(api_call *c, int status, const char *content_type, const api_marks *marks)
{
    api_header headers[2];
    const size_t n_header = put_marks(marks, headers);
    if (!api_is_gone(c))
        c->out.begin(c->out.user, status, content_type, headers, n_header);
}

void api_piece(api_call *c, buf *piece)
{
    (void)pthread_mutex_lock(&c->lock);
    const bool gone = c->gone;
    const bool whole = piece->n && !piece->fail;
    c->piece_bytes += gone || !whole ? 0 : piece->n;
    (void)pthread_mutex_unlock(&c->lock);
    if (!gone && whole)
        c->out.piece(c->out.user, piece->data, piece->n);
    buf_clear(piece);
}

void api_end(api_call *c)
{
    if (!api_is_gone(c))
        c->out.end(c->out.user);
}

cama_err api_error_body(uint32_t flags, int status, const char *text, buf *out)
{
    api_writer w = {.out = out};
    api_open(&w, NULL, '{');
    if (flags & API_OPENAI) {
        api_open(&w, "error", '{');
        api_put_str(&w, "message", text);
        api_put_str(&w, "type",
                    status == 400   ? "invalid_request_error"
                    : status == 404 ? "not_found_error"
                                    : "api_error");
        api_put_null(&w, "param");
        api_put_null(&w, "code");
        api_close(&w, '}');
    } else {
        api_put_str(&w, "error", text);
    }
    api_close(&w, '}');
    return out->fail;
}
