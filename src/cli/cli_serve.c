/* `cama serve`: the server in the foreground, until it is asked to end. */
#include "cli/cli_serve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "http/serve.h"

#define DRAIN_MS 30000 /* for requests that run when the end is asked for */

/* ---- options ---- */

static void take_choice(const cli_option *o, int choice, char name[CLI_CHOICE_BYTES],
                        const char **out)
{
    cli_choice_name(o, choice, name);
    *out = name;
}

void cli_engine_opts(const cli_args *args, cli_engine_names *names, serve_opts *so)
{
    pool_opts *o = &so->pool;
    for (size_t i = 0; i < cli_n_option; i++) {
        const cli_option *row = &cli_options[i];
        if (!args->given[i])
            continue;
        if (row->offset == offsetof(cli_args, kv_type))
            take_choice(row, args->kv_type, names->kv_type, &o->kv_type);
        else if (row->offset == offsetof(cli_args, activations))
            take_choice(row, args->activations, names->activations, &o->activations);
        else if (row->offset == offsetof(cli_args, weights))
            take_choice(row, args->weights, names->weights, &o->weights);
        else if (row->offset == offsetof(cli_args, engine))
            take_choice(row, args->engine, names->engine, &so->engine);
        else if (row->offset == offsetof(cli_args, device))
            take_choice(row, args->device, names->device, &so->device);
        else if (row->offset == offsetof(cli_args, model.max_bytes))
            o->max_bytes = args->model.max_bytes;
        else if (row->offset == offsetof(cli_args, model.n_thread))
            o->n_thread = args->model.n_thread;
        else if (row->offset == offsetof(cli_args, model.n_ctx))
            o->n_ctx = args->model.n_ctx;
    }
}

bool cli_is_of_engine(const cli_option *o)
{
    return (o->commands & 1u << CLI_SERVE) && (o->commands & 1u << CLI_RUN) && !o->parameter &&
           o->kind != CLI_FLAG;
}

/* ---- the log ---- */

static void on_log(void *user, pool_level level, const char *line)
{
    static const char *const names[] = {"debug", "info ", "warn ", "error"};
    (void)user;
    struct timespec now;
    struct tm parts;
    char when[32];
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (!gmtime_r(&now.tv_sec, &parts) || !strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &parts))
        when[0] = '\0';
    fprintf(stderr, "%s.%03ldZ %s %s\n", when, now.tv_nsec / 1000000, names[level], line);
}

static void on_bad(void *user, const char *text)
{
    on_log(user, POOL_WARN_LEVEL, text);
}

static void tell_where(const serve_opts *o)
{
    store *s;
    char line[4608];
    const bool found = !store_open(o->models, &s, NULL);
    (void)snprintf(line, sizeof line, "cama %s, API of Ollama %s; listens on %s; models in %s",
                   cama_version(), API_OLLAMA_VERSION, o->host, found ? store_root(s) : "?");
    on_log(NULL, POOL_INFO, line);
    if (found)
        store_close(s);
}

/* ---- signals ---- */

static int wake[2]; /* the handler writes a byte; written before the handlers are set */

static void on_signal(int number)
{
    const int saved = errno;
    (void)number;
    (void)!write(wake[1], "", 1); /* full: it is awake already */
    errno = saved;
}

static cama_err catch_signals(cama_error *err)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    if (pipe(wake) || fcntl(wake[0], F_SETFD, FD_CLOEXEC) || fcntl(wake[1], F_SETFD, FD_CLOEXEC))
        return err_set(err, CAMA_ERR_IO, "cannot make a pipe: %s", strerror(errno));
    /* Each works once: a second one finds the default and ends the program at once. */
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    return CAMA_OK;
}

/* The first one asks for a polite end; then either ends the program. */
static void wait_for_signal(void)
{
    char byte;
    while (read(wake[0], &byte, 1) < 0 && errno == EINTR)
        continue;
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
}

int cli_serve(cli_args *args)
{
    cama_error err;
    cli_engine_names names;
    serve_opts o;
    serve *s = NULL;
    serve_opts_from_env(&o, on_bad, NULL);
    cli_engine_opts(args, &names, &o);
    o.host = args->host ? args->host : o.host;
    o.models = args->models ? args->models : o.models;
    o.pool.log = on_log;
    cama_err e = catch_signals(&err);
    if (!e)
        e = serve_open(&o, &s, &err);
    if (e) {
        fprintf(stderr, "Error: %s\n", err.text);
        return CLI_FAILED;
    }
    tell_where(&o);
    wait_for_signal();
    on_log(NULL, POOL_INFO, "ends when what runs has ended; a second signal ends it at once");
    serve_close(s, DRAIN_MS);
    return CLI_OK;
}
