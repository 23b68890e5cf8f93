/* http_route.h - from the path of a request to its row in the table, as Ollama's router does it. */
#ifndef HTTP_HTTP_ROUTE_H
#define HTTP_HTTP_ROUTE_H

#include "api/api.h"

#define HTTP_MAX_PATH 8192 /* of a target, decoded or not */
#define HTTP_MAX_ALLOW 96  /* the text of an Allow header */
#define HTTP_MAX_METHOD 32

/* A request target taken apart. */
typedef struct http_target {
    char path[HTTP_MAX_PATH]; /* decoded */
    char query[HTTP_MAX_PATH];
    char authority[512]; /* of an absolute target: it counts instead of Host; else "" */
} http_target;

/* "/a%20b?x=1" or "http://host/a". CAMA_ERR_FORMAT: a broken escape, a NUL, no path at all;
 * CAMA_ERR_LIMIT. */
cama_err http_target_parse(const char *text, http_target *out, err_info *err);

typedef enum http_match {
    HTTP_FOUND,
    HTTP_REDIRECT,  /* to location, with status */
    HTTP_NO_METHOD, /* the path is there for other methods: allow */
    HTTP_NO_PATH
} http_match;

typedef struct http_routing {
    http_match match;
    const api_route *route; /* FOUND */
    char param[HTTP_MAX_PATH];
    char allow[HTTP_MAX_ALLOW];
    int status;
    char location[4 * HTTP_MAX_PATH]; /* escaped */
} http_routing;

void http_route_find(const api_route *routes, size_t n_route, const char *method,
                     const http_target *t, http_routing *out);

#endif
