/* api_rig.h - the API over a store of its own and a pool that plays a script.
 *
 * The functions of pool.h are defined here, so that the linker leaves the real pool out: a test
 * decides which events a job hears and sees the job that was made of a request.
 *
 *     rig_open();
 *     rig_make("m:v1", NULL);                  a model over a tiny GGUF
 *     rig.script = RIG_HELLO;
 *     rig_call("POST", "/api/chat", "{..}");   then rig.status, rig.type, rig.body, rig.head
 *     rig_close();
 */
#ifndef API_RIG_H
#define API_RIG_H

#include "test.h"

#include <unistd.h>

#include "api/api_int.h"
#include "gguf_build.h"

typedef enum rig_script {
    RIG_HELLO,     /* LOADED, "Hel", "lo <b>", DONE */
    RIG_THINK,     /* THINK, TEXT */
    RIG_CALLS,     /* CALLS */
    RIG_LOGPROBS,  /* TEXT with logprobs */
    RIG_WARN,      /* WARNING, then HELLO */
    RIG_VECTORS,   /* two VECTORs */
    RIG_FAIL,      /* FAIL before LOADED */
    RIG_FAIL_PART, /* FAIL after a piece */
    RIG_FAIL_LATE, /* FAIL after LOADED */
    RIG_BUSY,      /* pool_submit refuses */
    RIG_HANG       /* nothing: rig_play later */
} rig_script;

typedef struct api_rig {
    api api;
    char dir[64];
    rig_script script;
    err_info fail;   /* what FAIL says */
    char list[2048]; /* what pool_list gives */
    /* What the pool was asked. */
    char head[8192];
    size_t n_ids;
    int32_t ids[16];
    uint32_t n_ctx;
    int64_t keep_ns;
    bool load_only;
    char details[512];
    pool_sink sink;
    int n_cancel, n_unload, n_submit;
    size_t credit;
    /* What came back. */
    int status, n_reply, n_begin, n_end, n_piece;
    char type[64], engine[128];
    char key[256], want_engine[32], want_device[32]; /* of the model that was submitted */
    char reset[80];                                  /* digest; "all" */
    char body[65536];                                /* pieces joined */
    size_t n_body;
    api_call *call; /* of RIG_HANG: rig_finish */
    api_request request;
} api_rig;

static api_rig rig;

/* ---- the pool ---- */

static inline void rig_event(pool_event_type type, const char *head, const void *data, size_t n)
{
    arena a;
    arena_init(&a, 1 << 20);
    json_value *v = NULL;
    if (json_parse(head, strlen(head), &a, &v, NULL)) /* a fault that was meant for others */
        assert_int_equal(json_parse(head, strlen(head), &a, &v, NULL), CAMA_OK);
    const pool_event e = {.type = type, .head = v, .data = data, .n_data = n, .err = &rig.fail};
    rig.sink.event(rig.sink.user, &e);
    arena_done(&a);
}

static inline void rig_text(pool_event_type type, const char *text)
{
    rig_event(type, "{}", text, strlen(text));
}

static inline void rig_loaded(void)
{
    rig_event(POOL_LOADED, "{\"engine\":\"native\",\"device\":\"cpu\",\"n_ctx\":4096}", NULL, 0);
}

static inline void rig_done(void)
{
    static const int32_t ids[] = {1, 2, 3};
    rig_event(POOL_DONE,
              "{\"reason\":\"length\",\"n_prompt\":5,\"n_token\":2,\"n_cached\":1,\"n_ctx\":4096,"
              "\"seed\":7,\"prompt_ns\":3000,\"eval_ns\":4000,\"template\":\"go\"}",
              ids, sizeof ids);
}

static inline void rig_play(rig_script script)
{
    static const char warning[] =
        "{\"code\":\"context_truncated\",\"text\":\"2 messages dropped\",\"n_dropped\":2}";
    static const char logprobs[] = "{\"logprobs\":[{\"token\":\"a\",\"logprob\":-0.5,"
                                   "\"bytes\":[97],\"top_logprobs\":[]}]}";
    static const float vector[] = {0.5f, -1e-9f};
    if (script != RIG_FAIL)
        rig_loaded();
    switch (script) {
    case RIG_WARN:
        rig_event(POOL_WARNING, warning, NULL, 0);
        /* fall through */
    case RIG_HELLO:
        if (!rig.load_only) {
            rig_text(POOL_TEXT, "Hel");
            rig_text(POOL_TEXT, "lo <b>");
        }
        rig_done();
        break;
    case RIG_THINK:
        rig_text(POOL_THINK, "Hm");
        rig_text(POOL_TEXT, "Yes");
        rig_done();
        break;
    case RIG_CALLS:
        rig_text(POOL_CALLS, "[{\"id\":\"call_ab\",\"function\":{\"index\":0,\"name\":\"f\","
                             "\"arguments\":{\"z\":1,\"a\":\"<\"}}}]");
        rig_done();
        break;
    case RIG_LOGPROBS:
        rig_event(POOL_TEXT, logprobs, "a", 1);
        rig_done();
        break;
    case RIG_VECTORS:
        rig_event(POOL_VECTOR, "{\"index\":1,\"n_token\":2}", vector, sizeof vector);
        rig_event(POOL_VECTOR, "{\"index\":0,\"n_token\":3}", vector, sizeof vector);
        rig_done();
        break;
    case RIG_FAIL_PART:
        rig_text(POOL_TEXT, "Hel");
        /* fall through */
    case RIG_FAIL:
    case RIG_FAIL_LATE:
        rig_event(POOL_FAIL, "{}", NULL, 0);
        break;
    case RIG_BUSY:
    case RIG_HANG:
        break;
    }
}

cama_err pool_submit(pool *p, const pool_job *job, pool_job_id *out, err_info *err)
{
    (void)p;
    if (rig.script == RIG_BUSY)
        return err_set(err, CAMA_ERR_BUSY, "queue is full");
    rig.n_submit++;
    rig.load_only = job->head == NULL;
    (void)snprintf(rig.head, sizeof rig.head, "%.*s", (int)job->n_head, job->head ? job->head : "");
    (void)snprintf(rig.details, sizeof rig.details, "%s", job->model->details);
    (void)snprintf(rig.key, sizeof rig.key, "%s", job->model->key);
    (void)snprintf(rig.want_engine, sizeof rig.want_engine, "%s", job->model->engine);
    (void)snprintf(rig.want_device, sizeof rig.want_device, "%s", job->model->device);
    rig.n_ids = job->n_data / sizeof(int32_t);
    for (size_t i = 0; i < rig.n_ids && i < TEST_COUNT(rig.ids); i++)
        rig.ids[i] = ((const int32_t *)job->data)[i];
    rig.n_ctx = job->n_ctx;
    rig.keep_ns = job->keep_alive_ns;
    rig.sink = job->sink;
    *out = 42;
    if (rig.script != RIG_HANG)
        rig_play(rig.script);
    return CAMA_OK;
}

void pool_cancel(pool *p, pool_job_id id)
{
    (void)p;
    assert_int_equal(id, 42);
    rig.n_cancel++;
}

void pool_credit(pool *p, pool_job_id id, size_t n)
{
    (void)p;
    assert_int_equal(id, 42);
    rig.credit += n;
}

bool pool_unload(pool *p, const char *key)
{
    (void)p;
    (void)key;
    rig.n_unload++;
    return true;
}

cama_err pool_list(pool *p, buf *out, err_info *err)
{
    (void)p;
    (void)err;
    return buf_puts(out, rig.list);
}

cama_err pool_engines(pool *p, uint32_t wait_ms, buf *out, err_info *err)
{
    (void)p;
    (void)err;
    assert_true(wait_ms <= 12000);
    return buf_puts(out, "{\"engines\":[{\"name\":\"native\",\"available\":true}],"
                         "\"failures\":[],\"state\":\"known\"}");
}

cama_err pool_engines_reset(pool *p, const char *digest, size_t *out_n, err_info *err)
{
    (void)p;
    (void)err;
    (void)snprintf(rig.reset, sizeof rig.reset, "%s", digest ? digest : "all");
    *out_n = 3;
    return CAMA_OK;
}

/* ---- the door ---- */

static inline void rig_append(const char *bytes, size_t n)
{
    assert_true(rig.n_body + n < sizeof rig.body);
    memcpy(rig.body + rig.n_body, bytes, n);
    rig.n_body += n;
    rig.body[rig.n_body] = '\0';
}

static inline void rig_reply(void *user, int status, const char *type, const api_header *headers,
                             size_t n_header, const char *body, size_t n)
{
    (void)user;
    rig.n_reply++;
    if (n_header)
        (void)snprintf(rig.engine, sizeof rig.engine, "%s", headers[0].value);
    rig.status = status;
    (void)snprintf(rig.type, sizeof rig.type, "%s", type ? type : "");
    rig_append(body, n);
}

static inline void rig_begin(void *user, int status, const char *type, const api_header *headers,
                             size_t n_header)
{
    (void)user;
    rig.n_begin++;
    rig.status = status;
    (void)snprintf(rig.type, sizeof rig.type, "%s", type);
    if (n_header)
        (void)snprintf(rig.engine, sizeof rig.engine, "%s", headers[0].value);
}

static inline void rig_piece(void *user, const char *bytes, size_t n)
{
    (void)user;
    assert_int_equal(rig.n_begin, 1);
    assert_int_equal(rig.n_end, 0);
    rig.n_piece++;
    rig_append(bytes, n);
}

static inline void rig_end(void *user)
{
    (void)user;
    rig.n_end++;
}

static inline const api_route *rig_route(const char *method, const char *path, const char **param)
{
    for (size_t i = 0; i < api_n_route; i++) {
        const api_route *r = &api_routes[i];
        const char *colon = strchr(r->path, ':');
        const size_t n = colon ? (size_t)(colon - r->path) : strlen(r->path);
        *param = colon ? path + n : "";
        if (strcmp(r->method, method) == 0 && strncmp(r->path, path, n) == 0 &&
            (colon ? path[n] != '\0' : path[n] == '\0'))
            return r;
    }
    return NULL;
}

/* Sends without checking how it was answered; gives the call, still held. */
static inline api_call *rig_send(const char *method, const char *path, const char *body, size_t n)
{
    const api_out out = {
        .reply = rig_reply, .begin = rig_begin, .piece = rig_piece, .end = rig_end};
    rig.status = rig.n_reply = rig.n_begin = rig.n_end = rig.n_piece = 0;
    rig.n_cancel = rig.n_unload = rig.n_submit = 0;
    rig.n_body = rig.credit = 0;
    rig.body[0] = rig.type[0] = rig.engine[0] = rig.head[0] = '\0';
    rig.request = (api_request){.method = method, .path = path, .body = body, .n_body = n};
    const api_route *r = rig_route(method, path, &rig.request.param);
    assert_non_null(r);
    api_call *c = api_call_new(&rig.api, &rig.request, &out);
    if (c)
        r->fn(c);
    return c;
}

static inline void rig_call(const char *method, const char *path, const char *body)
{
    api_call *c = rig_send(method, path, body, strlen(body));
    assert_non_null(c);
    api_call_unref(c);
    assert_int_equal(rig.n_reply + rig.n_begin, 1); /* answered, and once */
    assert_int_equal(rig.n_begin, rig.n_end);
}

/* ---- a store with models ---- */

static inline void rig_gguf(const char *path, const char *jinja, bool embeds)
{
    static const float values[64] = {0};
    gguf_build b;
    gguf_build_init(&b);
    gguf_build_str(&b, "general.architecture", "llama");
    gguf_build_str(&b, "general.name", "tiny");
    gguf_build_u32(&b, "general.file_type", 0);
    gguf_build_u32(&b, "llama.context_length", 8192);
    gguf_build_u32(&b, "llama.embedding_length", 32);
    gguf_build_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    if (embeds)
        gguf_build_u32(&b, "llama.pooling_type", 1);
    gguf_build_strings(&b, "tokenizer.ggml.tokens", (const char *[]){"<s>", "\"a\""}, 2);
    if (jinja)
        gguf_build_str(&b, "tokenizer.chat_template", jinja);
    gguf_build_tensor(&b, "x.weight", 0, 2, (uint64_t[]){32, 2}, values, sizeof values);
    gguf_build_write(&b, path);
}

/* A model over the tiny GGUF; more: fields of the create request behind a comma. */
static inline void rig_make_of(const char *name, const char *jinja, bool embeds, const char *more)
{
    char path[128];
    char body[4096];
    char digest[STORE_DIGEST_BYTES];
    err_info err;
    (void)snprintf(path, sizeof path, "%s/tiny.gguf", rig.dir);
    rig_gguf(path, jinja, embeds);
    if (store_blob_import(rig.api.store, path, false, NULL, NULL, digest, &err))
        fail_msg("%s", err.text);
    (void)unlink(path);
    (void)snprintf(body, sizeof body,
                   "{\"model\":\"%s\",\"stream\":false,\"files\":{\"t.gguf\":\"%s\"}%s}", name,
                   digest, more ? more : "");
    rig_call("POST", "/api/create", body);
    if (rig.status != 200)
        fail_msg("create '%s': %s", name, rig.body);
}

static inline void rig_make(const char *name, const char *more)
{
    rig_make_of(name, NULL, false, more);
}

static inline void rig_open(void)
{
    err_info err;
    memset(&rig, 0, sizeof rig);
    (void)snprintf(rig.dir, sizeof rig.dir, "/tmp/cama_api_XXXXXX");
    assert_non_null(mkdtemp(rig.dir));
    char root[96];
    (void)snprintf(root, sizeof root, "%s/models", rig.dir);
    if (store_open(root, &rig.api.store, &err))
        fail_msg("%s", err.text);
    rig.api.cache = api_cache_new();
    (void)snprintf(rig.list, sizeof rig.list, "[]");
}

static inline void rig_close(void)
{
    char command[128];
    store_close(rig.api.store);
    api_cache_free(rig.api.cache);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", rig.dir);
    assert_int_equal(system(command), 0);
}

static inline void rig_has(const char *part)
{
    if (!strstr(rig.body, part))
        fail_msg("no %s in %s", part, rig.body);
}

static inline void rig_head_has(const char *part)
{
    if (!strstr(rig.head, part))
        fail_msg("no %s in %s", part, rig.head);
}

#endif
