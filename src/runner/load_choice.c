/* Which engine runs a model: the one that was asked for, or the one that fits best and has not
 * failed on it. */
#include <stdio.h>
#include <string.h>

#include "runner/load.h"

#define MAX_ENGINE 16

void load_build(const char *version, char out[LOAD_BUILD_BYTES])
{
    const bool is_ours = strncmp(version, "cama ", 5) == 0;
    (void)snprintf(out, LOAD_BUILD_BYTES, "%.48s%s", version,
                   is_ours ? "" : ", cama " CAMA_VERSION);
}

/* What is known of an engine once it was looked at. */
typedef struct candidate {
    int fitness; /* 0: it cannot */
    bool is_looked_at, is_known;
    const load_avoid *avoid; /* why it would rather not be taken */
    engine_about about;      /* is_known */
    err_info why;            /* why it cannot */
} candidate;

static bool is_free(const load_wish *w)
{
    return !w->name || !*w->name || !strcmp(w->name, "auto");
}

/* The entry that speaks against an engine; build NULL: against opening it at all. */
static const load_avoid *entry_for(const load_wish *w, const char *name, const char *build)
{
    for (size_t i = 0; i < w->n_avoid; i++) {
        const load_avoid *a = &w->avoid[i];
        if (!strcmp(a->engine, name) && !strcmp(a->build, build ? build : ""))
            return a;
    }
    return NULL;
}

static bool is_spoken_against(const load_wish *w, const char *name)
{
    for (size_t i = 0; i < w->n_avoid; i++)
        if (!strcmp(w->avoid[i].engine, name))
            return true;
    return false;
}

/* May be the end of this process. The device is opened only where the answer needs it. */
static void look_at(const model_desc *m, const load_wish *w, const engine_vt *vt, candidate *c)
{
    if (w->looking)
        w->looking(w->user, vt->name);
    c->is_looked_at = true;
    c->fitness = vt->probe(m, &c->why);
    if (c->fitness <= 0 || (!w->device && !is_spoken_against(w, vt->name)))
        return;
    vt->about(&c->about);
    c->is_known = true;
    if (w->device == ENGINE_GPU && !c->about.is_gpu) {
        c->fitness = 0;
        (void)err_set(&c->why, CAMA_ERR_UNSUPPORTED, "%s: it computes on the CPU here", vt->name);
    }
    if (w->device == ENGINE_CPU && c->about.is_gpu)
        c->fitness = 1; /* it fits a GPU, which is not wanted */
    char build[LOAD_BUILD_BYTES];
    load_build(c->about.version, build);
    c->avoid = entry_for(w, vt->name, build);
}

/* The fittest of those that are not to be avoided. */
static size_t best_of(const candidate *c, size_t n, bool avoided)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
        if (c[i].fitness > 0 && (c[i].avoid != NULL) == avoided &&
            (best == n || c[i].fitness > c[best].fitness))
            best = i;
    }
    return best;
}

static void append(char out[LOAD_WHY_BYTES], const char *separator, const char *text)
{
    const size_t at = strlen(out);
    (void)snprintf(out + at, LOAD_WHY_BYTES - at, "%s%s", at ? separator : "", text); /* is cut */
}

static void say_why(const load_wish *w, const candidate *c, size_t n, size_t chosen,
                    char out[LOAD_WHY_BYTES])
{
    out[0] = '\0';
    if (!is_free(w)) {
        append(out, "", w->why && *w->why ? w->why : "asked for");
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (i != chosen && c[i].avoid)
            append(out, "; ", c[i].avoid->why);
    if (!*out)
        append(out, "", "fits best");
    for (size_t i = 0; i < n; i++) {
        if (i != chosen && c[i].is_looked_at && c[i].fitness <= 0) {
            append(out, "; ", engine_at(i)->name);
            append(out, ": ", c[i].why.text);
        }
    }
}

static void take(const load_wish *w, candidate *c, size_t n, size_t chosen, load_choice *out)
{
    *out = (load_choice){.vt = engine_at(chosen)};
    if (!c[chosen].is_known)
        out->vt->about(&c[chosen].about);
    (void)snprintf(out->version, sizeof out->version, "%s", c[chosen].about.version);
    out->is_gpu = c[chosen].about.is_gpu;
    load_build(c[chosen].about.version, out->build);
    say_why(w, c, n, chosen, out->why);
    for (size_t i = 0; i < n; i++)
        if (i != chosen && (c[i].fitness > 0 || !c[i].is_looked_at))
            out->others |= 1u << i;
}

static cama_err choose_named(const model_desc *m, const load_wish *w, size_t n, load_choice *out,
                             err_info *err)
{
    candidate c[MAX_ENGINE] = {0};
    size_t at = 0;
    while (at < n && strcmp(w->name, engine_at(at)->name) != 0)
        at++;
    if (at == n)
        return err_set(err, CAMA_ERR_ARG, "engine '%s' is not in this build", w->name);
    look_at(m, w, engine_at(at), &c[at]);
    if (c[at].fitness <= 0)
        return err_set(err, CAMA_ERR_UNSUPPORTED, "%s", c[at].why.text);
    take(w, c, n, at, out);
    return CAMA_OK;
}

/* One whose very opening ended a process is looked at only when nothing else can run the model. */
static cama_err choose_free(const model_desc *m, const load_wish *w, size_t n, load_choice *out,
                            err_info *err)
{
    candidate c[MAX_ENGINE] = {0};
    for (size_t i = 0; i < n; i++) {
        c[i].avoid = entry_for(w, engine_at(i)->name, NULL);
        if (!c[i].avoid)
            look_at(m, w, engine_at(i), &c[i]);
    }
    size_t best = best_of(c, n, false);
    if (best == n)
        best = best_of(c, n, true);
    for (size_t i = 0; i < n && best == n; i++) {
        if (!c[i].is_looked_at)
            look_at(m, w, engine_at(i), &c[i]);
        if (c[i].fitness > 0)
            best = i;
    }
    if (best < n) {
        take(w, c, n, best, out);
        return CAMA_OK;
    }
    char all[LOAD_WHY_BYTES] = "";
    for (size_t i = 0; i < n; i++)
        append(all, "; ", c[i].why.text);
    return err_set(err, CAMA_ERR_UNSUPPORTED, "no engine can run this model: %s", all);
}

cama_err load_choose(const model_desc *m, const load_wish *w, load_choice *out, err_info *err)
{
    size_t n = 0;
    while (n < MAX_ENGINE && engine_at(n))
        n++;
    return is_free(w) ? choose_free(m, w, n, out, err) : choose_named(m, w, n, out, err);
}

cama_err load_engine(const model_desc *m, const char *name, const engine_vt **out, err_info *err)
{
    load_choice choice;
    const cama_err e = load_choose(m, &(load_wish){.name = name}, &choice, err);
    if (!e)
        *out = choice.vt;
    return e;
}
