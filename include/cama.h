/* cama.h - the public C API of cama: load a model, turn text into tokens, compute, generate.
 *
 *     #include <cama.h>
 *     #include <stdio.h>
 *     int main(int argc, char **argv)
 *     {
 *         cama_error err = {CAMA_ERR_ARG, "usage: ask MODEL.gguf QUESTION"};
 *         cama_model *model = NULL;
 *         char *answer = NULL;
 *         if (argc == 3 && !cama_model_open(argv[1], NULL, &model, &err))
 *             cama_ask(model, argv[2], &answer, &err);
 *         puts(answer ? answer : err.text);
 *         cama_free(answer);
 *         cama_model_close(model);
 *     }
 *
 * Not stable before 1.0.
 *
 * Errors are values: a function that can fail returns cama_err and fills *err, which is the
 * caller's and may be NULL. Outputs change only on success. Structs of options and results begin
 * with their own size and are filled by an init function, so that a program built against an older
 * header keeps working: what it does not know keeps its default.
 *
 * Threads: a cama_model and everything made of it belong to one thread at a time (one on the engine
 * mlx: to the thread that opened it, always); tokenizing may be done from any thread. Several
 * answers at once: cama_generate_many. Different models are independent.
 */
#ifndef CAMA_H
#define CAMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CAMA_API __attribute__((visibility("default")))
#else
#define CAMA_API
#endif

/* ---- errors -------------------------------------------------------------------------------- */

/* X(name, HTTP status, text): what went wrong, in one word for programs and one line for people.
 * The enum, the messages and the server's status codes are all made from this list. */
#define CAMA_ERRORS(X)                                                                             \
    X(OK, 200, "success")                                                                          \
    X(ERR_ARG, 400, "invalid argument")                                                            \
    X(ERR_NOMEM, 507, "out of memory")                                                             \
    X(ERR_IO, 500, "input or output failed")                                                       \
    X(ERR_NOT_FOUND, 404, "not found")                                                             \
    X(ERR_FORMAT, 400, "malformed data")                                                           \
    X(ERR_UNSUPPORTED, 400, "not supported")                                                       \
    X(ERR_LIMIT, 400, "limit exceeded")                                                            \
    X(ERR_NO_FIT, 507, "model does not fit in memory")                                             \
    X(ERR_CONTEXT, 400, "context window exceeded")                                                 \
    X(ERR_TEMPLATE, 400, "chat template failed")                                                   \
    X(ERR_BUSY, 503, "server busy")                                                                \
    X(ERR_CANCELED, 499, "canceled")                                                               \
    X(ERR_ENGINE, 500, "engine failed")                                                            \
    X(ERR_RUNNER, 500, "model runner has unexpectedly stopped")                                    \
    X(ERR_INTERNAL, 500, "internal error")

typedef enum cama_err {
#define X(name, status, text) CAMA_##name,
    CAMA_ERRORS(X)
#undef X
        CAMA_N_ERR
} cama_err;

#define CAMA_ERROR_BYTES 512

/* The text names the thing, the value and the limit; always terminated, whole UTF-8. */
typedef struct cama_error {
    cama_err code;
    char text[CAMA_ERROR_BYTES];
} cama_error;

/* The line of CAMA_ERRORS for e; "unknown error" outside the list. Any thread. */
CAMA_API const char *cama_err_text(cama_err e);
/* The HTTP status of CAMA_ERRORS for e; 500 outside the list. Any thread. */
CAMA_API int cama_err_status(cama_err e);

/* "0.1.0". Any thread. */
CAMA_API const char *cama_version(void);

/* Frees what a function below gave through an output that says so; accepts NULL. */
CAMA_API void cama_free(void *p);

/* ---- a model ------------------------------------------------------------------------------- */

typedef struct cama_model cama_model;

/* How keys and values of the context are stored. */
typedef enum cama_kv_type {
    CAMA_KV_F16,
    CAMA_KV_F32,
    CAMA_KV_BF16,
    CAMA_KV_Q8_0,
    CAMA_KV_Q4_0
} cama_kv_type;

/* The form in which activations meet the weights. F32 is exact and slower. */
typedef enum cama_activations { CAMA_ACTIVATIONS_INT8, CAMA_ACTIVATIONS_F32 } cama_activations;

/* Where the weights are while they are used. */
typedef enum cama_weights {
    CAMA_WEIGHTS_AUTO,   /* in memory when twice what the model needs is free, else mapped */
    CAMA_WEIGHTS_MAPPED, /* in the system's cache of the file: shared, given back under pressure */
    CAMA_WEIGHTS_MEMORY  /* read into this process, in huge pages where there are any: faster */
} cama_weights;

/* How much of a file is opened. */
typedef enum cama_open_mode {
    CAMA_OPEN_ALL,   /* ready to compute */
    CAMA_OPEN_VOCAB, /* tokenizer, template and metadata: the architecture may be unknown */
    CAMA_OPEN_FILE   /* what can be known without loading: a part that fails becomes a warning */
} cama_open_mode;

/* Where an engine computes. */
typedef enum cama_device { CAMA_DEVICE_ANY, CAMA_DEVICE_CPU, CAMA_DEVICE_GPU } cama_device;

/* Told to people, never swallowed: what was adapted, guessed or cut. text lives for the call. */
typedef void (*cama_warning_fn)(void *user, const char *text);

typedef struct cama_model_opts {
    size_t bytes; /* sizeof of this struct in the caller's program */
    cama_open_mode mode;
    const char *engine; /* "native", "mlx"; NULL or "auto": the one that fits best */
    uint32_t n_ctx;     /* tokens of one sequence; 0: the model's own, at most 4096 */
    uint32_t n_seq;     /* sequences that may be at full n_ctx together */
    uint32_t n_batch;   /* rows computed in one step; 0: 512 */
    uint32_t n_thread;  /* 0: as many as this process may really run at once */
    cama_kv_type kv_type;
    cama_activations activations;
    cama_weights weights;
    uint32_t cpu_tiers;         /* kernel tiers allowed; 0: plain C only; UINT32_MAX: all */
    uint64_t max_bytes;         /* memory that may be taken; 0: what the machine has free */
    cama_warning_fn on_warning; /* for everything done with this model; may be NULL */
    void *user;
    cama_device device;
} cama_model_opts;

CAMA_API void cama_model_opts_init(cama_model_opts *o, size_t bytes);

/* opts may be NULL: the defaults. CAMA_ERR_NO_FIT before anything is loaded, with the figures and
 * the largest context that would fit; CAMA_ERR_NOT_FOUND, CAMA_ERR_IO; CAMA_ERR_FORMAT,
 * CAMA_ERR_UNSUPPORTED, CAMA_ERR_LIMIT name what is wrong with the file. */
CAMA_API cama_err cama_model_open(const char *path, const cama_model_opts *opts, cama_model **out,
                                  cama_error *err);
CAMA_API void cama_model_close(cama_model *m); /* contexts of it first; accepts NULL */

/* Strings live as long as the model; "" when the file does not say. Figures of memory are bytes. */
typedef struct cama_info {
    size_t bytes;
    const char *arch, *name, *size_label;
    const char *weight_type; /* of most weights: "Q4_K" */
    const char *engine;      /* "" unless opened with CAMA_OPEN_ALL, as all down to weights */
    const char *device;
    const char *activations;
    const char *kv_type;
    const char *weights; /* "mapped" or "memory" */
    const char *pooling; /* "none", "mean", "cls", "last", "rank" */
    uint64_t n_param, file_bytes;
    uint64_t weight_bytes, kv_bytes, scratch_bytes, total_bytes, available_bytes;
    uint64_t load_ns;
    uint32_t n_layer, n_embd, n_head, n_head_kv, n_vocab, n_expert, n_expert_used;
    uint32_t n_ctx_train;
    uint32_t n_ctx, n_seq, n_batch; /* as planned */
    bool can_generate;
    bool has_template;
    bool is_gpu;                /* of the engine, as all below */
    bool exact;                 /* every weight has the file's values */
    const char *engine_version; /* "cama 0.1.0", "MLX 0.32.4" */
    const char *engine_why;     /* why this engine */
    const char *engine_note;    /* what it does otherwise than it would; "": nothing */
} cama_info;

/* bytes: sizeof of the caller's struct. */
CAMA_API void cama_model_info(const cama_model *m, cama_info *out, size_t bytes);

#define CAMA_JSON_TENSORS 0x1u    /* name, type, shape and bytes of every tensor */
#define CAMA_JSON_ALL_VALUES 0x2u /* metadata arrays in full; else only their length when long */

/* Everything known about the file as one JSON object; free with cama_free. */
CAMA_API cama_err cama_model_json(const cama_model *m, uint32_t flags, char **out_text,
                                  cama_error *err);
/* The recorded forward pass as text, a line a step; free with cama_free. */
CAMA_API cama_err cama_model_plan(const cama_model *m, char **out_text, cama_error *err);
/* The chat template's source; CAMA_ERR_NOT_FOUND when the file has none. cama_free. */
CAMA_API cama_err cama_model_template(const cama_model *m, char **out_text, cama_error *err);

/* ---- tokens -------------------------------------------------------------------------------- */

#define CAMA_TOKENIZE_ADD_SPECIAL 0x1u   /* BOS, EOS as the vocabulary asks for */
#define CAMA_TOKENIZE_PARSE_SPECIAL 0x2u /* control tokens written in the text become their ids */

/* text may hold any bytes. *out_ids is freed with cama_free (never NULL on success). Any thread. */
CAMA_API cama_err cama_tokenize(const cama_model *m, const char *text, size_t n_text,
                                uint32_t flags, int32_t **out_ids, size_t *out_n, cama_error *err);
/* Bytes of text, NUL-terminated too; special: control tokens are written out. cama_free. Any
 * thread. */
CAMA_API cama_err cama_detokenize(const cama_model *m, const int32_t *ids, size_t n, bool special,
                                  char **out_text, size_t *out_n, cama_error *err);
/* Ends an answer; false out of range. Any thread. */
CAMA_API bool cama_token_is_eog(const cama_model *m, int32_t id);

/* messages: a JSON array of {"role", "content", ...} as in the chat APIs, or a JSON object of all
 * the template's inputs (messages, tools, think, add_generation_prompt, ...). The prompt that the
 * model's own template makes of it; free with cama_free. CAMA_ERR_TEMPLATE, CAMA_ERR_FORMAT. */
CAMA_API cama_err cama_chat_prompt(cama_model *m, const char *messages, char **out_prompt,
                                   cama_error *err);

/* ---- computing ----------------------------------------------------------------------------- */

/* A sequence of tokens and what attention remembers of them. */
typedef struct cama_ctx cama_ctx;

/* CAMA_ERR_LIMIT when there is no room for one more. */
CAMA_API cama_err cama_ctx_open(cama_model *m, cama_ctx **out, cama_error *err);
CAMA_API void cama_ctx_close(cama_ctx *c); /* accepts NULL */
/* A new sequence that begins with the first n_keep tokens of c; shared, not copied. */
CAMA_API cama_err cama_ctx_fork(cama_ctx *c, uint32_t n_keep, cama_ctx **out, cama_error *err);
CAMA_API uint32_t cama_ctx_n_token(const cama_ctx *c);
/* Back to `want` tokens or, where the model's state cannot be restored there, to fewer:
 * *out_got <= want. Evaluate the rest again. */
CAMA_API cama_err cama_ctx_rewind(cama_ctx *c, uint32_t want, uint32_t *out_got, cama_error *err);

/* Appends n tokens. want [n]: which rows' logits are wanted (non-zero), NULL: the last one's only.
 * out_logits [rows wanted][n_vocab], in order; NULL: none. Steps of at most n_batch rows are made
 * of it. On failure the sequence keeps the steps that were done: see cama_ctx_n_token.
 * CAMA_ERR_CONTEXT past n_ctx, CAMA_ERR_ARG for an id outside the vocabulary. */
CAMA_API cama_err cama_eval(cama_ctx *c, const int32_t *ids, size_t n, const uint8_t *want,
                            float *out_logits, cama_error *err);

/* One vector of info.n_embd floats for the whole text, as the model pools it, of length 1 (L2).
 * For models without a pooling of their own the last token's hidden state is taken. */
CAMA_API cama_err cama_embed(cama_model *m, const int32_t *ids, size_t n, float *out,
                             cama_error *err);

/* ---- generating ---------------------------------------------------------------------------- */

typedef struct cama_bias {
    int32_t id;
    float bias; /* added to the logit; -INFINITY bans the token */
} cama_bias;

typedef struct cama_gen_opts {
    size_t bytes;
    /* The prompt, one of: */
    const int32_t *ids; /* n_id of them */
    size_t n_id;
    const char *prompt;   /* text, control tokens parsed, BOS as the vocabulary asks for */
    const char *messages; /* JSON, as for cama_chat_prompt */
    /* How the next token is chosen, in this order; the defaults are Ollama's. */
    int32_t repeat_last_n;   /* tokens that the penalties look at; 0: off, -1: n_ctx. 64 */
    float repeat_penalty;    /* 1: off */
    float frequency_penalty; /* 0: off */
    float presence_penalty;  /* 0: off */
    int32_t top_k;           /* 40; 0: off */
    float typical_p;         /* 1: off */
    float top_p;             /* 0.9; 1: off */
    float min_p;             /* 0: off */
    float temperature;       /* 0.8; 0: the best token, always */
    int64_t seed;            /* -1: random; else its low 32 bits */
    const cama_bias *bias;
    size_t n_bias;
    /* When it ends. */
    int32_t n_predict;       /* most tokens; -1: until the model ends or the context is full */
    const char *const *stop; /* strings that end it; they are not part of the answer */
    size_t n_stop;
    bool ignore_eog;
    bool special; /* control tokens are written out */
    /* false from either ends the answer with CAMA_FINISH_CANCELED. on_text gets whole UTF-8;
     * on_poll is asked between steps. Each may be NULL. */
    bool (*on_text)(void *user, const char *text, size_t n);
    bool (*on_poll)(void *user);
    void *user;
} cama_gen_opts;

CAMA_API void cama_gen_opts_init(cama_gen_opts *o, size_t bytes);

typedef enum cama_finish {
    CAMA_FINISH_STOP,   /* the model ended its answer, or a stop string came */
    CAMA_FINISH_LENGTH, /* n_predict, or the context is full */
    CAMA_FINISH_CANCELED,
    CAMA_FINISH_ERROR
} cama_finish;

typedef struct cama_gen_result {
    size_t bytes;
    cama_finish finish;
    bool context_full;  /* with LENGTH: it was the context, not n_predict */
    int32_t stop_index; /* of stop, or -1 */
    uint32_t n_prompt;  /* tokens of the prompt */
    uint32_t n_cached;  /* of them taken from earlier answers, not computed */
    uint32_t n_token;   /* tokens of the answer, the ending one included */
    uint32_t seed;      /* that was used */
    uint64_t prompt_ns; /* from the start to the first token */
    uint64_t eval_ns;   /* from the first token to the last: n_token - 1 steps */
} cama_gen_result;

CAMA_API void cama_gen_result_init(cama_gen_result *r, size_t bytes);

/* The tokens that cama_generate makes of the prompt in opts, which may then go in as ids: so a
 * caller sees how long it is first. *out_ids is freed with cama_free (never NULL on success). */
CAMA_API cama_err cama_prompt_tokens(cama_model *m, const cama_gen_opts *opts, int32_t **out_ids,
                                     size_t *out_n, cama_error *err);

/* Runs to the end on this thread. result may be NULL. CAMA_ERR_CONTEXT: the prompt is longer than
 * n_ctx. A canceled answer is no error. */
CAMA_API cama_err cama_generate(cama_model *m, const cama_gen_opts *opts, cama_gen_result *result,
                                cama_error *err);
/* n answers computed together; each is the same as alone. results [n] or NULL; errors [n] or NULL.
 * The first failure is returned, the others run on. */
CAMA_API cama_err cama_generate_many(cama_model *m, const cama_gen_opts *const *opts, size_t n,
                                     cama_gen_result *const *results, cama_error *errors);

/* One question, the whole answer, defaults for all else; free with cama_free. A model without a
 * chat template continues the text. */
CAMA_API cama_err cama_ask(cama_model *m, const char *question, char **out_answer, cama_error *err);

/* ---- engines ------------------------------------------------------------------------------- */

/* Every engine of this build, a JSON array of objects: name, available, why, version, device,
 * backend, is_gpu, memory (bytes). Opens the libraries and devices of engines. cama_free. */
CAMA_API cama_err cama_engines_json(char **out_text, cama_error *err);

/* Compares the kernels of each engine (NULL: of all) with the reference on its device. A report for
 * people, lines; given on CAMA_ERR_ENGINE (a kernel failed) too. CAMA_ERR_ARG: there is no such
 * engine. cama_free. */
CAMA_API cama_err cama_engines_selftest(const char *engine, cama_device device, char **out_report,
                                        cama_error *err);

/* Two engines on one model, compared token by token. */
typedef struct cama_verify_opts {
    size_t bytes;
    const char *engines[2]; /* "native" and "mlx"; the first leads. The same one twice is fine */
    cama_device device;     /* of the second; the first takes the CPU where it has a choice */
    cama_activations activations; /* F32: keys and values are f32 too. The default */
    uint32_t cpu_tiers[2];        /* as of cama_model_opts */
    uint32_t n_token;             /* of the answer; 256 */
    uint32_t n_thread;            /* of each; 0: as many as may really run */
    const char *prompt;           /* continued as it is; NULL: one of ours */
    uint64_t max_bytes;           /* of both together; 0: what is free */
    /* Limits of what counts as equal; negative: the default of the activations. */
    double max_diff;  /* largest difference of a logit, in parts of the largest logit of its row */
    double max_kl;    /* Kullback-Leibler divergence of a position, nats */
    double min_agree; /* share of greedy tokens that are equal */
    /* Asked between steps; false ends with CAMA_ERR_CANCELED. May be NULL. */
    bool (*on_step)(void *user, const char *what, uint32_t done, uint32_t all);
    cama_warning_fn on_warning;
    void *user;
} cama_verify_opts;

CAMA_API void cama_verify_opts_init(cama_verify_opts *o, size_t bytes);

/* *out_equal: within the limits. *out_report: a JSON object, docs/engines.md names its fields; free
 * with cama_free. An error: the two could not be compared. opts may be NULL. */
CAMA_API cama_err cama_verify(const char *path, const cama_verify_opts *opts, bool *out_equal,
                              char **out_report, cama_error *err);

#ifdef __cplusplus
}
#endif
#endif
