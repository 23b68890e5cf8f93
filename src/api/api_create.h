/* api_create.h - a model being created: inside the files of POST /api/create. */
#ifndef API_API_CREATE_H
#define API_API_CREATE_H

#include "api/api_int.h"
#include "store/store_hash.h"

#define CREATE_MAX_LAYERS 256

typedef struct create_layer {
    char kind[32];
    char digest[STORE_DIGEST_BYTES];
    const char *from; /* name of the model it was taken from; NULL */
    bool existing;    /* it was in the store already */
} create_layer;

typedef struct create {
    api_call *call;
    bool stream, begun;
    const json_value *base; /* config of the model it is made from; NULL */
    api_file *file;         /* of the weights' first file; a reference */
    uint64_t n_param;       /* of all files of the weights */
    create_layer layers[CREATE_MAX_LAYERS];
    size_t n_layer;
    api_warnings warnings;
    api_problem problem;
} create;

typedef struct create_config {
    const char *renderer, *parser,
                              *
        requires; /* "" when not said */
    const json_value *info;
} create_config;

/* The config blob's object, with Ollama's keys in its order; NULL: see k->problem. */
const json_value *create_make_config(create *k, const create_config *c);
bool create_add_layer(create *k, const char *kind, const char *digest, const char *from,
                      bool existing);
/* A blob as a GGUF; false: see k->problem. */
bool create_open_gguf(create *k, const char *digest, api_file **out);
/* A line of progress; all > 0: with "total" and "completed". */
void create_say(create *k, const char *status, uint64_t done, uint64_t all);
/* files{} with safetensors: made a GGUF by a runner, which becomes the model layer. */
bool create_take_folder(create *k, const json_value *files);
/* files{}: a model's one file or all of its shards, and projectors, become layers. */
bool create_take_ggufs(create *k, const json_value *files);
/* Whether a file begins as a GGUF does. */
bool create_is_gguf(const char *path);
/* CAMA_ERR_TEMPLATE with Go's text. */
cama_err create_check_template(const char *text, size_t n, err_info *err);

#endif
