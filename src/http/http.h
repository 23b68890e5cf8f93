/* http.h - HTTP/1.1 over libmicrohttpd: connections, and a table of routes behind them.
 *
 *     MHD's thread            worker                     any thread
 *     request read whole -->  api_call_new, route->fn
 *     (suspended)                                        reply | begin, piece.., end
 *     (resumed) sends    <-------------------------------+
 *                                     watcher: the client left -> api_call_gone
 *
 * MHD's thread never waits for anything but sockets. A request that waits for an answer is
 * suspended in MHD, which then does not look at its socket: a thread of ours does, and also ends
 * connections whose header or body comes too slowly.
 *
 * What the routes do is reached through http_calls, so that tests bring their own.
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "api/api.h"

#define HTTP_WORKERS 8
#define HTTP_CONNECTIONS 4096
#define HTTP_HEADER_BYTES 32768          /* a connection's memory in MHD: its header must fit */
#define HTTP_BODIES_BYTES (1024u << 20)  /* bodies held at once, of all requests together: */
#define HTTP_BODY_FREE_BYTES (64u << 10) /* the beginning of each is not counted */
#define HTTP_CHUNKED_OVER 2048           /* as Go: a longer reply has no Content-Length */
#define HTTP_PIECES_BYTES (8u << 20) /* waiting for a client that does not read: it is dropped */
#define HTTP_UPLOAD_BYTES (4u << 20) /* of an upload, waiting for the disk */
#define HTTP_HEADER_MS 20000         /* a new connection must have sent a header */
#define HTTP_IDLE_MS 120000          /* between requests, or no byte taken of a reply */
#define HTTP_CROWDED_IDLE_MS 1000    /* the same where nine of ten connections are taken */
#define HTTP_BODY_WINDOW_MS 20000    /* in each, this many bytes of a body must come: */
#define HTTP_BODY_WINDOW_BYTES 4096
#define HTTP_TICK_MS 500 /* how often slow connections are looked for */

/* What a door needs of the dialects (api.h has the meaning of each). */
typedef struct http_calls {
    api_call *(*new_call)(api *a, const api_request *r, const api_out *out);
    void (*ref)(api_call *c);
    void (*unref)(api_call *c);
    void (*gone)(api_call *c);
    void (*taken)(api_call *c, size_t n);
    void (*upload_begin)(api_call *c, api_upload **out);
    void (*upload_data)(api_upload *u, const char *bytes, size_t n);
    void (*upload_end)(api_upload *u, bool complete);
    cama_err (*error_body)(uint32_t flags, int status, const char *text, buf *out);
} http_calls;

typedef struct http_opts {
    const api_route *routes; /* borrowed */
    size_t n_route;
    http_calls calls;
    api *api;            /* given to new_call; borrowed */
    const char *origins; /* as serve_opts */
    int tcp_fd, unix_fd; /* listening; -1: none. http_open takes them when it succeeds */
    uint32_t max_connections;
    uint32_t header_ms, idle_ms, body_window_ms; /* 0: the constants above */
    bool log_requests;
    void (*log)(void *user, pool_level level, const char *line); /* may be NULL */
    void *user;
} http_opts;

typedef struct http http; /* opaque: the struct is in http_int.h */

/* CAMA_ERR_ARG: an origin with two `*`; CAMA_ERR_IO, CAMA_ERR_NOMEM: threads, descriptors. */
cama_err http_open(const http_opts *o, http **out, err_info *err);
/* No new connections and requests; those that run may end until timeout_ms, then their clients are
 * told to be gone. When it returns, no thread of MHD is left and no job is wanted any more; calls
 * may still be referenced. */
void http_stop(http *h, uint32_t timeout_ms);
/* After http_stop, when every job has ended: waits until the last call is closed. Accepts NULL. */
void http_close(http *h);

#endif
