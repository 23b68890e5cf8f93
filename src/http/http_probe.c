#include "http/http_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define PROBE_MS 500

#ifndef MSG_NOSIGNAL /* macOS: who listens there has just taken the connection */
#define MSG_NOSIGNAL 0
#endif

static bool wait_for(int fd, short events, uint64_t end_ns)
{
    const uint64_t now = clock_now_ns();
    struct pollfd p = {.fd = fd, .events = events};
    return now < end_ns && poll(&p, 1, (int)((end_ns - now) / 1000000) + 1) == 1;
}

static int connect_to(const net_host *h, uint64_t end_ns)
{
    const bool any = !h->name[0] || !strcmp(h->name, "0.0.0.0") || !strcmp(h->name, "::");
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char port[8];
    (void)snprintf(port, sizeof port, "%u", (unsigned)h->port);
    if (getaddrinfo(any ? "127.0.0.1" : h->name, port, &hints, &list))
        return -1;
    int fd = socket(list->ai_family, SOCK_STREAM, 0);
    int error = 0;
    socklen_t n = sizeof error;
    bool ok = fd >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
    if (ok && connect(fd, list->ai_addr, list->ai_addrlen))
        ok = errno == EINPROGRESS && wait_for(fd, POLLOUT, end_ns) &&
             getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 && error == 0;
    freeaddrinfo(list);
    if (!ok && fd >= 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

http_probe_result http_probe(const net_host *h)
{
    static const char ask[] = "GET /api/version HTTP/1.0\r\nHost: localhost\r\n\r\n";
    const uint64_t end_ns = clock_now_ns() + (uint64_t)PROBE_MS * 1000000;
    char text[4096];
    size_t n = 0;
    const int fd = connect_to(h, end_ns);
    if (fd < 0)
        return HTTP_PROBE_NOBODY;
    if (send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) == (ssize_t)sizeof ask - 1) {
        while (n < sizeof text - 1 && wait_for(fd, POLLIN, end_ns)) {
            const ssize_t got = recv(fd, text + n, sizeof text - 1 - n, 0);
            if (got <= 0)
                break;
            n += (size_t)got;
        }
    }
    close(fd);
    text[n] = '\0';
    if (strncmp(text, "HTTP/1.", 7) != 0)
        return HTTP_PROBE_NOBODY;
    if (strstr(text, "\"cama\":"))
        return HTTP_PROBE_CAMA;
    return strstr(text, "{\"version\":") ? HTTP_PROBE_OLLAMA : HTTP_PROBE_OTHER;
}
