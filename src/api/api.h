/* api.h - wire dialects: an HTTP body in, jobs and store operations, replies out.
 *
 * The door (http/) reads a request whole, finds its row in api/routes.def and calls its function on
 * a worker thread, which may block on the disk but never on a model: inference returns after
 * submitting, and the reply is written from the pool's threads as events come.
 *
 *     api_call *c = api_call_new(api, &request, &out);      the door holds one reference
 *     route->fn(c);                                          the dialect holds another until it
 * ends api_call_gone(c);                                      the client left: cancel
 *     api_call_unref(c);
 *
 * A call is answered exactly once: one api_out.reply, or api_out.begin, any number of pieces, and
 * api_out.end.
 */
#ifndef API_API_H
#define API_API_H

#include "pool/pool.h"
#include "store/store.h"

#define API_OLLAMA_VERSION "0.32.7" /* the level of Ollama's API that is spoken */
#define API_MAX_BODY (256u << 20)
#define API_MAX_MESSAGES                                                                           \
    65536 /* of a request: a runner prepares its prompts one after the other                       \
           */

/* What was read from the heads of model files, by digest, for the next request: bounded. */
typedef struct api_cache api_cache; /* opaque: the struct is in api_file.c */
api_cache *api_cache_new(void);     /* NULL: no memory */
void api_cache_free(api_cache *c);  /* when no call is alive any more; accepts NULL */

/* Process-wide: what calls work on. Borrowed. */
typedef struct api {
    store *store;
    pool *pool;
    uint32_t n_ctx;              /* num_ctx when nobody says; 0: 4096 */
    const char *engine, *device; /* when neither request nor model says; NULL: auto */
    bool strict;                 /* CAMA_STRICT=1: what would be a warning is an error */
    void (*log)(void *user, pool_level level, const char *line);
    void *user;
    bool log_debug;   /* lines of the level POOL_DEBUG are wanted */
    api_cache *cache; /* NULL: every request reads the head of its file again */
} api;

typedef struct api_request {
    const char *method;
    const char *path;  /* decoded, without query */
    const char *param; /* what the route's :name matched; "" */
    const char *user_agent;
    const char *body;
    size_t n_body;
} api_request;

typedef struct api_header {
    const char *name, *value;
} api_header;

/* The way out, the door's. Any thread; one call at a time; never blocks. Bytes are copied. */
typedef struct api_out {
    void *user;
    /* The whole reply. content_type NULL: none. */
    void (*reply)(void *user, int status, const char *content_type, const api_header *headers,
                  size_t n_header, const char *body, size_t n_body);
    /* A reply in pieces: each is one chunk on the wire. */
    void (*begin)(void *user, int status, const char *content_type, const api_header *headers,
                  size_t n_header);
    void (*piece)(void *user, const char *bytes, size_t n);
    void (*end)(void *user);
    /* The last reference of the call is gone: nothing of the request is read any more, and user is
     * not used again. May be NULL. */
    void (*closed)(void *user);
} api_out;

typedef struct api_call api_call; /* opaque: the struct is in api_int.h */

/* The request is borrowed until the last reference is gone. NULL: no memory. */
api_call *api_call_new(api *a, const api_request *r, const api_out *out);
void api_call_ref(api_call *c);
void api_call_unref(api_call *c);
/* The client has left (any thread, once): jobs are canceled; nothing more is written. */
void api_call_gone(api_call *c);
/* The client took n bytes of pieces: credit for the job (any thread). */
void api_call_taken(api_call *c, size_t n);

typedef void (*api_fn)(api_call *c);

/* A body that is not collected: its pieces go to the dialect as they come, on a worker thread. */
typedef struct api_upload api_upload;
/* Looks at the request before its body. *out stays NULL when the call is answered already (the body
 * is then read and dropped). */
void api_upload_begin(api_call *c, api_upload **out);
void api_upload_data(api_upload *u, const char *bytes, size_t n);
/* complete: false when the client left or the body was cut. Answers the call. Frees u. */
void api_upload_end(api_upload *u, bool complete);

#define API_UPLOAD 1u /* the body goes through api_upload_* */
#define API_OPENAI 2u /* errors of the door (no body, too large) in OpenAI's shape */
#define API_HEAD 4u   /* answers HEAD as well as GET */

typedef struct api_route {
    const char *method, *path; /* one :name at most, which matches one segment */
    api_fn fn;
    uint32_t flags;
    const char *summary; /* for docs/api.md */
} api_route;

extern const api_route api_routes[];
extern const size_t api_n_route;

/* {"error":"text"} or OpenAI's {"error":{"message",..}} by the flags of the route; for the door. */
cama_err api_error_body(uint32_t flags, int status, const char *text, buf *out);

/* Names of fields that replies have beyond Ollama's ("warnings", "engine", ..); ends with NULL. */
extern const char *const api_our_fields[];

#endif
