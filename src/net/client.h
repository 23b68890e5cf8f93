/* client.h - HTTP requests of our own: the command line to a server, later pulls.
 *
 * One request at a time on a client; the reply's body comes in pieces (or in lines) as it arrives.
 */
#ifndef NET_CLIENT_H
#define NET_CLIENT_H

#include "base/buf.h"
#include "net/host.h"

typedef struct net_client net_client; /* opaque: the struct is in client.c */

/* unix_path NULL: TCP to h; else h may be NULL. */
cama_err net_client_open(const net_host *h, const char *unix_path, net_client **out, err_info *err);
void net_client_close(net_client *c); /* accepts NULL */

typedef struct net_request {
    const char *method, *path; /* "/api/tags" */
    const char *accept;        /* NULL: any */
    const char *body;          /* NULL: none */
    size_t n_body;
    const char *upload_path; /* a file as the body instead of body; NULL: none */
    bool (*uploaded)(void *user, uint64_t done, uint64_t all); /* false: give up */
    /* A line of a 2xx reply without its end, as soon as it is there; false: give up. NULL: the
     * whole body goes to reply->body. Bodies of other statuses go there always. */
    bool (*line)(void *user, const char *text, size_t n);
    bool (*canceled)(void *user); /* asked a few times a second; NULL: never */
    void *user;
    size_t max_body; /* of reply->body and of a line; 0: 64 MiB */
} net_request;

typedef struct net_reply {
    int status;
    buf body; /* buf_done it */
} net_reply;

/* CAMA_ERR_NOT_FOUND: nobody listens there; CAMA_ERR_CANCELED; CAMA_ERR_IO; CAMA_ERR_LIMIT. */
cama_err net_send(net_client *c, const net_request *q, net_reply *out, err_info *err);

#endif
