/* http_head.h - the header fields that matter here, and what must not be in a header.
 *
 * The parser below takes forms that two servers in a row could read differently: a request that
 * says its length twice, or in two ways, is refused instead (request smuggling).
 */
#ifndef HTTP_HTTP_HEAD_H
#define HTTP_HTTP_HEAD_H

#include "base/err.h"

#define HTTP_HEAD_VALUE 1024

typedef struct http_head {
    char host[512];
    char origin[512];
    char user_agent[HTTP_HEAD_VALUE]; /* cut where it is longer */
    bool has_host, has_origin, has_length, chunked, has_encoding;
    bool expects_100;
    bool preflight; /* Access-Control-Request-Method is there */
    uint64_t length;
    const char *wrong; /* NULL, or why it is 400 */
} http_head;

/* One field; any order. After the first wrong one nothing is looked at. */
void http_head_add(http_head *h, const char *name, size_t n_name, const char *value,
                   size_t n_value);
/* After the last: what the whole lacks. */
void http_head_end(http_head *h, bool old_version);

#endif
