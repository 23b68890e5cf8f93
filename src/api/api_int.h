/* api_int.h - what the files of this room share.
 *
 *     api_call.c    a request on its way: references, the client leaving, credit, the ways to reply
 *     api_write.c   replies as Go writes them         api_decode.c   bodies as Go reads them
 *     api_file.c    facts about a GGUF, remembered    api_model.c    a name -> layers, capabilities
 *     api_weights.c the files of a model's weights
 *     api_option.c  options -> the head of a job      api_answer.c   events of a job -> a reply
 *     api_<endpoint>.c, v1_<endpoint>.c               a dialect each
 */
#ifndef API_API_INT_H
#define API_API_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/api.h"
#include "base/arena.h"
#include "base/buf.h"

/* What one request may take beside its body, and how large a reply or a job's head may be. */
#define API_MAX_REQUEST_BYTES ((size_t)1 << 30)
#define API_MAX_REPLY ((size_t)64 << 20)
#define API_MAX_JOB ((size_t)64 << 20)  /* the wire's limit for a head */
#define API_MAX_LAYER ((size_t)4 << 20) /* template, params, system, ... */

/* Content types, told apart as Ollama's own replies are (with a charset or without). */
#define API_JSON_UTF8 "application/json; charset=utf-8"
#define API_JSON "application/json"
#define API_NDJSON "application/x-ndjson"
#define API_SSE "text/event-stream"

struct api_call {
    api *api;
    const api_request *request;
    api_out out;
    arena request_arena;
    uint64_t start_ns; /* clock_now_ns */
    atomic_uint n_ref; /* acquire and release: the last one frees */
    pthread_mutex_t lock;
    bool gone;          /* lock: the client left */
    bool canceled;      /* lock: api_cancel */
    pool_job_id job;    /* lock: 0 while there is none */
    size_t text_bytes;  /* lock: of the job, not yet credited */
    size_t piece_bytes; /* lock: written, not yet taken */
    size_t early_bytes; /* lock: credit from before the job had its number */
};

/* ---- replies: api_call.c ---- */

/* What headers say of a reply: Cama-Engine and Cama-Warning. NULL or "": none. */
#define API_ENGINE_MARK 160
typedef struct api_marks {
    const char *engine;   /* "native; device=cpu; version=\"cama 0.1.0\"" */
    const char *warnings; /* codes, "prompt_cut, option_unknown" */
} api_marks;

bool api_is_gone(api_call *c);
/* The whole reply from body, which it empties; a body that failed to be built becomes a 500. */
void api_reply(api_call *c, int status, const char *content_type, buf *body);
/* The same with headers of ours. */
void api_reply_from(api_call *c, int status, const char *content_type, const api_marks *marks,
                    buf *body);
void api_reply_empty(api_call *c, int status);
/* {"error":"text"} */
void api_fail(api_call *c, int status, const char *fmt, ...) ERR_PRINTF(3, 4);
void api_begin(api_call *c, int status, const char *content_type, const api_marks *marks);
void api_piece(api_call *c, buf *piece); /* empties it; one that failed is not sent */
void api_end(api_call *c);
/* A job's event brought n bytes; kept: they stay here, so that the job may send more at once. */
void api_owe(api_call *c, size_t n, bool kept);
/* Submits and remembers the job for api_call_gone. */
cama_err api_submit(api_call *c, const pool_job *job, err_info *err);
/* The job is not wanted any more; the call is answered already. */
void api_cancel(api_call *c);

/* A line of the log of the level debug, when it is wanted. Never a text of a request or an answer.
 */
void api_debug(const api *a, const char *fmt, ...) ERR_PRINTF(2, 3);

/* ---- writing: api_write.c ---- */

/* JSON as Go's encoding/json writes it. Failures stick in out; key NULL: an element of an array. */
typedef struct api_writer {
    buf *out;
    bool comma; /* a value stands before on this level */
} api_writer;

void api_open(api_writer *w, const char *key, char bracket);
void api_close(api_writer *w, char bracket);
void api_put_text(api_writer *w, const char *key, const char *text, size_t n);
void api_put_str(api_writer *w, const char *key, const char *text);
void api_put_int(api_writer *w, const char *key, int64_t v);
void api_put_bool(api_writer *w, const char *key, bool v);
void api_put_null(api_writer *w, const char *key);
void api_put_f64(api_writer *w, const char *key, double v);
void api_put_f32(api_writer *w, const char *key, float v);
/* NULL is null. Numbers in Go's form; api_put_sorted sorts the keys of all objects, as Go's maps.
 */
void api_put_json(api_writer *w, const char *key, const json_value *v);
void api_put_sorted(api_writer *w, const char *key, const json_value *v);
void api_put_raw(api_writer *w, const char *key, const char *json, size_t n);
/* RFC 3339 with the nanoseconds that are there; since 1970. */
void api_put_time(api_writer *w, const char *key, int64_t ns, bool local);
/* The same past the year 2262, where an int64_t of nanoseconds ends. */
typedef struct api_date {
    int64_t s;  /* since 1970 */
    int64_t ns; /* of the second: 0 to 999999999 */
} api_date;
void api_put_date(api_writer *w, const char *key, api_date date, bool local);
int64_t api_now_ns(void); /* since 1970 */

/* As Go's strconv.Quote, appended. */
void api_quote(buf *out, const char *text, size_t n);
#define API_NUMBER_BYTES 40
size_t api_format_f64(double v, char out[API_NUMBER_BYTES]);
size_t api_format_f32(float v, char out[API_NUMBER_BYTES]);

/* ---- reading: api_decode.c ---- */

typedef enum api_field_type {
    API_STRING,
    API_BOOL,
    API_INT,
    API_FLOAT,
    API_INTS,     /* []int */
    API_MAP,      /* map[string]interface {} */
    API_STRMAP,   /* map[string]string */
    API_MESSAGES, /* []api.Message */
    API_TOOLS,    /* api.Tools */
    API_IMAGES,   /* []api.ImageData: base64 */
    API_ANY,      /* kept as it is */
    API_KEEP,     /* keep_alive */
    API_THINK,
    API_STRUCT /* any object; the name of its Go type is in go_type */
} api_field_type;

typedef struct api_field {
    const char *name; /* as JSON has it */
    api_field_type type;
    const char *go_type; /* of API_STRUCT: what an error calls it; else NULL */
} api_field;

/* A request struct: its name in Go, and its fields. */
typedef struct api_struct {
    const char *package; /* "api" */
    const char *go_name; /* "GenerateRequest" */
    const api_field *fields;
    size_t n_field;
} api_struct;

#define API_MAX_FIELDS 40

extern const api_struct api_generate_request, api_chat_request_fields, api_embed_request,
    api_embeddings_request, api_show_request, api_create_request, api_copy_request,
    api_delete_request, api_v1_chat_request, api_engines_request;

/* at[i] is what the body says for fields[i]: of the type that was asked for, or NULL when it is
 * absent or null. */
typedef struct api_values {
    const json_value *at[API_MAX_FIELDS];
} api_values;

/* CAMA_ERR_FORMAT with Go's text. */
cama_err api_decode(const api_struct *s, const char *body, size_t n, arena *a, api_values *out,
                    err_info *err);
/* The last member whose key matches in any case, as Go picks it; NULL when absent or null. */
const json_value *api_member(const json_value *object, const char *key);

/* Reads the call's body; answers the call and gives false when it cannot. openai: errors in that
 * shape. */
bool api_read_body(api_call *c, const api_struct *s, bool openai, api_values *out);

const char *api_text(const json_value *v);              /* "" for NULL */
int64_t api_int(const json_value *v, int64_t fallback); /* of API_INT */
bool api_bool(const json_value *v, bool fallback);
/* POOL_KEEP_DEFAULT for NULL. */
int64_t api_keep_ns(const json_value *v);
bool api_base64_ok(const char *text, size_t n, size_t *out_bad);

/* ---- files and models: api_file.c, api_model.c ---- */

enum {
    API_CAN_COMPLETE = 1,
    API_CAN_EMBED = 2,
    API_CAN_VISION = 4,
    API_CAN_AUDIO = 8,
    API_CAN_TOOLS = 16,
    API_CAN_INSERT = 32,
    API_CAN_THINK = 64
};

/* What a GGUF says about itself. Shared: api_file_unref. */
typedef struct api_file {
    char digest[STORE_DIGEST_BYTES];
    char arch[64];
    uint64_t n_param, n_ctx_train, n_embd;
    int file_type; /* -1: not said */
    uint64_t n_tensor;
    uint32_t split_no, split_count; /* of a shard, from 0 on; count 0: the file is whole */
    uint64_t split_n_tensor;        /* of all shards; 0: not said */
    uint32_t caps;                  /* COMPLETE or EMBED, VISION, AUDIO */
    uint32_t jinja_caps;            /* TOOLS, THINK of its own template */
    char *jinja;                    /* source, NULL: none */
    size_t n_jinja;
    atomic_uint n_ref;
} api_file;

/* Facts of up to API_CACHE_FILES blobs, by digest, so that a vocabulary is not walked for every
 * request. Own lock. */
#define API_CACHE_FILES 64
cama_err api_file_open(api *a, const char *digest, const char *path, api_file **out, err_info *err);
void api_file_unref(api_file *f);
const char *api_file_type_name(int file_type);      /* "Q4_K_M"; "unknown" */
void api_size_name(uint64_t n_param, char out[32]); /* "134.52M" */

typedef struct api_model {
    const char *typed; /* as the request has it; replies repeat it */
    model_name name;
    char shown[NAME_BYTES], full[NAME_BYTES];
    store_model stored;
    const store_layer *weights; /* the first file; NULL: a stub of a remote model */
    const char *key;            /* all files of the weights; what keys of the pool begin with */
    const store_layer **files;  /* [n_path] of the weights: one, or all shards in order */
    const char **paths;         /* [n_path] */
    size_t n_path;
    uint64_t n_param;          /* of all files that can be read */
    const char *template_text; /* Go; NULL: no layer */
    size_t n_template;
    bool go_template; /* it is used; else the file's own */
    const char *system;
    const json_value *params;   /* object or NULL */
    const json_value *messages; /* array or NULL */
    api_file *file;             /* of the first; NULL: it cannot be read */
    uint32_t caps;
} api_model;

/* On which engine and device a request wants its model; "": whichever fits best. */
typedef struct api_choice {
    const char *engine, *device;
} api_choice;

/* Why a request cannot be answered. */
typedef struct api_problem {
    int status;
    char text[ERR_TEXT_BYTES];
} api_problem;

/* Always false, so that a check is one line. */
bool api_problem_set(api_problem *p, int status, const char *fmt, ...) ERR_PRINTF(3, 4);
bool api_problem_err(api_problem *p, const err_info *err); /* with the status of its code */

/* How Ollama words a model that is not there: as typed, "try pulling it first", with its tag. */
typedef enum api_missing { API_MISSING_PLAIN, API_MISSING_PULL, API_MISSING_TAG } api_missing;

/* A name with Ollama's suffixes: ":local" is cut, *out_cloud is set by ":cloud" and "-cloud". */
bool api_name_parse(const char *text, model_name *out, bool *out_cloud, api_problem *p);

/* Looks up a name: manifest, config, and what the file says when it can be read. Texts are in mem.
 * A problem leaves nothing to close. */
bool api_model_open(api *a, const char *typed, api_missing missing, arena *mem, api_model *out,
                    api_problem *p);
/* The same for a manifest that was read already. */
bool api_model_of(api *a, const store_model *stored, arena *mem, api_model *out, api_problem *p);
/* Layers that inference and show need: template, system, params, messages. */
bool api_model_layers(api *a, arena *mem, api_model *m, api_problem *p);
/* The files of the weights, when it has any. What cannot be read stays unknown. */
bool api_model_weights(api *a, arena *mem, api_model *m, api_problem *p);
/* Whether the head of each can be read. */
bool api_weights_check(api *a, const api_model *m, api_problem *p);
/* A file of a stored model that is missing or damaged is the server's fault: 500, its digest, what
 * is wrong; whoever found it, here or in the runner that should have loaded it. */
bool api_is_file_fault(cama_err e);
bool api_problem_file(api_problem *p, const char *name, const char *digest, const err_info *err);
/* As the pool wants it; everything points into m. */
bool api_fill_pool_model(const api_model *m, const api_choice *choice, const char *details,
                         arena *mem, pool_model *out); /* false: no memory */
/* Every runner of the model, on whichever engine and device it was asked for, ends when idle. */
void api_unload(api *a, const api_model *m, arena *mem);
/* Whether a key of the pool is of this model. */
bool api_is_key_of(const api_model *m, const char *key);
void api_model_close(api_model *m);                              /* accepts one that is all zeros */
const char *api_config_str(const api_model *m, const char *key); /* "" when absent */
/* details{} of tags (with sizes), ps and show. */
void api_put_details(api_writer *w, const char *key, const api_model *m, bool sizes);
void api_put_capabilities(api_writer *w, const api_model *m);

/* ---- warnings and options: api_option.c ---- */

/* A JSON list without its brackets. */
typedef struct api_warnings {
    buf list;
    size_t n;
    char first[ERR_TEXT_BYTES]; /* the text of the first one, for an error instead */
    char codes[256];            /* each once, for a header */
} api_warnings;

void api_warn(api_warnings *w, const char *code, const char *fmt, ...) ERR_PRINTF(3, 4);
void api_warn_json(api_warnings *w, const json_value *head);
/* What there is, in one line of the log. */
void api_log_warnings(const api *a, const char *model, const api_warnings *w);

/* Names that nobody knows, and such as have no effect here. whose: "option", "PARAMETER". */
void api_warn_strangers(api_warnings *w, const json_value *object, const char *whose);

typedef struct api_options {
    const json_value *request; /* object or NULL */
    const api_model *model;
    uint32_t n_ctx_default;
    uint32_t n_ctx;    /* out: 0 when nobody says */
    api_choice choice; /* in: when neither request nor model says; out: what is wanted */
} api_options;

/* "options":{...}, all of options.def, resolved. CAMA_ERR_ARG: `option "num_ctx" must be of type
 * integer` (Ollama answers it with 500). CAMA_ERR_UNSUPPORTED: an engine or device that there is
 * not; the text names those that there are. */
cama_err api_put_options(api_writer *w, api_options *o, api_warnings *warn, err_info *err);

/* ---- an inference: api_answer.c ---- */

typedef struct api_answer api_answer;

/* How a dialect writes. Each appends to out one piece, or nothing at all. */
typedef struct api_dialect {
    const char *stream_type, *whole_type;
    bool openai; /* errors in its shape */
    void (*piece)(api_answer *a, pool_event_type type, const pool_event *e, buf *out);
    void (*last)(api_answer *a, buf *out);
    void (*whole)(api_answer *a, buf *out);
} api_dialect;

struct api_answer {
    api_call *call; /* holds a reference */
    const api_dialect *dialect;
    const char *model;          /* the request's arena, as all texts here */
    const char *shown, *digest; /* of the model: its name with a tag, its first file */
    bool stream;
    bool strict;
    bool load_only;
    bool raw;
    bool render_only;
    bool no_truncate, no_shift;
    bool include_usage; /* v1 */
    char id[40];        /* v1 */
    int64_t created_s;  /* v1 */
    /* The pool's side: one call at a time. */
    bool begun, role_sent, called, over, loaded;
    api_choice choice;
    char engine[32], engine_version[48], device[96];
    char why[512];
    bool is_gpu, exact;
    buf text, think, calls, logprobs; /* the whole answer, kept when it is not streamed */
    api_warnings warnings;
    uint64_t load_ns;
    const char *reason;
    char reason_text[32];
    int64_t n_prompt, n_token, prompt_ns, eval_ns, n_cached, n_ctx, seed;
    char template_path[16];
    const int32_t *ids; /* DONE only */
    size_t n_id;
};

/* *out takes a reference on the call. NULL: no memory (the call is then answered). */
api_answer *api_answer_new(api_call *c, const api_dialect *d);
void api_answer_free(api_answer *a);
/* Submits; the answer is freed by the job's end, or here when it fails (the call is answered). */
void api_answer_run(api_answer *a, const api_model *m, buf *head, const int32_t *ids, size_t n_id,
                    uint32_t n_ctx, int64_t keep_ns);
/* Answers the call with a problem instead, and frees. in_stream: in the form that errors from
 * inside a stream have. */
void api_answer_refuse(api_answer *a, const api_problem *p, bool in_stream);
/* The same of an entry of pool_list; and why this engine, what it does otherwise, for which it
 * stands in. */
void api_put_runner_engine(api_writer *w, const json_value *runner);
/* logprobs of an event's head; key NULL: the elements alone. */
void api_put_logprobs(api_writer *w, const char *key, const json_value *list);
/* Of a LOADED: engine, device, exactness. It may come again, and is then forgotten first. */
void api_take_engine(api_answer *a, const json_value *ready);
/* engine, engine_version, device, exact; nothing when no engine is known. */
void api_put_engine(api_writer *w, const api_answer *a);
/* The text of Cama-Engine; "" when no engine is known. */
void api_mark_engine(const api_answer *a, char out[API_ENGINE_MARK]);
/* The statistics of a last record, from total_duration on; then our own fields. */
void api_put_stats(api_writer *w, const api_answer *a);
void api_put_ours(api_writer *w, const api_answer *a);

/* ---- what generate, chat and v1 share: api_prompt.c, api_chat.c ---- */

bool api_check_logprobs(const json_value *top, api_problem *p);
/* Every format is a problem until grammars are built; null and "" are none. */
bool api_check_format(const json_value *format, api_problem *p);
/* The model of an inference request: there, on this machine, of a kind that can be run. */
bool api_runnable(api_call *c, const char *typed, api_missing missing, api_model *out,
                  api_problem *p);
/* What the request wants (API_CAN_..) and the model lacks. what: "chat", "generate". */
bool api_check_caps(const api_model *m, uint32_t want, const char *what, api_problem *p);
bool api_check_think(const api_model *m, const json_value *think, api_problem *p);
bool api_has_images(const json_value *messages);
extern const char api_no_images[]; /* what is said to them, with 400 */

void api_put_message(api_writer *w, const json_value *message);
/* A text of ours as a message. */
void api_put_said(api_writer *w, const char *role, const json_value *text, const char *otherwise);
void api_put_tools(api_writer *w, const char *key, const json_value *tools);
/* kind, model, template, options: what all heads of jobs begin with. */
bool api_begin_head(api_writer *w, api_answer *a, const char *kind, api_options *o, api_problem *p);

/* A chat in Ollama's shape, whatever dialect it came in. All checked but for what the model can. */
typedef struct api_chat_request {
    const char *model;
    const json_value *messages, *tools, *options, *format, *think, *keep_alive;
    const json_value *top_logprobs;
    bool logprobs, truncate, shift, debug_render;
} api_chat_request;
/* Takes the answer: checks, submits; a problem answers the call. */
void api_chat_run(api_answer *a, const api_chat_request *q);

/* ---- dialects: one function a route ---- */
#define X(method, path, fn, flags, summary) void fn(api_call *c);
#include "api/routes.def"
#undef X

#endif
