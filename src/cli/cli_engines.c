/* `cama engines`: what computes, what each engine can do, which of them failed on a model; and the
 * self-test, which needs no server. */
#include "cli/cli_server.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/human.h"
#include "cli/cli_grid.h"
#include "cli/cli_wrap.h"

#define ASKS 60 /* times that a server is asked whose answer is not there yet */
#define PAUSE_NS 200000000
#define ID_CHARS 12     /* of a digest, in tables */
#define REASON_CHARS 90 /* of a reason; --json has all of it */

typedef struct command {
    cli_server *server;
    arena arena;
    buf out;
    cama_error err;
} command;

static const json_value *list_of(const json_value *reply, const char *key, size_t *out_n)
{
    const json_value *list = json_get(reply, key);
    *out_n = list && list->kind == JSON_ARRAY ? list->n : 0;
    return list;
}

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* fails for an unknown clock only */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const char *or_dash(const char *text)
{
    return *text ? text : "-";
}

/* ---- the tables ---- */

static void write_status(const json_value *e, char out[CAMA_ERROR_BYTES])
{
    const char *why = json_text(e, "why");
    const long long n = (long long)json_whole(e, "in_use");
    char runs[64] = "";
    if (n > 0)
        (void)snprintf(runs, sizeof runs, ", runs %lld model%s", n, n == 1 ? "" : "s");
    (void)snprintf(out, CAMA_ERROR_BYTES, "%s%s%s%s",
                   json_true(e, "available") ? "available" : "not available", runs,
                   *why ? ": " : "", why);
}

static void write_engines(command *c, const json_value *reply)
{
    size_t n;
    const json_value *list = list_of(reply, "engines", &n);
    grid g;
    grid_init(&g, &c->arena, NULL);
    grid_row(&g, (const char *const[]){"ENGINE", "VERSION", "DEVICE", "MEMORY", "STATUS"}, 5);
    for (size_t i = 0; i < n; i++) {
        const json_value *e = list->items[i];
        const int64_t bytes = json_whole(e, "memory");
        char memory[HUMAN_BYTES] = "-";
        char status[CAMA_ERROR_BYTES];
        if (bytes > 0)
            (void)human_bytes((uint64_t)bytes, memory);
        write_status(e, status);
        grid_row(&g,
                 (const char *const[]){json_text(e, "name"), or_dash(json_text(e, "version")),
                                       or_dash(json_text(e, "device")), memory, status},
                 5);
    }
    (void)grid_write(&g, &c->out); /* sticky, here and below */
}

static void write_default(command *c, const json_value *reply)
{
    const json_value *d = json_get(reply, "default");
    if (d)
        (void)buf_printf(&c->out, "\nengine %s, device %s where nobody says another\n",
                         json_text(d, "engine"), json_text(d, "device"));
}

static void write_failures(command *c, const json_value *reply)
{
    size_t n;
    const json_value *list = list_of(reply, "failures", &n);
    grid g;
    if (!n)
        return;
    (void)buf_puts(&c->out, "\nFailed before, and not chosen again until `cama engines reset`:\n");
    grid_init(&g, &c->arena, NULL);
    grid_row(&g, (const char *const[]){"MODEL", "ID", "ENGINE", "WHEN", "REASON"}, 5);
    for (size_t i = 0; i < n; i++) {
        const json_value *f = list->items[i];
        char id[ID_CHARS + 1];
        char when[HUMAN_BYTES] = "-";
        char reason[REASON_CHARS + 4];
        int64_t ms;
        const char *digest = json_text(f, "digest");
        digest += strncmp(digest, "sha256:", 7) == 0 ? 7 : 0;
        (void)snprintf(id, sizeof id, "%s", digest);
        if (human_parse_time(json_text(f, "time"), &ms))
            (void)human_time(ms - now_ms(), when);
        (void)snprintf(reason, sizeof reason, "%.*s%s", REASON_CHARS, json_text(f, "reason"),
                       strlen(json_text(f, "reason")) > REASON_CHARS ? "..." : "");
        grid_row(&g,
                 (const char *const[]){or_dash(json_text(f, "model")), id, json_text(f, "engine"),
                                       when, reason},
                 5);
    }
    (void)grid_write(&g, &c->out);
}

static void write_parity(command *c, const json_value *reply)
{
    size_t n;
    const json_value *list = list_of(reply, "parity", &n);
    grid g;
    if (!n)
        return;
    (void)buf_putc(&c->out, '\n');
    grid_init(&g, &c->arena, NULL);
    grid_row(&g, (const char *const[]){"FEATURE", "NATIVE", "MLX"}, 3);
    for (size_t i = 0; i < n; i++) {
        const json_value *p = list->items[i];
        grid_row(&g,
                 (const char *const[]){json_text(p, "feature"), json_text(p, "native"),
                                       json_text(p, "mlx")},
                 3);
    }
    (void)grid_write(&g, &c->out);
}

/* ---- requests ---- */

/* The server asks its engines in a process of their own, and answers before it has heard of them.
 */
static cama_err get_engines(command *c, json_value **out)
{
    const server_call call = {.method = "GET", .path = "/api/engines"};
    cama_err e = CAMA_OK;
    for (int i = 0; i < ASKS; i++) {
        e = server_send(c->server, &call, &c->arena, out, NULL, &c->err);
        if (e || strcmp(json_text(*out, "state"), "asking") != 0)
            break;
        const struct timespec pause = {.tv_nsec = PAUSE_NS};
        (void)nanosleep(&pause, NULL); /* woken early: asked early */
    }
    return e;
}

static cama_err list_engines(command *c, bool json)
{
    json_value *reply = NULL;
    cama_err e = get_engines(c, &reply);
    if (e)
        return e;
    if (json && reply) {
        (void)json_write(reply, &c->out);
        (void)buf_putc(&c->out, '\n');
        return CAMA_OK;
    }
    write_engines(c, reply);
    write_default(c, reply);
    write_failures(c, reply);
    write_parity(c, reply);
    return CAMA_OK;
}

static cama_err reset(command *c, const char *model)
{
    json_value *reply = NULL;
    buf body;
    buf_init(&body, 1 << 20);
    cama_err e = model ? server_body(&body, "model", model, &c->err) : CAMA_OK;
    const server_call call = {.method = "DELETE", .path = "/api/engines", .body = body.data};
    if (!e)
        e = server_send(c->server, &call, &c->arena, &reply, NULL, &c->err);
    const long long n = (long long)json_whole(reply, "forgotten");
    if (!e)
        (void)buf_printf(&c->out, "forgot %lld failure%s of engines\n", n, n == 1 ? "" : "s");
    buf_done(&body);
    return e;
}

/* ---- the self-test ---- */

/* The report is printed whatever came out of it. */
static int selftest(const cli_args *args)
{
    cama_error err = {.code = CAMA_OK};
    cama_error print_err;
    char *report = NULL;
    const cama_err e =
        cama_engines_selftest(cli_engine_name(args), cli_device(args), &report, &err);
    cama_err printed = CAMA_OK;
    if (report)
        printed = wrap_print_clean(report, strlen(report), &print_err);
    cama_free(report);
    if (printed)
        return cli_fail(&print_err);
    return e ? cli_fail(&err) : CLI_OK;
}

static int misused(const cli_args *args)
{
    fprintf(stderr, "cama: `cama engines %s` is not known; usage: cama engines [reset [MODEL]]\n",
            args->pos[0]);
    return CLI_USAGE;
}

int cli_engines(cli_args *args)
{
    const bool resets = args->n_pos && !strcmp(args->pos[0], "reset");
    if (args->n_pos && !resets)
        return misused(args);
    if (args->selftest)
        return selftest(args);
    command c = {.server = NULL};
    arena_init(&c.arena, 4 * CLI_MAX_REPLY);
    buf_init(&c.out, CLI_MAX_REPLY);
    cama_err e = server_open_or_embed(args, &c.server, &c.err);
    if (!e)
        e = resets ? reset(&c, args->n_pos > 1 ? args->pos[1] : NULL)
                   : list_engines(&c, args->json);
    if (!e)
        e = buf_error(&c.out, "a table", &c.err);
    if (!e)
        e = wrap_print_clean(c.out.data, c.out.n, &c.err);
    const int status = e ? cli_fail(&c.err) : CLI_OK;
    server_close(c.server);
    buf_done(&c.out);
    arena_done(&c.arena);
    return status;
}
