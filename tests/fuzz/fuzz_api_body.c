/* Any bytes as the body of any request: read as each struct, its parts written again as JSON that
 * parses, and sent to the endpoint itself over an empty store. The first byte chooses. */
#include "api/api_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char root[] = "/tmp/cama_fuzz_api_XXXXXX";
static api server;
static int n_answer;

static void forget_store(void)
{
    char path[64];
    store_close(server.store);
    static const char *const parts[] = {"/blobs", "/manifests", ""};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        (void)snprintf(path, sizeof path, "%s%s", root, parts[i]);
        (void)rmdir(path);
    }
}

static void open_store(void)
{
    if (server.store)
        return;
    if (!mkdtemp(root) || store_open(root, &server.store, NULL))
        abort();
    (void)atexit(forget_store);
}

static void must_parse(const char *text, size_t n)
{
    arena a;
    json_value *v = NULL;
    err_info err;
    arena_init(&a, 1 << 26);
    const cama_err e = json_parse(text, n, &a, &v, &err);
    if (e && e != CAMA_ERR_NOMEM) {
        (void)fprintf(stderr, "%s: %.*s\n", err.text, (int)n, text);
        abort();
    }
    arena_done(&a);
}

static void on_reply(void *user, int status, const char *type, const api_header *headers,
                     size_t n_header, const char *body, size_t n)
{
    (void)user;
    (void)status;
    (void)headers;
    (void)n_header;
    n_answer++;
    if (type)
        must_parse(body, n);
}

static void on_begin(void *user, int status, const char *type, const api_header *headers,
                     size_t n_header)
{
    (void)user;
    (void)status;
    (void)type;
    (void)headers;
    (void)n_header;
    n_answer++;
}

static void on_piece(void *user, const char *bytes, size_t n)
{
    (void)user;
    must_parse(bytes, n);
}

static void on_end(void *user)
{
    (void)user;
}

static void send(api_fn fn, const char *body, size_t n)
{
    const api_request r = {.method = "POST", .path = "", .param = "", .body = body, .n_body = n};
    const api_out out = {.reply = on_reply, .begin = on_begin, .piece = on_piece, .end = on_end};
    api_call *c = api_call_new(&server, &r, &out);
    if (!c)
        return;
    n_answer = 0;
    fn(c);
    api_call_unref(c);
    if (n_answer != 1)
        abort();
}

/* What a job's head is made of, from whatever the fields hold. */
static void write_again(const api_struct *s, const api_values *v)
{
    buf out;
    buf_init(&out, 1 << 24);
    api_writer w = {.out = &out};
    api_problem p;
    api_open(&w, NULL, '[');
    for (size_t i = 0; i < s->n_field; i++) {
        const json_value *value = v->at[i];
        if (!value)
            continue;
        api_put_sorted(&w, NULL, value);
        (void)api_check_format(value, &p);
        (void)api_keep_ns(s->fields[i].type == API_KEEP ? value : NULL);
        for (size_t k = 0; s->fields[i].type == API_MESSAGES && k < value->n; k++)
            api_put_message(&w, value->items[k]);
        if (s->fields[i].type == API_TOOLS && value->n) {
            api_open(&w, NULL, '{');
            api_put_tools(&w, "tools", value);
            api_close(&w, '}');
        }
    }
    api_close(&w, ']');
    if (!out.fail)
        must_parse(out.data, out.n);
    buf_done(&out);
}

static void write_options(const json_value *options)
{
    const api_model none = {.typed = ""};
    api_options o = {.request = options, .model = &none, .n_ctx_default = 4096};
    api_warnings warn = {.n = 0};
    buf out;
    buf_init(&out, 1 << 20);
    buf_init(&warn.list, 1 << 20);
    api_writer w = {.out = &out};
    api_open(&w, NULL, '{');
    if (!api_put_options(&w, &o, &warn, NULL)) {
        api_close(&w, '}');
        must_parse(out.data, out.n);
    }
    buf_done(&out);
    buf_done(&warn.list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        const api_struct *s;
        api_fn fn; /* NULL: it would write into the store, or ask a pool */
    } kinds[] = {{&api_generate_request, api_generate}, {&api_chat_request_fields, api_chat},
                 {&api_embed_request, api_embed},       {&api_embeddings_request, api_embeddings},
                 {&api_show_request, api_show},         {&api_create_request, NULL},
                 {&api_copy_request, api_copy},         {&api_delete_request, api_delete},
                 {&api_v1_chat_request, api_v1_chat},   {&api_engines_request, NULL}};
    if (size < 1)
        return 0;
    open_store();
    const size_t i = data[0] % (sizeof kinds / sizeof *kinds);
    const char *body = (const char *)data + 1;
    arena a;
    api_values v;
    err_info err;
    arena_init(&a, 1 << 26);
    if (!api_decode(kinds[i].s, body, size - 1, &a, &v, &err)) {
        write_again(kinds[i].s, &v);
        for (size_t k = 0; k < kinds[i].s->n_field; k++) {
            if (kinds[i].s->fields[k].type == API_MAP && v.at[k])
                write_options(v.at[k]);
        }
    }
    arena_done(&a);
    if (kinds[i].fn)
        send(kinds[i].fn, body, size - 1);
    return 0;
}
