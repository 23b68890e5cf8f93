/* Any bytes as what a peer sends. The first byte says which side reads, and whether a descriptor
 * comes along; then frames are read until the error that must come. */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "wire/wire.h"

#define MAX_BYTES 65536 /* less than a socket holds: one thread writes and reads */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void send_all(int peer, const uint8_t *data, size_t n, int n_fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * 3)];
        struct cmsghdr align;
    } space;
    memset(&space, 0, sizeof space);
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = n};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    if (n_fd) {
        msg.msg_control = space.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n_fd);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n_fd);
        const int some = STDERR_FILENO; /* never the peer itself: it would not end then */
        for (int i = 0; i < n_fd; i++)
            memcpy(CMSG_DATA(c) + (size_t)i * sizeof(int), &some, sizeof(int));
    }
    if (sendmsg(peer, &msg, MSG_DONTWAIT) < 0)
        return;
}

static void look_at(const wire_frame *f)
{
    assert(f->head && f->head->kind == JSON_OBJECT);
    assert(strlen(f->head_text) <= f->n_head);
    (void)wire_int(f, "n", 0);
    (void)wire_str(f, "kind", "");
    (void)wire_bool(f, "truncate", true);
    err_info err;
    wire_get_err(f->head, &err);
    assert(err.code > CAMA_OK && err.code < CAMA_N_ERR);
    uint8_t sum = 0;
    for (size_t i = 0; i < f->n_data; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)f->data)[i]);
    (void)sum;
    for (size_t i = 0; i < f->n_fd; i++)
        assert(close(f->fds[i]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > MAX_BYTES)
        return 0;
    int fd[2];
    wire *w;
    const wire_opts o = {.side = data[0] & 1 ? WIRE_SERVE : WIRE_RUNNER};
    if (wire_pair(fd, NULL))
        return 0;
    send_all(fd[1], data + 1, size - 1, data[0] >> 1 & 3);
    (void)close(fd[1]);
    if (wire_open(fd[0], &o, &w, NULL))
        return 0;
    wire_frame f;
    err_info err;
    cama_err e;
    while (!(e = wire_recv(w, &f, &err)))
        look_at(&f);
    assert(err.code == e && err.text[0]);
    wire_close(w);
    return 0;
}
