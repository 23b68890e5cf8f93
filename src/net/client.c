#include "net/client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define POLL_MS 100 /* until a cancellation is seen */
#define CONNECT_MS 10000L
#define DEFAULT_BODY ((size_t)64 << 20)
#define MAX_REDIRECTS 5L

struct net_client {
    CURLM *multi;
    CURL *easy;
    char url[2 * NET_HOST_BYTES + 32]; /* without a path */
    char *unix_path;
    bool local; /* a proxy is never asked for this machine */
    bool tls;
};

/* One request on its way. */
typedef struct exchange {
    const net_request *q;
    net_reply *reply;
    CURL *easy;
    buf line;
    FILE *upload;
    uint64_t n_upload, n_uploaded;
    bool has_head;    /* the empty line behind the reply's head came */
    cama_err stopped; /* why a callback gave up */
    char reason[CURL_ERROR_SIZE];
} exchange;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool ready; /* written under once */

static void start_curl(void)
{
    ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

/* ---- what comes ---- */

static bool is_success(const exchange *x)
{
    long status = 0;
    (void)curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status); /* known before the body */
    return status >= 200 && status < 300;
}

static cama_err give_line(exchange *x)
{
    size_t n = x->line.n;
    if (n && x->line.data[n - 1] == '\r')
        x->line.data[--n] = '\0';
    const bool go_on = !n || x->q->line(x->q->user, x->line.data, n);
    buf_clear(&x->line);
    return go_on ? CAMA_OK : CAMA_ERR_CANCELED;
}

static cama_err take_lines(exchange *x, const char *text, size_t n)
{
    while (n) {
        const char *end = memchr(text, '\n', n);
        const size_t n_part = end ? (size_t)(end - text) : n;
        cama_err e = buf_append(&x->line, text, n_part);
        if (!e && end)
            e = give_line(x);
        if (e)
            return e;
        text += n_part + (end != NULL);
        n -= n_part + (end != NULL);
    }
    return CAMA_OK;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *user)
{
    exchange *x = user;
    (void)size; /* always 1 */
    if (x->q->line && is_success(x))
        x->stopped = take_lines(x, bytes, n);
    else
        x->stopped = buf_append(&x->reply->body, bytes, n);
    return x->stopped ? 0 : n;
}

/* curl takes a head that is cut for a whole one. A redirect and "100 Continue" bring more heads;
 * lines behind the body (trailers) come here too. */
static size_t on_head(char *line, size_t size, size_t n, void *user)
{
    exchange *x = user;
    (void)size; /* always 1 */
    if (n >= 5 && !memcmp(line, "HTTP/", 5))
        x->has_head = false;
    if (n && (line[0] == '\r' || line[0] == '\n'))
        x->has_head = true;
    return n;
}

/* ---- what goes ---- */

static size_t on_upload(char *out, size_t size, size_t n, void *user)
{
    exchange *x = user;
    const size_t got = fread(out, 1, size * n, x->upload);
    if (!got && ferror(x->upload)) {
        x->stopped = CAMA_ERR_IO;
        return CURL_READFUNC_ABORT;
    }
    x->n_uploaded += got;
    if (x->q->uploaded && !x->q->uploaded(x->q->user, x->n_uploaded, x->n_upload)) {
        x->stopped = CAMA_ERR_CANCELED;
        return CURL_READFUNC_ABORT;
    }
    return got;
}

/* For a request that must be sent again: the connection was closed under it. */
static int on_seek(void *user, curl_off_t offset, int origin)
{
    exchange *x = user;
    if (fseeko(x->upload, (off_t)offset, origin))
        return CURL_SEEKFUNC_FAIL;
    x->n_uploaded = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static cama_err open_upload(exchange *x, err_info *err)
{
    struct stat info;
    x->upload = fopen(x->q->upload_path, "rbe");
    if (!x->upload || fstat(fileno(x->upload), &info))
        return err_set(err, CAMA_ERR_IO, "cannot read '%s'", x->q->upload_path);
    if (!S_ISREG(info.st_mode))
        return err_set(err, CAMA_ERR_ARG, "'%s' is no file", x->q->upload_path);
    x->n_upload = (uint64_t)info.st_size;
    (void)curl_easy_setopt(x->easy, CURLOPT_READFUNCTION, on_upload);
    (void)curl_easy_setopt(x->easy, CURLOPT_READDATA, x);
    (void)curl_easy_setopt(x->easy, CURLOPT_SEEKFUNCTION, on_seek);
    (void)curl_easy_setopt(x->easy, CURLOPT_SEEKDATA, x);
    (void)curl_easy_setopt(x->easy, CURLOPT_POST, 1L);
    (void)curl_easy_setopt(x->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)info.st_size);
    return CAMA_OK;
}

/* ---- a request ---- */

static void set_method(CURL *easy, const net_request *q)
{
    if (q->body) {
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->n_body);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, q->body);
    }
    if (!strcmp(q->method, "HEAD"))
        (void)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else if (strcmp(q->method, "GET") != 0)
        (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, q->method);
    else if (!q->body) /* what is asked for may move, what is sent may not */
        (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
}

static bool add_header(struct curl_slist **list, const char *name, const char *value)
{
    char line[256];
    if (snprintf(line, sizeof line, "%s:%s%s", name, *value ? " " : "", value) >= (int)sizeof line)
        return false;
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (!longer)
        return false;
    *list = longer;
    return true;
}

static bool make_headers(const net_request *q, struct curl_slist **out)
{
    const char *type = q->upload_path ? "application/octet-stream" : "application/json";
    bool ok = add_header(out, "Expect", ""); /* no pause before a body */
    if (q->accept)
        ok = ok && add_header(out, "Accept", q->accept);
    if (q->body || q->upload_path)
        ok = ok && add_header(out, "Content-Type", type);
    return ok;
}

/* Options that hold for every request. A redirect stays within its scheme. */
static void set_common(const net_client *c, exchange *x)
{
    CURL *easy = x->easy;
    const char *schemes = c->tls ? "https" : "http";
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, schemes);
    (void)curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, schemes);
    (void)curl_easy_setopt(easy, CURLOPT_MAXREDIRS, MAX_REDIRECTS);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "cama/" CAMA_VERSION);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, x->reason);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, x);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, x);
    if (c->local || c->unix_path)
        (void)curl_easy_setopt(easy, CURLOPT_PROXY, "");
}

/* Options that take memory. */
static cama_err set_target(const net_client *c, const exchange *x, struct curl_slist **headers,
                           err_info *err)
{
    buf url;
    buf_init(&url, 1 << 16);
    cama_err e = buf_printf(&url, "%s%s", c->url, x->q->path);
    if (e)
        (void)buf_error(&url, "the address of a request", err); /* gives e again */
    else if (!make_headers(x->q, headers) || curl_easy_setopt(x->easy, CURLOPT_URL, url.data) ||
             curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, *headers) ||
             (c->unix_path && curl_easy_setopt(x->easy, CURLOPT_UNIX_SOCKET_PATH, c->unix_path)))
        e = err_set(err, CAMA_ERR_NOMEM, "no memory for a request");
    buf_done(&url);
    return e;
}

static cama_err name_stop(const net_client *c, const exchange *x, err_info *err)
{
    switch (x->stopped) {
    case CAMA_ERR_LIMIT:
        return err_set(err, CAMA_ERR_LIMIT, "%s%s: the reply has more than %zu bytes%s", c->url,
                       x->q->path, x->line.max_bytes, x->q->line ? " in a line" : "");
    case CAMA_ERR_NOMEM:
        return err_set(err, CAMA_ERR_NOMEM, "no memory for the reply of %s%s", c->url, x->q->path);
    case CAMA_ERR_IO:
        return err_set(err, CAMA_ERR_IO, "cannot read '%s'", x->q->upload_path);
    default:
        return err_set(err, CAMA_ERR_CANCELED, "canceled");
    }
}

static cama_err name_failure(const net_client *c, const exchange *x, CURLcode code, err_info *err)
{
    const char *where = c->unix_path ? c->unix_path : c->url;
    const char *why = *x->reason ? x->reason : curl_easy_strerror(code);
    double connected = 0;
    (void)curl_easy_getinfo(x->easy, CURLINFO_CONNECT_TIME, &connected);
    if (x->stopped)
        return name_stop(c, x, err);
    if (code == CURLE_OUT_OF_MEMORY)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for a request to %s", where);
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
        (code == CURLE_OPERATION_TIMEDOUT && connected == 0))
        return err_set(err, CAMA_ERR_NOT_FOUND, "cannot reach %s: %s", where, why);
    if (code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING)
        return err_set(err, CAMA_ERR_IO, "%s ended the connection in the middle of its reply: %s",
                       where, why);
    return err_set(err, CAMA_ERR_IO, "request to %s failed: %s", where, why);
}

/* Runs until the transfer is over; the code is curl's for it. */
static CURLcode transfer(net_client *c, exchange *x)
{
    int n_running = 1;
    while (n_running) {
        if (curl_multi_perform(c->multi, &n_running))
            return CURLE_OUT_OF_MEMORY;
        if (x->q->canceled && x->q->canceled(x->q->user)) {
            x->stopped = CAMA_ERR_CANCELED;
            return CURLE_ABORTED_BY_CALLBACK;
        }
        if (n_running && curl_multi_poll(c->multi, NULL, 0, POLL_MS, NULL))
            return CURLE_OUT_OF_MEMORY;
    }
    int n_left;
    const CURLMsg *done = curl_multi_info_read(c->multi, &n_left);
    return done && done->msg == CURLMSG_DONE ? done->data.result : CURLE_FAILED_INIT;
}

static cama_err run_transfer(net_client *c, exchange *x, err_info *err)
{
    if (curl_multi_add_handle(c->multi, x->easy))
        return err_set(err, CAMA_ERR_NOMEM, "no memory for a request");
    CURLcode code = transfer(c, x);
    cama_err e = CAMA_OK;
    if (!code && !x->has_head)
        code = CURLE_RECV_ERROR;
    if (code)
        e = name_failure(c, x, code, err);
    else if (x->line.n && (x->stopped = give_line(x))) /* a last line without an end */
        e = name_stop(c, x, err);
    long status = 0;
    (void)curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    x->reply->status = (int)status;
    (void)curl_multi_remove_handle(c->multi, x->easy); /* it is there */
    return e;
}

cama_err net_send(net_client *c, const net_request *q, net_reply *out, err_info *err)
{
    const size_t max = q->max_body ? q->max_body : DEFAULT_BODY;
    exchange x = {.q = q, .reply = out, .easy = c->easy};
    struct curl_slist *headers = NULL;
    *out = (net_reply){0};
    buf_init(&out->body, max);
    buf_init(&x.line, max);
    curl_easy_reset(c->easy);
    set_common(c, &x);
    set_method(c->easy, q);
    cama_err e = set_target(c, &x, &headers, err);
    if (!e && q->upload_path)
        e = open_upload(&x, err);
    if (!e)
        e = run_transfer(c, &x, err);
    if (x.upload)
        (void)fclose(x.upload); /* it was only read */
    curl_easy_reset(c->easy);   /* before what it points at goes */
    curl_slist_free_all(headers);
    buf_done(&x.line);
    return e;
}

/* ---- a client ---- */

static bool is_this_machine(const char *name)
{
    return !strcmp(name, "localhost") || !strncmp(name, "127.", 4) || !strcmp(name, "::1") ||
           !strcmp(name, "0.0.0.0") || !strcmp(name, "::");
}

cama_err net_client_open(const net_host *h, const char *unix_path, net_client **out, err_info *err)
{
    (void)pthread_once(&once, start_curl);
    net_client *c = ready ? calloc(1, sizeof *c) : NULL;
    if (!c)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for a client");
    c->multi = curl_multi_init();
    c->easy = curl_easy_init();
    c->unix_path = unix_path ? strdup(unix_path) : NULL;
    if (!c->multi || !c->easy || (unix_path && !c->unix_path)) {
        net_client_close(c);
        return err_set(err, CAMA_ERR_NOMEM, "no memory for a client");
    }
    if (h && !unix_path) {
        net_host_url(h, c->url);
        c->local = is_this_machine(h->name);
        c->tls = h->tls;
    } else {
        (void)snprintf(c->url, sizeof c->url, "http://localhost");
    }
    *out = c;
    return CAMA_OK;
}

void net_client_close(net_client *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->easy); /* accepts NULL */
    if (c->multi)
        (void)curl_multi_cleanup(c->multi);
    free(c->unix_path);
    free(c);
}
