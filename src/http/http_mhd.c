/* Everything that touches libmicrohttpd. Its thread calls in here for each step of a request:
 *
 *     on_target      the request line is there: an exchange is made
 *     on_request     first, with the header; then with each part of the body; then once more; and
 *                    again after each time that the connection was suspended and resumed
 *     on_piece       the socket has room for more of the reply
 *     on_completed   the request is over, in whatever way
 */
#include "http/http_int.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/http_poll.h"

#define STREAM_BLOCK 4096 /* MHD's buffer of a reply without chunks, for HTTP/1.0 */

struct mhd_listener {
    http *h;
    struct MHD_Daemon *daemon;
    bool is_unix;
    bool quiet;
};

void mhd_suspend(exchange *e)
{
    if (e->suspended)
        return;
    e->suspended = true;
    MHD_suspend_connection(e->conn->mhd);
}

void mhd_resume(exchange *e)
{
    if (!e->suspended)
        return;
    e->suspended = false;
    MHD_resume_connection(e->conn->mhd);
}

/* ---- replies ---- */

static ssize_t on_piece(void *user, uint64_t at, char *to, size_t max)
{
    exchange *e = user;
    size_t n = 0;
    (void)at;
    switch (reply_take(e, to, max, &n)) {
    case TAKE_BYTES:
        /* the call is there until exchange_over, which is this thread's */
        if (e->call)
            e->h->o.calls.taken(e->call, n);
        return (ssize_t)n;
    case TAKE_WAIT:
        return 0; /* suspended */
    case TAKE_END:
        return MHD_CONTENT_READER_END_OF_STREAM;
    case TAKE_GONE:
        break;
    }
    return MHD_CONTENT_READER_END_WITH_ERROR;
}

/* A whole reply that is sent in chunks. */
static ssize_t on_rest(void *user, uint64_t at, char *to, size_t max)
{
    const exchange *e = user;
    const size_t left = e->reply.n_body - (size_t)at;
    const size_t n = left < max ? left : max;
    if (n == 0)
        return MHD_CONTENT_READER_END_OF_STREAM;
    memcpy(to, e->reply.body + at, n);
    return (ssize_t)n;
}

/* Go counts what a handler wrote: up to 2048 bytes there is a Content-Length, past them chunks;
 * and for HEAD none at all where there is no body or a long one. */
static struct MHD_Response *make_response(exchange *e)
{
    const reply *r = &e->reply;
    const bool head = !strcmp(e->method, "HEAD");
    const bool sized = !r->stream && r->n_body <= HTTP_CHUNKED_OVER && !(head && r->n_body == 0);
    if (sized || r->status == 204)
        return MHD_create_response_from_buffer(r->n_body, r->body, MHD_RESPMEM_PERSISTENT);
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, STREAM_BLOCK, r->stream ? on_piece : on_rest, e, NULL);
    if (response && head)
        (void)MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT,
                                       MHD_RO_END); /* keeps the header without a length */
    return response;
}

static enum MHD_Result send_reply(exchange *e, struct MHD_Connection *c)
{
    door_headers(e);
    struct MHD_Response *response = make_response(e);
    if (!response)
        return MHD_NO;
    for (size_t i = 0; i < e->reply.n_header; i++) {
        const reply_header *h = &e->reply.headers[i];
        if (h->name && h->value) /* one with a line end in it is left out */
            (void)MHD_add_response_header(response, h->name, h->value);
    }
    if (e->reply.close)
        (void)MHD_add_response_header(response, "Connection", "close");
    const enum MHD_Result ok = MHD_queue_response(c, (unsigned)e->reply.status, response);
    MHD_destroy_response(response); /* MHD holds it too */
    return ok;
}

/* ---- requests ---- */

static void *on_target(void *user, const char *uri, struct MHD_Connection *c)
{
    const mhd_listener *l = user;
    (void)c;
    return exchange_new(l->h, uri);
}

/* Paths are decoded by http_target_parse, which sees broken escapes and NULs. */
static size_t on_unescape(void *user, struct MHD_Connection *c, char *text)
{
    (void)user;
    (void)c;
    return strlen(text);
}

static enum MHD_Result on_header(void *user, enum MHD_ValueKind kind, const char *name,
                                 size_t n_name, const char *value, size_t n_value)
{
    (void)kind;
    http_head_add(user, name, n_name, value ? value : "", value ? n_value : 0);
    return MHD_YES;
}

static connection *connection_of(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void set_busy(exchange *e, bool in_request, bool in_body)
{
    connection *c = e->conn;
    const uint64_t now = clock_now_ns();
    (void)pthread_mutex_lock(&e->h->lock);
    c->in_request = in_request;
    c->in_body = in_body;
    c->window_ns = c->idle_ns = now;
    c->window_bytes = 0;
    c->current = in_request ? e : NULL;
    (void)pthread_mutex_unlock(&e->h->lock);
}

static void set_phase(exchange *e, phase p)
{
    (void)pthread_mutex_lock(&e->lock);
    e->phase = p;
    (void)pthread_mutex_unlock(&e->lock);
}

/* Only what costs something is watched: the others are answered sooner than a watch is set up. MHD
 * itself takes a half-closed client for gone when it resumes, so nobody may count on that. */
static void watch_client(exchange *e)
{
    if (!e->watched && !strcmp(e->method, "POST"))
        e->watched = watch_add(e->h->watch, e, e->conn->fd);
}

static enum MHD_Result wait_or_send(exchange *e, struct MHD_Connection *c)
{
    (void)pthread_mutex_lock(&e->lock);
    const bool gone = e->gone;
    const bool answered = e->answered;
    if (!gone && !answered)
        mhd_suspend(e);
    (void)pthread_mutex_unlock(&e->lock);
    if (gone)
        return MHD_NO;
    return answered ? send_reply(e, c) : MHD_YES;
}

/* Answered before the body: the body is read and dropped, unless the client waits for a word. A
 * reply that is queued now, before MHD has the whole request, closes the connection behind it. */
static enum MHD_Result drop_body(exchange *e, struct MHD_Connection *c)
{
    const bool has_body = e->head.chunked || e->head.length > 0;
    const bool upload = e->route && (e->route->flags & API_UPLOAD);
    if (e->reply.close || (has_body && e->head.expects_100) ||
        (!upload && e->head.length > (uint64_t)2 * API_MAX_BODY))
        return send_reply(e, c);
    e->dropping = true;
    set_phase(e, PHASE_BODY);
    set_busy(e, true, has_body);
    return MHD_YES;
}

static void read_header(exchange *e, struct MHD_Connection *c, const char *method,
                        const char *version)
{
    const bool old = !strcmp(version, MHD_HTTP_VERSION_1_0);
    if (strlen(method) >= sizeof e->method)
        e->head.wrong = "method too long";
    else
        (void)snprintf(e->method, sizeof e->method, "%s", method);
    (void)MHD_get_connection_values_n(c, MHD_HEADER_KIND, on_header, &e->head);
    http_head_end(&e->head, old);
}

static enum MHD_Result open_request(exchange *e, struct MHD_Connection *c, const char *method,
                                    const char *version)
{
    connection *conn = connection_of(c);
    if (!conn)
        return MHD_NO; /* there was no memory for it */
    (void)pthread_mutex_lock(&e->lock);
    e->conn = conn;
    e->phase = PHASE_HEAD;
    (void)pthread_mutex_unlock(&e->lock);
    set_busy(e, true, false);
    read_header(e, c, method, version);
    door_open(e);
    if (e->answered) /* by this thread */
        return drop_body(e, c);
    if (e->route->flags & API_UPLOAD) {
        watch_client(e);
        (void)pthread_mutex_lock(&e->lock);
        exchange_start(e);
        mhd_suspend(e);
        (void)pthread_mutex_unlock(&e->lock);
        return MHD_YES;
    }
    set_phase(e, PHASE_BODY);
    set_busy(e, true, e->head.chunked || e->head.length > 0);
    return MHD_YES;
}

/* The dialect of an upload has looked at the header. */
static enum MHD_Result after_head(exchange *e, struct MHD_Connection *c)
{
    (void)pthread_mutex_lock(&e->lock);
    const bool gone = e->gone;
    const bool answered = e->answered;
    const bool seen = e->head_seen;
    if (!gone && !seen)
        mhd_suspend(e);
    (void)pthread_mutex_unlock(&e->lock);
    if (gone)
        return MHD_NO;
    if (!seen)
        return MHD_YES;
    if (answered)
        return drop_body(e, c);
    set_phase(e, PHASE_BODY);
    set_busy(e, true, true);
    return MHD_YES;
}

static enum MHD_Result take_body(exchange *e, const char *bytes, size_t *n)
{
    connection *c = e->conn;
    const body_result r = body_add(e, bytes, *n);
    (void)pthread_mutex_lock(&e->h->lock);
    c->in_body = r == BODY_TAKEN; /* while it waits for us, the client is not slow */
    c->window_bytes += r == BODY_TAKEN ? *n : 0;
    (void)pthread_mutex_unlock(&e->h->lock);
    if (r == BODY_TAKEN)
        *n = 0;
    return r == BODY_CLOSE ? MHD_NO : MHD_YES;
}

static enum MHD_Result end_body(exchange *e, struct MHD_Connection *c)
{
    set_busy(e, true, false);
    if (!e->dropping)
        watch_client(e);
    e->request.body = e->body.n ? e->body.data : "";
    e->request.n_body = e->body.n;
    (void)pthread_mutex_lock(&e->lock);
    e->phase = PHASE_RUN;
    e->body_whole = true;
    if (!e->dropping && !e->answered)
        exchange_start(e);
    (void)pthread_mutex_unlock(&e->lock);
    return wait_or_send(e, c);
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *bytes,
                                  size_t *n, void **context)
{
    exchange *e = *context;
    (void)user;
    (void)url;
    if (!e)
        return MHD_NO;  /* there was no memory for it */
    switch (e->phase) { /* this thread alone changes it */
    case PHASE_LINE:
        return open_request(e, c, method, version);
    case PHASE_HEAD:
        return after_head(e, c);
    case PHASE_BODY:
        return bytes && *n ? take_body(e, bytes, n) : end_body(e, c);
    case PHASE_RUN:
        return wait_or_send(e, c);
    case PHASE_OVER:
        break;
    }
    return MHD_NO;
}

/* As Ollama's: [date] status | latency | client | METHOD "path". */
static void log_request(const exchange *e)
{
    char date[32];
    char taken[32];
    struct tm local;
    const time_t now = time(NULL);
    const uint64_t us = (clock_now_ns() - e->start_ns) / 1000;
    if (!localtime_r(&now, &local) || !strftime(date, sizeof date, "%Y/%m/%d - %H:%M:%S", &local))
        date[0] = '\0';
    if (us >= 1000000)
        (void)snprintf(taken, sizeof taken, "%.3fs", (double)us / 1e6);
    else
        (void)snprintf(taken, sizeof taken, "%.3fms", (double)us / 1e3);
    http_log(e->h, POOL_INFO, "[%s] %3d | %13s | %15s | %-7s \"%s\"", date,
             e->answered ? e->reply.status : 499, taken, e->conn->ip, e->method, e->target);
}

static void on_completed(void *user, struct MHD_Connection *c, void **context,
                         enum MHD_RequestTerminationCode why)
{
    exchange *e = *context;
    (void)user;
    (void)c;
    (void)why; /* it says OK for a request that the watcher ended */
    if (!e)
        return;
    *context = NULL;
    if (e->conn) {
        if (e->watched)
            watch_remove(e->h->watch, e, e->conn->fd);
        if (e->h->o.log_requests)
            log_request(e);
        (void)pthread_mutex_lock(&e->h->lock);
        e->conn->first = false;
        (void)pthread_mutex_unlock(&e->h->lock);
        set_busy(e, false, false);
    }
    exchange_over(e);
}

/* ---- connections ---- */

static void name_client(connection *c, const struct sockaddr *a)
{
    char ip[INET6_ADDRSTRLEN] = "";
    if (a && a->sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)a)->sin_addr, ip,
                        sizeof ip);
    } else if (a && a->sa_family == AF_INET6) {
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(v6))
            (void)inet_ntop(AF_INET, v6->s6_addr + 12, ip, sizeof ip);
        else
            (void)inet_ntop(AF_INET6, v6, ip, sizeof ip);
    }
    (void)snprintf(c->ip, sizeof c->ip, "%s", *ip ? ip : "unix");
}

static connection *open_connection(const mhd_listener *l, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *address =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    connection *c = calloc(1, sizeof *c);
    if (!c || !fd) {
        free(c);
        return NULL;
    }
    *c = (connection){.h = l->h,
                      .mhd = mhd,
                      .fd = fd->connect_fd,
                      .is_unix = l->is_unix,
                      .first = true,
                      .idle_ns = clock_now_ns()};
    name_client(c, address ? address->client_addr : NULL);
    http *h = l->h;
    (void)pthread_mutex_lock(&h->lock);
    c->next = h->conns;
    if (c->next)
        c->next->prev = c;
    h->conns = c;
    (void)pthread_mutex_unlock(&h->lock);
    return c;
}

static void close_connection(connection *c)
{
    http *h = c->h;
    (void)pthread_mutex_lock(&h->lock);
    if (c->next)
        c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        h->conns = c->next;
    (void)pthread_mutex_unlock(&h->lock);
    free(c);
}

static void on_connection(void *user, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    static _Thread_local bool hurried;
    if (!hurried)
        http_poll_hurry();
    hurried = true;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = open_connection(user, c);
    } else if (*context) {
        close_connection(*context);
        *context = NULL;
    }
}

/* ---- listeners ---- */

cama_err mhd_open(http *h, int fd, bool is_unix, mhd_listener **out, err_info *err)
{
    mhd_listener *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, CAMA_ERR_NOMEM, "http: no memory");
    *l = (mhd_listener){.h = h, .is_unix = is_unix};
    unsigned flags = MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC;
    flags |= MHD_is_feature_supported(MHD_FEATURE_EPOLL) == MHD_YES
                 ? (unsigned)MHD_USE_EPOLL_INTERNAL_THREAD
                 : (unsigned)MHD_USE_POLL_INTERNAL_THREAD;
    const unsigned idle_s = ((h->o.idle_ms ? h->o.idle_ms : HTTP_IDLE_MS) + 999) / 1000;
    l->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, l, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, l, MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, l, MHD_OPTION_CONNECTION_LIMIT, (unsigned)h->o.max_connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_HEADER_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, idle_s, MHD_OPTION_STRICT_FOR_CLIENT, 0, MHD_OPTION_END);
    if (!l->daemon) {
        free(l);
        return err_set(err, CAMA_ERR_IO, "http: the server thread cannot be started");
    }
    *out = l;
    return CAMA_OK;
}

void mhd_quiesce(mhd_listener *l)
{
    if (!l || l->quiet)
        return;
    l->quiet = true;
    const int fd = MHD_quiesce_daemon(l->daemon);
    if (fd >= 0)
        close(fd);
}

void mhd_abandon(mhd_listener *l)
{
    if (!l)
        return;
    (void)MHD_quiesce_daemon(l->daemon); /* gives the socket back */
    MHD_stop_daemon(l->daemon);
    free(l);
}

void mhd_close(mhd_listener *l)
{
    if (!l)
        return;
    mhd_quiesce(l);
    MHD_stop_daemon(l->daemon);
    free(l);
}
