/* cli_server.h - the server that the commands talk to: the one that listens, or one of our own.
 *
 * Ollama's commands are requests. Where the server of CAMA_HOST (else OLLAMA_HOST) listens it gets
 * them; `run` may start one inside this process instead, on a private socket, which ends with it.
 */
#ifndef CLI_CLI_SERVER_H
#define CLI_CLI_SERVER_H

#include "base/arena.h"
#include "cli/cli_int.h"
#include "json/json.h"
#include "net/client.h"

#define CLI_MAX_REPLY ((size_t)1 << 30) /* of one reply or line, and of its values in memory */

typedef struct cli_server cli_server; /* opaque: the struct is in cli_server.c */

/* CAMA_ERR_ARG: the address is none. CAMA_ERR_IO: nobody listens there; the text says what to do.
 */
cama_err server_open(cli_server **out, cama_error *err);
/* As server_open, but when nobody listens there (with --embed: in any case) one is started in this
 * process. What args give for the engine (threads, memory, ...) is its own then, and told to be
 * without effect otherwise. */
cama_err server_open_or_embed(const cli_args *args, cli_server **out, cama_error *err);
void server_close(cli_server *s); /* accepts NULL; an embedded server ends, its socket goes */
bool server_is_embedded(const cli_server *s);

/* ---- requests ---- */

typedef struct server_call {
    const char *method, *path;
    const char *body; /* JSON; NULL: none */
    /* Each line of the reply, as a value that lives for the call; false: no more of it. NULL: the
     * reply is one value. A line {"error":..} ends the call as an error. */
    bool (*line)(void *user, const json_value *v);
    void *user;
    bool interruptible; /* Ctrl-C (cli_catch_interrupt) ends it: CAMA_ERR_CANCELED */
} server_call;

/* *out (NULL when there is no body, or with lines) is in the arena. A status of 400 or more is an
 * error with the server's text; behind its status ("400 Bad Request: ...") where lines were asked
 * for, as Ollama's commands have it. *out_status may be NULL. */
cama_err server_send(cli_server *s, const server_call *c, arena *a, json_value **out,
                     int *out_status, cama_error *err);

/* A body {"key":"text"}: for the many requests that are no more. */
cama_err server_body(buf *out, const char *key, const char *text, cama_error *err);

/* Sends the file as a blob; CAMA_ERR_IO. HEAD tells whether it is there already. */
cama_err server_has_blob(cli_server *s, const char *digest, bool *out, cama_error *err);
cama_err server_put_blob(cli_server *s, const char *digest, const char *path,
                         bool (*uploaded)(void *user, uint64_t done, uint64_t all), void *user,
                         cama_error *err);

/* A name of a string member; "" when absent or of another kind. */
const char *json_text(const json_value *object, const char *key);
int64_t json_whole(const json_value *object, const char *key); /* 0 when absent */
bool json_true(const json_value *object, const char *key);

/* "Error: text" on standard error, as Ollama's commands say it; gives the exit status. */
int server_fail(const cama_error *err);

#endif
