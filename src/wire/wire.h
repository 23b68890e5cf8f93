/* wire.h - frames between serve and a runner, over one stream socket.
 *
 *     serve  --LOAD+fds-->  runner        a frame: 24 bytes, a JSON head, raw data,
 *            <--PLAN------                and at most WIRE_MAX_FD passed descriptors
 *            --START----->
 *            <--READY-----                "CW", then u8 each: type, version, n_fd, 0, 0, 0;
 *            --JOB 7----->                n_head u32, n_data u32, job u64 (little endian)
 *            <--TEXT 7----
 *            <--DONE 7----                docs/wire.md lists every frame and the fields of its head
 *
 * No head at all (n_head 0) is an empty object. Descriptors come with the first byte of their
 * frame.
 *
 * The peer is never trusted: lengths are checked against the limits of the side that reads before
 * a byte is stored, an unknown version or type ends the connection with a typed error.
 *
 * Sending never blocks: what the socket does not take at once waits in a bounded queue that a
 * thread of the wire empties. A peer that does not read fills the queue, and wire_send says so.
 * Text of jobs cannot fill it: the sender of text spends credit that the reader grants.
 *
 * Threads: wire_send and wire_shutdown from any thread; wire_recv from one.
 */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include "base/err.h"
#include "json/json.h"

#define WIRE_VERSION 1
#define WIRE_MAX_FD 16
#define WIRE_HEADER_BYTES 24
/* What serve may send, and what a runner may: a request carries a conversation and its images. */
#define WIRE_MAX_HEAD_DOWN (64u << 20)
#define WIRE_MAX_DATA_DOWN (256u << 20)
#define WIRE_MAX_HEAD_UP (4u << 20)
#define WIRE_MAX_DATA_UP (64u << 20)
#define WIRE_CREDIT_BYTES (256u << 10) /* what a job may send before it must be granted more */
#define WIRE_RUNNER_FD 3               /* where a runner finds its end */

/* X(name, who sends it): the number on the wire is the place in the list, from 1. */
#define WIRE_TYPES(X)                                                                              \
    X(LOAD, SERVE)      /* files (descriptors) and options: what to plan for */                    \
    X(START, SERVE)     /* the plan is accepted: load */                                           \
    X(JOB, SERVE)       /* a piece of work */                                                      \
    X(CREDIT, SERVE)    /* job may send n more bytes of text */                                    \
    X(CANCEL, SERVE)    /* job is not wanted any more: it ends as canceled */                      \
    X(BUDGET, SERVE)    /* threads and spin time from now on */                                    \
    X(PING, SERVE)      /* answered by PONG from the reading thread, with the engine's progress */ \
    X(QUIT, SERVE)      /* finish what runs, then leave */                                         \
    X(HELLO, RUNNER)    /* first of all: version, process id */                                    \
    X(PLAN, RUNNER)     /* what the model would take */                                            \
    X(REFUSE, RUNNER)   /* the model cannot be loaded: code and text; the runner leaves */         \
    X(PROGRESS, RUNNER) /* loading: bytes done of all */                                           \
    X(READY, RUNNER)    /* loaded: what it is and what it can do */                                \
    X(PONG, RUNNER)     /* steps so far, running, waiting */                                       \
    X(TEXT, RUNNER)     /* job: a piece of the answer; data is the text */                         \
    X(THINK, RUNNER)    /* job: a piece of its reasoning */                                        \
    X(CALLS, RUNNER)    /* job: tool calls */                                                      \
    X(TOKENS, RUNNER)   /* job: data is i32 ids */                                                 \
    X(VECTOR, RUNNER)   /* job: data is f32 */                                                     \
    X(WARN, RUNNER)     /* job: something was adapted, cut or ignored */                           \
    X(DONE, RUNNER)     /* job: its end and its figures */                                         \
    X(FAIL, RUNNER)     /* job: ended by an error */                                               \
    X(LOG, RUNNER)      /* a line for the log */                                                   \
    X(ENGINES, SERVE)   /* instead of LOAD: say what engines there are, and leave */               \
    X(ABOUT, RUNNER)    /* the engines of this build */                                            \
    X(IMPORT, SERVE)    /* instead of LOAD: files (descriptors) of a folder to make one GGUF of */

typedef enum wire_type {
    WIRE_NONE,
#define X(name, who) WIRE_##name,
    WIRE_TYPES(X)
#undef X
        WIRE_N_TYPE
} wire_type;

/* "JOB"; "?" outside the list. */
const char *wire_type_name(wire_type t);

typedef enum wire_side { WIRE_SERVE, WIRE_RUNNER } wire_side;

typedef struct wire wire; /* opaque: the struct is in wire.c */

typedef struct wire_opts {
    wire_side side;
    size_t max_queue; /* bytes waiting to be sent; 0: 512 MiB for serve, 16 MiB for a runner */
} wire_opts;

/* Both ends, close-on-exec, non-blocking where the wire needs it. CAMA_ERR_IO. */
cama_err wire_pair(int out_fd[2], err_info *err);

/* Takes fd (also on failure) and starts the sending thread. */
cama_err wire_open(int fd, const wire_opts *o, wire **out, err_info *err);
/* Drops what was not sent, ends the thread, closes the descriptor. Nobody may be in wire_recv. */
void wire_close(wire *w);
/* Both directions end: wire_recv returns on either side. Idempotent. */
void wire_shutdown(wire *w);

typedef struct wire_out {
    wire_type type;
    uint64_t job;
    const char *head; /* JSON text; NULL: {} */
    size_t n_head;
    const void *data;
    size_t n_data;
    const int *fds; /* duplicated */
    size_t n_fd;
} wire_out;

/* Copies everything. CAMA_ERR_LIMIT: the queue is full, or the frame is larger than the peer takes
 * (nothing was sent); CAMA_ERR_CANCELED: the connection is over. */
cama_err wire_send(wire *w, const wire_out *f, err_info *err);
/* Waits until everything is sent, or timeout_ms passed (false). */
bool wire_flush(wire *w, uint32_t timeout_ms);

typedef struct wire_frame {
    wire_type type;
    uint64_t job;
    const json_value *head; /* an object, never NULL */
    const char *head_text;
    size_t n_head;
    const void *data; /* aligned for any type */
    size_t n_data;
    int fds[WIRE_MAX_FD]; /* the receiver's: it closes them */
    size_t n_fd;
} wire_frame;

/* The next frame; blocks. Memory in it is the wire's until the next call. CAMA_ERR_CANCELED: the
 * peer has closed (between frames) or wire_shutdown was called; CAMA_ERR_FORMAT and CAMA_ERR_LIMIT:
 * the peer sent garbage, what and where is in the text; CAMA_ERR_IO, CAMA_ERR_NOMEM. */
cama_err wire_recv(wire *w, wire_frame *out, err_info *err);

/* ---- fields of heads: absent or of another type gives the fallback ---- */
int64_t wire_int(const wire_frame *f, const char *key, int64_t fallback);
bool wire_bool(const wire_frame *f, const char *key, bool fallback);
const char *wire_str(const wire_frame *f, const char *key, const char *fallback);

/* An error as a head, {"code":"ERR_CONTEXT","text":"..."}, and back: an unknown code becomes
 * CAMA_ERR_ENGINE. */
cama_err wire_put_err(buf *head, const err_info *e);
void wire_get_err(const json_value *head, err_info *out);

#endif
