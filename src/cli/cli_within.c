#include "cli/cli_within.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/cli_serve.h"
#include "http/serve.h"

#define CLOSE_MS 1000
#define FOLDER "cama-XXXXXX"
#define SOCKET "/socket"

struct cli_within {
    serve *serve;
    cli_engine_names names;
};

/* One at a time: a signal's handler must find them. It is set before anything has been made, and
 * mkdtemp writes the name before it makes the folder, so there is no moment in which one is left.
 */
static char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
static char socket_path[sizeof folder];

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
#define N_SIGNAL (sizeof signals / sizeof signals[0])
static struct sigaction before[N_SIGNAL];

static void clear_away(void)
{
    (void)unlink(socket_path);
    (void)rmdir(folder);
}

/* Calls only what a handler may call. The signal then does what it did before. */
static void on_signal(int number)
{
    clear_away();
    for (size_t i = 0; i < N_SIGNAL; i++) {
        if (signals[i] == number)
            (void)sigaction(number, &before[i], NULL);
    }
    (void)raise(number);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < N_SIGNAL; i++) {
        (void)sigaction(signals[i], NULL, &before[i]);
        if (before[i].sa_handler != SIG_IGN) /* as nohup wants it */
            (void)sigaction(signals[i], &action, NULL);
    }
}

static void release_signals(void)
{
    for (size_t i = 0; i < N_SIGNAL; i++)
        (void)sigaction(signals[i], &before[i], NULL);
}

/* A socket's path is short by law; the usual folder of temporary files may be deep. */
static cama_err make_folder(cama_error *err)
{
    const char *places[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (!places[i] || places[i][0] != '/' ||
            strlen(places[i]) + sizeof "/" FOLDER SOCKET > sizeof folder)
            continue;
        (void)snprintf(folder, sizeof folder, "%s/" FOLDER, places[i]);
        if (mkdtemp(folder)) { /* mode 0700 */
            const size_t n = strlen(folder);
            memcpy(socket_path, folder, n);
            memcpy(socket_path + n, SOCKET, sizeof SOCKET); /* the length was looked at */
            return CAMA_OK;
        }
    }
    folder[0] = '\0';
    return err_set(err, CAMA_ERR_IO,
                   "cannot make a folder for a socket in XDG_RUNTIME_DIR, TMPDIR "
                   "or /tmp");
}

static void on_log(void *user, pool_level level, const char *line)
{
    (void)user;
    if (level >= POOL_WARN_LEVEL)
        fprintf(stderr, "cama: %s\n", line);
}

static void on_bad(void *user, const char *text)
{
    cli_warning(user, text);
}

cama_err within_open(const cli_args *args, cli_within **out, cama_error *err)
{
    serve_opts o;
    cli_within *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for a server");
    catch_signals();
    cama_err e = make_folder(err);
    if (e) {
        within_close(w);
        return e;
    }
    serve_opts_from_env(&o, on_bad, NULL);
    cli_engine_opts(args, &w->names, &o);
    o.host = NULL;
    o.unix_path = socket_path;
    o.pool.log = on_log;
    e = serve_open(&o, &w->serve, err);
    if (e)
        within_close(w);
    else
        *out = w;
    return e;
}

void within_close(cli_within *w)
{
    if (!w)
        return;
    serve_close(w->serve, CLOSE_MS);
    clear_away();
    release_signals();
    free(w);
}

const char *within_socket(const cli_within *w)
{
    (void)w; /* there is one at a time */
    return socket_path;
}

void within_tell_ignored(const cli_args *args)
{
    for (size_t i = 0; i < cli_n_option; i++) {
        const cli_option *o = &cli_options[i];
        if (args->given[i] && cli_is_of_engine(o))
            fprintf(stderr,
                    "cama: warning: --%s is without effect: the server that runs has its own\n",
                    o->name);
    }
}
