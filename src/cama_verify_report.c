/* cama_verify_report.c - the verdict over two engines, and the report of it. */
#include "cama_verify.h"

#define REPORT_MEMORY ((size_t)64 << 20)

/* ---- the verdict ---- */

static double agreement(const verify *v)
{
    return v->n_answer ? (double)v->t.n_agree / (double)v->n_answer : 1;
}

const char *verify_what_differs(const verify *v)
{
    if (v->t.n_odd)
        return "a number is not finite on one engine";
    if (v->embeds)
        return v->max_vector > v->o.max_diff ? "vectors differ" : NULL;
    if (v->t.max_diff > v->o.max_diff)
        return "logits differ";
    if (v->t.max_kl > v->o.max_kl)
        return "distributions differ";
    if (agreement(v) < v->o.min_agree)
        return "greedy tokens differ";
    return NULL;
}

/* ---- the report ---- */

static cama_object engine_object(arena *a, const verify *v, int i)
{
    cama_info info;
    cama_object o = cama_object_new(a);
    cama_model_info(v->m[i], &info, sizeof info);
    cama_put_text(&o, "name", info.engine);
    cama_put_text(&o, "version", info.engine_version);
    cama_put_text(&o, "device", info.device);
    cama_put_text(&o, "activations", info.activations);
    cama_put_text(&o, "kv_type", info.kv_type);
    cama_put_text(&o, "note", info.engine_note);
    cama_put_bool(&o, "exact", info.exact);
    cama_put_int(&o, "bytes", info.total_bytes);
    cama_put_int(&o, "spent_ns", v->spent_ns[i]);
    cama_put(&o, "forms", cama_forms_value(a, v->m[i]));
    return o;
}

static cama_object logits_object(arena *a, const tally *t)
{
    cama_object o = cama_object_new(a);
    cama_put_int(&o, "positions", t->n_position);
    cama_put_number(&o, "max_diff", t->max_diff);
    cama_put_number(&o, "max_abs", t->max_abs);
    cama_put_number(&o, "mean_abs", t->n_logit ? t->sum_abs / (double)t->n_logit : 0);
    cama_put_number(&o, "largest", t->largest);
    cama_put_number(&o, "max_kl", t->max_kl);
    cama_put_number(&o, "mean_kl", t->n_position ? t->sum_kl / (double)t->n_position : 0);
    cama_put_int(&o, "not_finite", t->n_odd);
    return o;
}

static void put_token(cama_object *o, const char *key, const verify *v, int32_t id)
{
    char *text = NULL;
    size_t n = 0;
    if (cama_detokenize(v->m[0], &id, 1, true, &text, &n, NULL))
        return; /* the id stands beside it */
    cama_put(o, key, json_new_string(o->a, text, n));
    cama_free(text);
}

static cama_object divergence_object(arena *a, const verify *v)
{
    const divergence *d = &v->t.first;
    cama_object o = cama_object_new(a);
    json_value *list = json_new_array(a);
    cama_put_int(&o, "position", d->at);
    for (int i = 0; i < 2; i++) {
        cama_object one = cama_object_new(a);
        cama_put_text(&one, "engine", v->m[i]->vt->name);
        cama_put(&one, "token", json_new_int(a, d->id[i]));
        put_token(&one, "text", v, d->id[i]);
        cama_put_number(&one, "logit", (double)d->logit[i][i]);
        cama_put_number(&one, "logit_of_other", (double)d->logit[i][1 - i]);
        o.failed = o.failed || !cama_append_object(a, list, &one);
    }
    cama_put(&o, "choices", list);
    return o;
}

static void put_answers(cama_object *o, const verify *v)
{
    cama_object greedy = cama_object_new(o->a);
    const cama_object logits = logits_object(o->a, &v->t);
    cama_put_int(o, "prompt_tokens", v->n_prompt);
    cama_put_object(o, "logits", &logits);
    cama_put_int(&greedy, "tokens", v->n_answer);
    cama_put_int(&greedy, "equal", v->t.n_agree);
    if (v->t.first.found) {
        const cama_object first = divergence_object(o->a, v);
        cama_put_object(&greedy, "first_divergence", &first);
    }
    if (v->is_alone)
        cama_put_int(&greedy, "equal_alone", v->n_alone);
    cama_put_object(o, "greedy", &greedy);
}

static void put_vectors(cama_object *o, const verify *v)
{
    cama_object vectors = cama_object_new(o->a);
    cama_put_int(&vectors, "texts", v->n_text);
    cama_put_number(&vectors, "min_cosine", v->min_cosine);
    cama_put_number(&vectors, "max_diff", v->max_vector);
    cama_put_int(&vectors, "not_finite", v->t.n_odd);
    cama_put_object(o, "vectors", &vectors);
}

static cama_object report(arena *a, const verify *v)
{
    const char *differs = verify_what_differs(v);
    cama_object o = cama_object_new(a);
    cama_object limits = cama_object_new(a);
    json_value *engines = json_new_array(a);
    cama_put_text(&o, "verdict", differs ? "different" : "equal");
    if (differs)
        cama_put_text(&o, "why", differs);
    cama_put_text(&o, "cama", cama_version());
    cama_put_text(&o, "architecture", v->m[0]->arch);
    for (int i = 0; i < 2; i++) {
        const cama_object one = engine_object(a, v, i);
        o.failed = o.failed || !cama_append_object(a, engines, &one);
    }
    cama_put(&o, "engines", engines);
    if (v->embeds)
        put_vectors(&o, v);
    else
        put_answers(&o, v);
    cama_put_number(&limits, "max_diff", v->o.max_diff);
    if (!v->embeds) {
        cama_put_number(&limits, "max_kl", v->o.max_kl);
        cama_put_number(&limits, "min_agree", v->o.min_agree);
    }
    cama_put_object(&o, "limits", &limits);
    return o;
}

cama_err verify_report(const verify *v, char **out_report)
{
    arena a;
    arena_init(&a, REPORT_MEMORY);
    const cama_object o = report(&a, v);
    const cama_err e = cama_hand_out_json(o.failed ? NULL : o.v, "the report", out_report, v->err);
    arena_done(&a);
    return e;
}
