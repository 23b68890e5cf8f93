/* From the commands of a Modelfile to the members of a request. */
#include "cli/cli_create.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli_param.h"
#include "json/json.h"
#include "store/modelfile.h"
#include "wire/options.h"

#define MAX_REST ((size_t)64 << 20)
#define SHARD_BYTES 20 /* "-00001-of-00003.gguf" */

/* What commands add up to: single values, of which the last counts, and lists. */
typedef struct maker {
    create_plan *plan;
    const char *folder;
    arena *arena;
    cama_error *err;
    const char *template_, *system, *renderer, *parser, *requires_, *draft;
    buf licenses, messages, parameters, stops;
} maker;

static void put_string(const char *text, buf *out)
{
    (void)json_write_string(text, strlen(text), out); /* sticky, as all writing here */
}

/* ---- paths ---- */

/* "~/x" is in the home folder, what is relative is beside the Modelfile. */
static const char *expand(const maker *m, const char *path)
{
    const char *home = getenv("HOME");
    const bool tilde = path[0] == '~' && (path[1] == '/' || !path[1]) && home;
    const char *folder = tilde ? home : m->folder;
    const char *rest = tilde ? path + 1 + (path[1] == '/') : path;
    if (*path == '/')
        return path;
    const size_t n = strlen(folder) + strlen(rest) + 2;
    char *out = arena_take(m->arena, n);
    if (out)
        (void)snprintf(out, n, "%s/%s", folder, rest);
    return out;
}

static cama_err add_file(maker *m, const char *path, bool adapter)
{
    create_plan *p = m->plan;
    if (p->n_file == CREATE_MAX_FILE)
        return err_set(m->err, CAMA_ERR_LIMIT, "more than %d files", CREATE_MAX_FILE);
    const char *slash = strrchr(path, '/');
    p->files[p->n_file++] =
        (create_file){.path = path, .name = slash ? slash + 1 : path, .adapter = adapter};
    return CAMA_OK;
}

/* How many files NAME-00001-of-0000N.gguf says there are; 0: it is no first shard. */
static unsigned n_shard_of(const char *path)
{
    const size_t n = strlen(path);
    unsigned no = 0;
    unsigned n_shard = 0;
    int used = 0;
    if (n < SHARD_BYTES ||
        sscanf(path + n - SHARD_BYTES, "-%5u-of-%5u.gguf%n", &no, &n_shard, &used) != 2 ||
        used != SHARD_BYTES || no != 1)
        return 0;
    return n_shard;
}

/* A file, and with the first shard of a model all others beside it. */
static cama_err add_files(maker *m, const char *path, bool adapter)
{
    const size_t n = strlen(path);
    const unsigned n_shard = adapter ? 0 : n_shard_of(path);
    cama_err e = add_file(m, path, adapter);
    for (unsigned no = 2; no <= n_shard && !e; no++) {
        char *next = arena_copy(m->arena, path, n);
        if (!next)
            return err_set(m->err, CAMA_ERR_NOMEM, "no memory for '%s'", path);
        char digits[16];
        (void)snprintf(digits, sizeof digits, "%05u", no % 100000);
        memcpy(next + n - SHARD_BYTES + 1, digits, 5);
        e = add_file(m, next, false);
    }
    return e;
}

/* Files of the folder that the pattern finds, each once; *out_n gives how many. */
static cama_err add_found(maker *m, const char *folder, const char *pattern, size_t *out_n)
{
    glob_t found = {0};
    const size_t n = strlen(folder) + strlen(pattern) + 2;
    char *whole = arena_take(m->arena, n);
    if (!whole)
        return err_set(m->err, CAMA_ERR_NOMEM, "no memory for '%s'", folder);
    (void)snprintf(whole, n, "%s/%s", folder, pattern);
    cama_err e = CAMA_OK;
    const int missed = glob(whole, 0, NULL, &found);
    for (size_t i = 0; !missed && !e && i < found.gl_pathc; i++) {
        const char *path = arena_copy(m->arena, found.gl_pathv[i], strlen(found.gl_pathv[i]));
        e = path ? add_file(m, path, false)
                 : err_set(m->err, CAMA_ERR_NOMEM, "no memory for '%s'", folder);
    }
    *out_n = missed ? 0 : found.gl_pathc;
    globfree(&found);
    return e;
}

/* A folder in Hugging Face or MLX layout: its weights, and the texts that the server reads. Without
 * weights *out_n is 0, and nothing was added. */
static cama_err add_tensors(maker *m, const char *folder, size_t *out_n)
{
    static const char *const weights[] = {"model*.safetensors", "weights*.safetensors"};
    static const char *const texts[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                        "generation_config.json", "chat_template.jinja"};
    size_t n = 0;
    cama_err e = CAMA_OK;
    *out_n = 0;
    for (size_t i = 0; !e && !*out_n && i < sizeof weights / sizeof weights[0]; i++)
        e = add_found(m, folder, weights[i], out_n);
    for (size_t i = 0; !e && *out_n && i < sizeof texts / sizeof texts[0]; i++)
        e = add_found(m, folder, texts[i], &n);
    return e;
}

/* The GGUF of a folder, or the shards of the only one. Others must be named: which is meant? */
static cama_err add_folder(maker *m, const char *folder, bool adapter)
{
    size_t n_tensor_file = 0;
    const cama_err fail = adapter ? CAMA_OK : add_tensors(m, folder, &n_tensor_file);
    if (fail || n_tensor_file)
        return fail;
    glob_t found = {0};
    const size_t n = strlen(folder) + sizeof "/*.gguf";
    char *pattern = arena_take(m->arena, n);
    if (!pattern)
        return err_set(m->err, CAMA_ERR_NOMEM, "no memory for '%s'", folder);
    (void)snprintf(pattern, n, "%s/*.gguf", folder);
    cama_err e = CAMA_OK;
    if (glob(pattern, 0, NULL, &found) || !found.gl_pathc) {
        e = err_set(m->err, CAMA_ERR_NOT_FOUND, "no Modelfile or safetensors files found");
    } else if (found.gl_pathc > 1 && n_shard_of(found.gl_pathv[0]) != found.gl_pathc) {
        e = err_set(m->err, CAMA_ERR_ARG, "'%s' has %zu GGUF files: name one in FROM", folder,
                    (size_t)found.gl_pathc);
    } else {
        const char *path = arena_copy(m->arena, found.gl_pathv[0], strlen(found.gl_pathv[0]));
        e = path ? add_files(m, path, adapter)
                 : err_set(m->err, CAMA_ERR_NOMEM, "no memory for '%s'", folder);
    }
    globfree(&found);
    return e;
}

static cama_err add_source(maker *m, const char *value, bool adapter)
{
    struct stat info;
    const char *path = expand(m, value);
    if (!path)
        return err_set(m->err, CAMA_ERR_NOMEM, "no memory for '%s'", value);
    if (!stat(path, &info))
        return S_ISDIR(info.st_mode) ? add_folder(m, path, adapter) : add_files(m, path, adapter);
    if (adapter)
        return err_set(m->err, CAMA_ERR_NOT_FOUND, "cannot read '%s': %s", path, strerror(errno));
    m->plan->from = value; /* no file: a model's name */
    return CAMA_OK;
}

/* ---- parameters ---- */

static cama_err add_parameter(maker *m, const char *key, const char *value)
{
    const option_row *row = option_find(key, strlen(key));
    if (!row && option_is_retired(key, strlen(key))) {
        fprintf(stderr, "warning: parameter %s is deprecated\n", key);
        return CAMA_OK;
    }
    if (!row)
        return err_set(m->err, CAMA_ERR_ARG, "unknown parameter '%s'", key);
    if (row->type == OPTION_STRINGS) {
        (void)buf_puts(&m->stops, m->stops.n ? "," : "");
        put_string(value, &m->stops);
        return CAMA_OK;
    }
    (void)buf_puts(&m->parameters, m->parameters.n ? "," : "");
    put_string(key, &m->parameters);
    (void)buf_putc(&m->parameters, ':');
    return param_write(row, value, &m->parameters, m->err);
}

/* ---- commands ---- */

static cama_err add_command(maker *m, const modelfile_command *c)
{
    const struct {
        const char *name;
        const char **at;
    } single[] = {{"template", &m->template_}, {"system", &m->system},
                  {"renderer", &m->renderer},  {"parser", &m->parser},
                  {"requires", &m->requires_}, {"draft", &m->draft}};
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++) {
        if (!strcmp(c->name, single[i].name)) {
            *single[i].at = c->value;
            return CAMA_OK;
        }
    }
    if (!strcmp(c->name, "from") || !strcmp(c->name, "model"))
        return add_source(m, c->value, false);
    if (!strcmp(c->name, "adapter"))
        return add_source(m, c->value, true);
    if (!strcmp(c->name, "parameter"))
        return add_parameter(m, c->key, c->value);
    if (!strcmp(c->name, "license")) {
        (void)buf_puts(&m->licenses, m->licenses.n ? "," : "");
        put_string(c->value, &m->licenses);
    } else if (!strcmp(c->name, "message")) {
        (void)buf_puts(&m->messages, m->messages.n ? ",{\"role\":" : "{\"role\":");
        put_string(c->key, &m->messages);
        (void)buf_puts(&m->messages, ",\"content\":");
        put_string(c->value, &m->messages);
        (void)buf_putc(&m->messages, '}');
    }
    return CAMA_OK;
}

static void put_single(buf *out, const char *key, const char *value)
{
    if (!value)
        return;
    (void)buf_printf(out, ",\"%s\":", key);
    put_string(value, out);
}

static void put_list(buf *out, const char *key, const char *brackets, const buf *list)
{
    if (list->n)
        (void)buf_printf(out, ",\"%s\":%c%s%c", key, brackets[0], list->data, brackets[1]);
    if (list->fail && !out->fail)
        out->fail = list->fail;
}

static cama_err finish(maker *m)
{
    buf *out = &m->plan->rest;
    if (m->stops.n)
        (void)buf_printf(&m->parameters, "%s\"stop\":[%s]", m->parameters.n ? "," : "",
                         m->stops.data);
    if (m->stops.fail && !out->fail)
        out->fail = m->stops.fail;
    put_single(out, "template", m->template_);
    put_single(out, "system", m->system);
    put_single(out, "renderer", m->renderer);
    put_single(out, "parser", m->parser);
    put_single(out, "requires", m->requires_);
    put_single(out, "draft", m->draft);
    put_list(out, "license", "[]", &m->licenses);
    put_list(out, "messages", "[]", &m->messages);
    put_list(out, "parameters", "{}", &m->parameters);
    return buf_error(out, "the Modelfile", m->err);
}

cama_err create_plan_make(const char *text, size_t n, const char *folder, arena *a,
                          create_plan *out, cama_error *err)
{
    modelfile file;
    maker m = {.plan = out, .folder = folder, .arena = a, .err = err};
    *out = (create_plan){0};
    buf *const lists[] = {&out->rest, &m.licenses, &m.messages, &m.parameters, &m.stops};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        buf_init(lists[i], MAX_REST);
    cama_err e = modelfile_parse(text, n, a, &file, err);
    for (size_t i = 0; !e && i < file.n; i++)
        e = add_command(&m, &file.commands[i]);
    if (!e)
        e = finish(&m);
    for (size_t i = 1; i < sizeof lists / sizeof lists[0]; i++)
        buf_done(lists[i]);
    if (e)
        create_plan_done(out);
    return e;
}

void create_plan_done(create_plan *p)
{
    buf_done(&p->rest);
}

static void put_files(const create_plan *p, bool adapter, buf *out)
{
    bool any = false;
    for (size_t i = 0; i < p->n_file; i++) {
        const create_file *f = &p->files[i];
        if (f->adapter != adapter)
            continue;
        (void)buf_puts(out, any ? "," : adapter ? ",\"adapters\":{" : ",\"files\":{");
        put_string(f->name, out);
        (void)buf_putc(out, ':');
        put_string(f->digest, out);
        any = true;
    }
    if (any)
        (void)buf_putc(out, '}');
}

cama_err create_plan_body(const create_plan *p, const char *name, const char *quantize, buf *out,
                          cama_error *err)
{
    (void)buf_puts(out, "{\"model\":");
    put_string(name, out);
    put_single(out, "from", p->from);
    put_files(p, false, out);
    put_files(p, true, out);
    put_single(out, "quantize", quantize);
    (void)buf_append(out, p->rest.data ? p->rest.data : "", p->rest.n);
    (void)buf_putc(out, '}');
    return buf_error(out, "the request", err);
}
