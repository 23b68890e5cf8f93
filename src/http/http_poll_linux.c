#include "http/http_poll.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_EVENTS 64
#define HURRY_NICE (-10)

cama_err http_poll_open(int *out_poll, err_info *err)
{
    const int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return err_set(err, CAMA_ERR_IO, "http: epoll: %s", strerror(errno));
    *out_poll = fd;
    return CAMA_OK;
}

static bool add(int poll, int fd, uint64_t id, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.u64 = id};
    return epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e) == 0;
}

bool http_poll_add(int poll, int fd, uint64_t id)
{
    return add(poll, fd, id, EPOLLRDHUP | EPOLLET); /* EPOLLHUP and EPOLLERR always come too */
}

bool http_poll_add_reader(int poll, int fd, uint64_t id)
{
    return add(poll, fd, id, EPOLLIN);
}

void http_poll_remove(int poll, int fd)
{
    struct epoll_event ignored = {0};
    (void)epoll_ctl(poll, EPOLL_CTL_DEL, fd, &ignored); /* it may not be there */
}

size_t http_poll_wait(int poll, int timeout_ms, uint64_t *out_ids, size_t max)
{
    struct epoll_event events[MAX_EVENTS];
    const int n = epoll_wait(poll, events, max < MAX_EVENTS ? (int)max : MAX_EVENTS, timeout_ms);
    for (int i = 0; i < n; i++)
        out_ids[i] = events[i].data.u64;
    return n > 0 ? (size_t)n : 0;
}

void http_poll_hurry(void)
{
    /* on Linux the niceness is a thread's own; without the right to it nothing changes */
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), HURRY_NICE);
}
