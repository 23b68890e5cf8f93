/* `cama verify`: two engines on one model, token by token, and whether they compute the same. */
#include "cli/cli_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli_grid.h"
#include "cli/cli_models.h"
#include "cli/cli_progress.h"
#include "cli/cli_wrap.h"

#define DIFFERENT 1 /* exit statuses of this command; 0: equal */
#define NOT_COMPARED 2
#define NAME_CHARS 32
#define MEMORY ((size_t)256 << 20)

/* ---- options ---- */

static bool is_given(const cli_args *args, size_t offset)
{
    for (size_t i = 0; i < cli_n_option; i++) {
        if (args->given[i] && cli_options[i].offset == offset)
            return true;
    }
    return false;
}

/* "native,mlx" into two names, which live in the arena. */
static cama_err take_engines(const char *text, arena *a, cama_verify_opts *o, cama_error *err)
{
    const size_t n = strcspn(text, ",");
    const char *rest = text[n] ? text + n + 1 : "";
    if (!n || !*rest || strchr(rest, ',') || n >= NAME_CHARS || strlen(rest) >= NAME_CHARS)
        return err_set(err, CAMA_ERR_ARG, "--engines is '%s', must be two names: native,mlx", text);
    o->engines[0] = arena_copy(a, text, n);
    o->engines[1] = arena_copy(a, rest, strlen(rest));
    return o->engines[0] && o->engines[1]
               ? CAMA_OK
               : err_set(err, CAMA_ERR_NOMEM, "no memory for names of engines");
}

static cama_err take_args(const cli_args *args, arena *a, cama_verify_opts *o, cama_error *err)
{
    cama_verify_opts_init(o, sizeof *o);
    o->n_token = args->n_token;
    o->n_thread = args->model.n_thread;
    o->max_bytes = args->model.max_bytes;
    o->device = cli_device(args);
    o->prompt = args->prompt;
    if (is_given(args, offsetof(cli_args, max_diff)))
        o->max_diff = (double)args->max_diff;
    if (is_given(args, offsetof(cli_args, max_kl)))
        o->max_kl = (double)args->max_kl;
    if (is_given(args, offsetof(cli_args, min_agree)))
        o->min_agree = (double)args->min_agree;
    if (is_given(args, offsetof(cli_args, activations)))
        o->activations = (cama_activations)args->activations;
    return args->engines ? take_engines(args->engines, a, o, err) : CAMA_OK;
}

/* ---- progress ---- */

typedef struct watch {
    cli_progress progress;
    char what[32];
} watch;

static bool on_step(void *user, const char *what, uint32_t done, uint32_t all)
{
    watch *w = user;
    if (strcmp(w->what, what) != 0) {
        (void)snprintf(w->what, sizeof w->what, "%s", what);
        progress_step(&w->progress, what);
    }
    progress_share(&w->progress, done, all);
    return !cli_interrupted();
}

/* ---- the report, for people ---- */

static double number(const json_value *object, const char *key)
{
    const json_value *v = json_get(object, key);
    return v && (v->kind == JSON_INT || v->kind == JSON_FLOAT) ? v->number : 0;
}

static const json_value *engine_at(const json_value *report, size_t i)
{
    const json_value *list = json_get(report, "engines");
    return list && i < list->n ? list->items[i] : NULL;
}

static void write_engines(const json_value *report, buf *out)
{
    for (size_t i = 0; i < 2; i++) {
        const json_value *e = engine_at(report, i);
        const char *note = json_text(e, "note");
        (void)buf_printf(out, "%-8s %s; %s; %s activations, KV %s; %.1f s\n", json_text(e, "name"),
                         json_text(e, "version"), json_text(e, "device"),
                         json_text(e, "activations"), json_text(e, "kv_type"),
                         number(e, "spent_ns") / 1e9);
        if (*note)
            (void)buf_printf(out, "         %s\n", note);
    }
}

/* One type of tensors: how each engine holds them. */
typedef struct type_row {
    const char *type;
    uint64_t n_tensor; /* as the first engine has them */
    uint64_t bytes[2];
    buf forms[2];
} type_row;

#define MAX_TYPE 64

static void add_form(type_row *r, size_t i, const json_value *form)
{
    char text[96];
    (void)snprintf(text, sizeof text, "%.64s, %s", json_text(form, "form"),
                   json_true(form, "exact") ? "exact" : "NOT EXACT");
    r->bytes[i] += (uint64_t)json_whole(form, "bytes");
    if (i == 0)
        r->n_tensor += (uint64_t)json_whole(form, "n");
    if (r->forms[i].data && strstr(r->forms[i].data, text))
        return;
    (void)buf_printf(&r->forms[i], "%s%s", r->forms[i].n ? "; " : "", text);
}

static size_t gather_types(const json_value *report, type_row rows[MAX_TYPE])
{
    size_t n = 0;
    for (size_t i = 0; i < 2; i++) {
        const json_value *forms = json_get(engine_at(report, i), "forms");
        for (size_t k = 0; forms && k < forms->n; k++) {
            const char *type = json_text(forms->items[k], "type");
            size_t at = 0;
            while (at < n && strcmp(rows[at].type, type) != 0)
                at++;
            if (at == MAX_TYPE)
                continue;
            if (at == n) {
                rows[n] = (type_row){.type = type};
                buf_init(&rows[n].forms[0], 4096);
                buf_init(&rows[n++].forms[1], 4096);
            }
            add_form(&rows[at], i, forms->items[k]);
        }
    }
    return n;
}

/* The second one's bytes are told where they are others. */
static const char *second_cell(type_row *r)
{
    char bytes[32];
    if (!r->forms[1].n)
        return "-";
    cli_format_bytes(r->bytes[1], bytes, sizeof bytes);
    if (r->bytes[1] != r->bytes[0])
        (void)buf_printf(&r->forms[1], " (%s)", bytes);
    return r->forms[1].data;
}

static void write_types(const json_value *report, arena *a, buf *out)
{
    type_row rows[MAX_TYPE];
    const size_t n = gather_types(report, rows);
    const char *const names[] = {json_text(engine_at(report, 0), "name"),
                                 json_text(engine_at(report, 1), "name")};
    grid g;
    grid_init(&g, a, NULL);
    grid_row(&g, (const char *const[]){"TYPE", "TENSORS", "BYTES", names[0], names[1]}, 5);
    for (size_t i = 0; i < n; i++) {
        char n_tensor[24];
        char bytes[32];
        (void)snprintf(n_tensor, sizeof n_tensor, "%llu", (unsigned long long)rows[i].n_tensor);
        cli_format_bytes(rows[i].bytes[0], bytes, sizeof bytes);
        grid_row(&g,
                 (const char *const[]){rows[i].type, n_tensor, bytes,
                                       rows[i].forms[0].n ? rows[i].forms[0].data : "-",
                                       second_cell(&rows[i])},
                 5);
        buf_done(&rows[i].forms[0]);
        buf_done(&rows[i].forms[1]);
    }
    (void)buf_putc(out, '\n');
    (void)grid_write(&g, out);
    (void)buf_putc(out, '\n');
}

static void write_divergence(const json_value *report, const json_value *first, buf *out)
{
    const json_value *choices = json_get(first, "choices");
    (void)buf_printf(out, "         first difference at token %lld:\n",
                     (long long)json_whole(first, "position"));
    for (size_t i = 0; choices && i < choices->n && i < 2; i++) {
        const json_value *c = choices->items[i];
        const char *text = json_text(c, "text");
        (void)buf_printf(out, "           %-8s chose %lld ", json_text(c, "engine"),
                         (long long)json_whole(c, "token"));
        (void)json_write_string(text, strlen(text), out);
        (void)buf_printf(out, " (%.6g) over %s's (%.6g)\n", number(c, "logit"),
                         json_text(engine_at(report, 1 - i), "name"), number(c, "logit_of_other"));
    }
}

static void write_answers(const json_value *report, buf *out)
{
    const json_value *l = json_get(report, "logits");
    const json_value *g = json_get(report, "greedy");
    const json_value *first = json_get(g, "first_divergence");
    (void)buf_printf(out,
                     "logits   %lld positions: differ by at most %.3g (%.3g of the row's largest; "
                     "largest %.4g), by %.3g on average\n",
                     (long long)json_whole(l, "positions"), number(l, "max_abs"),
                     number(l, "max_diff"), number(l, "largest"), number(l, "mean_abs"));
    if (json_whole(l, "not_finite"))
        (void)buf_printf(out, "         %lld numbers are not finite on one engine\n",
                         (long long)json_whole(l, "not_finite"));
    (void)buf_printf(out, "KL       at most %.3g nats, %.3g on average\n", number(l, "max_kl"),
                     number(l, "mean_kl"));
    (void)buf_printf(out, "greedy   %lld of %lld tokens equal behind the same text\n",
                     (long long)json_whole(g, "equal"), (long long)json_whole(g, "tokens"));
    if (first)
        write_divergence(report, first, out);
    if (json_get(g, "equal_alone"))
        (void)buf_printf(out, "alone    the first %lld of %lld tokens equal, each by itself\n",
                         (long long)json_whole(g, "equal_alone"),
                         (long long)json_whole(g, "tokens"));
}

static void write_vectors(const json_value *v, buf *out)
{
    (void)buf_printf(out, "vectors  %lld texts: cosine at least %.9f, differ by at most %.3g\n",
                     (long long)json_whole(v, "texts"), number(v, "min_cosine"),
                     number(v, "max_diff"));
}

static void write_verdict(const json_value *report, buf *out)
{
    const json_value *l = json_get(report, "limits");
    const char *why = json_text(report, "why");
    (void)buf_printf(out, "\n%s%s%s; limits: --threshold %.3g", json_text(report, "verdict"),
                     *why ? ": " : "", why, number(l, "max_diff"));
    if (json_get(l, "max_kl"))
        (void)buf_printf(out, " --kl %.3g --agree %.3g", number(l, "max_kl"),
                         number(l, "min_agree"));
    (void)buf_putc(out, '\n');
}

static cama_err write_report(const char *text, arena *a, buf *out, cama_error *err)
{
    json_value *report = NULL;
    const cama_err e = json_parse(text, strlen(text), a, &report, err);
    if (e)
        return e;
    const json_value *vectors = json_get(report, "vectors");
    write_engines(report, out);
    write_types(report, a, out);
    if (vectors)
        write_vectors(vectors, out);
    else
        write_answers(report, out);
    write_verdict(report, out);
    return buf_error(out, "the report", err);
}

static cama_err print_report(const char *text, bool json, arena *a, cama_error *err)
{
    buf out;
    buf_init(&out, MEMORY);
    cama_err e;
    if (json) {
        (void)buf_printf(&out, "%s\n", text);
        e = buf_error(&out, "the report", err);
    } else {
        e = write_report(text, a, &out, err);
    }
    if (!e)
        e = wrap_print_clean(out.data, out.n, err);
    buf_done(&out);
    return e;
}

static cama_err verify(cli_args *args, arena *a, bool *out_equal, cama_error *err)
{
    cama_verify_opts o;
    watch w = {.what = ""};
    char *report = NULL;
    cama_err e = models_is_file(args->pos[0]) ? CAMA_OK : cli_find_file(args, a, err);
    if (!e)
        e = take_args(args, a, &o, err);
    if (e)
        return e;
    o.on_step = on_step;
    o.on_warning = cli_warning;
    o.user = &w;
    progress_init(&w.progress);
    cli_catch_interrupt(true);
    e = cama_verify(args->pos[0], &o, out_equal, &report, err);
    cli_release_interrupt();
    progress_end(&w.progress);
    if (!e)
        e = print_report(report, args->json, a, err);
    cama_free(report);
    return e;
}

int cli_verify(cli_args *args)
{
    arena a;
    cama_error err;
    bool equal = false;
    arena_init(&a, MEMORY);
    const cama_err e = verify(args, &a, &equal, &err);
    int status = equal ? CLI_OK : DIFFERENT;
    if (e) {
        status = cli_fail(&err);
        status = status == CLI_FAILED ? NOT_COMPARED : status;
    }
    arena_done(&a);
    return status;
}
