#include "cli/cli_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli_within.h"

struct cli_server {
    net_client *client;
    cli_within *within; /* the server in this process; NULL: there is none */
};

/* ---- opening ---- */

static const char *host_text(void)
{
    const char *ours = getenv("CAMA_HOST");
    return ours && *ours ? ours : getenv("OLLAMA_HOST");
}

void server_close(cli_server *s)
{
    if (!s)
        return;
    net_client_close(s->client); /* first: a server drains what is open */
    within_close(s->within);
    free(s);
}

static cama_err open_client(cli_server **out, cama_error *err)
{
    net_host host;
    cama_err e = net_host_parse(host_text(), &host, err);
    if (e)
        return e;
    cli_server *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for a connection");
    e = net_client_open(&host, NULL, &s->client, err);
    if (e)
        server_close(s);
    else
        *out = s;
    return e;
}

static cama_err name_nobody(cama_error *err)
{
    return err_set(err, CAMA_ERR_IO,
                   "could not connect to cama server, run 'cama serve' to start it");
}

/* Whether anybody listens: what it answers does not matter here. */
static cama_err look(cli_server *s, cama_error *err)
{
    const net_request q = {.method = "HEAD", .path = "/"};
    net_reply reply;
    const cama_err e = net_send(s->client, &q, &reply, err);
    buf_done(&reply.body);
    return e;
}

cama_err server_open(cli_server **out, cama_error *err)
{
    cli_server *s;
    cama_err e = open_client(&s, err);
    if (e)
        return e;
    e = look(s, err);
    if (e == CAMA_ERR_NOT_FOUND)
        e = name_nobody(err);
    if (e)
        server_close(s);
    else
        *out = s;
    return e;
}

bool server_is_embedded(const cli_server *s)
{
    return s->within != NULL;
}

static cama_err embed(const cli_args *args, cli_server *s, cama_error *err)
{
    cama_err e = within_open(args, &s->within, err);
    net_client_close(s->client);
    s->client = NULL;
    if (!e)
        e = net_client_open(NULL, within_socket(s->within), &s->client, err);
    return e;
}

static cama_err look_or_embed(const cli_args *args, cli_server *s, cama_error *err)
{
    net_host host;
    const cama_err e = look(s, err);
    if (!e)
        within_tell_ignored(args);
    if (e != CAMA_ERR_NOT_FOUND)
        return e;
    (void)net_host_parse(host_text(), &host, NULL); /* it was parsed before */
    fprintf(stderr, "no server at %s:%u: using an embedded one\n", host.name, (unsigned)host.port);
    return embed(args, s, err);
}

cama_err server_open_or_embed(const cli_args *args, cli_server **out, cama_error *err)
{
    cli_server *s;
    cama_err e = open_client(&s, err);
    if (e)
        return e;
    e = args->embed ? embed(args, s, err) : look_or_embed(args, s, err);
    if (e)
        server_close(s);
    else
        *out = s;
    return e;
}

/* ---- values ---- */

const char *json_text(const json_value *object, const char *key)
{
    const json_value *v = json_get(object, key);
    return v && v->kind == JSON_STRING ? v->text : "";
}

int64_t json_whole(const json_value *object, const char *key)
{
    const json_value *v = json_get(object, key);
    return v && v->kind == JSON_INT ? v->integer : 0;
}

bool json_true(const json_value *object, const char *key)
{
    const json_value *v = json_get(object, key);
    return v && v->kind == JSON_BOOL && v->boolean;
}

cama_err server_body(buf *out, const char *key, const char *text, cama_error *err)
{
    (void)buf_printf(out, "{\"%s\":", key); /* sticky */
    (void)json_write_string(text, strlen(text), out);
    (void)buf_putc(out, '}');
    return buf_error(out, "a request", err);
}

/* ---- requests ---- */

static const char *status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } known[] = {
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {413, "Request Entity Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].status == status)
            return known[i].text;
    }
    return "error";
}

static cama_err code_of(int status)
{
    switch (status) {
    case 404:
        return CAMA_ERR_NOT_FOUND;
    case 503:
        return CAMA_ERR_BUSY;
    case 507:
        return CAMA_ERR_NO_FIT;
    default:
        return status < 500 ? CAMA_ERR_ARG : CAMA_ERR_ENGINE;
    }
}

/* The text of {"error":"text"} or {"error":{"message":"text"}}; NULL: it is none. */
static const char *error_text(const json_value *v)
{
    const json_value *e = json_get(v, "error");
    if (e && e->kind == JSON_OBJECT)
        e = json_get(e, "message");
    return e && e->kind == JSON_STRING ? e->text : NULL;
}

static cama_err name_status(const server_call *c, const net_reply *r, cama_error *err)
{
    arena a;
    arena_init(&a, (size_t)1 << 20);
    json_value *v = NULL;
    const char *body = r->body.data ? r->body.data : "";
    const cama_err parsed = json_parse(body, r->body.n, &a, &v, NULL);
    const char *text = parsed ? NULL : error_text(v);
    if (!text)
        text = body;
    cama_err e;
    if (c->line)
        e = err_set(err, code_of(r->status), "%d %s: %s", r->status, status_text(r->status), text);
    else if (*text)
        e = err_set(err, code_of(r->status), "%s", text);
    else
        e = err_set(err, code_of(r->status), "%d %s", r->status, status_text(r->status));
    arena_done(&a);
    return e;
}

/* Lines on their way to the caller, each in memory of its own. */
typedef struct reader {
    const server_call *c;
    cama_error err;
} reader;

static bool on_line(void *user, const char *text, size_t n)
{
    reader *r = user;
    arena a;
    json_value *v;
    arena_init(&a, CLI_MAX_REPLY);
    cama_err e = json_parse(text, n, &a, &v, &r->err);
    bool go_on = false;
    const char *failed = e ? NULL : error_text(v);
    if (e)
        (void)err_wrap(&r->err, e, "the server's reply");
    else if (failed)
        (void)err_set(&r->err, CAMA_ERR_ENGINE, "%s", failed);
    else
        go_on = r->c->line(r->c->user, v);
    arena_done(&a);
    return go_on;
}

static bool on_canceled(void *user)
{
    const reader *r = user;
    return r->c->interruptible && cli_interrupted();
}

/* What a failed exchange means to people. Giving up on a line is the caller's own wish. */
static cama_err name_failure(const reader *r, cama_err e, cama_error *err)
{
    if (e == CAMA_ERR_CANCELED && r->err.code) {
        *err = r->err;
        return r->err.code;
    }
    if (e == CAMA_ERR_CANCELED && !(r->c->interruptible && cli_interrupted()))
        return CAMA_OK;
    if (e == CAMA_ERR_NOT_FOUND)
        return name_nobody(err);
    return e;
}

cama_err server_send(cli_server *s, const server_call *c, arena *a, json_value **out,
                     int *out_status, cama_error *err)
{
    reader r = {.c = c, .err = {.code = CAMA_OK}};
    net_reply reply;
    const net_request q = {.method = c->method,
                           .path = c->path,
                           .accept = c->line ? "application/x-ndjson" : "application/json",
                           .body = c->body,
                           .n_body = c->body ? strlen(c->body) : 0,
                           .line = c->line ? on_line : NULL,
                           .canceled = on_canceled,
                           .user = &r,
                           .max_body = CLI_MAX_REPLY};
    json_value *v = NULL;
    cama_err e = net_send(s->client, &q, &reply, err);
    if (e)
        e = name_failure(&r, e, err);
    else if (reply.status >= 400)
        e = name_status(c, &reply, err);
    else if (out && reply.body.n)
        e = json_parse(reply.body.data, reply.body.n, a, &v, err);
    if (out_status)
        *out_status = reply.status;
    buf_done(&reply.body);
    if (!e && out)
        *out = v;
    return e;
}

/* ---- blobs ---- */

cama_err server_has_blob(cli_server *s, const char *digest, bool *out, cama_error *err)
{
    char path[160];
    int status = 0;
    (void)snprintf(path, sizeof path, "/api/blobs/%s", digest);
    const server_call c = {.method = "HEAD", .path = path};
    const cama_err e = server_send(s, &c, NULL, NULL, &status, err);
    *out = status == 200;
    return status == 404 ? CAMA_OK : e;
}

typedef struct upload {
    bool (*uploaded)(void *user, uint64_t done, uint64_t all);
    void *user;
} upload;

static bool on_uploaded(void *user, uint64_t done, uint64_t all)
{
    const upload *u = user;
    return u->uploaded(u->user, done, all);
}

cama_err server_put_blob(cli_server *s, const char *digest, const char *path,
                         bool (*uploaded)(void *user, uint64_t done, uint64_t all), void *user,
                         cama_error *err)
{
    char url[160];
    upload u = {uploaded, user};
    net_reply reply;
    (void)snprintf(url, sizeof url, "/api/blobs/%s", digest);
    const net_request q = {.method = "POST",
                           .path = url,
                           .upload_path = path,
                           .uploaded = uploaded ? on_uploaded : NULL,
                           .user = &u};
    const server_call c = {.method = "POST", .path = url};
    const reader r = {.c = &c, .err = {.code = CAMA_OK}};
    cama_err e = net_send(s->client, &q, &reply, err);
    if (e == CAMA_ERR_NOT_FOUND)
        e = name_failure(&r, e, err);
    else if (!e && reply.status >= 400)
        e = name_status(&c, &reply, err);
    buf_done(&reply.body);
    return e;
}

int server_fail(const cama_error *err)
{
    if (cli_pipe_closed(err))
        return CLI_PIPE_CLOSED;
    fprintf(stderr, "Error: %s\n", err->text);
    return CLI_FAILED;
}
