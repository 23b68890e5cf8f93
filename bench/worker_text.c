/* worker_text.c - the same answer twice: made in this process, and streamed by a server.
 *
 * Both continue the same text greedily and are timed by the reader: from the first piece of text to
 * the last, so that what lies between an engine and a client is in the figure. The server is a
 * child of the worker, with a store of its own in a temporary folder. */
#include "worker.h"

#include "base/buf.h"
#include "base/clock.h"
#include "json/json.h"
#include "net/client.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_PROMPT (1u << 20)
#define MAX_REPLY (16u << 20)

typedef struct timing {
    uint64_t first_ns, last_ns;
    uint32_t n_token;
} timing;

static void tick(timing *t)
{
    t->last_ns = clock_now_ns();
    if (!t->first_ns)
        t->first_ns = t->last_ns;
}

/* About n tokens that make a model count on. */
static cama_err put_prompt(buf *out, uint32_t n, uint32_t salt)
{
    (void)buf_printf(out, "Round %u. Count:", salt); /* a prefix of its own: nothing is reused */
    for (uint32_t i = 1; i < n / 4; i++)
        (void)buf_printf(out, " %u,", i);
    return out->fail;
}

#define MIN_TOKENS 16 /* an answer that ends by itself sooner says nothing about speed */

static cama_err give(const timing *t, uint64_t start_ns, const bench_task *task, bench_reply *out,
                     err_info *err)
{
    if (t->n_token < MIN_TOKENS && t->n_token < task->n_decode)
        return err_set(err, CAMA_ERR_ENGINE, "%u tokens came, %u were asked for", t->n_token,
                       task->n_decode);
    out->prefill_s = (double)(t->first_ns - start_ns) * 1e-9;
    /* n - 1 steps lie between n tokens; a shorter answer counts as if it went on */
    const double step_s = (double)(t->last_ns - t->first_ns) * 1e-9 / (t->n_token - 1);
    out->decode_s = step_s * task->n_decode;
    return CAMA_OK;
}

/* ---- in this process ---- */

typedef struct text_worker {
    cama_model *model;
    cama_info info;
    uint32_t n_run;
} text_worker;

static void *open_text(const bench_opts *opts, err_info *err)
{
    cama_error text = {0};
    cama_model_opts o;
    cama_model_opts_init(&o, sizeof o);
    o.n_ctx = opts->n_ctx;
    o.n_thread = (uint32_t)opts->n_thread;
    text_worker *w = calloc(1, sizeof *w);
    if (w && !cama_model_open(opts->model, &o, &w->model, &text)) {
        cama_model_info(w->model, &w->info, sizeof w->info);
        return w;
    }
    (void)err_set(err, text.code ? text.code : CAMA_ERR_NOMEM, "%s", text.text);
    free(w);
    return NULL;
}

static bool on_text(void *user, const char *text, size_t n)
{
    (void)text;
    (void)n;
    tick(user);
    return true;
}

static cama_err run_text(void *engine, const bench_task *t, bench_reply *out, err_info *err)
{
    text_worker *w = engine;
    buf prompt;
    buf_init(&prompt, MAX_PROMPT);
    cama_err e = put_prompt(&prompt, t->n_prefill, w->n_run++);
    timing at = {0};
    cama_gen_opts o;
    cama_gen_opts_init(&o, sizeof o);
    o.prompt = prompt.data;
    o.temperature = 0;
    o.n_predict = (int32_t)t->n_decode;
    o.on_text = on_text;
    o.user = &at;
    cama_gen_result r;
    cama_gen_result_init(&r, sizeof r);
    cama_error text = {0};
    const uint64_t start_ns = clock_now_ns();
    if (!e && cama_generate(w->model, &o, &r, &text))
        e = err_set(err, text.code, "%s", text.text);
    at.n_token = r.n_token;
    buf_done(&prompt);
    return e ? e : give(&at, start_ns, t, out, err);
}

static void describe_text(void *engine, char *out, size_t n)
{
    const text_worker *w = engine;
    (void)snprintf(out, n, "cama %s in one process, %s", cama_version(), w->info.device);
}

const bench_engine_vt bench_text = {
    .name = "in process", .open = open_text, .run = run_text, .describe = describe_text};

/* ---- through a server ---- */

typedef struct http_worker {
    net_client *client;
    pid_t server;
    char folder[64];
    char host[32];
    int n_thread;
    uint32_t n_ctx, n_run;
    timing at;
} http_worker;

/* The worker is killed when the driver is done: the server must not stay behind. */
static http_worker *running;

static void end_server(int signal_number)
{
    if (running && running->server > 0)
        (void)kill(running->server, SIGTERM);
    if (signal_number)
        _exit(0);
}

static pid_t start(const http_worker *w, const char *const *argv)
{
    const pid_t pid = fork();
    if (pid != 0)
        return pid;
    (void)setenv("OLLAMA_HOST", w->host, 1);
    (void)setenv("OLLAMA_MODELS", w->folder, 1);
    (void)setenv("HOME", w->folder, 1);
    (void)!freopen("/dev/null", "w", stdout);
    (void)!freopen("/dev/null", "w", stderr);
    (void)execv(argv[0], (char *const *)argv);
    _exit(127);
}

static cama_err wait_until_it_answers(http_worker *w, err_info *err)
{
    cama_err e = CAMA_ERR_NOT_FOUND;
    for (int i = 0; e && i < 1000; i++) {
        net_reply reply;
        const net_request q = {.method = "GET", .path = "/"};
        e = net_send(w->client, &q, &reply, err);
        if (!e)
            buf_done(&reply.body);
        else
            (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return e;
}

static cama_err add_model(const http_worker *w, const char *program, const char *model,
                          err_info *err)
{
    char path[96];
    (void)snprintf(path, sizeof path, "%s/Modelfile", w->folder);
    char *whole = realpath(model, NULL);
    FILE *f = fopen(path, "w");
    if (f && whole)
        (void)fprintf(f, "FROM %s\n", whole);
    free(whole);
    if (!f || fclose(f) != 0)
        return err_set(err, CAMA_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    const char *const argv[] = {program, "create", "bench", "-f", path, NULL};
    int status = 0;
    const pid_t pid = start(w, argv);
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
        return err_set(err, CAMA_ERR_IO, "%s create failed", program);
    return CAMA_OK;
}

static cama_err open_parts(http_worker *w, const bench_opts *opts, err_info *err)
{
    net_host host;
    (void)snprintf(w->host, sizeof w->host, "127.0.0.1:%d", 20000 + (int)(getpid() % 20000));
    cama_err e = net_host_parse(w->host, &host, err);
    if (!e && !mkdtemp(w->folder))
        e = err_set(err, CAMA_ERR_IO, "no folder %s: %s", w->folder, strerror(errno));
    if (!e)
        e = net_client_open(&host, NULL, &w->client, err);
    const char *const argv[] = {opts->lib_dir, "serve", NULL};
    if (!e && (w->server = start(w, argv)) < 0)
        e = err_set(err, CAMA_ERR_IO, "cannot start %s: %s", opts->lib_dir, strerror(errno));
    running = w;
    (void)signal(SIGTERM, end_server);
    if (!e)
        e = wait_until_it_answers(w, err);
    return e ? e : add_model(w, opts->lib_dir, opts->model, err);
}

static void *open_http(const bench_opts *opts, err_info *err)
{
    http_worker *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    *w = (http_worker){
        .folder = "/tmp/cama-bench-XXXXXX", .n_thread = opts->n_thread, .n_ctx = opts->n_ctx};
    if (!open_parts(w, opts, err))
        return w;
    end_server(0);
    free(w);
    return NULL;
}

static bool on_line(void *user, const char *text, size_t n)
{
    http_worker *w = user;
    static const char last[] = "\"done\":true";
    const char *count = NULL;
    for (size_t i = 0; i + sizeof last <= n && !count; i++) {
        if (memcmp(text + i, last, sizeof last - 1) == 0)
            count = text + i;
    }
    if (!count) {
        tick(&w->at);
        return true;
    }
    arena mem;
    arena_init(&mem, MAX_REPLY);
    json_value *v = NULL;
    if (!json_parse(text, n, &mem, &v, NULL)) {
        const json_value *c = json_get(v, "eval_count");
        w->at.n_token = c ? (uint32_t)c->integer : 0;
    }
    arena_done(&mem);
    return true;
}

static cama_err run_http(void *engine, const bench_task *t, bench_reply *out, err_info *err)
{
    http_worker *w = engine;
    buf prompt;
    buf body;
    buf_init(&prompt, MAX_PROMPT);
    buf_init(&body, 2 * MAX_PROMPT);
    (void)put_prompt(&prompt, t->n_prefill, w->n_run++);
    (void)buf_puts(&body, "{\"model\":\"bench\",\"raw\":true,\"prompt\":");
    (void)json_write_string(prompt.data, prompt.n, &body);
    (void)buf_printf(&body,
                     ",\"options\":{\"temperature\":0,\"num_predict\":%u,\"num_ctx\":%u,"
                     "\"num_thread\":%d}}",
                     t->n_decode, w->n_ctx, w->n_thread);
    cama_err e = buf_error(&body, "the request", err);
    w->at = (timing){0};
    net_reply reply = {0};
    const net_request q = {.method = "POST",
                           .path = "/api/generate",
                           .body = body.data,
                           .n_body = body.n,
                           .line = on_line,
                           .user = w};
    const uint64_t start_ns = clock_now_ns();
    if (!e)
        e = net_send(w->client, &q, &reply, err);
    if (!e && reply.status != 200)
        e = err_set(err, CAMA_ERR_ENGINE, "the server says %d: %.200s", reply.status,
                    reply.body.data ? reply.body.data : "");
    buf_done(&reply.body);
    buf_done(&prompt);
    buf_done(&body);
    return e ? e : give(&w->at, start_ns, t, out, err);
}

static void describe_http(void *engine, char *out, size_t n)
{
    const http_worker *w = engine;
    (void)snprintf(out, n, "cama %s, a server on %s", cama_version(), w->host);
}

const bench_engine_vt bench_http = {
    .name = "server", .open = open_http, .run = run_http, .describe = describe_http};
