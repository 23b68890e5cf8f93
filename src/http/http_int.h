/* http_int.h - what the files of this room share.
 *
 *     http_mhd.c       all that touches libmicrohttpd     http_watch.c   clients that leave or
 * dawdle http_door.c      what is answered before a route    http_poll_*.c  epoll, kqueue
 *     http_exchange.c  its life; http_body.c, http_reply.c   http_route.c, http_access.c,
 * http_head.c http_work.c      the worker threads                 serve.c        everything put
 * together
 *
 * An exchange lives from the request line until nobody holds it: MHD (until the request is
 * completed), a worker, the call (until api_out.closed), the watcher for a moment.
 *
 * Locks, in the order in which they may be taken: exchange.lock, then MHD's own (in
 * mhd_suspend, mhd_resume) or http.lock (in exchange_start); http.lock, then watch.lock (when all
 * are dropped). No lock is held while a dialect is called.
 */
#ifndef HTTP_HTTP_INT_H
#define HTTP_HTTP_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "http/http.h"
#include "http/http_access.h"
#include "http/http_head.h"
#include "http/http_route.h"

#define HTTP_MAX_REPLY_HEADERS 16
#define HTTP_LISTENERS 2 /* TCP and unix */

typedef struct exchange exchange;
typedef struct connection connection;

/* ---- replies ---- */

typedef struct reply_header {
    char *name, *value;
} reply_header;

typedef struct reply {
    int status; /* 0: there is none yet */
    reply_header headers[HTTP_MAX_REPLY_HEADERS];
    size_t n_header;
    char *body; /* of a whole reply */
    size_t n_body;
    bool stream; /* the body comes in pieces */
    bool close;  /* and the connection ends behind it */
} reply;

typedef struct piece {
    struct piece *next;
    size_t n, n_sent;
    char bytes[];
} piece;

/* ---- an exchange ---- */

typedef enum phase {
    PHASE_LINE, /* the header is not whole yet */
    PHASE_HEAD, /* an upload's dialect looks at the header; the body waits */
    PHASE_BODY,
    PHASE_RUN, /* the request is whole */
    PHASE_OVER /* completed: MHD does not know it any more */
} phase;

struct exchange {
    http *h;
    connection *conn;  /* lock: NULL before PHASE_HEAD and from PHASE_OVER on */
    atomic_uint n_ref; /* acquire and release: the last one frees */
    uint64_t start_ns;

    /* MHD's thread only */
    char *target; /* as it came */
    char method[HTTP_MAX_METHOD];
    char *path, *param, *user_agent; /* what request points to */
    http_head head;
    bool watched;
    bool dropping;   /* the body is read and not kept */
    uint64_t n_drop; /* bytes dropped so far */
    bool cors;       /* its headers belong to the reply */
    bool preflight;
    char allow[HTTP_MAX_ALLOW];

    const api_route *route;
    buf body; /* the request's, MHD's thread until PHASE_RUN */
    api_request request;

    pthread_mutex_t lock;
    phase phase;         /* lock */
    bool suspended;      /* lock: in MHD */
    bool gone;           /* lock: the client left, or is dropped */
    bool told;           /* lock: the call knows it */
    bool answered;       /* lock: reply or begin */
    bool ended;          /* lock: reply or end */
    bool working;        /* lock: queued for a worker or in its hands */
    bool started;        /* lock: the dialect has been called */
    bool body_whole;     /* lock: an upload has come to its end */
    bool head_seen;      /* lock: an upload's dialect has looked at the header */
    bool upload_over;    /* lock: upload_end has been called, or will not be */
    api_call *call;      /* lock: the door's reference */
    reply reply;         /* lock until answered, then MHD's thread */
    piece *first, *last; /* lock: of the reply */
    size_t n_queued;
    piece *up_first, *up_last; /* lock: of an upload */
    size_t n_up;
    api_upload *upload; /* the worker that has it */

    exchange *next_work;  /* http.lock */
    exchange *next_drop;  /* watch.lock */
    bool dropped;         /* watch.lock: it is, or was, in the list of those */
    uint32_t watch_slot;  /* watch.lock */
    size_t n_body_booked; /* its part of http.n_body_bytes */
};

/* ---- a connection ---- */

struct connection {
    http *h;
    connection *next, *prev; /* http.lock, as the rest */
    void *mhd;               /* struct MHD_Connection */
    int fd;
    bool is_unix;
    char ip[64];
    exchange *current; /* holds no reference: MHD does */
    bool first;        /* no request has been completed */
    uint64_t idle_ns;  /* since when there is no request */
    bool in_request;
    bool in_body; /* a body is being read, and we are not the ones who wait */
    uint64_t window_ns, window_bytes;
    bool cut; /* shut down already */
};

/* ---- the server ---- */

typedef struct watch watch;
typedef struct mhd_listener mhd_listener;

struct http {
    http_opts o;
    http_origins origins;
    char machine[256]; /* gethostname */
    bool loopback;     /* the TCP socket is bound to loopback only */

    pthread_mutex_t lock;
    pthread_cond_t work_ready;
    pthread_cond_t idle;              /* an exchange was freed or completed */
    connection *conns;                /* lock */
    exchange *work_first, *work_last; /* lock */
    bool work_end;                    /* lock */
    size_t n_exchange;                /* lock: alive */
    size_t n_open;                    /* lock: not yet PHASE_OVER */
    size_t n_body_bytes;              /* lock: of request bodies that are held */
    bool draining;                    /* lock */
    pthread_t workers[HTTP_WORKERS];
    size_t n_worker;
    watch *watch;
    mhd_listener *listeners[HTTP_LISTENERS];
};

/* ---- http_exchange.c ---- */

exchange *exchange_new(http *h, const char *target); /* NULL: no memory */
void exchange_ref(exchange *e);
void exchange_unref(exchange *e); /* accepts NULL */
/* The client left, or is dropped. Any thread, any number of times. */
void exchange_gone(exchange *e);
/* MHD does not know it any more. MHD's thread; takes MHD's reference. */
void exchange_over(exchange *e);
/* Gives it to a worker, unless one has it. The lock is held. */
void exchange_start(exchange *e);
void exchange_work(exchange *e); /* the worker's part */

/* ---- http_reply.c ---- */

/* The door's own answers. Without memory: a bare status. */
void reply_text(exchange *e, int status, const char *content_type, const char *body);
/* {"error":"text"}, or in the shape of the route. */
void reply_error(exchange *e, int status, const char *text);
/* Cut short silently past HTTP_MAX_REPLY_HEADERS. False: no memory. */
bool reply_add(reply *r, const char *name, const char *value);
void reply_done(reply *r);
extern const api_out reply_out; /* for calls; its user is the exchange */

typedef enum take { TAKE_BYTES, TAKE_WAIT, TAKE_END, TAKE_GONE } take;
/* Up to max bytes of the next piece. TAKE_WAIT: there is none yet, and e is suspended. */
take reply_take(exchange *e, char *to, size_t max, size_t *out_n);

/* ---- http_body.c ---- */

typedef enum body_result {
    BODY_TAKEN,
    BODY_WAIT, /* nothing was taken, and e is suspended */
    BODY_CLOSE
} body_result;
/* More of the request's body. MHD's thread. */
body_result body_add(exchange *e, const char *bytes, size_t n);
/* The worker's part of an upload: until there is nothing left to do. The lock is held. */
void body_work(exchange *e);
void body_free(exchange *e);

/* ---- http_work.c ---- */

cama_err work_open(http *h, err_info *err);
void work_close(http *h);            /* what is queued is done before */
void work_add(http *h, exchange *e); /* takes a reference of the caller's */

/* ---- http_watch.c ---- */

cama_err watch_open(http *h, watch **out, err_info *err);
void watch_close(watch *w);
bool watch_add(watch *w, exchange *e, int fd); /* MHD's thread, as watch_remove */
void watch_remove(watch *w, exchange *e, int fd);
/* exchange_gone from the watcher's thread, for callers that hold locks of others. Takes a
 * reference of the caller's. */
void watch_drop(watch *w, exchange *e);
/* Cuts connections at once: those without a request, or all. MHD then closes them. */
void watch_cut(http *h, bool all);

/* ---- http_door.c ---- */

/* The header is whole: decides what happens. Answers e at once, or sets its route. */
void door_open(exchange *e);
/* Headers that belong to every reply of e. */
void door_headers(exchange *e);

/* ---- http_mhd.c ---- */

cama_err mhd_open(http *h, int fd, bool is_unix, mhd_listener **out, err_info *err);
void mhd_quiesce(mhd_listener *l); /* the listening socket is closed */
void mhd_close(mhd_listener *l);   /* nothing is suspended */
void mhd_abandon(mhd_listener *l); /* the same, but the socket stays open; accepts NULL */
/* The lock is held. Suspending: from a callback of MHD only. */
void mhd_suspend(exchange *e);
void mhd_resume(exchange *e); /* nothing when it is not suspended */

void http_log(http *h, pool_level level, const char *fmt, ...) ERR_PRINTF(3, 4);

#endif
