/* import_int.h - the parts of an import.
 *
 * import.c         the files of a folder by their role; the order of work
 * import_config.c  config.json -> sizes and metadata
 * import_arch.c    the table of architectures, and where each tensor goes
 * import_weight.c  one tensor's form: dense, affine, mxfp4, ...; its rows into blocks
 * import_tok.c     tokenizer.json -> tokenizer.ggml.*
 * import_pre.c     which pre-tokenizer a tokenizer.json describes
 */
#ifndef IMPORT_IMPORT_INT_H
#define IMPORT_IMPORT_INT_H

#include "base/arena.h"
#include "gguf/gguf_write.h"
#include "import/import.h"
#include "json/json.h"
#include "safet/safet.h"

#define IMPORT_MAX_LAYER 1024
#define IMPORT_MAX_SIZE (1u << 24) /* of a hidden size, a vocabulary, ... */

/* Widths that config.json gives and tensors must have. */
typedef enum import_dim {
    IMPORT_ONE, /* a vector's second dimension */
    IMPORT_EMBD,
    IMPORT_FF,
    IMPORT_Q,  /* heads times their width */
    IMPORT_KV, /* the same of keys and values */
    IMPORT_HEAD,
    IMPORT_VOCAB,
    IMPORT_FF_EXPERT,
    IMPORT_EXPERTS, /* 0: the MLP is none of experts */
    IMPORT_N_DIM
} import_dim;

typedef struct importer importer;

/* Where the experts of a layer are. */
typedef struct import_moe {
    const char *router;
    const char *stacked; /* all of them in one tensor, as MLX writes them: up to the projection */
    const char *each;    /* up to an expert's number, as transformers writes them */
    const char *each_end[3]; /* behind it: gate, up, down */
} import_moe;

typedef struct import_arch {
    const char *hf;            /* config.json's architectures[0] */
    const char *gguf;          /* general.architecture */
    bool turns_qk;             /* rows of Q and K are ordered for pairs of neighbours in RoPE */
    bool qk_norm;              /* each head has a norm */
    bool post_norms;           /* norms behind attention and MLP, too */
    bool norm_plus_1;          /* norms are stored less 1 */
    const import_moe *moe;     /* NULL: every MLP is dense */
    void (*keys)(importer *m); /* metadata of its own; NULL: none */
} import_arch;

typedef enum import_form {
    IMPORT_DENSE,  /* as it is, or as f32 */
    IMPORT_AFFINE, /* MLX: codes, scales, biases */
    IMPORT_MXFP4,
    IMPORT_MXFP8,
    IMPORT_NVFP4,
    IMPORT_MADE /* values in memory */
} import_form;

/* Tensors of the folder that make one: DENSE has codes alone. */
typedef struct import_source {
    const safet_tensor *codes, *scales, *biases;
} import_source;

/* A tensor of the output and what it is made from. */
typedef struct import_tensor {
    char name[GGUF_MAX_NAME_BYTES + 1];
    quant_type type;
    import_form form;
    uint64_t n_in, n_out; /* ne */
    uint64_t n_expert;    /* ne[2]; 0: it has no third dimension */
    uint32_t n_dims;
    uint32_t n_turn;           /* > 0: rows are turned within so many heads */
    float plus;                /* added to every value of a vector */
    import_source from;        /* all of it */
    const import_source *each; /* [n_expert], an expert's each; NULL: from */
    const float *made;
} import_tensor;

/* The work. The first failure sticks: later steps do nothing. */
struct importer {
    err_info err; /* code CAMA_OK: fine */
    arena tree;   /* JSON, and all that lives as long as the import */
    const json_value *config, *tokenizer, *tokenizer_config, *generation;
    const char *jinja; /* of a file of its own; NULL */
    size_t n_jinja;
    safet_file *weights;
    bool *used;              /* [safet_n_tensor] */
    const json_value *quant; /* config.json's quantization; NULL: none */

    const import_arch *arch;
    uint64_t dims[IMPORT_N_DIM];
    uint32_t n_layer, n_head, n_head_kv;
    bool is_tied; /* the head is the table of embeddings */
    double rope_base;
    const json_value *rope_scaling;

    gguf_writer w;
    import_tensor *tensors;
    size_t n_tensor, cap;
};

/* Always false. */
bool import_fail(importer *m, cama_err code, const char *fmt, ...) ERR_PRINTF(3, 4);
/* The import's memory; NULL is a failure that stuck. */
void *import_take(importer *m, size_t n, size_t size);

/* ---- import_config.c: fields of JSON objects; absent or null gives the fallback ---- */

uint64_t import_u64(importer *m, const json_value *o, const char *key, uint64_t max,
                    uint64_t fallback);
double import_f64(importer *m, const json_value *o, const char *key, double fallback);
bool import_bool(const json_value *o, const char *key, bool fallback);
const char *import_text(const json_value *o, const char *key); /* NULL: no string there */
/* "llama.NAME" */
#define IMPORT_KEY_BYTES 96
const char *import_key(const importer *m, const char *name, char out[IMPORT_KEY_BYTES]);

void import_config(importer *m);
/* Metadata: sizes, RoPE, what the weights mostly are. After import_tensors. */
void import_put_config(importer *m);

/* ---- import_arch.c ---- */

/* NULL: see m->err, which lists the known ones. */
const import_arch *import_arch_find(importer *m, const char *hf);
/* Every tensor of the architecture from its source; what is left over is refused. */
void import_tensors(importer *m);
/* One more, whose values are in the import's memory. */
void import_add_made(importer *m, const char *name, const float *values, size_t n);

/* ---- import_weight.c ---- */

/* Fills type, form and sources of a matrix [n_in, n_out], of n_expert of them in one, or of a
 * vector (n_out 1), whose tensors are called base + ".weight" or, with suffix, base + suffix.
 * False: it failed. */
bool import_find_weight(importer *m, const char *base, const char *suffix, import_tensor *t);
/* The same of experts that have a tensor each: "EACH0END", "EACH1END", ... */
bool import_find_experts(importer *m, const char *each, const char *end, import_tensor *t);
/* Whether there is one. */
bool import_has(importer *m, const char *base, const char *suffix);
/* Rows of all experts. */
static inline uint64_t import_n_row(const import_tensor *t)
{
    return t->n_expert ? t->n_expert * t->n_out : t->n_out;
}

/* Rows [row, row + n), all of one expert, as blocks into out, through scratch
 * (import_scratch_bytes). */
#define IMPORT_CHUNK_BYTES ((size_t)1 << 20)
size_t import_rows_at_once(const import_tensor *t);
size_t import_scratch_bytes(const import_tensor *t);
cama_err import_read_rows(importer *m, const import_tensor *t, uint64_t row, uint64_t n, void *out,
                          void *scratch);

/* ---- import_tok.c, import_pre.c ---- */

void import_tokenizer(importer *m);
/* The name for tokenizer.ggml.pre; NULL: see m->err. */
const char *import_pre(importer *m, const json_value *pre_tokenizer);

#endif
