/* cli_create.h - a Modelfile as the body of /api/create. */
#ifndef CLI_CLI_CREATE_H
#define CLI_CLI_CREATE_H

#include "base/arena.h"
#include "cli/cli_int.h"

#define CREATE_MAX_FILE 1040 /* shards, and the texts beside them */

/* A file that the Modelfile names: it goes to the server as a blob first. */
typedef struct create_file {
    const char *path;
    const char *name; /* its last part, as the server knows it */
    char digest[72];  /* "sha256:.."; "" until it was read */
    bool adapter;
} create_file;

typedef struct create_plan {
    const char *from; /* a model's name; NULL: files */
    create_file files[CREATE_MAX_FILE];
    size_t n_file;
    buf rest; /* members of the body behind model, from and files: ,"key":value... */
} create_plan;

/* folder: what paths in the Modelfile are relative to. FROM a folder with model*.safetensors takes
 * those and config.json, tokenizer.json, ... beside them; else its GGUF. All memory but rest is the
 * arena's. The texts of errors are those of Ollama's command. */
cama_err create_plan_make(const char *text, size_t n, const char *folder, arena *a,
                          create_plan *out, cama_error *err);
void create_plan_done(create_plan *p);
/* The body, once each file has its digest. */
cama_err create_plan_body(const create_plan *p, const char *name, const char *quantize, buf *out,
                          cama_error *err);

#endif
