/* Frames off the socket. Nothing in them is trusted: the header is checked before a byte of what it
 * announces is stored, and memory grows with what has come, not with what was announced. */
#include "wire/wire_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_BYTES ((size_t)1 << 20) /* at most so much memory is taken before bytes are there */
#define KEEP_BYTES ((size_t)1 << 20) /* of a large frame no more stays */
#define MAX_TREE_FACTOR 64           /* a value of two bytes ("1,") takes some 100 as a tree */
#define N_SPARE_FD 4                 /* room to see, and close, some that are too many */

typedef union fd_space {
    char bytes[CMSG_SPACE(sizeof(int) * (WIRE_MAX_FD + N_SPARE_FD))];
    struct cmsghdr align;
} fd_space;

static void close_received(wire *w)
{
    for (size_t i = 0; i < w->n_fd; i++)
        (void)close(w->fds[i]); /* nothing was written through it */
    w->n_fd = 0;
}

/* Takes the descriptors of one message. False: more than a frame may have, the rest is closed. */
static bool take_fds(wire *w, struct msghdr *msg)
{
    bool fits = !(msg->msg_flags & MSG_CTRUNC);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        const size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* an open descriptor takes it */
            if (w->n_fd < WIRE_MAX_FD) {
                w->fds[w->n_fd++] = fd;
            } else {
                (void)close(fd);
                fits = false;
            }
        }
    }
    return fits;
}

/* One read; 0 at the end of the connection. */
static cama_err read_some(wire *w, struct iovec *parts, size_t n_part, size_t *out_n, err_info *err)
{
    fd_space space;
    struct msghdr msg = {
        .msg_iov = parts, .msg_control = space.bytes, .msg_controllen = sizeof space.bytes};
    msg.msg_iovlen = (int)n_part; /* an int on one system, a size_t on the other */
    ssize_t n;
    do {
        n = recvmsg(w->fd, &msg, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != ECONNRESET)
        return err_set(err, CAMA_ERR_IO, "wire: cannot read: %s", strerror(errno));
    *out_n = n > 0 ? (size_t)n : 0; /* a reset: the peer left without reading all */
    if (n > 0 && !take_fds(w, &msg))
        return err_set(err, CAMA_ERR_LIMIT,
                       "wire: more than %d descriptors (or no room for them in this process) came "
                       "with one frame",
                       WIRE_MAX_FD);
    return CAMA_OK;
}

static cama_err read_header(wire *w, uint8_t h[WIRE_HEADER_BYTES], err_info *err)
{
    for (size_t at = 0; at < WIRE_HEADER_BYTES;) {
        struct iovec part = {.iov_base = h + at, .iov_len = WIRE_HEADER_BYTES - at};
        size_t n;
        const cama_err e = read_some(w, &part, 1, &n, err);
        if (e)
            return e;
        if (!n && at)
            return err_set(err, CAMA_ERR_FORMAT,
                           "wire: the peer left after %zu of the %d bytes of a frame's header", at,
                           WIRE_HEADER_BYTES);
        if (!n)
            return err_set(err, CAMA_ERR_CANCELED, "wire: the peer has closed the connection");
        at += n;
    }
    return CAMA_OK;
}

static uint64_t get_le(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static cama_err check_kind(const wire *w, const uint8_t h[WIRE_HEADER_BYTES], err_info *err)
{
    if (h[0] != 'C' || h[1] != 'W')
        return err_set(err, CAMA_ERR_FORMAT,
                       "wire: a frame begins with bytes %02x %02x instead of \"CW\"", h[0], h[1]);
    if (h[3] != WIRE_VERSION)
        return err_set(err, CAMA_ERR_FORMAT, "wire: a frame of version %u, this side speaks %d",
                       h[3], WIRE_VERSION);
    if (h[2] == WIRE_NONE || h[2] >= WIRE_N_TYPE)
        return err_set(err, CAMA_ERR_FORMAT, "wire: a frame of type %u, the last one known is %d",
                       h[2], WIRE_N_TYPE - 1);
    if (wire_type_table[h[2]].from == w->side)
        return err_set(err, CAMA_ERR_FORMAT, "wire: a frame %s from the side that reads it",
                       wire_type_table[h[2]].name);
    if (h[5] || h[6] || h[7])
        return err_set(err, CAMA_ERR_FORMAT, "wire: frame %s has %02x %02x %02x where zeros are",
                       wire_type_table[h[2]].name, h[5], h[6], h[7]);
    return CAMA_OK;
}

static cama_err parse_header(wire *w, const uint8_t h[WIRE_HEADER_BYTES], wire_frame *f,
                             err_info *err)
{
    const cama_err e = check_kind(w, h, err);
    if (e)
        return e;
    const wire_side peer = wire_type_table[h[2]].from;
    *f = (wire_frame){.type = (wire_type)h[2],
                      .job = get_le(h + WIRE_JOB_AT, 8),
                      .n_head = (size_t)get_le(h + WIRE_HEAD_AT, 4),
                      .n_data = (size_t)get_le(h + WIRE_DATA_AT, 4)};
    const char *name = wire_type_name(f->type);
    if (h[4] > WIRE_MAX_FD)
        return err_set(err, CAMA_ERR_LIMIT, "wire: frame %s announces %u descriptors, at most %d",
                       name, h[4], WIRE_MAX_FD);
    if (f->n_head > wire_max_head(peer))
        return err_set(err, CAMA_ERR_LIMIT,
                       "wire: frame %s announces a head of %zu bytes, at most %zu", name, f->n_head,
                       wire_max_head(peer));
    if (f->n_data > wire_max_data(peer))
        return err_set(err, CAMA_ERR_LIMIT,
                       "wire: frame %s announces %zu bytes of data, at most %zu", name, f->n_data,
                       wire_max_data(peer));
    return CAMA_OK;
}

/* Room for some of the n bytes that b still lacks. */
static cama_err make_part(buf *b, size_t n, struct iovec *out, err_info *err)
{
    const size_t step = n < READ_BYTES ? n : READ_BYTES;
    char *at = buf_reserve(b, step);
    if (!at)
        return buf_error(b, "wire: a frame", err);
    *out = (struct iovec){.iov_base = at, .iov_len = step};
    return CAMA_OK;
}

/* Head and data, in one read when they are there and small. */
static cama_err read_body(wire *w, const wire_frame *f, err_info *err)
{
    while (w->head.n < f->n_head || w->data.n < f->n_data) {
        struct iovec parts[2];
        size_t n_part = 0;
        const size_t head_left = f->n_head - w->head.n;
        cama_err e = head_left ? make_part(&w->head, head_left, &parts[n_part++], err) : CAMA_OK;
        const size_t n_head_now = head_left < READ_BYTES ? head_left : READ_BYTES;
        if (!e && n_head_now == head_left && w->data.n < f->n_data)
            e = make_part(&w->data, f->n_data - w->data.n, &parts[n_part++], err);
        size_t n = 0;
        if (!e)
            e = read_some(w, parts, n_part, &n, err);
        if (e)
            return e;
        if (!n)
            return err_set(err, CAMA_ERR_FORMAT,
                           "wire: the peer left in frame %s, after %zu of its %zu bytes",
                           wire_type_name(f->type), w->head.n + w->data.n, f->n_head + f->n_data);
        const size_t to_head = n < n_head_now ? n : n_head_now;
        w->head.n += to_head;
        w->data.n += n - to_head;
    }
    return CAMA_OK;
}

static cama_err parse_head(wire *w, wire_frame *f, err_info *err)
{
    static const json_value empty = {.kind = JSON_OBJECT};
    f->head = &empty;
    f->head_text = "{}";
    if (!f->n_head) {
        f->n_head = 2;
        return CAMA_OK;
    }
    w->head.data[w->head.n] = '\0';
    f->head_text = w->head.data;
    json_value *head = NULL;
    w->frame_arena.max_bytes = f->n_head * MAX_TREE_FACTOR + KEEP_BYTES;
    const cama_err e = json_parse(w->head.data, w->head.n, &w->frame_arena, &head, err);
    if (e)
        return err_wrap(err, e, "wire: the head of frame %s", wire_type_name(f->type));
    if (head->kind != JSON_OBJECT)
        return err_set(err, CAMA_ERR_FORMAT, "wire: the head of frame %s is no object",
                       wire_type_name(f->type));
    f->head = head;
    return CAMA_OK;
}

static void forget_last(wire *w)
{
    arena_reset(&w->frame_arena);
    buf *const parts[] = {&w->head, &w->data};
    for (int i = 0; i < 2; i++) {
        const size_t max_bytes = parts[i]->max_bytes;
        if (parts[i]->cap > KEEP_BYTES) {
            buf_done(parts[i]);
            buf_init(parts[i], max_bytes);
        }
        buf_clear(parts[i]);
    }
}

static cama_err read_frame(wire *w, wire_frame *f, err_info *err)
{
    uint8_t h[WIRE_HEADER_BYTES];
    cama_err e = read_header(w, h, err);
    if (!e)
        e = parse_header(w, h, f, err);
    if (!e)
        e = read_body(w, f, err);
    if (!e && w->n_fd != h[4])
        e = err_set(err, CAMA_ERR_FORMAT, "wire: frame %s announces %u descriptors, %zu came",
                    wire_type_name(f->type), h[4], w->n_fd);
    if (!e)
        e = parse_head(w, f, err);
    return e;
}

cama_err wire_recv(wire *w, wire_frame *out, err_info *err)
{
    if (w->broken.code)
        return err_set(err, w->broken.code, "%s", w->broken.text);
    forget_last(w);
    wire_frame f = {0};
    cama_err e = read_frame(w, &f, &w->broken);
    if (e && atomic_load_explicit(&w->over, memory_order_relaxed))
        e = err_set(&w->broken, CAMA_ERR_CANCELED, "wire: this side has closed the connection");
    if (e) {
        close_received(w);
        return err_set(err, e, "%s", w->broken.text);
    }
    f.data = w->data.data;
    f.n_fd = w->n_fd;
    memcpy(f.fds, w->fds, w->n_fd * sizeof *w->fds);
    w->n_fd = 0;
    *out = f;
    return CAMA_OK;
}
