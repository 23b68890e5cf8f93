/* `cama show`: what a file says about itself. */
#include "cli/cli_int.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli_models.h"
#include "cli/cli_wrap.h"
#include "json/json.h"

#define SHOW_MEMORY ((size_t)4 << 30)

static cama_err print_text(cama_err e, char *text, cama_error *err)
{
    if (e)
        return e;
    const size_t n = strlen(text);
    e = wrap_print_clean(text, n, err);
    if (!e && n && text[n - 1] != '\n')
        e = cli_print("\n", 1, err);
    cama_free(text);
    return e;
}

static void write_summary(const cama_model *m, buf *out)
{
    cama_info i;
    cama_model_info(m, &i, sizeof i);
    char size[32];
    cli_format_bytes(i.file_bytes, size, sizeof size);
    (void)buf_printf(out, "  Model\n");
    (void)buf_printf(out, "    architecture        %s\n", i.arch);
    if (*i.name)
        (void)buf_printf(out, "    name                %s\n", i.name);
    if (i.n_param)
        (void)buf_printf(out, "    parameters          %.2fM\n", (double)i.n_param / 1e6);
    if (i.n_ctx_train)
        (void)buf_printf(out, "    context length      %u\n", i.n_ctx_train);
    if (i.n_embd)
        (void)buf_printf(out, "    embedding length    %u\n", i.n_embd);
    if (i.n_layer)
        (void)buf_printf(out, "    layers              %u\n", i.n_layer);
    if (i.n_head)
        (void)buf_printf(out, "    heads               %u, %u of keys and values\n", i.n_head,
                         i.n_head_kv);
    if (i.n_expert)
        (void)buf_printf(out, "    experts             %u, %u used\n", i.n_expert, i.n_expert_used);
    (void)buf_printf(out, "    vocabulary          %u\n", i.n_vocab);
    if (*i.weight_type)
        (void)buf_printf(out, "    weights             mostly %s\n", i.weight_type);
    (void)buf_printf(out, "    file                %s\n", size);
    (void)buf_printf(out, "    chat template       %s\n", i.has_template ? "yes" : "no");
    if (strcmp(i.pooling, "none") != 0)
        (void)buf_printf(out, "    pooling             %s\n", i.pooling);
}

static void write_value(const json_value *v, buf *out)
{
    enum { MAX_LINE = 100 };
    if (v->kind == JSON_STRING) {
        const size_t n = strcspn(v->text, "\n");
        const bool cut = n < v->n || n > MAX_LINE;
        (void)buf_append(out, v->text, n < MAX_LINE ? n : MAX_LINE);
        if (cut)
            (void)buf_puts(out, "...");
        return;
    }
    (void)json_write(v, out);
}

static void write_metadata(const json_value *description, buf *out)
{
    const json_value *o = json_get(description, "metadata");
    (void)buf_puts(out, "\n  Metadata\n");
    for (size_t i = 0; o && i < o->n; i++) {
        (void)buf_printf(out, "    %-42s ", o->members[i].key);
        write_value(o->members[i].value, out);
        (void)buf_putc(out, '\n');
    }
}

static void write_tensors(const json_value *description, buf *out)
{
    const json_value *list = json_get(description, "tensors");
    (void)buf_puts(out, "\n  Tensors\n");
    for (size_t i = 0; list && i < list->n; i++) {
        const json_value *t = list->items[i];
        (void)buf_printf(out, "    %-34s %-8s ", json_get(t, "name")->text,
                         json_get(t, "type")->text);
        (void)json_write(json_get(t, "shape"), out);
        (void)buf_putc(out, '\n');
    }
}

static cama_err show_text(const cli_args *args, const cama_model *m, const char *json,
                          cama_error *err)
{
    arena a;
    arena_init(&a, SHOW_MEMORY);
    buf out;
    buf_init(&out, SHOW_MEMORY);
    json_value *description;
    cama_err e = json_parse(json, strlen(json), &a, &description, err);
    if (!e) {
        write_summary(m, &out);
        write_metadata(description, &out);
        if (args->tensors)
            write_tensors(description, &out);
        e = buf_error(&out, "the description", err);
    }
    if (!e)
        e = wrap_print_clean(out.data, out.n, err);
    buf_done(&out);
    arena_done(&a);
    return e;
}

static cama_err show(const cli_args *args, const cama_model *m, cama_error *err)
{
    char *text = NULL;
    cama_err e;
    if (args->plan) {
        e = cama_model_plan(m, &text, err);
        return print_text(e, text, err);
    }
    if (args->template_) {
        e = cama_model_template(m, &text, err);
        return print_text(e, text, err);
    }
    e = cama_model_json(m, args->tensors ? CAMA_JSON_TENSORS : 0, &text, err);
    if (args->json)
        return print_text(e, text, err);
    if (!e) {
        e = show_text(args, m, text, err);
        cama_free(text);
    }
    return e;
}

int cli_show(cli_args *args)
{
    if (!models_is_file(args->pos[0]))
        return cli_show_model(args);
    cama_error err;
    cama_model *m = NULL;
    cama_err e = cli_open(args, CAMA_OPEN_FILE, &m, &err);
    if (!e)
        e = show(args, m, &err);
    cama_model_close(m);
    return e ? cli_fail(&err) : CLI_OK;
}
