/* serve.h - the server: store, pool, API and its listening sockets, put together.
 *
 * `cama serve` runs one; `cama run NAME` embeds one on a private unix socket for its own lifetime.
 */
#ifndef HTTP_SERVE_H
#define HTTP_SERVE_H

#include "pool/pool.h"

typedef struct serve serve; /* opaque: the struct is in serve.c */

typedef struct serve_opts {
    const char *host;      /* "127.0.0.1:11434", as OLLAMA_HOST; NULL: no TCP */
    const char *unix_path; /* a unix socket beside it or instead; NULL: none */
    const char *models;    /* root of the store; NULL: as store_open finds it */
    const char *origins;   /* OLLAMA_ORIGINS: a comma between them; NULL: none beside the usual */
    pool_opts pool;        /* its log is the server's too */
    uint32_t max_connections; /* 0: 4096 */
    bool no_prune;
    bool strict;
    bool log_requests;
    const char *engine, *device; /* when neither request nor model says; NULL: auto */
    bool debug; /* pool.log gets lines of the level POOL_DEBUG too, whatever pool.log_debug says */
} serve_opts;

/* From the environment: CAMA_X, else OLLAMA_X. Strings live as long as the process. A value that
 * cannot be read is told to on_bad and its default is used. */
void serve_opts_from_env(serve_opts *o, void (*on_bad)(void *user, const char *text), void *user);

/* Listens when it returns. CAMA_ERR_IO: the address is taken (who probably has it, what to set),
 * the store cannot be opened. */
cama_err serve_open(const serve_opts *o, serve **out, err_info *err);
/* The port that is listened on, 0 without TCP. */
uint16_t serve_port(const serve *s);
/* No new requests; those that run may end until timeout_ms; then everything is closed and freed.
 * Accepts NULL. */
void serve_close(serve *s, uint32_t timeout_ms);

#endif
