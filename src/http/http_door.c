/* What is decided by the header alone: what is no request, redirects, who may ask, which route.
 * The order is Ollama's, whose router finds the route first and then lets its filters speak. */
#include "http/http_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAIN "text/plain"
#define PLAIN_UTF8 "text/plain; charset=utf-8"
#define HTML "text/html; charset=utf-8"

static void bad_request(exchange *e, const char *why)
{
    char text[256];
    (void)snprintf(text, sizeof text, "400 Bad Request%s%s", why ? ": " : "", why ? why : "");
    reply_text(e, 400, PLAIN_UTF8, text);
    e->reply.close = true; /* nobody knows where the next request would begin */
}

static void put_html(buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        switch (*p) {
        case '&':
            (void)buf_puts(out, "&amp;"); /* failures stick in out */
            break;
        case '<':
            (void)buf_puts(out, "&lt;");
            break;
        case '>':
            (void)buf_puts(out, "&gt;");
            break;
        case '"':
            (void)buf_puts(out, "&#34;");
            break;
        case '\'':
            (void)buf_puts(out, "&#39;");
            break;
        default:
            (void)buf_putc(out, *p);
        }
    }
}

/* As Go's http.Redirect: text for GET, a type for GET and HEAD. */
static void redirect(exchange *e, const http_routing *r)
{
    const bool get = !strcmp(e->method, "GET");
    const bool head = !strcmp(e->method, "HEAD");
    const api_header location = {"Location", r->location};
    buf body;
    buf_init(&body, 1 << 20);
    if (get) {
        (void)buf_puts(&body, "<a href=\"");
        put_html(&body, r->location);
        (void)buf_printf(&body, "\">%s</a>.\n\n",
                         r->status == 301 ? "Moved Permanently" : "Temporary Redirect");
    }
    reply_out.reply(e, r->status, get || head ? HTML : NULL, &location, 1,
                    body.fail || !body.n ? "" : body.data, body.fail ? 0 : body.n);
    buf_done(&body);
}

/* Origin and Host. False: e is answered. */
static bool may_ask(exchange *e, const char *host)
{
    const http *h = e->h;
    const bool options = !strcmp(e->method, "OPTIONS");
    const http_cors cors =
        http_cors_check(&h->origins, e->head.has_origin ? e->head.origin : NULL, host);
    if (cors == HTTP_CORS_DENY) {
        reply_text(e, 403, NULL, "");
        return false;
    }
    e->cors = cors == HTTP_CORS_ALLOW;
    if (e->cors && options) {
        e->preflight = true;
        reply_text(e, 204, NULL, "");
        return false;
    }
    if (!h->loopback || e->conn->is_unix)
        return true;
    const http_host from = http_host_check(host, h->machine);
    if (from == HTTP_HOST_DENY || (from == HTTP_HOST_NAME && options)) {
        reply_text(e, from == HTTP_HOST_DENY ? 403 : 204, NULL, "");
        return false;
    }
    return true;
}

/* What the dialect is told, in memory of the exchange. */
static bool fill_request(exchange *e, const http_target *t, const http_routing *r)
{
    e->path = strdup(t->path);
    e->param = strdup(r->param);
    e->user_agent = strdup(e->head.user_agent);
    if (!e->path || !e->param || !e->user_agent)
        return false;
    e->request = (api_request){.method = e->method,
                               .path = e->path,
                               .param = e->param,
                               .user_agent = e->user_agent,
                               .body = ""};
    e->route = r->route;
    return true;
}

static void open_route(exchange *e, const http_target *t, const http_routing *r)
{
    if (!fill_request(e, t, r)) {
        reply_error(e, cama_err_status(CAMA_ERR_NOMEM), "no memory for the request");
        return;
    }
    if (!(e->route->flags & API_UPLOAD) && e->head.length > API_MAX_BODY)
        reply_error(e, 413, "request body too large");
}

static void route_request(exchange *e, const http_target *t, const http_routing *r)
{
    http *h = e->h;
    (void)snprintf(e->allow, sizeof e->allow, "%s", r->allow);
    if (!may_ask(e, t->authority[0] ? t->authority : e->head.host))
        return;
    (void)pthread_mutex_lock(&h->lock);
    const bool draining = h->draining;
    (void)pthread_mutex_unlock(&h->lock);
    if (draining) {
        reply_error(e, 503, "server is shutting down");
        e->reply.close = true;
    } else if (r->match == HTTP_NO_METHOD) {
        reply_text(e, 405, PLAIN, "405 method not allowed");
    } else if (r->match == HTTP_NO_PATH) {
        reply_text(e, 404, PLAIN, "404 page not found");
    } else {
        open_route(e, t, r);
    }
}

void door_open(exchange *e)
{
    if (e->head.wrong) {
        bad_request(e, e->head.wrong);
        return;
    }
    http_target *t = calloc(1, sizeof *t);
    http_routing *r = calloc(1, sizeof *r);
    if (!t || !r) {
        reply_error(e, cama_err_status(CAMA_ERR_NOMEM), "no memory for the request");
    } else if (http_target_parse(e->target, t, NULL)) {
        bad_request(e, NULL);
    } else {
        http_route_find(e->h->o.routes, e->h->o.n_route, e->method, t, r);
        if (r->match == HTTP_REDIRECT)
            redirect(e, r);
        else
            route_request(e, t, r);
    }
    free(t);
    free(r);
}

void door_headers(exchange *e)
{
    reply *r = &e->reply;
    bool ok = true;
    if (e->allow[0])
        ok = reply_add(r, "Allow", e->allow);
    if (e->cors) {
        const bool all = e->h->origins.all;
        ok = ok && reply_add(r, "Access-Control-Allow-Origin", all ? "*" : e->head.origin);
        if (e->preflight)
            ok = ok && reply_add(r, "Access-Control-Allow-Methods", http_cors_methods) &&
                 reply_add(r, "Access-Control-Allow-Headers", http_cors_headers) &&
                 reply_add(r, "Access-Control-Max-Age", "43200");
        if (!all)
            ok = ok && reply_add(r, "Vary", "Origin");
        if (!all && e->preflight)
            ok = ok && reply_add(r, "Vary", "Access-Control-Request-Method") &&
                 reply_add(r, "Vary", "Access-Control-Request-Headers");
    }
    if (!ok) /* a reply without them would be read by whom it is not for, or not at all */
        r->close = true;
}
