#include "http/http_poll.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pthread/qos.h>
#include <string.h>
#include <sys/event.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define MAX_EVENTS 64
#define READER_BIT ((uint64_t)1 << 63) /* of an id: readable is enough */

cama_err http_poll_open(int *out_poll, err_info *err)
{
    const int fd = kqueue();
    if (fd < 0)
        return err_set(err, CAMA_ERR_IO, "http: kqueue: %s", strerror(errno));
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* a child cannot inherit a kqueue anyway */
    *out_poll = fd;
    return CAMA_OK;
}

static bool add(int poll, int fd, uint64_t id, uint16_t flags)
{
    struct kevent e;
    EV_SET(&e, (uintptr_t)fd, EVFILT_READ, EV_ADD | flags, 0, 0, (void *)(uintptr_t)id);
    return kevent(poll, &e, 1, NULL, 0, NULL) == 0;
}

bool http_poll_add(int poll, int fd, uint64_t id)
{
    return add(poll, fd, id, EV_CLEAR);
}

bool http_poll_add_reader(int poll, int fd, uint64_t id)
{
    return add(poll, fd, id | READER_BIT, 0);
}

void http_poll_remove(int poll, int fd)
{
    struct kevent e;
    EV_SET(&e, (uintptr_t)fd, EVFILT_READ, EV_DELETE, 0, 0, NULL);
    (void)kevent(poll, &e, 1, NULL, 0, NULL); /* it may not be there */
}

size_t http_poll_wait(int poll, int timeout_ms, uint64_t *out_ids, size_t max)
{
    struct kevent events[MAX_EVENTS];
    const struct timespec limit = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    const int n = kevent(poll, NULL, 0, events, max < MAX_EVENTS ? (int)max : MAX_EVENTS, &limit);
    size_t n_out = 0;
    for (int i = 0; i < n; i++) {
        const uint64_t id = (uint64_t)(uintptr_t)events[i].udata;
        /* bytes of a next request wake it too: only the end counts */
        if ((id & READER_BIT) || (events[i].flags & EV_EOF))
            out_ids[n_out++] = id & ~READER_BIT;
    }
    return n_out;
}

void http_poll_hurry(void)
{
    (void)pthread_set_qos_class_self_np(QOS_CLASS_USER_INTERACTIVE, 0);
}
