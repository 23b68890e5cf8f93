#include "wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "wire/wire_int.h"

#define QUEUE_SERVE ((size_t)512 << 20)
#define QUEUE_RUNNER ((size_t)16 << 20)
#define SOCKET_BYTES (256 << 10) /* what the system should take at once; a hint */
#define N_PART 3                 /* header, head, data */

#ifndef MSG_NOSIGNAL /* SO_NOSIGPIPE does it there */
#define MSG_NOSIGNAL 0
#endif

/* ---- life ---- */

static void set_socket(int fd)
{
    const int n = SOCKET_BYTES;
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* an open descriptor takes both */
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &n, sizeof n);
#ifdef SO_NOSIGPIPE
    const int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
}

cama_err wire_pair(int out_fd[2], err_info *err)
{
    int fd[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) != 0)
        return err_set(err, CAMA_ERR_IO, "wire: cannot make a pair of sockets: %s",
                       strerror(errno));
    set_socket(fd[0]);
    set_socket(fd[1]);
    out_fd[0] = fd[0];
    out_fd[1] = fd[1];
    return CAMA_OK;
}

static void pending_free(wire_pending *p)
{
    for (size_t i = 0; i < p->n_fd; i++)
        (void)close(p->fds[i]); /* our duplicate */
    free(p);
}

/* Under the lock. */
static void drop_queue(wire *w)
{
    while (w->first) {
        wire_pending *p = w->first;
        w->first = p->next;
        pending_free(p);
    }
    w->last = &w->first;
    w->n_queued = 0;
}

/* Under the lock: nothing can be sent any more. The reader hears of it by end-of-file. */
static void die(wire *w)
{
    w->dead = true;
    (void)shutdown(w->fd, SHUT_RDWR); /* may be over already */
    (void)pthread_cond_broadcast(&w->idle);
    (void)pthread_cond_signal(&w->work);
}

/* ---- the socket ---- */

typedef union fd_space { /* aligned for its header */
    char bytes[CMSG_SPACE(sizeof(int) * WIRE_MAX_FD)];
    struct cmsghdr align;
} fd_space;

static void attach(struct msghdr *msg, fd_space *space, const int *fds, size_t n_fd)
{
    if (!n_fd)
        return;
    memset(space, 0, sizeof *space);
    msg->msg_control = space->bytes;
    msg->msg_controllen = CMSG_SPACE(sizeof(int) * n_fd);
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * n_fd);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fd);
}

/* What the socket takes now of the parts: 0 when it is full; false: it is over. */
static bool send_now(const wire *w, struct iovec *parts, size_t n_part, const int *fds, size_t n_fd,
                     size_t *out_n)
{
    fd_space space;
    struct msghdr msg = {.msg_iov = parts};
    msg.msg_iovlen = (int)n_part; /* an int on one system, a size_t on the other */
    attach(&msg, &space, fds, n_fd);
    ssize_t n;
    do {
        n = sendmsg(w->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    *out_n = n > 0 ? (size_t)n : 0;
    /* ENOBUFS, ETOOMANYREFS: the system has no room for it now */
    return n >= 0 || errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS ||
           errno == ETOOMANYREFS;
}

/* ---- the sending thread ---- */

/* A signal or the time ends the wait too: the send is tried again, that is all. */
static void wait_for_room(const wire *w, int why)
{
    struct pollfd p = {.fd = w->fd, .events = POLLOUT};
    if (why == ENOBUFS || why == ETOOMANYREFS)
        (void)poll(NULL, 0, 5); /* the socket has room, the system has not */
    else
        (void)poll(&p, 1, 1000);
}

/* Without the lock: only this thread takes the first away. */
static bool send_first(const wire *w, wire_pending *p)
{
    struct iovec part = {.iov_base = p->bytes + p->at, .iov_len = p->n - p->at};
    size_t n;
    if (!send_now(w, &part, 1, p->fds, p->at ? 0 : p->n_fd, &n))
        return false;
    if (!n)
        wait_for_room(w, errno);
    p->at += n;
    return true;
}

static void *sending(void *arg)
{
    wire *w = arg;
    (void)pthread_mutex_lock(&w->lock);
    while (!w->stop && !w->dead) {
        wire_pending *p = w->first;
        if (!p) {
            (void)pthread_cond_wait(&w->work, &w->lock);
            continue;
        }
        const size_t before = p->at;
        (void)pthread_mutex_unlock(&w->lock);
        const bool alive = send_first(w, p);
        (void)pthread_mutex_lock(&w->lock);
        w->n_queued -= p->at - before;
        if (!alive) {
            die(w);
        } else if (p->at == p->n) {
            w->first = p->next;
            if (!w->first) {
                w->last = &w->first;
                (void)pthread_cond_broadcast(&w->idle);
            }
            pending_free(p);
        }
    }
    (void)pthread_mutex_unlock(&w->lock);
    return NULL;
}

static bool start(wire *w)
{
    w->have_lock = pthread_mutex_init(&w->lock, NULL) == 0;
    w->have_work = pthread_cond_init(&w->work, NULL) == 0;
    w->have_idle = pthread_cond_init(&w->idle, NULL) == 0;
    w->have_thread = w->have_lock && w->have_work && w->have_idle &&
                     pthread_create(&w->thread, NULL, sending, w) == 0;
    return w->have_thread;
}

cama_err wire_open(int fd, const wire_opts *o, wire **out, err_info *err)
{
    wire *w = calloc(1, sizeof *w);
    if (!w) {
        (void)close(fd); /* taken also on failure */
        return err_set(err, CAMA_ERR_NOMEM, "wire: no memory for a connection");
    }
    w->fd = fd;
    w->side = o->side;
    w->max_queue = o->max_queue ? o->max_queue : o->side == WIRE_SERVE ? QUEUE_SERVE : QUEUE_RUNNER;
    w->last = &w->first;
    set_socket(fd);
    const wire_side peer = o->side == WIRE_SERVE ? WIRE_RUNNER : WIRE_SERVE;
    buf_init(&w->head, wire_max_head(peer) + 1);
    buf_init(&w->data, wire_max_data(peer) + 1);
    arena_init(&w->frame_arena, 0); /* its limit comes with each frame */
    if (!start(w)) {
        wire_close(w);
        return err_set(err, CAMA_ERR_NOMEM, "wire: no thread to send with");
    }
    *out = w;
    return CAMA_OK;
}

void wire_shutdown(wire *w)
{
    atomic_store_explicit(&w->over, true, memory_order_relaxed);
    (void)shutdown(w->fd, SHUT_RDWR); /* may be over already */
}

static void end_thread(wire *w)
{
    (void)pthread_mutex_lock(&w->lock);
    w->stop = true;
    (void)pthread_cond_signal(&w->work);
    (void)pthread_mutex_unlock(&w->lock);
    (void)shutdown(w->fd, SHUT_RDWR); /* a wait for room ends */
    (void)pthread_join(w->thread, NULL);
}

void wire_close(wire *w)
{
    if (!w)
        return;
    if (w->have_thread)
        end_thread(w);
    drop_queue(w);
    for (size_t i = 0; i < w->n_fd; i++)
        (void)close(w->fds[i]);
    (void)close(w->fd);
    if (w->have_idle)
        (void)pthread_cond_destroy(&w->idle);
    if (w->have_work)
        (void)pthread_cond_destroy(&w->work);
    if (w->have_lock)
        (void)pthread_mutex_destroy(&w->lock);
    buf_done(&w->head);
    buf_done(&w->data);
    arena_done(&w->frame_arena);
    free(w);
}

/* ---- sending ---- */

static void put_le(uint8_t *to, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (uint8_t)(v >> (8 * i));
}

static void fill_header(const wire_out *f, uint8_t h[WIRE_HEADER_BYTES])
{
    memset(h, 0, WIRE_HEADER_BYTES);
    h[0] = 'C';
    h[1] = 'W';
    h[2] = (uint8_t)f->type;
    h[3] = WIRE_VERSION;
    h[4] = (uint8_t)f->n_fd;
    put_le(h + WIRE_HEAD_AT, f->head ? f->n_head : 0, 4);
    put_le(h + WIRE_DATA_AT, f->n_data, 4);
    put_le(h + WIRE_JOB_AT, f->job, 8);
}

static cama_err check_out(const wire *w, const wire_out *f, err_info *err)
{
    const char *name = wire_type_name(f->type);
    if (f->type <= WIRE_NONE || f->type >= WIRE_N_TYPE || wire_type_table[f->type].from != w->side)
        return err_set(err, CAMA_ERR_ARG, "wire: frame %s (%d) is not for this side to send", name,
                       (int)f->type);
    if (f->n_fd > WIRE_MAX_FD)
        return err_set(err, CAMA_ERR_LIMIT, "wire: frame %s passes %zu descriptors, at most %d",
                       name, f->n_fd, WIRE_MAX_FD);
    if (f->head && f->n_head > wire_max_head(w->side))
        return err_set(err, CAMA_ERR_LIMIT, "wire: frame %s has a head of %zu bytes, at most %zu",
                       name, f->n_head, wire_max_head(w->side));
    if (f->n_data > wire_max_data(w->side))
        return err_set(err, CAMA_ERR_LIMIT, "wire: frame %s has %zu bytes of data, at most %zu",
                       name, f->n_data, wire_max_data(w->side));
    return CAMA_OK;
}

/* Everything behind the first n_sent bytes, copied. NULL: no memory or no descriptor. */
static wire_pending *new_pending(const wire_out *f, const struct iovec parts[N_PART], size_t n_sent)
{
    size_t n_all = 0;
    for (int i = 0; i < N_PART; i++)
        n_all += parts[i].iov_len;
    wire_pending *p = malloc(sizeof *p + (n_all - n_sent));
    if (!p)
        return NULL;
    *p = (wire_pending){.n = n_all - n_sent};
    size_t at = 0;
    for (int i = 0; i < N_PART; i++) {
        const size_t skip = n_sent < parts[i].iov_len ? n_sent : parts[i].iov_len;
        const size_t n = parts[i].iov_len - skip;
        if (n)
            memcpy(p->bytes + at, (const char *)parts[i].iov_base + skip, n);
        at += n;
        n_sent -= skip;
    }
    for (size_t i = 0; !n_sent && i < f->n_fd; i++) { /* sent with the first byte, or not yet */
        p->fds[i] = fcntl(f->fds[i], F_DUPFD_CLOEXEC, 0);
        if (p->fds[i] < 0) {
            pending_free(p);
            return NULL;
        }
        p->n_fd++;
    }
    return p;
}

/* Under the lock. The socket is tried first when nobody waits: most frames cost no other thread. */
static cama_err send_or_queue(wire *w, const wire_out *f, struct iovec parts[N_PART], err_info *err)
{
    const size_t n_all = parts[0].iov_len + parts[1].iov_len + parts[2].iov_len;
    const char *name = wire_type_name(f->type);
    if (n_all > w->max_queue - w->n_queued)
        return err_set(err, CAMA_ERR_LIMIT,
                       "wire: frame %s of %zu bytes behind %zu that the peer has not read, at most "
                       "%zu may wait",
                       name, n_all, w->n_queued, w->max_queue);
    size_t n_sent = 0;
    if (!w->dead && !w->first && !send_now(w, parts, N_PART, f->fds, f->n_fd, &n_sent))
        die(w);
    if (w->dead)
        return err_set(err, CAMA_ERR_CANCELED, "wire: the peer has gone, frame %s is not sent",
                       name);
    if (n_sent == n_all)
        return CAMA_OK;
    wire_pending *p = new_pending(f, parts, n_sent);
    if (!p && n_sent) /* half a frame is out: nothing may follow it */
        die(w);
    if (!p)
        return err_set(err, CAMA_ERR_NOMEM, "wire: no memory for %zu bytes of frame %s", n_all,
                       name);
    *w->last = p;
    w->last = &p->next;
    w->n_queued += p->n;
    (void)pthread_cond_signal(&w->work);
    return CAMA_OK;
}

cama_err wire_send(wire *w, const wire_out *f, err_info *err)
{
    const cama_err bad = check_out(w, f, err);
    if (bad)
        return bad;
    uint8_t header[WIRE_HEADER_BYTES];
    fill_header(f, header);
    struct iovec parts[N_PART] = {
        {.iov_base = header, .iov_len = sizeof header},
        {.iov_base = (void *)(uintptr_t)f->head, .iov_len = f->head ? f->n_head : 0},
        {.iov_base = (void *)(uintptr_t)f->data, .iov_len = f->n_data},
    };
    (void)pthread_mutex_lock(&w->lock);
    const cama_err e = send_or_queue(w, f, parts, err);
    (void)pthread_mutex_unlock(&w->lock);
    return e;
}

bool wire_flush(wire *w, uint32_t timeout_ms)
{
    struct timespec until; /* of the wall: the condition's clock on every system */
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    (void)pthread_mutex_lock(&w->lock);
    int timed_out = 0;
    while (w->first && !w->dead && !timed_out)
        timed_out = pthread_cond_timedwait(&w->idle, &w->lock, &until);
    const bool sent = !w->first;
    (void)pthread_mutex_unlock(&w->lock);
    return sent;
}
