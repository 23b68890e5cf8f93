/* GET /api/tags: what is in the store. */
#include "api/api_int.h"

#include <string.h>

static void log_bad(void *user, const char *text)
{
    api *a = user;
    if (a->log)
        a->log(a->user, POOL_WARN_LEVEL, text);
}

static void put_model(api_writer *w, const api_model *m)
{
    const char *remote = api_config_str(m, "remote_host");
    api_open(w, NULL, '{');
    api_put_str(w, "name", m->shown);
    api_put_str(w, "model", m->shown);
    if (*remote) {
        api_put_str(w, "remote_model", api_config_str(m, "remote_model"));
        api_put_str(w, "remote_host", remote);
    }
    api_put_time(w, "modified_at", m->stored.modified_ns, true);
    api_put_int(w, "size", (int64_t)m->stored.size);
    api_put_str(w, "digest", m->stored.digest + strlen("sha256:"));
    api_put_details(w, "details", m, !*remote);
    if (!*remote)
        api_put_capabilities(w, m);
    api_close(w, '}');
}

void api_tags(api_call *c)
{
    store_model *list = NULL;
    size_t n = 0;
    err_info err;
    if (store_list(c->api->store, &c->request_arena, &list, &n, log_bad, c->api, &err)) {
        api_fail(c, cama_err_status(err.code), "%s", err.text);
        return;
    }
    buf body;
    buf_init(&body, API_MAX_REPLY);
    api_writer w = {.out = &body};
    api_open(&w, NULL, '{');
    api_open(&w, "models", '[');
    for (size_t i = 0; i < n; i++) {
        api_model m;
        api_problem p;
        /* A model whose layers cannot be read is listed without what they would say. */
        if (!api_model_of(c->api, &list[i], &c->request_arena, &m, &p)) {
            log_bad(c->api, p.text);
            m = (api_model){.stored = list[i], .name = list[i].name};
            name_format(&m.name, m.shown);
        }
        put_model(&w, &m);
        api_model_close(&m);
    }
    api_close(&w, ']');
    api_close(&w, '}');
    api_reply(c, 200, API_JSON_UTF8, &body);
    buf_done(&body);
}

void api_v1_models(api_call *c)
{
    store_model *list = NULL;
    size_t n = 0;
    err_info err;
    buf body;
    buf_init(&body, API_MAX_REPLY);
    api_writer w = {.out = &body};
    int status = 200;
    if (store_list(c->api->store, &c->request_arena, &list, &n, log_bad, c->api, &err)) {
        status = cama_err_status(err.code);
        (void)api_error_body(API_OPENAI, status, err.text, &body); /* sticks in body */
    } else {
        api_open(&w, NULL, '{');
        api_put_str(&w, "object", "list");
        if (n == 0)
            api_put_null(&w, "data");
        else
            api_open(&w, "data", '[');
        for (size_t i = 0; i < n; i++) {
            char shown[NAME_BYTES];
            name_format(&list[i].name, shown);
            api_open(&w, NULL, '{');
            api_put_str(&w, "id", shown);
            api_put_str(&w, "object", "model");
            api_put_int(&w, "created", list[i].modified_ns / 1000000000);
            api_put_str(&w, "owned_by", list[i].name.space);
            api_close(&w, '}');
        }
        if (n)
            api_close(&w, ']');
        api_close(&w, '}');
    }
    (void)buf_putc(&body, '\n'); /* sticks in body */
    api_reply(c, status, API_JSON, &body);
    buf_done(&body);
}
