/* What PLAN and READY say of the model, the engine and the memory. */
#include "runner/runner_int.h"

#include <inttypes.h>
#include <string.h>

void runner_put_text(buf *out, const char *key, const char *text)
{
    (void)buf_printf(out, ",\"%s\":", key); /* failures stick */
    (void)json_write_string(text, strlen(text), out);
}

static void put_others(const runner *r, buf *out)
{
    bool first = true;
    (void)buf_puts(out, ",\"others\":["); /* failures stick */
    for (size_t i = 0; engine_at(i) && i < 32; i++) {
        if (!(r->choice.others & 1u << i))
            continue;
        (void)buf_printf(out, "%s\"%s\"", first ? "" : ",", engine_at(i)->name);
        first = false;
    }
    (void)buf_putc(out, ']');
}

/* Without the closing bracket. */
static void put_plan(const runner *r, buf *out)
{
    const engine_bytes *b = &r->planned;
    const model_info *info = model_get_info(r->desc);
    (void)buf_printf(out, /* failures stick */
                     "{\"weights\":%" PRIu64 ",\"kv\":%" PRIu64 ",\"scratch\":%" PRIu64
                     ",\"total\":%" PRIu64 ",\"available\":%" PRIu64
                     ",\"n_ctx\":%u,\"n_ctx_fits\":%u,\"n_ctx_train\":%u,\"engine\":\"%s\"",
                     b->weights, b->kv, b->scratch, b->total, b->available, r->n_ctx,
                     runner_ctx_fits(r), info->n_ctx_train, r->vt->name);
    runner_put_text(out, "why", r->choice.why);
    runner_put_text(out, "build", r->choice.build);
    put_others(r, out);
}

static void put_engine(buf *out, const char *version, bool is_gpu)
{
    runner_put_text(out, "engine_version", version);
    (void)buf_printf(out, ",\"is_gpu\":%s", is_gpu ? "true" : "false"); /* failures stick */
}

void runner_say_plan(runner *r)
{
    buf head;
    buf_init(&head, WIRE_MAX_HEAD_UP);
    put_plan(r, &head);
    put_engine(&head, r->choice.version, r->choice.is_gpu);
    (void)buf_putc(&head, '}');
    runner_send_head(r, WIRE_PLAN, 0, &head);
}

/* How the weights are held, by role and type, and whether all of them keep their values. An engine
 * that does not say is not taken to be exact. */
static void put_forms(const runner *r, buf *out)
{
    static engine_form forms[ENGINE_MAX_FORM]; /* too large for the stack; the engine thread's */
    size_t n = r->vt->forms ? r->vt->forms(r->engine, forms, ENGINE_MAX_FORM) : 0;
    bool exact = n > 0 && n <= ENGINE_MAX_FORM;
    if (n > ENGINE_MAX_FORM)
        n = ENGINE_MAX_FORM;
    (void)buf_puts(out, ",\"forms\":["); /* failures stick */
    for (size_t i = 0; i < n; i++) {
        const engine_form *f = &forms[i];
        exact = exact && f->exact;
        (void)buf_printf(out, "%s{\"role\":\"%s\",\"type\":\"%s\"", i ? "," : "",
                         plan_role_name(f->role), quant_table[f->type].name);
        runner_put_text(out, "form", f->form ? f->form : "");
        (void)buf_printf(out, ",\"exact\":%s,\"n\":%u,\"bytes\":%" PRIu64 "}",
                         f->exact ? "true" : "false", f->n_tensor, f->n_bytes);
    }
    (void)buf_printf(out, "],\"exact\":%s", exact ? "true" : "false");
}

static void put_model(const runner *r, buf *out)
{
    const model_info *info = model_get_info(r->desc);
    const tok_str bos = tok_text(r->vocab, tok_specials(r->vocab)->bos);
    gguf_str s;
    runner_put_text(out, "arch", info->arch);
    runner_put_text(out, "pooling", load_pool_name(info->pooling));
    runner_put_text(out, "template",
                    gguf_get_str(r->file, RUNNER_TEMPLATE_KEY, &s, NULL) == CAMA_OK ? "jinja" : "");
    (void)buf_printf(
        out, /* failures stick */
        ",\"n_embd\":%u,\"n_vocab\":%u,\"can_generate\":%s,\"embeds\":%s,\"bos\":", info->n_embd,
        info->n_vocab, info->causal ? "true" : "false", r->is_whole ? "true" : "false");
    (void)json_write_string(bos.n ? bos.text : "", bos.n, out);
}

void runner_model_ready(runner *r)
{
    const char *kv = load_kv_name(r->eo.k_type);
    engine_stat stat = {.device = ""};
    r->vt->stat(r->engine, &stat);
    buf head;
    buf_init(&head, WIRE_MAX_HEAD_UP);
    put_plan(r, &head);
    put_engine(&head, stat.version, stat.is_gpu);
    put_forms(r, &head);
    put_model(r, &head);
    runner_put_text(&head, "device", stat.device);
    runner_put_text(&head, "note", stat.note);
    runner_put_text(&head, "activations", stat.activations ? stat.activations : "");
    runner_put_text(&head, "kv_type", kv ? kv : "");
    runner_put_text(&head, "weights_in", r->in_memory ? "memory" : "mapped");
    runner_put_text(&head, "sandbox", "none");
    (void)buf_printf(&head, ",\"load_ns\":%" PRIu64 "}", r->load_ns); /* failures stick */
    runner_send_head(r, WIRE_READY, 0, &head);
}
