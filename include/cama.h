/* cama.h - the public C API of cama: load a model, turn text into tokens, compute, generate.
 *
 * Not stable before 1.0. The errors at the top are shared by every room of the project: the enum,
 * the messages and the server's status codes are all made from CAMA_ERRORS.
 */
#ifndef CAMA_H
#define CAMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, HTTP status, text): what went wrong, in one word for programs and one line for people. */
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
    X(ERR_INTERNAL, 500, "internal error")

typedef enum cama_err {
#define X(name, status, text) CAMA_##name,
    CAMA_ERRORS(X)
#undef X
        CAMA_N_ERR
} cama_err;

/* The line of CAMA_ERRORS for e; "unknown error" outside the list. Any thread. */
const char *cama_err_text(cama_err e);
/* The HTTP status of CAMA_ERRORS for e; 500 outside the list. Any thread. */
int cama_err_status(cama_err e);

#ifdef __cplusplus
}
#endif
#endif
