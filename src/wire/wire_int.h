/* wire_int.h - the struct of a connection, shared by the files of this room.
 *
 * wire.c opens, closes and sends; wire_recv.c reads; wire_head.c knows names and the fields of
 * heads. */
#ifndef WIRE_WIRE_INT_H
#define WIRE_WIRE_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "wire/wire.h"

#define WIRE_HEAD_AT 8 /* n_head, n_data and job in the header */
#define WIRE_DATA_AT 12
#define WIRE_JOB_AT 16

/* What the socket did not take: the rest of a frame, and the descriptors until its first byte is
 * gone. */
typedef struct wire_pending wire_pending;
struct wire_pending {
    wire_pending *next;
    size_t n, at;
    int fds[WIRE_MAX_FD];
    size_t n_fd;
    char bytes[];
};

struct wire {
    int fd;
    wire_side side;
    size_t max_queue;
    atomic_bool over; /* wire_shutdown was called; relaxed: the shutdown of the socket orders */

    /* of the thread in wire_recv */
    buf head, data;
    arena frame_arena;
    int fds[WIRE_MAX_FD]; /* received, not handed out yet */
    size_t n_fd;
    err_info broken; /* what ended the reading; code CAMA_OK: nothing */

    bool have_lock, have_work, have_idle, have_thread; /* made: a half-built wire is closed too */
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;  /* the queue has something, or stop */
    pthread_cond_t idle;  /* the queue is empty, or the connection is over */
    wire_pending *first, **last;
    size_t n_queued; /* bytes in the queue */
    bool stop, dead; /* dead: the socket takes nothing any more */
};

typedef struct wire_type_row {
    const char *name;
    wire_side from;
} wire_type_row;

extern const wire_type_row wire_type_table[WIRE_N_TYPE];

/* What a side may send. */
static inline size_t wire_max_head(wire_side from)
{
    return from == WIRE_SERVE ? WIRE_MAX_HEAD_DOWN : WIRE_MAX_HEAD_UP;
}

static inline size_t wire_max_data(wire_side from)
{
    return from == WIRE_SERVE ? WIRE_MAX_DATA_DOWN : WIRE_MAX_DATA_UP;
}

#endif
