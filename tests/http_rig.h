/* http_rig.h - a server with routes of its own and no models behind it.
 *
 *     rig r;
 *     rig_open(&r, NULL);
 *     const int fd = rig_connect(&r);
 *     rig_send(fd, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
 *     rig_reply a; rig_read(fd, false, &a);       status, header text, body, lengths of its chunks
 *     rig_close(&r);
 *
 * Routes: GET / and /api/version as Ollama has them; /api/ps (GET only); GET /api/big (a body of
 * 5000 bytes), /api/brim (2048); POST /api/echo; POST /api/stream (body "N SIZE MS": N lines of
 * SIZE bytes, one every MS milliseconds, from a thread); POST /api/wait (answers nothing until the
 * client is gone); HEAD and POST /api/blobs/:digest ("have" is there already).
 */
#ifndef HTTP_RIG_H
#define HTTP_RIG_H

#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/http.h"
#include "net/host.h"

/* ---- dialects ---- */

typedef struct rig_state {
    atomic_int n_call, n_gone, n_upload_end, n_upload_cut, n_run;
    atomic_ullong uploaded, taken, max_owed;
    atomic_int upload_us; /* how long each piece of an upload takes */
    atomic_ullong gone_ns;
} rig_state;

static rig_state rig_s;

struct api_call {
    const api_request *q;
    api_out out;
    atomic_int n_ref;
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool gone;
    uint64_t owed; /* written and not taken */
};

struct api_upload {
    api_call *c;
    uint64_t n;
};

static inline void rig_sleep_us(uint32_t us)
{
    const struct timespec t = {us / 1000000, (long)(us % 1000000) * 1000};
    (void)nanosleep(&t, NULL);
}

static inline api_call *rig_new(api *a, const api_request *q, const api_out *out)
{
    (void)a;
    api_call *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->q = q;
    c->out = *out;
    atomic_init(&c->n_ref, 1);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->change, NULL);
    atomic_fetch_add(&rig_s.n_call, 1);
    return c;
}

static inline void rig_ref(api_call *c)
{
    atomic_fetch_add(&c->n_ref, 1);
}

static inline void rig_unref(api_call *c)
{
    if (atomic_fetch_sub(&c->n_ref, 1) != 1)
        return;
    /* the request must still be there */
    assert_true(strlen(c->q->path) > 0 && strlen(c->q->method) > 0);
    const api_out out = c->out;
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->change);
    free(c);
    atomic_fetch_sub(&rig_s.n_call, 1);
    out.closed(out.user);
}

static inline void rig_gone(api_call *c)
{
    atomic_store(&rig_s.gone_ns, clock_now_ns());
    pthread_mutex_lock(&c->lock);
    assert_false(c->gone); /* told once */
    c->gone = true;
    pthread_cond_broadcast(&c->change);
    pthread_mutex_unlock(&c->lock);
    atomic_fetch_add(&rig_s.n_gone, 1);
}

static inline void rig_taken(api_call *c, size_t n)
{
    atomic_fetch_add(&rig_s.taken, n);
    pthread_mutex_lock(&c->lock);
    assert_true(n <= c->owed);
    c->owed -= n;
    pthread_cond_broadcast(&c->change);
    pthread_mutex_unlock(&c->lock);
}

static inline void rig_upload_begin(api_call *c, api_upload **out)
{
    if (!strcmp(c->q->param, "have")) {
        c->out.reply(c->out.user, 200, NULL, NULL, 0, "", 0);
        return;
    }
    api_upload *u = calloc(1, sizeof *u);
    if (!u) {
        c->out.reply(c->out.user, 507, NULL, NULL, 0, "", 0);
        return;
    }
    u->c = c;
    rig_ref(c);
    *out = u;
}

static inline void rig_upload_data(api_upload *u, const char *bytes, size_t n)
{
    const int us = atomic_load(&rig_s.upload_us);
    assert_non_null(bytes);
    if (us)
        rig_sleep_us((uint32_t)us);
    u->n += n;
    atomic_fetch_add(&rig_s.uploaded, n);
}

static inline void rig_upload_end(api_upload *u, bool complete)
{
    char text[64];
    api_call *c = u->c;
    atomic_fetch_add(complete ? &rig_s.n_upload_end : &rig_s.n_upload_cut, 1);
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)u->n);
    if (complete)
        c->out.reply(c->out.user, 201, NULL, NULL, 0, text, strlen(text));
    free(u);
    rig_unref(c);
}

static inline cama_err rig_error_body(uint32_t flags, int status, const char *text, buf *out)
{
    (void)flags;
    (void)status;
    return buf_printf(out, "{\"error\":\"%s\"}", text);
}

static inline void rig_text(api_call *c, const char *type, const char *body, size_t n)
{
    c->out.reply(c->out.user, 200, type, NULL, 0, body, n);
}

static inline void rig_root(api_call *c)
{
    rig_text(c, "text/plain; charset=utf-8", "Ollama is running", 17);
}

static inline void rig_version(api_call *c)
{
    rig_text(c, "application/json; charset=utf-8", "{\"version\":\"0.32.7\"}", 20);
}

static inline void rig_ps(api_call *c)
{
    const api_header h = {"Cama-Engine", "native"};
    c->out.reply(c->out.user, 200, "application/json; charset=utf-8", &h, 1, "{\"models\":[]}", 13);
}

static inline void rig_filled(api_call *c, size_t n)
{
    char *body = malloc(n);
    for (size_t i = 0; body && i < n; i++)
        body[i] = (char)('a' + i % 26);
    rig_text(c, "application/json; charset=utf-8", body, body ? n : 0);
    free(body);
}

static inline void rig_big(api_call *c)
{
    rig_filled(c, 5000);
}

static inline void rig_brim(api_call *c)
{
    rig_filled(c, 2048);
}

static inline void rig_echo(api_call *c)
{
    char line[64];
    if (c->q->n_body == 0) {
        c->out.reply(c->out.user, 400, "application/json; charset=utf-8", NULL, 0,
                     "{\"error\":\"missing request body\"}", 32);
        return;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < c->q->n_body; i++)
        sum += (unsigned char)c->q->body[i];
    (void)snprintf(line, sizeof line, "%zu %llu", c->q->n_body, (unsigned long long)sum);
    rig_text(c, "text/plain", line, strlen(line));
}

#define RIG_CREDIT 65536 /* as the wire: a job stops where nobody takes its text */

static inline void *rig_stream_main(void *arg)
{
    api_call *c = arg;
    unsigned n = 0;
    unsigned bytes = 0;
    unsigned ms = 0;
    unsigned no_credit = 0;
    (void)sscanf(c->q->body, "%u %u %u %u", &n, &bytes, &ms, &no_credit);
    bytes = bytes < 16 || bytes > 1 << 20 ? 16 : bytes; /* the body may be half of another's */
    ms = ms > 5000 ? 5000 : ms;
    char *line = malloc(bytes + 1);
    if (line) {
        memset(line, 'x', bytes);
        line[bytes - 1] = '\n';
    }
    n = line ? n : 0;
    const api_header h = {"Cama-Engine", "native"};
    c->out.begin(c->out.user, 200, "application/x-ndjson", &h, 1);
    for (unsigned i = 0; i < n; i++) {
        char number[16];
        const int n_number = snprintf(number, sizeof number, "%u", i);
        if ((unsigned)n_number < bytes)
            memcpy(line, number, (size_t)n_number);
        pthread_mutex_lock(&c->lock);
        while (!c->gone && !no_credit && c->owed + bytes > RIG_CREDIT && c->owed > 0)
            pthread_cond_wait(&c->change, &c->lock);
        const bool gone = c->gone;
        c->owed += bytes;
        if (c->owed > atomic_load(&rig_s.max_owed))
            atomic_store(&rig_s.max_owed, c->owed);
        pthread_mutex_unlock(&c->lock);
        if (gone)
            break;
        c->out.piece(c->out.user, line, bytes);
        if (ms)
            rig_sleep_us(ms * 1000);
    }
    c->out.end(c->out.user);
    free(line);
    rig_unref(c);
    atomic_fetch_sub(&rig_s.n_run, 1);
    return NULL;
}

static inline void *rig_wait_main(void *arg)
{
    api_call *c = arg;
    pthread_mutex_lock(&c->lock);
    while (!c->gone)
        pthread_cond_wait(&c->change, &c->lock);
    pthread_mutex_unlock(&c->lock);
    rig_unref(c);
    atomic_fetch_sub(&rig_s.n_run, 1);
    return NULL;
}

static inline void rig_spawn(api_call *c, void *(*fn)(void *))
{
    pthread_t t;
    pthread_attr_t small;
    rig_ref(c);
    atomic_fetch_add(&rig_s.n_run, 1);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 << 10);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    assert_int_equal(pthread_create(&t, &small, fn, c), 0);
    pthread_attr_destroy(&small);
}

static inline void rig_stream(api_call *c)
{
    rig_spawn(c, rig_stream_main);
}

static inline void rig_wait(api_call *c)
{
    rig_spawn(c, rig_wait_main);
}

static inline void rig_blob_head(api_call *c)
{
    if (!strcmp(c->q->param, "have"))
        c->out.reply(c->out.user, 200, NULL, NULL, 0, "", 0);
    else
        c->out.reply(c->out.user, 404, "application/json; charset=utf-8", NULL, 0,
                     "{\"error\":\"no\"}", 14);
}

static const api_route rig_routes[] = {
    {"GET", "/", rig_root, API_HEAD, ""},
    {"GET", "/api/version", rig_version, API_HEAD, ""},
    {"GET", "/api/ps", rig_ps, 0, ""},
    {"GET", "/api/big", rig_big, API_HEAD, ""},
    {"GET", "/api/brim", rig_brim, API_HEAD, ""},
    {"GET", "/v1/models", rig_ps, API_OPENAI, ""},
    {"POST", "/api/chat", rig_echo, 0, ""},
    {"POST", "/api/generate", rig_echo, 0, ""},
    {"POST", "/api/echo", rig_echo, 0, ""},
    {"POST", "/api/stream", rig_stream, 0, ""},
    {"POST", "/api/wait", rig_wait, 0, ""},
    {"HEAD", "/api/blobs/:digest", rig_blob_head, 0, ""},
    {"POST", "/api/blobs/:digest", NULL, API_UPLOAD, ""},
};

/* ---- the server ---- */

typedef struct rig {
    http *h;
    uint16_t port;
    char unix_path[64];
} rig;

static inline http_opts rig_opts(void)
{
    return (http_opts){
        .routes = rig_routes,
        .n_route = TEST_COUNT(rig_routes),
        .calls = {.new_call = rig_new,
                  .ref = rig_ref,
                  .unref = rig_unref,
                  .gone = rig_gone,
                  .taken = rig_taken,
                  .upload_begin = rig_upload_begin,
                  .upload_data = rig_upload_data,
                  .upload_end = rig_upload_end,
                  .error_body = rig_error_body},
        .tcp_fd = -1,
        .unix_fd = -1,
    };
}

/* o NULL: rig_opts(). Listens on a free port of loopback. */
static inline void rig_open(rig *r, const http_opts *o)
{
    http_opts own = o ? *o : rig_opts();
    net_host h;
    bool in_use = false;
    err_info err = {0};
    memset(r, 0, sizeof *r);
    (void)signal(SIGPIPE, SIG_IGN); /* the tests' own clients */
    atomic_store(&rig_s.n_gone, 0);
    atomic_store(&rig_s.n_upload_end, 0);
    atomic_store(&rig_s.n_upload_cut, 0);
    atomic_store(&rig_s.uploaded, 0);
    atomic_store(&rig_s.taken, 0);
    atomic_store(&rig_s.max_owed, 0);
    atomic_store(&rig_s.upload_us, 0);
    assert_int_equal(net_host_parse("127.0.0.1:0", &h, &err), CAMA_OK);
    if (net_listen_tcp(&h, &own.tcp_fd, &in_use, &err))
        fail_msg("%s", err.text);
    r->port = net_port(own.tcp_fd);
    if (http_open(&own, &r->h, &err))
        fail_msg("%s", err.text);
}

static inline void rig_stop(rig *r, uint32_t timeout_ms)
{
    http_stop(r->h, timeout_ms);
    http_close(r->h);
    while (atomic_load(&rig_s.n_run) > 0) /* detached threads on their last steps */
        rig_sleep_us(1000);
    assert_int_equal(atomic_load(&rig_s.n_call), 0);
}

static inline void rig_close(rig *r)
{
    rig_stop(r, 2000);
}

/* ---- a client ---- */

static inline int rig_connect(const rig *r)
{
    const struct timeval limit = {20, 0};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(r->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&a, sizeof a))
        fail_msg("connect: %s", strerror(errno));
    return fd;
}

static inline bool rig_send_bytes(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        const ssize_t done = send(fd, bytes, n, MSG_NOSIGNAL);
        if (done <= 0)
            return false;
        bytes += done;
        n -= (size_t)done;
    }
    return true;
}

static inline bool rig_send(int fd, const char *text)
{
    return rig_send_bytes(fd, text, strlen(text));
}

#define RIG_MAX_CHUNKS 4096

typedef struct rig_reply {
    int status;
    char head[8192];
    char *body; /* free it */
    size_t n_body;
    size_t chunk[RIG_MAX_CHUNKS];
    size_t n_chunk;
    bool chunked, has_length, whole;
} rig_reply;

static inline bool rig_get(int fd, char *c)
{
    return recv(fd, c, 1, 0) == 1;
}

static inline bool rig_line(int fd, char *out, size_t max)
{
    size_t n = 0;
    char c = 0;
    while (n + 1 < max && rig_get(fd, &c)) {
        out[n++] = c;
        if (c == '\n') {
            out[n] = '\0';
            return true;
        }
    }
    out[n] = '\0';
    return false;
}

/* The value of a header line, without its end; NULL: it is not there. */
static inline const char *rig_header(const rig_reply *a, const char *name)
{
    static _Thread_local char value[1024];
    const size_t n = strlen(name);
    for (const char *p = strstr(a->head, "\r\n"); p; p = strstr(p, "\r\n")) {
        p += 2;
        if (strncasecmp(p, name, n) != 0 || p[n] != ':')
            continue;
        p += n + 1;
        p += strspn(p, " ");
        (void)snprintf(value, sizeof value, "%.*s", (int)strcspn(p, "\r\n"), p);
        return value;
    }
    return NULL;
}

static inline bool rig_bytes(int fd, rig_reply *a, size_t n)
{
    a->body = realloc(a->body, a->n_body + n + 1);
    for (size_t i = 0; i < n;) {
        const ssize_t got = recv(fd, a->body + a->n_body, n - i, 0);
        if (got <= 0)
            return false;
        i += (size_t)got;
        a->n_body += (size_t)got;
    }
    a->body[a->n_body] = '\0';
    return true;
}

/* One reply. is_head: no body follows. False: the connection ended before it was whole. */
static inline bool rig_read(int fd, bool is_head, rig_reply *a)
{
    size_t n = 0;
    char line[4096];
    memset(a, 0, sizeof *a);
    a->body = calloc(1, 1);
    do {
        if (!rig_line(fd, line, sizeof line))
            return false;
        n += (size_t)snprintf(a->head + n, sizeof a->head - n, "%s", line);
    } while (strcmp(line, "\r\n") != 0);
    if (sscanf(a->head, "HTTP/1.1 %d", &a->status) != 1)
        return false;
    const char *te = rig_header(a, "Transfer-Encoding");
    a->chunked = te && !strcmp(te, "chunked");
    const char *cl = rig_header(a, "Content-Length");
    a->has_length = cl != NULL;
    a->whole = true;
    if (is_head || a->status == 204 || a->status == 100)
        return true;
    if (cl)
        return a->whole = rig_bytes(fd, a, strtoul(cl, NULL, 10));
    while (a->chunked) {
        if (!rig_line(fd, line, sizeof line))
            return a->whole = false;
        const size_t size = strtoul(line, NULL, 16);
        if (size && a->n_chunk < RIG_MAX_CHUNKS)
            a->chunk[a->n_chunk++] = size;
        if (!rig_bytes(fd, a, size))
            return a->whole = false;
        if (!rig_line(fd, line, sizeof line) || strcmp(line, "\r\n") != 0)
            return a->whole = false;
        if (size == 0)
            return true;
    }
    char c = 0;
    while (rig_get(fd, &c)) { /* until it is closed */
        a->body = realloc(a->body, a->n_body + 2);
        a->body[a->n_body++] = c;
        a->body[a->n_body] = '\0';
    }
    return true;
}

/* A request on a connection of its own. */
static inline void rig_ask(const rig *r, const char *text, rig_reply *a)
{
    const int fd = rig_connect(r);
    assert_true(rig_send(fd, text));
    if (!rig_read(fd, !strncmp(text, "HEAD ", 5), a))
        fail_msg("no reply to %.60s", text);
    close(fd);
}

/* Whether the peer has closed, within ms. */
static inline bool rig_is_closed(int fd, int ms)
{
    char c;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1 && recv(fd, &c, 1, 0) <= 0;
}

static inline bool rig_until(atomic_int *n, int want, uint32_t ms)
{
    const uint64_t end = clock_now_ns() + (uint64_t)ms * 1000000;
    while (atomic_load(n) != want) {
        if (clock_now_ns() > end)
            return false;
        rig_sleep_us(500);
    }
    return true;
}

#endif
