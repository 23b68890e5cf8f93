/* cama_engines.c - the public API: what engines there are, in which forms they hold weights, and
 * whether their kernels compute what they should. */
#include "cama_int.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/plat.h"

#define JSON_MEMORY ((size_t)64 << 20)
#define MAX_REPORT ((size_t)4 << 20)

/* ---- JSON ---- */

cama_object cama_object_new(arena *a)
{
    json_value *v = json_new_object(a);
    return (cama_object){.a = a, .v = v, .failed = !v};
}

void cama_put(cama_object *o, const char *key, json_value *v)
{
    if (!o->failed && !json_put(o->a, o->v, key, v))
        o->failed = true;
}

void cama_put_text(cama_object *o, const char *key, const char *text)
{
    cama_put(o, key, json_new_string(o->a, text, strlen(text)));
}

void cama_put_int(cama_object *o, const char *key, uint64_t n)
{
    cama_put(o, key, json_new_int(o->a, (int64_t)n));
}

void cama_put_bool(cama_object *o, const char *key, bool b)
{
    cama_put(o, key, json_new_bool(o->a, b));
}

void cama_put_number(cama_object *o, const char *key, double d)
{
    cama_put(o, key, json_new_float(o->a, d));
}

void cama_put_object(cama_object *o, const char *key, const cama_object *inner)
{
    cama_put(o, key, inner->failed ? NULL : inner->v);
}

bool cama_append_object(arena *a, json_value *list, const cama_object *o)
{
    return !o->failed && json_append(a, list, o->v);
}

cama_err cama_hand_out_json(const json_value *v, const char *what, char **out_text, cama_error *err)
{
    buf b;
    buf_init(&b, CAMA_MAX_OUTPUT);
    const cama_err e = v ? json_write(v, &b) : CAMA_ERR_NOMEM;
    if (!e)
        return cama_hand_out(&b, out_text, NULL, what, err);
    buf_done(&b);
    return err_set(err, e, "%s: %s", what, cama_err_text(e));
}

json_value *cama_forms_value(arena *a, const cama_model *m)
{
    engine_form forms[ENGINE_MAX_FORM];
    size_t n = m->vt->forms ? m->vt->forms(m->engine, forms, ENGINE_MAX_FORM) : 0;
    json_value *list = json_new_array(a);
    n = n < ENGINE_MAX_FORM ? n : ENGINE_MAX_FORM;
    for (size_t i = 0; i < n; i++) {
        cama_object o = cama_object_new(a);
        cama_put_text(&o, "role", plan_role_name(forms[i].role));
        cama_put_text(&o, "type", quant_table[forms[i].type].name);
        cama_put_text(&o, "form", forms[i].form);
        cama_put_bool(&o, "exact", forms[i].exact);
        cama_put_int(&o, "n", forms[i].n_tensor);
        cama_put_int(&o, "bytes", forms[i].n_bytes);
        if (!cama_append_object(a, list, &o))
            return NULL;
    }
    return list;
}

/* ---- what there is ---- */

static cama_object describe(arena *a, const engine_vt *vt)
{
    engine_about about = {.available = false};
    vt->about(&about);
    cama_object o = cama_object_new(a);
    cama_put_text(&o, "name", vt->name);
    cama_put_bool(&o, "available", about.available);
    cama_put_text(&o, "why", about.why);
    cama_put_text(&o, "version", about.version);
    cama_put_text(&o, "device", about.device);
    cama_put_text(&o, "backend", about.backend);
    cama_put_bool(&o, "is_gpu", about.is_gpu);
    cama_put_int(&o, "memory", about.memory_bytes);
    return o;
}

cama_err cama_engines_json(char **out_text, cama_error *err)
{
    arena a;
    arena_init(&a, JSON_MEMORY);
    json_value *list = json_new_array(&a);
    bool made = list != NULL;
    for (size_t i = 0; made && engine_at(i); i++) {
        const cama_object o = describe(&a, engine_at(i));
        made = cama_append_object(&a, list, &o);
    }
    const cama_err e = cama_hand_out_json(made ? list : NULL, "the list of engines", out_text, err);
    arena_done(&a);
    return e;
}

/* ---- the self-test ---- */

/* What whoever reads an issue needs to know of the machine. Nothing that names its owner. */
static void put_machine(buf *out)
{
    struct utsname os;
    char cpu[128];
    plat_cpu_name(cpu, sizeof cpu);
    (void)buf_printf(out, "cama %s\n", cama_version()); /* sticky, as all here */
    if (uname(&os) >= 0)
        (void)buf_printf(out, "os   %s %s, %s\n", os.sysname, os.release, os.machine);
    (void)buf_printf(out, "cpu  %s, %d usable\n", cpu, plat_n_cpu());
    (void)buf_printf(out, "ram  %.1f GiB, %.1f GiB free\n", (double)plat_memory_total() / (1 << 30),
                     (double)plat_memory_available() / (1 << 30));
}

static void put_about(const engine_vt *vt, const engine_about *about, buf *out)
{
    (void)buf_printf(out, "\n%s: %s\n", vt->name, about->available ? "available" : "not available");
    if (*about->version)
        (void)buf_printf(out, "  version  %s\n", about->version);
    if (*about->device)
        (void)buf_printf(out, "  device   %s (%s)\n", about->device,
                         *about->backend ? about->backend : "cpu");
    if (about->memory_bytes)
        (void)buf_printf(out, "  memory   %.1f GiB\n", (double)about->memory_bytes / (1 << 30));
    if (*about->why)
        (void)buf_printf(out, "  %s  %s\n", about->available ? "note   " : "why    ", about->why);
}

/* The lines of an engine's report, a step further in. */
static void put_lines(const buf *lines, buf *out)
{
    for (size_t at = 0; at < lines->n;) {
        const char *from = lines->data + at;
        const char *end = memchr(from, '\n', lines->n - at);
        const size_t n = end ? (size_t)(end - from) : lines->n - at;
        if (n)
            (void)buf_printf(out, "  %.*s\n", (int)n, from);
        at += n + 1;
    }
}

/* Not to be available is no failure of a kernel. */
static cama_err test_engine(const engine_vt *vt, engine_device device, buf *out, cama_error *err)
{
    engine_about about = {.available = false};
    buf lines;
    cama_error own = {.code = CAMA_OK};
    vt->about(&about);
    put_about(vt, &about, out);
    if (!about.available)
        return CAMA_OK;
    if (!vt->selftest) {
        (void)buf_puts(out, "  selftest none: it has no kernels beside the reference's\n");
        return CAMA_OK;
    }
    buf_init(&lines, MAX_REPORT);
    cama_err e = vt->selftest(device, &lines, &own);
    put_lines(&lines, out);
    (void)buf_printf(out, "  selftest %s%s%s\n", e ? "FAILED" : "passed", e ? ": " : "",
                     e ? own.text : "");
    buf_done(&lines);
    if (e == CAMA_ERR_UNSUPPORTED) /* no such device: told, and nothing was wrong */
        e = CAMA_OK;
    return e ? err_set(err, e, "%s: %s", vt->name, own.text) : CAMA_OK;
}

cama_err cama_engines_selftest(const char *only, cama_device device, char **out_report,
                               cama_error *err)
{
    cama_error first = {.code = CAMA_OK};
    bool known = false;
    buf out;
    buf_init(&out, MAX_REPORT);
    put_machine(&out);
    for (size_t i = 0; engine_at(i); i++) {
        cama_error own = {.code = CAMA_OK};
        if (only && strcmp(only, engine_at(i)->name) != 0)
            continue;
        known = true;
        if (test_engine(engine_at(i), cama_engine_device(device), &out, &own) && !first.code)
            first = own;
    }
    if (!known) {
        buf_done(&out);
        return err_set(err, CAMA_ERR_ARG, "engine '%s' is not in this build", only);
    }
    const cama_err e = cama_hand_out(&out, out_report, NULL, "the report", err);
    if (!e && first.code && err)
        *err = first;
    return e ? e : first.code;
}
