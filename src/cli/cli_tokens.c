/* `cama tokenize`, `cama detokenize` and `cama embed`. */
#include "cli/cli_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/npy.h"
#include "json/json.h"

#define MAX_PRINTED ((size_t)1 << 30)

static int finish(cama_err e, const cama_error *err, buf *out, cama_model *m)
{
    cama_error own = e ? *err : (cama_error){.code = CAMA_OK};
    if (!e)
        e = buf_error(out, "the output", &own);
    if (!e)
        e = cli_print(out->data ? out->data : "", out->n, &own);
    buf_done(out);
    cama_model_close(m);
    return e ? cli_fail(&own) : CLI_OK;
}

static void write_ids(const int32_t *ids, size_t n, buf *out)
{
    for (size_t i = 0; i < n; i++)
        (void)buf_printf(out, "%s%d", i ? "," : "", ids[i]); /* failures are sticky */
}

/* {"tokens": [...], "pieces": [...]}: pieces with U+FFFD where a token is no whole text. */
static cama_err write_tokens_json(const cama_model *m, const int32_t *ids, size_t n, buf *out,
                                  cama_error *err)
{
    (void)buf_puts(out, "{\"tokens\":[");
    write_ids(ids, n, out);
    (void)buf_puts(out, "],\"pieces\":[");
    for (size_t i = 0; i < n; i++) {
        char *piece;
        size_t n_piece;
        const cama_err e = cama_detokenize(m, &ids[i], 1, true, &piece, &n_piece, err);
        if (e)
            return e;
        if (i)
            (void)buf_putc(out, ',');
        (void)json_write_string(piece, n_piece, out);
        cama_free(piece);
    }
    (void)buf_puts(out, "]}\n");
    return CAMA_OK;
}

static cama_err encode_argument(const cli_args *args, const cama_model *m, int32_t **out_ids,
                                size_t *out_n, cama_error *err)
{
    buf input;
    buf_init(&input, CLI_MAX_INPUT);
    const char *text;
    size_t n;
    const uint32_t flags = (args->no_bos ? 0 : CAMA_TOKENIZE_ADD_SPECIAL) |
                           (args->special ? CAMA_TOKENIZE_PARSE_SPECIAL : 0);
    cama_err e = cli_text_argument(args->pos[1], &input, &text, &n, err);
    if (!e)
        e = cama_tokenize(m, text, n, flags, out_ids, out_n, err);
    buf_done(&input);
    return e;
}

int cli_tokenize(cli_args *args)
{
    cama_error err;
    cama_model *m = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    buf out;
    buf_init(&out, MAX_PRINTED);
    cama_err e = cli_open(args, CAMA_OPEN_VOCAB, &m, &err);
    if (!e)
        e = encode_argument(args, m, &ids, &n, &err);
    if (!e && args->json) {
        e = write_tokens_json(m, ids, n, &out, &err);
    } else if (!e) {
        write_ids(ids, n, &out);
        (void)buf_putc(&out, '\n');
    }
    cama_free(ids);
    return finish(e, &err, &out, m);
}

/* The bytes as they are; a terminal gets a line's end behind them. */
static void write_text(const cli_args *args, const char *text, size_t n, buf *out)
{
    if (args->json) {
        (void)buf_puts(out, "{\"text\":");
        (void)json_write_string(text, n, out);
        (void)buf_puts(out, "}\n");
        return;
    }
    (void)buf_append(out, text, n);
    if (isatty(STDOUT_FILENO))
        (void)buf_putc(out, '\n');
}

int cli_detokenize(cli_args *args)
{
    cama_error err;
    cama_model *m = NULL;
    buf input;
    buf out;
    buf_init(&input, CLI_MAX_INPUT);
    buf_init(&out, MAX_PRINTED);
    const char *list;
    size_t n_list;
    int32_t *ids = NULL;
    size_t n = 0;
    cama_err e = cli_text_argument(args->pos[1], &input, &list, &n_list, &err);
    if (!e)
        e = cli_parse_ids(list, &ids, &n, &err);
    if (!e)
        e = cli_open(args, CAMA_OPEN_VOCAB, &m, &err);
    char *text;
    size_t n_text;
    if (!e)
        e = cama_detokenize(m, ids, n, args->special, &text, &n_text, &err);
    if (!e) {
        write_text(args, text, n_text, &out);
        cama_free(text);
    }
    free(ids);
    buf_done(&input);
    return finish(e, &err, &out, m);
}

static void write_vector(const float *v, size_t n, buf *out)
{
    for (size_t i = 0; i < n; i++) {
        char number[JSON_DOUBLE_BYTES];
        (void)json_format_double((double)v[i], number);
        (void)buf_printf(out, "%s%s", i ? "," : "[", number);
    }
    (void)buf_puts(out, "]\n");
}

static cama_err save_vector(const char *path, const float *v, size_t n, cama_error *err)
{
    const uint64_t shape[] = {n};
    npy file;
    cama_err e = npy_open(path, shape, 1, &file, err);
    if (e)
        return e;
    e = npy_write(&file, v, n, err);
    if (!e)
        return npy_finish(&file, err);
    npy_drop(&file);
    return e;
}

int cli_embed(cli_args *args)
{
    cama_error err;
    cama_model *m = NULL;
    int32_t *ids = NULL;
    float *v = NULL;
    size_t n = 0;
    buf out;
    buf_init(&out, MAX_PRINTED);
    cama_info info = {.n_embd = 0};
    cama_err e = cli_open(args, CAMA_OPEN_ALL, &m, &err);
    if (!e)
        e = encode_argument(args, m, &ids, &n, &err);
    if (!e) {
        cama_model_info(m, &info, sizeof info);
        v = calloc(info.n_embd, sizeof *v);
        if (!v)
            e = err_set(&err, CAMA_ERR_NOMEM, "no memory for a vector of %u", info.n_embd);
    }
    if (!e)
        e = cama_embed(m, ids, n, v, &err);
    if (!e && args->out)
        e = save_vector(args->out, v, info.n_embd, &err);
    else if (!e)
        write_vector(v, info.n_embd, &out);
    free(v);
    cama_free(ids);
    return finish(e, &err, &out, m);
}
