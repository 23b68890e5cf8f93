#include "cli/cli_card.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/human.h"
#include "cli/cli_grid.h"
#include "cli/cli_server.h"

#define ARRAY_WIDTH 10 /* columns that an array's first elements may take, about */
#define TEXT_LINES 2   /* of the system message and the license */

typedef struct card {
    const json_value *reply;
    arena *arena;
    buf *out;
} card;

static void row2(grid *g, const char *name, const char *value)
{
    grid_row(g, (const char *const[]){name, value}, 2);
}

static void number_row(grid *g, const char *name, const json_value *v)
{
    char text[HUMAN_BYTES];
    if (!v || (v->kind != JSON_INT && v->kind != JSON_FLOAT))
        return;
    (void)snprintf(text, sizeof text, "%.0f", v->number);
    row2(g, name, text);
}

static void count_row(grid *g, const char *name, const json_value *v)
{
    char text[HUMAN_BYTES];
    if (!v || (v->kind != JSON_INT && v->kind != JSON_FLOAT) || v->number < 0)
        return;
    (void)human_number((uint64_t)v->number, text);
    row2(g, name, text);
}

/* A member of info whose key begins with the architecture: "llama.context_length". */
static const json_value *of_arch(const json_value *info, const char *arch, const char *what)
{
    char key[160];
    if (snprintf(key, sizeof key, "%s.%s", arch, what) >= (int)sizeof key)
        return NULL;
    return json_get(info, key);
}

/* ---- sections ---- */

static void write_model(const card *c)
{
    const json_value *info = json_get(c->reply, "model_info");
    const json_value *details = json_get(c->reply, "details");
    const char *arch =
        info ? json_text(info, "general.architecture") : json_text(details, "family");
    grid g;
    grid_init(&g, c->arena, "Model");
    const struct {
        const char *name, *value;
    } remote[] = {{"Remote model", json_text(c->reply, "remote_model")},
                  {"Remote URL", json_text(c->reply, "remote_host")}};
    for (size_t i = 0; i < 2; i++) {
        if (*remote[i].value)
            row2(&g, remote[i].name, remote[i].value);
    }
    if (*arch)
        row2(&g, "architecture", arch);
    if (*json_text(details, "parameter_size"))
        row2(&g, "parameters", json_text(details, "parameter_size"));
    else
        count_row(&g, "parameters", json_get(info, "general.parameter_count"));
    number_row(&g, "context length", of_arch(info, arch, "context_length"));
    number_row(&g, "embedding length", of_arch(info, arch, "embedding_length"));
    row2(&g, "quantization", json_text(details, "quantization_level"));
    if (*json_text(c->reply, "requires"))
        row2(&g, "requires", json_text(c->reply, "requires"));
    (void)grid_write(&g, c->out); /* sticky, here and below */
}

static void write_capabilities(const card *c)
{
    const json_value *list = json_get(c->reply, "capabilities");
    grid g;
    grid_init(&g, c->arena, "Capabilities");
    for (size_t i = 0; list && list->kind == JSON_ARRAY && i < list->n; i++) {
        if (list->items[i]->kind == JSON_STRING)
            grid_row(&g, &list->items[i]->text, 1);
    }
    (void)grid_write(&g, c->out);
}

static void write_projector(const card *c)
{
    const json_value *info = json_get(c->reply, "projector_info");
    grid g;
    grid_init(&g, c->arena, "Projector");
    if (info && info->kind == JSON_OBJECT) {
        const char *arch = json_text(info, "general.architecture");
        row2(&g, "architecture", arch);
        count_row(&g, "parameters", json_get(info, "general.parameter_count"));
        number_row(&g, "embedding length", of_arch(info, arch, "vision.embedding_length"));
        number_row(&g, "dimensions", of_arch(info, arch, "vision.projection_dim"));
    }
    (void)grid_write(&g, c->out);
}

/* The words of a line, in place. */
static size_t cut_words(char *line, const char *words[GRID_MAX_COLUMN])
{
    size_t n = 0;
    char *rest = NULL;
    for (char *w = strtok_r(line, " \t\r", &rest); w && n < GRID_MAX_COLUMN;
         w = strtok_r(NULL, " \t\r", &rest))
        words[n++] = w;
    return n;
}

static void write_parameters(const card *c)
{
    const char *text = json_text(c->reply, "parameters");
    char *copy = arena_copy(c->arena, text, strlen(text));
    grid g;
    grid_init(&g, c->arena, "Parameters");
    g.failed = !copy;
    char *rest = NULL;
    for (char *line = copy ? strtok_r(copy, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        const char *words[GRID_MAX_COLUMN];
        const size_t n = cut_words(line, words);
        if (n)
            grid_row(&g, words, n);
    }
    (void)grid_write(&g, c->out);
}

/* ---- metadata ---- */

static void put_value(const json_value *v, buf *out)
{
    char text[HUMAN_BYTES];
    if (v->kind == JSON_STRING) {
        (void)buf_append(out, v->text, v->n);
    } else if (v->kind == JSON_INT || v->kind == JSON_FLOAT) {
        (void)human_float(v->number, text);
        (void)buf_puts(out, text);
    } else if (v->kind == JSON_BOOL) {
        (void)buf_puts(out, v->boolean ? "true" : "false");
    } else if (v->kind == JSON_NULL) {
        (void)buf_puts(out, "<nil>"); /* as Ollama has it */
    } else {
        (void)json_write(v, out);
    }
}

/* As many elements as fit, and how many more there are: "[3 3 3 ...+49149 more]". */
static void put_array(const json_value *v, buf *out)
{
    size_t width = 1;
    size_t i = 0;
    (void)buf_putc(out, '[');
    for (; i < v->n; i++) {
        buf item;
        buf_init(&item, CLI_MAX_REPLY);
        put_value(v->items[i], &item);
        const size_t n = grid_width(item.data ? item.data : "") + (i ? 2 : 0);
        const bool fits = i == 0 || width + n <= ARRAY_WIDTH;
        width += n;
        if (fits)
            (void)buf_printf(out, "%s%s", i ? " " : "", item.data ? item.data : "");
        if (item.fail && !out->fail)
            out->fail = item.fail;
        buf_done(&item);
        if (!fits)
            break;
    }
    if (i < v->n)
        (void)buf_printf(out, " ...+%zu more", v->n - i);
    (void)buf_putc(out, ']');
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const json_member *)a)->key, ((const json_member *)b)->key);
}

static void write_metadata(const card *c)
{
    const json_value *info = json_get(c->reply, "model_info");
    grid g;
    grid_init(&g, c->arena, "Metadata");
    const size_t n = info && info->kind == JSON_OBJECT ? info->n : 0;
    json_member *sorted = arena_take_array(c->arena, n + 1, sizeof *sorted);
    g.failed = !sorted;
    if (sorted && n) {
        memcpy(sorted, info->members, n * sizeof *sorted);
        qsort(sorted, n, sizeof *sorted, by_key);
    }
    for (size_t i = 0; sorted && i < n; i++) {
        buf value;
        buf_init(&value, CLI_MAX_REPLY);
        if (sorted[i].value->kind == JSON_ARRAY)
            put_array(sorted[i].value, &value);
        else
            put_value(sorted[i].value, &value);
        row2(&g, sorted[i].key, value.data ? value.data : "");
        g.failed = g.failed || value.fail;
        buf_done(&value);
    }
    (void)grid_write(&g, c->out);
}

static void write_tensors(const card *c)
{
    const json_value *list = json_get(c->reply, "tensors");
    grid g;
    grid_init(&g, c->arena, "Tensors");
    for (size_t i = 0; list && list->kind == JSON_ARRAY && i < list->n; i++) {
        const json_value *shape = json_get(list->items[i], "shape");
        buf text;
        buf_init(&text, 4096);
        (void)buf_putc(&text, '[');
        for (size_t j = 0; shape && shape->kind == JSON_ARRAY && j < shape->n; j++) {
            (void)buf_puts(&text, j ? " " : "");
            put_value(shape->items[j], &text);
        }
        (void)buf_putc(&text, ']');
        grid_row(&g,
                 (const char *const[]){json_text(list->items[i], "name"),
                                       json_text(list->items[i], "type"),
                                       text.data ? text.data : ""},
                 3);
        g.failed = g.failed || text.fail;
        buf_done(&text);
    }
    (void)grid_write(&g, c->out);
}

/* ---- texts ---- */

/* The first lines that are not empty. */
static void write_text(const card *c, const char *title, const char *key)
{
    const char *text = json_text(c->reply, key);
    char *copy = arena_copy(c->arena, text, strlen(text));
    grid g;
    grid_init(&g, c->arena, title);
    g.failed = !copy;
    size_t n = 0;
    char *rest = NULL;
    for (char *line = copy ? strtok_r(copy, "\n", &rest) : NULL; line && n <= TEXT_LINES;
         line = strtok_r(NULL, "\n", &rest)) {
        line += strspn(line, " \t\r");
        size_t length = strlen(line);
        while (length && strchr(" \t\r", line[length - 1]))
            line[--length] = '\0';
        if (length)
            grid_row(&g, &(const char *){n++ < TEXT_LINES ? line : "..."}, 1);
    }
    (void)grid_write(&g, c->out);
}

/* Of a loaded model as the engine holds them; else as the file does. */
static void write_weights(const card *c)
{
    const json_value *forms = json_get(c->reply, "forms");
    const json_value *types = json_get(json_get(c->reply, "cama"), "types");
    const json_value *list = forms ? forms : types;
    grid g;
    grid_init(&g, c->arena, "Weights");
    for (size_t i = 0; list && list->kind == JSON_ARRAY && i < list->n; i++) {
        const json_value *f = list->items[i];
        char n[HUMAN_BYTES];
        char bytes[HUMAN_BYTES];
        (void)snprintf(n, sizeof n, "%lld", (long long)json_whole(f, "n"));
        (void)human_bytes((uint64_t)json_whole(f, "bytes"), bytes);
        if (forms)
            grid_row(&g,
                     (const char *const[]){json_text(f, "role"), json_text(f, "type"), n, bytes,
                                           json_text(f, "form"),
                                           json_true(f, "exact") ? "exact" : "not exact"},
                     6);
        else
            grid_row(&g, (const char *const[]){json_text(f, "type"), n, bytes}, 3);
    }
    (void)grid_write(&g, c->out);
}

/* Ours, behind Ollama's: how the model runs here. */
static void write_engine(const card *c)
{
    const json_value *ours = json_get(c->reply, "cama");
    const bool runs = *json_text(c->reply, "engine") != '\0';
    const struct {
        const char *name, *value;
    } rows[] = {{"engine", json_text(runs ? c->reply : ours, "engine")},
                {"version", json_text(c->reply, "engine_version")},
                {"device", json_text(runs ? c->reply : ours, "device")},
                {"why", json_text(c->reply, "why")},
                {"note", json_text(c->reply, "note")},
                {"fallback", json_text(c->reply, "fallback")},
                {"template", json_text(ours, "template")}};
    grid g;
    grid_init(&g, c->arena, "Engine");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (*rows[i].value)
            row2(&g, rows[i].name, rows[i].value);
    }
    (void)grid_write(&g, c->out);
}

cama_err card_write(const json_value *reply, bool verbose, arena *a, buf *out)
{
    const card c = {.reply = reply, .arena = a, .out = out};
    write_model(&c);
    write_capabilities(&c);
    write_projector(&c);
    write_parameters(&c);
    if (verbose) {
        write_metadata(&c);
        write_tensors(&c);
    }
    write_text(&c, "System", "system");
    write_text(&c, "License", "license");
    write_engine(&c);
    write_weights(&c);
    return out->fail;
}
