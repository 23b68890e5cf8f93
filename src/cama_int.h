/* cama_int.h - what a cama_model holds, shared by the files that carry out the public API.
 *
 * cama.c opens and describes (by the steps of runner/load.h), cama_json.c writes down what a file
 * says, cama_text.c goes between text and tokens, cama_run.c computes, cama_engines.c tells of
 * engines, cama_verify.c compares two. All see every room, and nothing of the project includes this
 * file but them. */
#ifndef CAMA_INT_H
#define CAMA_INT_H

#include "chat/chat.h"
#include "engine/engine.h"
#include "json/json.h"
#include "runner/load.h"
#include "sched/sched.h"

#define CAMA_MAX_OUTPUT ((size_t)1 << 30) /* bytes of any text that the library hands out */
#define CAMA_TEMPLATE_KEY "tokenizer.chat_template"

struct cama_model {
    cama_model_opts o; /* engine points at engine_name */
    char engine_name[32];
    gguf_file *file;
    model_desc *desc; /* NULL: not asked for, or the architecture is unknown (CAMA_OPEN_FILE) */
    tok_vocab *vocab;
    const engine_vt *vt;
    engine *engine; /* NULL unless CAMA_OPEN_ALL */
    engine_opts eo;
    engine_bytes planned;
    bool in_memory;   /* the weights were read into this process */
    engine_stat stat; /* as of the opening: the names in it */
    sched *sched;     /* made by the first answer */
    tmpl *tmpl;       /* parsed by the first prompt */
    chat_caps caps;
    uint32_t told; /* bits of chat_render that were told */
    arena strings; /* NUL-terminated copies for cama_info */
    const char *arch, *name;
    bool exact;                      /* every weight has the file's values */
    char engine_why[LOAD_WHY_BYTES]; /* why this engine */
    uint64_t load_ns;
};

struct cama_ctx {
    cama_model *m;
    int32_t seq;
    uint32_t n_token;
};

/* A struct that begins with its size, between programs built against different headers: as many
 * bytes as both know. */
void cama_copy_sized(void *to, size_t to_bytes, const void *from, size_t from_bytes);
/* Tells the model's owner. */
void cama_warn(const cama_model *m, const char *fmt, ...) ERR_PRINTF(2, 3);
/* The buffer's bytes become the caller's, NUL-terminated; free with cama_free. The buffer is done.
 */
cama_err cama_hand_out(buf *b, char **out_text, size_t *out_n, const char *what, cama_error *err);
/* CAMA_ERR_ARG unless the model was opened with CAMA_OPEN_ALL. */
cama_err cama_need_engine(const cama_model *m, cama_error *err);
/* The scheduler, made on first use. */
cama_err cama_need_sched(cama_model *m, cama_error *err);
/* The caller's options, whatever header it was built with; what that did not know is default. */
cama_err cama_read_gen_opts(const cama_gen_opts *o, cama_gen_opts *out, cama_error *err);
engine_device cama_engine_device(cama_device d);

/* ---- JSON, built in an arena ---- */

typedef struct cama_object {
    arena *a;
    json_value *v;
    bool failed; /* no memory: sticky */
} cama_object;

cama_object cama_object_new(arena *a);
void cama_put(cama_object *o, const char *key, json_value *v);
void cama_put_text(cama_object *o, const char *key, const char *text);
void cama_put_int(cama_object *o, const char *key, uint64_t n);
void cama_put_bool(cama_object *o, const char *key, bool b);
void cama_put_number(cama_object *o, const char *key, double d);
/* The object inside another one, or in a list. */
void cama_put_object(cama_object *o, const char *key, const cama_object *inner);
bool cama_append_object(arena *a, json_value *list, const cama_object *o);
/* The object's text becomes the caller's, with a line's end. */
cama_err cama_hand_out_json(const json_value *v, const char *what, char **out_text,
                            cama_error *err);
/* In which forms the engine holds the weights: an array of {role, type, form, exact, n, bytes}.
 * NULL: no memory. */
json_value *cama_forms_value(arena *a, const cama_model *m);

/* Ids of a prompt: text, or messages through the template. */
cama_err cama_prompt_ids(cama_model *m, const cama_gen_opts *o, tok_ids *ids, cama_error *err);

#endif
