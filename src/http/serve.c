#include "http/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "http/http.h"
#include "http/http_probe.h"
#include "net/host.h"

#define PRUNE_AGE_S 3600   /* younger blobs may belong to a create that runs elsewhere */
#define DRAIN_POOL_MS 2000 /* for runners to leave, once no request is left */

struct serve {
    store *store;
    pool *pool;
    api api;
    http *http;
    int tcp_fd, unix_fd; /* until http has them; else -1 */
    uint16_t port;
    char *unix_path; /* to be removed at the end */
    void (*log)(void *user, pool_level level, const char *line);
    void *user;
};

ERR_PRINTF(3, 4) static void say(serve *s, pool_level level, const char *fmt, ...)
{
    err_info line; /* its text is scrubbed: lines quote names of files */
    va_list args;
    if (!s->log)
        return;
    va_start(args, fmt);
    (void)err_vset(&line, CAMA_OK, fmt, args); /* gives the code back */
    va_end(args);
    for (char *c = line.text; *c; c++)
        if (*c == '\n')
            *c = ' '; /* a name of a file begins no line */
    s->log(s->user, level, line.text);
}

static void log_of_api(void *user, pool_level level, const char *text)
{
    say(user, level, "%s", text);
}

/* A connection takes a descriptor, a runner takes some: as many as the system gives. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* some systems name a limit that they do not give */
}

static cama_err tell_who_listens(const net_host *h, err_info *err)
{
    static const char *const who[] = {
        [HTTP_PROBE_NOBODY] = "a program that does not answer HTTP listens there",
        [HTTP_PROBE_OTHER] = "another HTTP server listens there",
        [HTTP_PROBE_OLLAMA] = "an Ollama listens there",
        [HTTP_PROBE_CAMA] = "a cama listens there already",
    };
    char text[CAMA_ERROR_BYTES];
    (void)snprintf(text, sizeof text, "%s", err ? err->text : "");
    return err_set(err, CAMA_ERR_IO,
                   "%s (%s: stop it, or set CAMA_HOST or OLLAMA_HOST to another address, such as "
                   "127.0.0.1:%u)",
                   text, who[http_probe(h)], h->port == UINT16_MAX ? 11435u : h->port + 1u);
}

static cama_err listen_all(serve *s, const serve_opts *o, err_info *err)
{
    err_info own = {0};
    if (!err)
        err = &own;
    if (o->host) {
        net_host h;
        bool in_use = false;
        cama_err e = net_host_parse(o->host, &h, err);
        if (!e)
            e = net_listen_tcp(&h, &s->tcp_fd, &in_use, err);
        if (e)
            return in_use ? tell_who_listens(&h, err) : e;
        s->port = net_port(s->tcp_fd);
    }
    if (!o->unix_path)
        return CAMA_OK;
    s->unix_path = strdup(o->unix_path);
    if (!s->unix_path)
        return err_set(err, CAMA_ERR_NOMEM, "no memory to serve");
    const cama_err e = net_listen_unix(o->unix_path, &s->unix_fd, err);
    if (e) { /* the file is not ours */
        free(s->unix_path);
        s->unix_path = NULL;
    }
    return e;
}

static void prune(serve *s)
{
    store_pruned pruned = {0};
    err_info err = {0};
    const cama_err e = store_prune(s->store, PRUNE_AGE_S, &pruned, &err);
    if (e == CAMA_ERR_FORMAT) /* a manifest is broken: the text says that and what follows */
        say(s, POOL_WARN_LEVEL, "%s", err.text);
    else if (e)
        say(s, POOL_WARN_LEVEL, "not all was pruned: %s", err.text);
    else if (pruned.n_blob > 0)
        say(s, POOL_INFO, "pruned %zu unused blobs, %llu bytes", pruned.n_blob,
            (unsigned long long)pruned.bytes);
}

static cama_err open_http(serve *s, const serve_opts *o, err_info *err)
{
    s->api = (api){.store = s->store,
                   .pool = s->pool,
                   .n_ctx = o->pool.n_ctx,
                   .engine = o->engine,
                   .device = o->device,
                   .strict = o->strict,
                   .log_debug = o->debug,
                   .log = log_of_api,
                   .user = s,
                   .cache = api_cache_new()}; /* NULL: slower, and no less right */
    const http_opts h = {
        .routes = api_routes,
        .n_route = api_n_route,
        .calls = {.new_call = api_call_new,
                  .ref = api_call_ref,
                  .unref = api_call_unref,
                  .gone = api_call_gone,
                  .taken = api_call_taken,
                  .upload_begin = api_upload_begin,
                  .upload_data = api_upload_data,
                  .upload_end = api_upload_end,
                  .error_body = api_error_body},
        .api = &s->api,
        .origins = o->origins,
        .tcp_fd = s->tcp_fd,
        .unix_fd = s->unix_fd,
        .max_connections = o->max_connections,
        .log_requests = o->log_requests,
        .log = o->pool.log,
        .user = o->pool.user,
    };
    const cama_err e = http_open(&h, &s->http, err);
    if (!e)
        s->tcp_fd = s->unix_fd = -1;
    return e;
}

cama_err serve_open(const serve_opts *o, serve **out, err_info *err)
{
    serve *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, CAMA_ERR_NOMEM, "no memory to serve");
    s->tcp_fd = s->unix_fd = -1;
    s->log = o->pool.log;
    s->user = o->pool.user;
    raise_descriptors();
    /* the address first: who has it may be using the store */
    cama_err e = listen_all(s, o, err);
    if (!e)
        e = store_open(o->models, &s->store, err);
    if (!e && !o->no_prune)
        prune(s);
    pool_opts po = o->pool;
    po.log_debug = o->debug;
    if (!e)
        e = pool_open(&po, &s->pool, err);
    if (!e)
        e = open_http(s, o, err);
    if (e) {
        serve_close(s, 0);
        return e;
    }
    *out = s;
    return CAMA_OK;
}

uint16_t serve_port(const serve *s)
{
    return s->port;
}

void serve_close(serve *s, uint32_t timeout_ms)
{
    if (!s)
        return;
    if (s->unix_path)
        (void)unlink(s->unix_path); /* nobody finds it any more; what is open stays open */
    if (s->http)
        http_stop(s->http, timeout_ms);
    if (s->pool) {
        pool_drain(s->pool, DRAIN_POOL_MS);
        pool_close(s->pool); /* every job ends, and with it the last calls */
    }
    http_close(s->http);
    api_cache_free(s->api.cache);
    if (s->store)
        store_close(s->store);
    if (s->tcp_fd >= 0)
        close(s->tcp_fd);
    if (s->unix_fd >= 0)
        close(s->unix_fd);
    free(s->unix_path);
    free(s);
}
