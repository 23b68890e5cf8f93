/* Options of a request and PARAMETERs of a model -> every option resolved, for the head of a job.
 * What nobody knows, and what has no effect here, becomes a warning.
 */
#include "api/api_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "wire/options.h"

#define MAX_WARNINGS 64

/* Words of ours only: what comes up the wire goes into a header. */
static bool is_code(const char *code)
{
    for (const char *p = code; *p; p++) {
        if (*p != '_' && (*p < 'a' || *p > 'z'))
            return false;
    }
    return *code != '\0';
}

static void note_code(api_warnings *w, const char *code)
{
    const size_t n = strlen(w->codes);
    if (!is_code(code) || strstr(w->codes, code) || n + strlen(code) + 3 > sizeof w->codes)
        return; /* the list in the body has them all */
    (void)snprintf(w->codes + n, sizeof w->codes - n, "%s%s", n ? ", " : "", code);
}

void api_warn(api_warnings *w, const char *code, const char *fmt, ...)
{
    err_info text;
    va_list args;
    if (w->n >= MAX_WARNINGS)
        return;
    va_start(args, fmt);
    (void)err_vset(&text, CAMA_ERR_ARG, fmt, args);
    va_end(args);
    api_writer j = {.out = &w->list, .comma = w->n > 0};
    api_open(&j, NULL, '{');
    api_put_str(&j, "code", code);
    api_put_str(&j, "text", text.text);
    api_close(&j, '}');
    note_code(w, code);
    if (w->n++ == 0)
        memcpy(w->first, text.text, sizeof w->first);
}

void api_warn_json(api_warnings *w, const json_value *head)
{
    if (w->n >= MAX_WARNINGS)
        return;
    api_writer j = {.out = &w->list, .comma = w->n > 0};
    api_put_json(&j, NULL, head);
    note_code(w, api_text(json_get(head, "code")));
    w->n++;
}

void api_log_warnings(const api *a, const char *model, const api_warnings *w)
{
    if (!a->log || w->n == 0 || !w->list.data)
        return;
    err_info line; /* cut where a line of the log may end */
    (void)err_set(&line, CAMA_OK, "%.128s: answered with warnings: %s", model, w->list.data);
    a->log(a->user, POOL_WARN_LEVEL, line.text);
}

/* In range of an int64_t, towards zero, as Go's conversion of what JSON brings. */
static int64_t whole(const json_value *v)
{
    if (v->kind == JSON_INT)
        return v->integer;
    if (!(fabs(v->number) < 9.2e18))
        return v->number < 0 ? INT64_MIN : INT64_MAX;
    return (int64_t)v->number;
}

static const json_value *value_in(const json_value *object, const char *name)
{
    const json_value *v = json_get(object, name);
    return v && v->kind != JSON_NULL ? v : NULL;
}

static cama_err put_strings(api_writer *w, const option_row *row, const json_value *v,
                            err_info *err)
{
    for (size_t i = 0; v && i < v->n; i++) {
        if (v->items[i]->kind != JSON_STRING)
            return err_set(err, CAMA_ERR_ARG, "option \"%s\" must be of an array of strings",
                           row->name);
    }
    if (v) {
        api_put_json(w, row->name, v);
    } else {
        api_open(w, row->name, '[');
        api_close(w, ']');
    }
    return CAMA_OK;
}

static bool fits(const option_row *row, const json_value *v)
{
    switch (row->type) {
    case OPTION_WORD:
        return v->kind == JSON_STRING;
    case OPTION_INT:
    case OPTION_FLOAT:
        return v->kind == JSON_INT || v->kind == JSON_FLOAT;
    case OPTION_BOOL:
        return v->kind == JSON_BOOL;
    case OPTION_STRINGS:
        return v->kind == JSON_ARRAY;
    }
    return false;
}

/* The API itself looks at num_ctx: memory is planned for it before the job is sent. */
static int64_t settle(api_options *o, const option_row *row, const json_value *v)
{
    int64_t n = v ? whole(v) : (int64_t)row->fallback;
    if (strcmp(row->name, "num_ctx") != 0)
        return n;
    const api_file *f = o->model->file;
    if (!v)
        n = o->n_ctx_default;
    else if (n < 4) /* Ollama's floor */
        n = 4;
    if (f && f->n_ctx_train && n > (int64_t)f->n_ctx_train)
        n = (int64_t)f->n_ctx_train;
    o->n_ctx = (uint32_t)(n > UINT32_MAX ? UINT32_MAX : n);
    return o->n_ctx;
}

/* Request, else model, else what the server was told; "auto" leaves the choice to the pool. */
static cama_err choose_word(api_options *o, const option_row *row, const json_value *v,
                            err_info *err)
{
    const char **out = strcmp(row->name, "engine") == 0 ? &o->choice.engine : &o->choice.device;
    const char *text = v ? v->text : *out;
    if (!text || !*text || strcmp(text, "auto") == 0) {
        *out = "";
        return CAMA_OK;
    }
    if (v && !option_is_word(row, v->text, v->n))
        return err_set(err, CAMA_ERR_UNSUPPORTED, "%s \"%s\" is \"%.40s\", must be one of %s",
                       value_in(o->request, row->name) ? "option" : "PARAMETER", row->name, text,
                       option_words(row));
    *out = text;
    return CAMA_OK;
}

static cama_err put_option(api_writer *w, api_options *o, const option_row *row, err_info *err)
{
    const json_value *v = value_in(o->request, row->name);
    if (!v)
        v = value_in(o->model->params, row->name);
    if (v && !fits(row, v))
        return err_set(err, CAMA_ERR_ARG, "option \"%s\" must be of type %s", row->name,
                       option_type_name(row->type));
    switch (row->type) {
    case OPTION_INT:
        api_put_int(w, row->name, settle(o, row, v));
        break;
    case OPTION_FLOAT:
        api_put_f64(w, row->name, v ? v->number : row->fallback);
        break;
    case OPTION_BOOL:
        api_put_bool(w, row->name, v ? v->boolean : row->fallback != 0);
        break;
    case OPTION_STRINGS:
        return put_strings(w, row, v, err);
    case OPTION_WORD:
        return choose_word(o, row, v, err);
    }
    return CAMA_OK;
}

/* Accepted, and without effect on the engines there are. */
static bool is_idle(const option_row *row, const json_value *v)
{
    static const char *const idle[] = {"num_batch", "main_gpu", "use_mmap", "draft_num_predict"};
    if (strcmp(row->name, "num_gpu") == 0)
        return v->number > 0; /* -1 and 0 are what happens anyway */
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++) {
        if (strcmp(row->name, idle[i]) == 0)
            return row->type == OPTION_BOOL || v->number != row->fallback;
    }
    return false;
}

void api_warn_strangers(api_warnings *warn, const json_value *object, const char *whose)
{
    for (size_t i = 0; object && i < object->n; i++) {
        const json_member *m = &object->members[i];
        const option_row *row = option_find(m->key, m->n_key);
        if (m->value->kind == JSON_NULL)
            continue;
        if (!row && option_is_retired(m->key, m->n_key))
            api_warn(warn, "option_ignored", "%s \"%.80s\" has no effect any more", whose, m->key);
        else if (!row)
            api_warn(warn, "option_unknown", "%s \"%.80s\" is not known", whose, m->key);
        else if (row->type == OPTION_WORD && fits(row, m->value) &&
                 !option_is_word(row, m->value->text, m->value->n)) /* a model may be made so */
            api_warn(warn, "option_unknown", "%s \"%s\" is \"%.40s\", must be one of %s", whose,
                     row->name, m->value->text, option_words(row));
        else if (fits(row, m->value) && is_idle(row, m->value))
            api_warn(warn, "option_ignored", "%s \"%s\" has no effect on this engine", whose,
                     row->name);
    }
}

static void look_at_num_ctx(const api_options *o, api_warnings *warn)
{
    const json_value *v = value_in(o->request, "num_ctx");
    const api_file *f = o->model->file;
    if (!v)
        v = value_in(o->model->params, "num_ctx");
    if (v && f && f->n_ctx_train && whole(v) > (int64_t)f->n_ctx_train)
        api_warn(warn, "num_ctx_reduced", "num_ctx %lld is past the model's %llu tokens: %llu used",
                 (long long)whole(v), (unsigned long long)f->n_ctx_train,
                 (unsigned long long)f->n_ctx_train);
}

cama_err api_put_options(api_writer *w, api_options *o, api_warnings *warn, err_info *err)
{
    cama_err e = CAMA_OK;
    api_open(w, "options", '{');
    for (size_t i = 0; i < option_n && !e; i++)
        e = put_option(w, o, &option_table[i], err);
    api_close(w, '}');
    if (e)
        return e;
    api_warn_strangers(warn, o->request, "option");
    api_warn_strangers(warn, o->model->params, "PARAMETER");
    look_at_num_ctx(o, warn);
    return CAMA_OK;
}
