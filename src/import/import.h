/* import.h - a folder in Hugging Face or MLX-community layout becomes one GGUF.
 *
 *     config.json  tokenizer.json  [tokenizer_config.json, generation_config.json,
 *     chat_template.jinja]  *.safetensors
 *
 * No value changes: f32, f16 and bf16 stay what they are, affine groups become the block formats
 * A<bits>G<group> (quant.h), mxfp4 and nvfp4 GGUF's own, mxfp8 MXFP8. Vectors become f32, as GGUF
 * has them. Names of tensors and keys, and the order of rows that RoPE wants, are those of
 * llama.cpp's converter, so that a model is the same whichever way it came.
 *
 * Every file is foreign and nothing in it is trusted; it is read through descriptors and no path is
 * opened. docs/import.md says what is read of each file, and how to add an architecture.
 */
#ifndef IMPORT_IMPORT_H
#define IMPORT_IMPORT_H

#include "base/err.h"

#define IMPORT_MAX_FILE 1100
#define IMPORT_MAX_TEXT_BYTES ((size_t)128 << 20) /* of a JSON file or a template */

/* A file of the folder, open for reading. One in a folder within it (a name with a slash) is not
 * looked at, nor is any other that import_wants does not know. */
typedef struct import_file {
    const char *name;
    int fd;
} import_file;

typedef struct import_watch {
    void (*progress)(void *user, uint64_t done, uint64_t all); /* bytes of the output */
    void *user;
} import_watch;

typedef struct import_facts {
    char arch[32]; /* as GGUF names it */
    uint64_t n_tensor, n_bytes;
} import_facts;

/* Whether a file of this name is one that import_run looks at (weights included). */
bool import_wants(const char *name);

/* Writes the GGUF to out_fd, from where that stands. CAMA_ERR_FORMAT: a file is malformed, or does
 * not fit another one; CAMA_ERR_UNSUPPORTED: an architecture (the known ones are in the text), a
 * tokenizer or a form of weights that is not known; CAMA_ERR_LIMIT, CAMA_ERR_IO, CAMA_ERR_NOMEM.
 * On failure out_fd has any bytes. watch may be NULL. */
cama_err import_run(const import_file *files, size_t n, int out_fd, const import_watch *watch,
                    import_facts *out, err_info *err);

#endif
