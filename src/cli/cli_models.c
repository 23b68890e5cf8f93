/* `cama list`, `ps`, `show`, `stop`, `cp`, `rm`, `--version`: one request each, and what it says.
 */
#include "cli/cli_models.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "base/human.h"
#include "cli/cli_card.h"
#include "cli/cli_grid.h"
#include "cli/cli_wrap.h"

#define ID_CHARS 12 /* of a digest, in tables */
#define ONE_KIND                                                                                   \
    "only one of '--license', '--modelfile', '--parameters', '--system', or '--template' can be "  \
    "specified"

/* A connection and the memory of its reply, for the life of a command. */
typedef struct command {
    cli_server *server;
    arena arena;
    buf out;
    cama_error err;
} command;

static cama_err begin(command *c, const cli_args *args)
{
    *c = (command){0};
    arena_init(&c->arena, 4 * CLI_MAX_REPLY);
    buf_init(&c->out, CLI_MAX_REPLY);
    return args && args->embed ? server_open_or_embed(args, &c->server, &c->err)
                               : server_open(&c->server, &c->err);
}

/* Gives the exit status. */
static int end(command *c, cama_err e)
{
    const int status = e ? server_fail(&c->err) : CLI_OK;
    server_close(c->server);
    buf_done(&c->out);
    arena_done(&c->arena);
    return status;
}

static cama_err print(buf *text, cama_error *err)
{
    const cama_err e = buf_error(text, "a table", err);
    return e || !text->n ? e : wrap_print_clean(text->data, text->n, err);
}

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* fails for an unknown clock only */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool models_is_file(const char *text)
{
    struct stat info;
    const size_t n = strlen(text);
    if (n > 5 && !strcasecmp(text + n - 5, ".gguf"))
        return true;
    if (*text == '/' || *text == '~' || !strncmp(text, "./", 2) || !strncmp(text, "../", 3))
        return true;
    return strchr(text, '/') && !stat(text, &info);
}

/* ---- list ---- */

static void list_row(const json_value *m, int64_t now, grid *g)
{
    char id[ID_CHARS + 1];
    char size[HUMAN_BYTES] = "-";
    char modified[HUMAN_BYTES] = "Never";
    int64_t when;
    (void)snprintf(id, sizeof id, "%s", json_text(m, "digest"));
    if (!*json_text(m, "remote_model"))
        (void)human_bytes((uint64_t)json_whole(m, "size"), size);
    if (human_parse_time(json_text(m, "modified_at"), &when))
        (void)human_time(when - now, modified);
    grid_row(g, (const char *const[]){json_text(m, "name"), id, size, modified}, 4);
}

static cama_err get(cli_server *s, const char *path, arena *a, json_value **out, cama_error *err)
{
    const server_call c = {.method = "GET", .path = path};
    return server_send(s, &c, a, out, NULL, err);
}

cama_err models_print_list(cli_server *s, const char *prefix, bool json, cama_error *err)
{
    arena a;
    buf out;
    grid g;
    json_value *reply = NULL;
    arena_init(&a, 4 * CLI_MAX_REPLY);
    buf_init(&out, CLI_MAX_REPLY);
    cama_err e = get(s, "/api/tags", &a, &reply, err);
    const json_value *list = json_get(reply, "models");
    grid_init(&g, &a, NULL);
    grid_row(&g, (const char *const[]){"NAME", "ID", "SIZE", "MODIFIED"}, 4);
    const size_t n = list && list->kind == JSON_ARRAY ? list->n : 0;
    for (size_t i = 0; !e && i < n; i++) {
        const char *name = json_text(list->items[i], "name");
        if (!prefix || !strncasecmp(name, prefix, strlen(prefix)))
            list_row(list->items[i], now_ms(), &g);
    }
    if (!e && json && reply) {
        (void)json_write(reply, &out); /* sticky, as all below */
        (void)buf_putc(&out, '\n');
    } else if (!e) {
        (void)grid_write(&g, &out);
    }
    if (!e)
        e = print(&out, err);
    buf_done(&out);
    arena_done(&a);
    return e;
}

int cli_list(cli_args *args)
{
    command c;
    cama_err e = begin(&c, args);
    if (!e)
        e = models_print_list(c.server, args->n_pos ? args->pos[0] : NULL, args->json, &c.err);
    return end(&c, e);
}

/* ---- ps ---- */

static void write_processor(int64_t size, int64_t on_gpu, char out[HUMAN_BYTES])
{
    if (!on_gpu) {
        (void)snprintf(out, HUMAN_BYTES, "100%% CPU");
    } else if (on_gpu == size) {
        (void)snprintf(out, HUMAN_BYTES, "100%% GPU");
    } else if (on_gpu > size || size <= 0) {
        (void)snprintf(out, HUMAN_BYTES, "Unknown");
    } else {
        const int cpu = (int)round((double)(size - on_gpu) / (double)size * 100);
        (void)snprintf(out, HUMAN_BYTES, "%d%%/%d%% CPU/GPU", cpu, 100 - cpu);
    }
}

/* Ours stands behind Ollama's columns; a server that says nothing of it gets no such column. */
static const char *engine_of(const json_value *m)
{
    return json_text(m, "engine");
}

static void ps_row(const json_value *m, bool with_engine, grid *g)
{
    char id[ID_CHARS + 1];
    char size[HUMAN_BYTES];
    char processor[HUMAN_BYTES];
    char context[HUMAN_BYTES];
    char until[HUMAN_BYTES] = "Never";
    int64_t when;
    const int64_t n = json_whole(m, "size");
    (void)snprintf(id, sizeof id, "%s", json_text(m, "digest"));
    (void)human_bytes((uint64_t)n, size);
    write_processor(n, json_whole(m, "size_vram"), processor);
    (void)snprintf(context, sizeof context, "%lld", (long long)json_whole(m, "context_length"));
    if (human_parse_time(json_text(m, "expires_at"), &when)) {
        const int64_t left = when - now_ms();
        if (left < 0)
            (void)snprintf(until, sizeof until, "Stopping...");
        else
            (void)human_time(left, until);
    }
    const char *const cells[] = {
        json_text(m, "name"),  id, size, processor, context, until, engine_of(m),
        json_text(m, "device")};
    grid_row(g, cells, with_engine ? 8 : 6);
}

/* Case counts here, where it does not in `list`. */
static bool is_wanted(const json_value *m, const char *prefix)
{
    return !prefix || !strncmp(json_text(m, "name"), prefix, strlen(prefix));
}

static void ps_table(const json_value *list, const char *prefix, grid *g)
{
    static const char *const header[] = {"NAME",    "ID",    "SIZE",   "PROCESSOR",
                                         "CONTEXT", "UNTIL", "ENGINE", "DEVICE"};
    const size_t n = list && list->kind == JSON_ARRAY ? list->n : 0;
    bool with_engine = false;
    for (size_t i = 0; i < n; i++)
        with_engine =
            with_engine || (is_wanted(list->items[i], prefix) && *engine_of(list->items[i]));
    grid_row(g, header, with_engine ? 8 : 6);
    for (size_t i = 0; i < n; i++) {
        if (is_wanted(list->items[i], prefix))
            ps_row(list->items[i], with_engine, g);
    }
}

int cli_ps(cli_args *args)
{
    command c;
    grid g;
    json_value *reply = NULL;
    cama_err e = begin(&c, args);
    if (!e)
        e = get(c.server, "/api/ps", &c.arena, &reply, &c.err);
    if (!e && args->json && reply) {
        (void)json_write(reply, &c.out); /* sticky */
        (void)buf_putc(&c.out, '\n');
    } else if (!e) {
        grid_init(&g, &c.arena, NULL);
        ps_table(json_get(reply, "models"), args->n_pos ? args->pos[0] : NULL, &g);
        (void)grid_write(&g, &c.out);
    }
    if (!e)
        e = print(&c.out, &c.err);
    return end(&c, e);
}

/* ---- show ---- */

cama_err models_show(cli_server *s, const char *name, bool verbose, arena *a, json_value **out,
                     cama_error *err)
{
    buf body;
    buf_init(&body, 1 << 20);
    (void)buf_puts(&body, "{\"model\":");
    (void)json_write_string(name, strlen(name), &body);
    (void)buf_printf(&body, ",\"verbose\":%s}", verbose ? "true" : "false");
    cama_err e = buf_error(&body, "a request", err);
    const server_call c = {.method = "POST", .path = "/api/show", .body = body.data};
    if (!e)
        e = server_send(s, &c, a, out, NULL, err);
    buf_done(&body);
    return e;
}

/* One text of the model; Ollama ends some with a line's end and some as they are. */
static void write_part(const cli_args *args, const json_value *reply, buf *out)
{
    const char *key = args->license      ? "license"
                      : args->modelfile  ? "modelfile"
                      : args->parameters ? "parameters"
                      : args->template_  ? "template"
                                         : "system";
    const char *text = json_text(reply, key);
    const bool as_it_is = args->template_ || args->show_system;
    const size_t n = strlen(text);
    (void)buf_append(out, text, n);
    if (!as_it_is || (n && text[n - 1] != '\n' && isatty(STDOUT_FILENO)))
        (void)buf_putc(out, '\n');
}

int cli_show_model(cli_args *args)
{
    const int n_part =
        args->license + args->modelfile + args->parameters + args->template_ + args->show_system;
    if (n_part > 1) {
        fprintf(stderr, "Error: " ONE_KIND "\n");
        return CLI_FAILED;
    }
    command c;
    json_value *reply = NULL;
    cama_err e = begin(&c, args);
    if (!e)
        e = models_show(c.server, args->pos[0], args->verbose, &c.arena, &reply, &c.err);
    if (!e && args->json && reply) {
        (void)json_write(reply, &c.out); /* sticky, as all below */
        (void)buf_putc(&c.out, '\n');
    } else if (!e && n_part) {
        write_part(args, reply, &c.out);
    } else if (!e) {
        (void)card_write(reply, args->verbose, &c.arena, &c.out);
    }
    if (!e)
        e = print(&c.out, &c.err);
    return end(&c, e);
}

/* ---- stop, cp, rm ---- */

cama_err models_load(cli_server *s, const char *name, const char *keep_alive, cama_error *err)
{
    arena a;
    buf body;
    json_value *reply;
    arena_init(&a, CLI_MAX_REPLY);
    buf_init(&body, 1 << 20);
    (void)buf_puts(&body, "{\"model\":");
    (void)json_write_string(name, strlen(name), &body);
    if (keep_alive)
        (void)buf_printf(&body, ",\"keep_alive\":%s", keep_alive);
    (void)buf_puts(&body, ",\"stream\":false}");
    cama_err e = buf_error(&body, "a request", err);
    const server_call c = {
        .method = "POST", .path = "/api/generate", .body = body.data, .interruptible = true};
    if (!e)
        e = server_send(s, &c, &a, &reply, NULL, err);
    buf_done(&body);
    arena_done(&a);
    return e;
}

int cli_stop(cli_args *args)
{
    command c;
    cama_err e = begin(&c, args);
    if (!e)
        e = models_load(c.server, args->pos[0], "0", &c.err);
    if (e == CAMA_ERR_NOT_FOUND)
        e = err_set(&c.err, e, "couldn't find model \"%s\" to stop", args->pos[0]);
    return end(&c, e);
}

int cli_cp(cli_args *args)
{
    command c;
    cama_err e = begin(&c, args);
    buf body;
    buf_init(&body, 1 << 20);
    (void)buf_puts(&body, "{\"source\":");
    (void)json_write_string(args->pos[0], strlen(args->pos[0]), &body);
    (void)buf_puts(&body, ",\"destination\":");
    (void)json_write_string(args->pos[1], strlen(args->pos[1]), &body);
    (void)buf_putc(&body, '}');
    if (!e)
        e = buf_error(&body, "a request", &c.err);
    const server_call call = {.method = "POST", .path = "/api/copy", .body = body.data};
    if (!e)
        e = server_send(c.server, &call, &c.arena, NULL, NULL, &c.err);
    if (!e) {
        (void)buf_printf(&c.out, "copied '%s' to '%s'\n", args->pos[0], args->pos[1]);
        e = print(&c.out, &c.err);
    }
    buf_done(&body);
    return end(&c, e);
}

static cama_err remove_one(command *c, const char *name)
{
    cama_error unloading;
    buf body;
    const cama_err stopped = models_load(c->server, name, "0", &unloading);
    if (stopped && stopped != CAMA_ERR_NOT_FOUND)
        fprintf(stderr, "Warning: unable to stop model '%s'\n", name);
    buf_init(&body, 1 << 20);
    cama_err e = server_body(&body, "model", name, &c->err);
    const server_call call = {.method = "DELETE", .path = "/api/delete", .body = body.data};
    if (!e)
        e = server_send(c->server, &call, &c->arena, NULL, NULL, &c->err);
    buf_done(&body);
    if (e)
        return e;
    buf_clear(&c->out);
    (void)buf_printf(&c->out, "deleted '%s'\n", name);
    return print(&c->out, &c->err);
}

int cli_rm(cli_args *args)
{
    command c;
    cama_err e = begin(&c, args);
    for (int i = 0; !e && i < args->n_pos; i++)
        e = remove_one(&c, args->pos[i]);
    return end(&c, e);
}

/* ---- version ---- */

/* `cama --version`: the level of Ollama's API that the server speaks stands where scripts look for
 * it; our own version behind it. */
int cli_server_version(void)
{
    command c;
    json_value *reply = NULL;
    cama_err e = begin(&c, NULL);
    if (!e)
        e = get(c.server, "/api/version", &c.arena, &reply, &c.err);
    const char *level = json_text(reply, "version");
    if (e)
        (void)buf_printf(&c.out, "Warning: could not connect to a running cama instance\n"
                                 "Warning: client version is " API_OLLAMA_VERSION "\n");
    else
        (void)buf_printf(&c.out, "cama version is %s\n", level);
    if (!e && strcmp(level, API_OLLAMA_VERSION) != 0)
        (void)buf_printf(&c.out, "Warning: client version is " API_OLLAMA_VERSION "\n");
    e = print(&c.out, &c.err);
    return end(&c, e);
}
