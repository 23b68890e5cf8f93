/* The preparer: a JOB becomes work for the scheduler. */
#include "runner/runner_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "wire/options.h"

#define MIN_LIMIT 4       /* what a smaller num_ctx is taken for */
#define PREDICT_FACTOR 10 /* without a limit, an answer is at most so many contexts long */
#define MAX_THREAD 256

/* ---- fields ---- */

const char *prep_str(const runner_prep *p, const char *key)
{
    const json_value *v = json_get(p->head, key);
    return v && v->kind == JSON_STRING ? v->text : NULL;
}

bool prep_bool(const runner_prep *p, const char *key, bool fallback)
{
    const json_value *v = json_get(p->head, key);
    return v && v->kind == JSON_BOOL ? v->boolean : fallback;
}

double prep_float(const runner_prep *p, const char *option)
{
    const json_value *v = json_get(p->options, option);
    if (v && (v->kind == JSON_INT || v->kind == JSON_FLOAT))
        return v->number;
    const option_row *row = option_find(option, strlen(option));
    return row ? row->fallback : 0;
}

int64_t prep_int(const runner_prep *p, const char *option)
{
    const json_value *v = json_get(p->options, option);
    if (v && v->kind == JSON_INT)
        return v->integer;
    const double d = prep_float(p, option);
    return d > -9e15 && d < 9e15 ? (int64_t)d : d < 0 ? INT64_MIN : INT64_MAX;
}

int64_t prep_head_int(const runner_prep *p, const char *key)
{
    const json_value *v = json_get(p->head, key);
    return v && v->kind == JSON_INT ? v->integer : 0;
}

static int32_t clamp_i32(int64_t v, int64_t lo, int64_t hi)
{
    return (int32_t)(v < lo ? lo : v > hi ? hi : v);
}

static float clamp_float(double v, double lo, double hi)
{
    return (float)(v < lo ? lo : v > hi ? hi : v); /* NaN cannot come through JSON */
}

uint32_t prep_threads(const runner_prep *p)
{
    return (uint32_t)clamp_i32(prep_int(p, "num_thread"), 0, MAX_THREAD);
}

/* ---- the context ---- */

cama_err prep_context(runner_prep *p, err_info *err)
{
    runner *r = p->r;
    runner_job *j = p->j;
    const int64_t asked = prep_int(p, "num_ctx");
    const uint32_t most = r->eo.n_ctx; /* what the model was trained for, or the engine has */
    int64_t limit = asked ? asked : r->n_ctx;
    if (limit > most) {
        char figures[64];
        (void)snprintf(figures, sizeof figures, ",\"asked\":%lld,\"got\":%u", (long long)asked,
                       most);
        if (asked)
            runner_warn(j, "num_ctx_reduced", figures,
                        "num_ctx is %lld, the model can use %u tokens at most", (long long)asked,
                        most);
        limit = most;
    }
    p->n_limit = limit < MIN_LIMIT ? MIN_LIMIT : (uint32_t)limit;
    if (p->n_limit > most)
        p->n_limit = most;
    j->n_ctx = runner_round_ctx(p->n_limit, most);
    j->num_ctx = p->n_limit;
    return runner_make_room(r, j->n_ctx, err);
}

/* ---- generating ---- */

/* Values outside a parameter's range mean what llama.cpp takes them for: the nearest end. */
static void read_sampling(const runner_prep *p, sample_params *s)
{
    *s = sample_params_init();
    s->repeat_last_n = clamp_i32(prep_int(p, "repeat_last_n"), -1, SAMPLE_MAX_LAST_N);
    s->last_n_full = p->j->n_ctx;
    s->repeat_penalty = (float)prep_float(p, "repeat_penalty");
    s->frequency_penalty = clamp_float(prep_float(p, "frequency_penalty"), -100, 100);
    s->presence_penalty = clamp_float(prep_float(p, "presence_penalty"), -100, 100);
    s->top_k = clamp_i32(prep_int(p, "top_k"), 0, INT32_MAX);
    s->typical_p = clamp_float(prep_float(p, "typical_p"), 0, 1);
    s->top_p = clamp_float(prep_float(p, "top_p"), 0, 1);
    s->min_p = clamp_float(prep_float(p, "min_p"), 0, 1);
    s->temperature = clamp_float(prep_float(p, "temperature"), 0, 100);
    const int64_t seed = prep_int(p, "seed");
    s->seed = seed == -1 ? -1 : (int64_t)(uint32_t)seed;
    if (!(s->repeat_penalty > 0)) {
        runner_warn(p->j, "option_ignored", "", "repeat_penalty is %g, it must be above 0",
                    (double)s->repeat_penalty);
        s->repeat_penalty = 1;
    }
}

/* No number of tokens is a bound too: an answer that never ends would hold its sequence for ever.
 * 0 is what each of Ollama's ways makes of it. */
static int32_t read_predict(const runner_prep *p)
{
    const int64_t most = (int64_t)PREDICT_FACTOR * p->n_limit;
    const int64_t n = prep_int(p, "num_predict");
    if (n == 0 && !strcmp(p->kind, "chat") && !strcmp(p->j->path, "jinja"))
        return 1;
    return (int32_t)(n <= 0 || n > most ? most : n);
}

static const char **read_stops(runner_prep *p, size_t *out_n, err_info *err)
{
    const json_value *list = json_get(p->options, "stop");
    const size_t n = list && list->kind == JSON_ARRAY ? list->n : 0;
    const char **stops = arena_take_array(&p->tree, n ? n : 1, sizeof *stops);
    *out_n = 0;
    for (size_t i = 0; stops && i < n; i++) {
        if (list->items[i]->kind == JSON_STRING)
            stops[(*out_n)++] = list->items[i]->text;
    }
    if (!stops)
        (void)err_set(err, CAMA_ERR_NOMEM, "runner: no memory for stop strings");
    return stops;
}

/* ---- what the answer is cut into ---- */

static bool ends_with(const buf *text, const char *tag)
{
    size_t n = text->n;
    const size_t n_tag = strlen(tag);
    while (n && (text->data[n - 1] == '\n' || text->data[n - 1] == ' '))
        n--;
    return n_tag && n >= n_tag && memcmp(text->data + n - n_tag, tag, n_tag) == 0;
}

static bool has_text(gguf_str s, const char *what)
{
    const size_t n = strlen(what);
    for (size_t i = 0; i + n <= s.n; i++) {
        if (memcmp(s.text + i, what, n) == 0)
            return true;
    }
    return false;
}

/* What a Jinja template shows of the tags that its model writes. */
static void tags_of_jinja(runner_prep *p)
{
    static const char *const calls[] = {"<tool_call>", "[TOOL_CALLS]", "<|python_tag|>"};
    gguf_str source = {.text = "", .n = 0};
    (void)gguf_get_str(p->r->file, RUNNER_TEMPLATE_KEY, &source, NULL); /* none: no tags */
    if (has_text(source, "<think>") || has_text(source, "</think>")) {
        (void)snprintf(p->tags.think_open, sizeof p->tags.think_open, "<think>");
        (void)snprintf(p->tags.think_close, sizeof p->tags.think_close, "</think>");
    }
    (void)snprintf(p->tags.call, sizeof p->tags.call, "{");
    for (size_t i = sizeof calls / sizeof calls[0]; i-- > 0;) {
        if (has_text(source, calls[i]))
            (void)snprintf(p->tags.call, sizeof p->tags.call, "%s", calls[i]);
    }
}

/* Nothing is looked for in raw mode, in models without tags, and where the caller wants neither. */
static cama_err open_answer(runner_prep *p, err_info *err)
{
    runner_job *j = p->j;
    const json_value *tools = json_get(p->head, "tools");
    const bool has_tools = tools && tools->kind == JSON_ARRAY && tools->n;
    const bool thinks = prep_bool(p, "think", true); /* a level is no bool: true */
    if (!strcmp(j->path, "raw") || (!has_tools && !thinks))
        return CAMA_OK;
    if (!strcmp(j->path, "go"))
        gotmpl_tags(p->r->gotmpl, &p->tags);
    else
        tags_of_jinja(p);
    if (!thinks)
        p->tags.think_open[0] = p->tags.think_close[0] = '\0';
    if (!has_tools && !p->tags.think_open[0])
        return CAMA_OK;
    const answer_opts o = {
        .think_open = p->tags.think_open,
        .think_close = p->tags.think_close,
        .in_think = ends_with(&p->text, p->tags.think_open),
        .call_tag = has_tools ? (p->tags.call[0] ? p->tags.call : "{") : NULL,
        .tools = has_tools ? tools : NULL,
        .event = runner_answer_event,
        .user = j,
    };
    j->keeps_tree = has_tools;
    return answer_open(&o, &j->answer, err);
}

static cama_err submit(runner_prep *p, err_info *err)
{
    runner_job *j = p->j;
    const int64_t n_keep = prep_int(p, "num_keep");
    const int64_t n_top = prep_head_int(p, "top_logprobs");
    sched_job_def d = {
        .kind = SCHED_GENERATE,
        .ids = p->ids.id,
        .n_id = p->ids.n,
        .n_predict = read_predict(p),
        .n_ctx = j->n_ctx,
        .shift = prep_bool(p, "shift", true),
        .n_thread = prep_threads(p),
        .logprobs = j->logprobs,
        .n_top_logprob = j->logprobs ? (uint32_t)clamp_i32(n_top, 0, STREAM_MAX_TOP) : 0,
        .sink = runner_text_sink(&j->parts[0]),
    };
    d.n_keep = n_keep < 0 ? (uint32_t)p->ids.n : (uint32_t)clamp_i32(n_keep, 0, INT32_MAX);
    d.n_keep += tok_specials(p->r->vocab)->add_bos;
    read_sampling(p, &d.sample);
    d.stop = read_stops(p, &d.n_stop, err);
    if (!d.stop)
        return CAMA_ERR_NOMEM;
    j->has_stop = d.n_stop > 0;
    j->submit_ns = clock_now_ns();
    runner_job_ref(j); /* the scheduler's */
    sched_job_id id;
    const cama_err e = sched_submit(p->r->sched, &d, &id, err);
    if (e)
        runner_job_unref(j);
    else
        runner_part_set(&j->parts[0], id);
    return e;
}

static cama_err refuse_format(const runner_prep *p, err_info *err)
{
    const json_value *f = json_get(p->head, "format");
    if (!f || f->kind == JSON_NULL || (f->kind == JSON_STRING && !f->n))
        return CAMA_OK;
    return err_set(err, CAMA_ERR_UNSUPPORTED, "format is not supported yet: answers are free text");
}

static cama_err refuse_images(const runner_prep *p, err_info *err)
{
    const json_value *images = json_get(p->head, "image_bytes");
    if (!images || images->kind != JSON_ARRAY || !images->n)
        return CAMA_OK;
    return err_set(err, CAMA_ERR_UNSUPPORTED, "this model does not support image input");
}

static cama_err generate(runner_prep *p, char figures[96], err_info *err)
{
    runner_job *j = p->j;
    j->want_context = prep_bool(p, "want_context", false);
    j->logprobs = prep_bool(p, "logprobs", false);
    cama_err e = refuse_format(p, err);
    if (!e)
        e = refuse_images(p, err);
    if (!e)
        e = prep_context(p, err);
    if (!e)
        e = runner_prompt(p, figures, err);
    if (!e && prep_bool(p, "render_only", false)) {
        runner_send_text(j, p->text.n ? p->text.data : "", p->text.n);
        runner_done_early(j, "stop", ",\"rendered\":true");
        return CAMA_OK;
    }
    if (!e)
        e = open_answer(p, err);
    if (!e && job_is_canceled(j))
        e = err_set(err, CAMA_ERR_CANCELED, "canceled");
    if (!e && p->prefill)
        runner_send_text(j, p->prefill, strlen(p->prefill));
    return e ? e : submit(p, err);
}

/* ---- the thread ---- */

static cama_err work(runner_prep *p, char figures[96], err_info *err)
{
    json_value *head = NULL;
    const cama_err e = json_parse(p->j->head, p->j->n_head, &p->tree, &head, err);
    if (e)
        return e;
    p->head = head;
    p->options = json_get(head, "options");
    p->kind = prep_str(p, "kind");
    if (!p->kind)
        return err_set(err, CAMA_ERR_ARG, "a job without a kind");
    if (!strcmp(p->kind, "generate") || !strcmp(p->kind, "chat"))
        return generate(p, figures, err);
    if (!strcmp(p->kind, "embed"))
        return runner_embed(p, figures, err);
    if (!strcmp(p->kind, "tokenize"))
        return runner_tokenize(p, err);
    if (!strcmp(p->kind, "detokenize"))
        return runner_detokenize(p, err);
    return err_set(err, CAMA_ERR_ARG, "a job of kind '%s', which is unknown", p->kind);
}

static void prepare(runner *r, runner_job *j)
{
    runner_prep p = {.r = r, .j = j};
    char figures[96] = "";
    err_info err = {.code = CAMA_OK};
    arena_init(&p.tree, RUNNER_MAX_TREE);
    buf_init(&p.text, RUNNER_MAX_TEXT);
    tok_ids_init(&p.ids, RUNNER_MAX_TEXT);
    cama_err e = job_is_canceled(j) ? err_set(&err, CAMA_ERR_CANCELED, "canceled") : CAMA_OK;
    if (!e)
        e = work(&p, figures, &err);
    if (e && job_is_canceled(j))
        runner_done_early(j, "canceled", "");
    else if (e)
        runner_fail(j, &err, figures);
    tok_ids_done(&p.ids);
    buf_done(&p.text);
    if (j->keeps_tree)
        j->tree = p.tree; /* nobody looks at it there before the job is freed */
    else
        arena_done(&p.tree);
    free(j->head); /* a conversation and its images are not needed for the answer */
    free(j->data);
    j->head = NULL;
    j->data = NULL;
    runner_job_unref(j);
}

void *runner_preparing(void *arg)
{
    runner *r = arg;
    runner_job *j;
    runner_model_vocab(r);
    runner_prompt_warm(r);
    while ((j = runner_job_take(r)))
        prepare(r, j);
    return NULL;
}
