/* GET /api/ps: what is loaded, where, and in how much memory. */
#include "api/api_int.h"

#include <string.h>

/* Ollama's "for ever" is Go's longest duration. */
#define FOREVER_NS INT64_MAX

static api_date expiry(int64_t now_ns, int64_t remaining_ns)
{
    const int64_t second = 1000000000;
    const int64_t rest_ns = remaining_ns < 0 ? FOREVER_NS : remaining_ns;
    const int64_t ns = now_ns % second + rest_ns % second;
    return (api_date){.s = now_ns / second + rest_ns / second + ns / second, .ns = ns % second};
}

void api_put_runner_engine(api_writer *w, const json_value *r)
{
    static const char *const texts[] = {"engine", "engine_version", "device",
                                        "why",    "note",           "fallback"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *text = api_text(json_get(r, texts[i]));
        if (*text || i == 0 || i == 2)
            api_put_str(w, texts[i], text);
    }
    if (json_get(r, "exact"))
        api_put_json(w, "exact", json_get(r, "exact"));
}

/* The details as the model was submitted with; older digests come with a prefix. */
static void put_runner(api_writer *w, const json_value *r, int64_t now_ns)
{
    static const char *const inner[] = {"activations", "kv_type", "weights", "sandbox",
                                        "pid",         "running", "waiting", "restarts"};
    const char *digest = api_text(json_get(r, "digest"));
    if (strncmp(digest, "sha256:", 7) == 0)
        digest += 7;
    const char *name = api_text(json_get(r, "name"));
    api_open(w, NULL, '{');
    api_put_str(w, "name", name);
    api_put_str(w, "model", name);
    api_put_int(w, "size", api_int(json_get(r, "size"), 0));
    api_put_str(w, "digest", digest);
    api_put_json(w, "details", json_get(r, "details"));
    api_put_date(w, "expires_at", expiry(now_ns, api_int(json_get(r, "remaining_ns"), 0)), true);
    /* An engine that computes on a GPU has all of the model there. */
    api_put_int(w, "size_vram",
                api_bool(json_get(r, "is_gpu"), false) ? api_int(json_get(r, "size"), 0) : 0);
    api_put_int(w, "context_length", api_int(json_get(r, "n_ctx"), 0));
    api_put_runner_engine(w, r);
    api_put_str(w, "state", api_text(json_get(r, "state")));
    api_put_json(w, "memory", json_get(r, "bytes"));
    api_open(w, "cama", '{');
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++)
        api_put_json(w, inner[i], json_get(r, inner[i]));
    api_close(w, '}');
    api_close(w, '}');
}

void api_ps(api_call *c)
{
    err_info err;
    buf list;
    buf body;
    buf_init(&list, API_MAX_REPLY);
    buf_init(&body, API_MAX_REPLY);
    json_value *runners = NULL;
    cama_err e = pool_list(c->api->pool, &list, &err);
    if (!e)
        e = json_parse(list.data ? list.data : "", list.n, &c->request_arena, &runners, &err);
    if (e) {
        api_fail(c, 500, "%s", err.text);
    } else {
        const int64_t now_ns = api_now_ns();
        api_writer w = {.out = &body};
        api_open(&w, NULL, '{');
        api_open(&w, "models", '[');
        for (size_t i = 0; runners->kind == JSON_ARRAY && i < runners->n; i++)
            put_runner(&w, runners->items[i], now_ns);
        api_close(&w, ']');
        api_close(&w, '}');
        api_reply(c, 200, API_JSON_UTF8, &body);
    }
    buf_done(&list);
    buf_done(&body);
}
