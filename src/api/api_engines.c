/* GET and DELETE /api/engines: which engines there are, what each can do, which of them failed on a
 * model; and how that is forgotten.
 */
#include "api/api_int.h"

#include <string.h>

#define WAIT_MS 1000 /* for a process that asks the engines; a worker is held so long */

enum { MODEL };
static const api_field fields[] = {[MODEL] = {"model", API_STRING, NULL}};
const api_struct api_engines_request = {"api", "EnginesRequest", fields,
                                        sizeof fields / sizeof *fields};

static const struct {
    const char *feature, *native, *mlx;
} parity[] = {
#define X(feature, native, mlx) {feature, native, mlx},
#include "api/parity.def"
#undef X
};

static void put_parity(api_writer *w)
{
    api_open(w, "parity", '[');
    for (size_t i = 0; i < sizeof parity / sizeof *parity; i++) {
        api_open(w, NULL, '{');
        api_put_str(w, "feature", parity[i].feature);
        api_put_str(w, "native", parity[i].native);
        api_put_str(w, "mlx", parity[i].mlx);
        api_close(w, '}');
    }
    api_close(w, ']');
}

static const char *or_auto(const char *text)
{
    return text && *text ? text : "auto";
}

void api_engines(api_call *c)
{
    err_info err;
    buf list;
    buf body;
    json_value *known = NULL;
    buf_init(&list, API_MAX_REPLY);
    buf_init(&body, API_MAX_REPLY);
    cama_err e = pool_engines(c->api->pool, WAIT_MS, &list, &err);
    if (!e)
        e = json_parse(list.data ? list.data : "", list.n, &c->request_arena, &known, &err);
    if (e) {
        api_fail(c, cama_err_status(e), "%s", err.text);
    } else {
        api_writer w = {.out = &body};
        api_open(&w, NULL, '{');
        for (size_t i = 0; known->kind == JSON_OBJECT && i < known->n; i++)
            api_put_json(&w, known->members[i].key, known->members[i].value);
        api_open(&w, "default", '{');
        api_put_str(&w, "engine", or_auto(c->api->engine));
        api_put_str(&w, "device", or_auto(c->api->device));
        api_close(&w, '}');
        put_parity(&w);
        api_close(&w, '}');
        api_reply(c, 200, API_JSON_UTF8, &body);
    }
    buf_done(&list);
    buf_done(&body);
}

/* NULL: of every model. A model that was removed since cannot be named; all can be reset. */
static bool find_digest(api_call *c, const char *typed, const char **out, api_problem *p)
{
    model_name name;
    bool cloud;
    store_model stored;
    err_info err;
    *out = NULL;
    if (!*typed)
        return true;
    if (!api_name_parse(typed, &name, &cloud, p))
        return false;
    const cama_err e = store_find(c->api->store, &name, &c->request_arena, &stored, &err);
    if (e == CAMA_ERR_NOT_FOUND)
        return api_problem_set(p, 404, "model '%s' not found", typed);
    if (e)
        return api_problem_err(p, &err);
    *out = arena_copy(&c->request_arena, stored.digest, strlen(stored.digest));
    return *out || api_problem_set(p, 507, "no memory for a digest");
}

void api_engines_reset(api_call *c)
{
    api_values v = {0};
    api_problem p;
    err_info err;
    const char *digest;
    size_t n = 0;
    if (c->request->n_body && !api_read_body(c, &api_engines_request, false, &v))
        return;
    if (!find_digest(c, v.at[MODEL] ? api_text(v.at[MODEL]) : "", &digest, &p)) {
        api_fail(c, p.status, "%s", p.text);
        return;
    }
    const cama_err e = pool_engines_reset(c->api->pool, digest, &n, &err);
    if (e) {
        api_fail(c, cama_err_status(e), "%s", err.text);
        return;
    }
    buf body;
    buf_init(&body, 256);
    api_writer w = {.out = &body};
    api_open(&w, NULL, '{');
    api_put_int(&w, "forgotten", (int64_t)n);
    api_close(&w, '}');
    api_reply(c, 200, API_JSON_UTF8, &body);
    buf_done(&body);
}
