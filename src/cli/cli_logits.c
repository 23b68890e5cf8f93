/* `cama logits`: the hook for every comparison of numbers with other engines. */
#include "cli/cli_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/npy.h"

#define DEFAULT_CHUNK 512

static cama_err read_tokens(const cli_args *args, int32_t **out_ids, size_t *out_n, cama_error *err)
{
    if (!args->tokens)
        return err_set(err, CAMA_ERR_ARG, "--tokens is missing: the ids, as in --tokens 1,5,9");
    buf input;
    buf_init(&input, CLI_MAX_INPUT);
    const char *text;
    size_t n;
    cama_err e = cli_text_argument(args->tokens, &input, &text, &n, err);
    if (!e)
        e = cli_parse_ids(text, out_ids, out_n, err);
    if (!e && !*out_n)
        e = err_set(err, CAMA_ERR_ARG, "--tokens is '%s', must be at least one id", args->tokens);
    buf_done(&input);
    return e;
}

/* The rows of one chunk after the other; memory is bounded by a chunk's. */
static cama_err write_rows(cama_ctx *c, const int32_t *ids, size_t n, size_t chunk, size_t n_vocab,
                           npy *file, cama_error *err)
{
    chunk = chunk < n ? chunk : n;
    float *logits = calloc(chunk * n_vocab, sizeof *logits);
    uint8_t *want = malloc(chunk);
    cama_err e = CAMA_OK;
    if (!logits || !want)
        e = err_set(err, CAMA_ERR_NOMEM, "no memory for the logits of %zu tokens", chunk);
    else
        memset(want, 1, chunk);
    for (size_t at = 0; !e && at < n; at += chunk) {
        const size_t n_step = n - at < chunk ? n - at : chunk;
        e = cama_eval(c, ids + at, n_step, want, logits, err);
        if (!e)
            e = npy_write(file, logits, n_step * n_vocab, err);
    }
    free(logits);
    free(want);
    return e;
}

static cama_err write_logits(const cli_args *args, cama_model *m, const int32_t *ids, size_t n,
                             cama_error *err)
{
    cama_info info;
    cama_model_info(m, &info, sizeof info);
    const uint64_t shape[] = {n, info.n_vocab};
    cama_ctx *c = NULL;
    npy file = {0};
    cama_err e = cama_ctx_open(m, &c, err);
    if (!e)
        e = npy_open(args->out, shape, 2, &file, err);
    if (!e)
        e = write_rows(c, ids, n, args->chunk ? args->chunk : DEFAULT_CHUNK, info.n_vocab, &file,
                       err);
    if (!e)
        e = npy_finish(&file, err);
    npy_drop(&file);
    cama_ctx_close(c);
    return e;
}

int cli_logits(cli_args *args)
{
    cama_error err;
    int32_t *ids = NULL;
    size_t n = 0;
    if (!args->out) {
        err_set(&err, CAMA_ERR_ARG, "--out is missing: the file to write, as in --out x.npy");
        (void)cli_fail(&err);
        return CLI_USAGE;
    }
    if (read_tokens(args, &ids, &n, &err)) {
        (void)cli_fail(&err);
        return err.code == CAMA_ERR_ARG ? CLI_USAGE : CLI_FAILED;
    }
    if (!args->model.n_ctx)
        args->model.n_ctx = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
    if (args->chunk > DEFAULT_CHUNK && !args->model.n_batch)
        args->model.n_batch = args->chunk; /* a chunk is one step */
    cama_model *m = NULL;
    cama_err e = cli_open(args, CAMA_OPEN_ALL, &m, &err);
    if (!e)
        e = write_logits(args, m, ids, n, &err);
    cama_model_close(m);
    free(ids);
    return e ? cli_fail(&err) : CLI_OK;
}
