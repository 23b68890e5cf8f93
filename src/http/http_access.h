/* http_access.h - who may ask: Origin (CORS) and Host, as Ollama checks them.
 *
 * One hole of Ollama's is closed: "http://localhost:*" there is a prefix, so that
 * http://localhost:evil.example passes. Here a port is digits.
 */
#ifndef HTTP_HTTP_ACCESS_H
#define HTTP_HTTP_ACCESS_H

#include <sys/socket.h>

#include "base/err.h"

#define HTTP_MAX_ORIGINS 64

/* "http://localhost:*" is {"http://localhost:", ""}. */
typedef struct http_origin {
    char *text; /* before the star; the whole where there is none */
    char *tail; /* behind it; NULL: no star */
} http_origin;

typedef struct http_origins {
    http_origin list[HTTP_MAX_ORIGINS];
    size_t n;
    bool all; /* "*" alone */
} http_origins;

/* extra: OLLAMA_ORIGINS, before the usual ones; NULL: none. CAMA_ERR_ARG: two stars in one, or
 * what is no origin; CAMA_ERR_LIMIT; CAMA_ERR_NOMEM. */
cama_err http_origins_init(http_origins *o, const char *extra, err_info *err);
void http_origins_done(http_origins *o);
bool http_origin_allowed(const http_origins *o, const char *origin);

typedef enum http_cors {
    HTTP_CORS_NONE,  /* no Origin, or the server's own */
    HTTP_CORS_ALLOW, /* with the headers of CORS */
    HTTP_CORS_DENY
} http_cors;

http_cors http_cors_check(const http_origins *o, const char *origin, const char *host);

typedef enum http_host {
    HTTP_HOST_DENY,
    HTTP_HOST_ADDRESS, /* an address of this machine or a private one */
    HTTP_HOST_NAME     /* a name that can only be this machine or this network */
} http_host;

/* A guard against DNS rebinding, for servers bound to loopback. machine: gethostname. */
http_host http_host_check(const char *host, const char *machine);

/* Lists of the preflight reply. */
extern const char http_cors_methods[];
extern const char http_cors_headers[];

#endif
