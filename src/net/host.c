#include "net/host.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- the text of OLLAMA_HOST ---- */

typedef struct span {
    const char *p;
    size_t n;
} span;

static span trimmed(span s, const char *set)
{
    while (s.n > 0 && strchr(set, s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && strchr(set, s.p[s.n - 1]))
        s.n--;
    return s;
}

static const char *find(span s, char c)
{
    return s.n > 0 ? memchr(s.p, c, s.n) : NULL;
}

/* What is before the separator; the rest behind it goes to *out_rest. False: it is not there. */
static bool cut(span s, const char *separator, span *out_before, span *out_rest)
{
    const size_t n = strlen(separator);
    for (size_t i = 0; i + n <= s.n; i++) {
        if (memcmp(s.p + i, separator, n) != 0)
            continue;
        *out_before = (span){s.p, i};
        *out_rest = (span){s.p + i + n, s.n - i - n};
        return true;
    }
    return false;
}

static bool is_text(span s, const char *want)
{
    return s.n == strlen(want) && !memcmp(s.p, want, s.n);
}

/* "name:port" or "[address]:port"; false when there is no port behind a host of one form. */
static bool split_port(span s, span *out_name, span *out_port)
{
    size_t colon = s.n;
    while (colon > 0 && s.p[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return false;
    span name = {s.p, colon - 1};
    if (name.n > 0 && name.p[0] == '[') {
        if (name.n < 2 || name.p[name.n - 1] != ']')
            return false;
        name = (span){name.p + 1, name.n - 2};
    } else if (find(name, ':')) {
        return false;
    }
    *out_name = name;
    *out_port = (span){s.p + colon, s.n - colon};
    return true;
}

static bool read_port(span s, uint16_t *out)
{
    uint32_t v = 0;
    if (s.n > 0 && s.p[0] == '+') /* as strconv.ParseInt */
        s = (span){s.p + 1, s.n - 1};
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        v = v * 10 + (uint32_t)(s.p[i] - '0');
        if (v > UINT16_MAX)
            return false;
    }
    *out = (uint16_t)v;
    return true;
}

/* A host name or an address: no character that could not stand in a URL, and a colon only in an
 * IPv6 address (which may end in a zone: fe80::1%eth0). */
static bool is_name(span s)
{
    char address[NET_HOST_BYTES];
    if (s.n >= sizeof address)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        const unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c == 0x7f || strchr("\"'<>[]\\^`{|}/?#@", c))
            return false;
    }
    if (!find(s, ':'))
        return true;
    const char *zone = find(s, '%');
    const size_t n = zone ? (size_t)(zone - s.p) : s.n;
    memcpy(address, s.p, n);
    address[n] = '\0';
    struct in6_addr ignored;
    return inet_pton(AF_INET6, address, &ignored) == 1;
}

static cama_err read_scheme(span text, span *out_rest, net_host *h, err_info *err)
{
    span scheme;
    h->port = NET_DEFAULT_PORT;
    *out_rest = text;
    if (!cut(text, "://", &scheme, out_rest))
        return CAMA_OK;
    h->tls = is_text(scheme, "https");
    if (!h->tls && !is_text(scheme, "http"))
        return err_set(err, CAMA_ERR_ARG, "host '%.*s': scheme '%.*s' is not http or https",
                       (int)text.n, text.p, (int)scheme.n, scheme.p);
    h->port = h->tls ? 443 : 80;
    return CAMA_OK;
}

static void put(char *out, span s)
{
    if (s.n > 0)
        memcpy(out, s.p, s.n);
    out[s.n] = '\0';
}

cama_err net_host_parse(const char *text, net_host *out, err_info *err)
{
    net_host h = {0};
    span s = text ? (span){text, strlen(text)} : (span){"", 0};
    s = trimmed(trimmed(trimmed(s, " \t\r\n\v\f"), "\"'"), " \t\r\n\v\f");
    if (s.n > 2 * NET_HOST_BYTES)
        return err_set(err, CAMA_ERR_ARG, "host: %zu bytes are past the limit of %d", s.n,
                       2 * NET_HOST_BYTES);
    const span all = s;
    const cama_err e = read_scheme(all, &s, &h, err);
    if (e)
        return e;
    span path = {s.p + s.n, 0};
    span before;
    if (cut(s, "/", &before, &path)) {
        path = (span){path.p - 1, path.n + 1};
        s = before;
    }
    span name;
    span port;
    if (split_port(s, &name, &port)) {
        (void)read_port(port, &h.port); /* a bad one is the default one, as Ollama has it */
    } else {
        name = trimmed(s, "[]");
        if (name.n == 0)
            name = (span){"127.0.0.1", 9};
    }
    while (path.n > 0 && path.p[path.n - 1] == '/')
        path.n--;
    bool ok = is_name(name) && path.n < NET_HOST_BYTES;
    for (size_t i = 0; i < path.n; i++)
        ok = ok && (unsigned char)path.p[i] > ' ' && !strchr("\"'<>\\^`{|}\x7f", path.p[i]);
    if (!ok)
        return err_set(err, CAMA_ERR_ARG, "host '%.*s' is not a host name or an address",
                       (int)all.n, all.p);
    put(h.name, name);
    put(h.path, path);
    *out = h;
    return CAMA_OK;
}

void net_host_url(const net_host *h, char out[2 * NET_HOST_BYTES + 32])
{
    const bool v6 = strchr(h->name, ':') != NULL;
    (void)snprintf(out, 2 * NET_HOST_BYTES + 32, "%s://%s%s%s:%u%s", h->tls ? "https" : "http",
                   v6 ? "[" : "", h->name, v6 ? "]" : "", (unsigned)h->port, h->path);
}

/* ---- sockets ---- */

/* The system's text for errno as Go writes it: no capital at the start. */
static void reason(int error, char out[128])
{
    /* strerror is not safe with threads everywhere, and strerror_r has two forms: a listening
     * socket is opened while nothing else runs, so the plain one does. */
    (void)snprintf(out, 128, "%s", strerror(error));
    out[0] = (char)tolower((unsigned char)out[0]);
}

static bool set_flags(int fd)
{
    return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
}

/* Gives -1 and errno, and the step that failed. */
static int listen_at(const struct sockaddr *address, socklen_t n, const char **out_step)
{
    *out_step = "socket";
    const int fd = socket(address->sa_family, SOCK_STREAM, 0);
    if (fd < 0)
        return -1;
    const int on = 1;
    const int off = 0;
    bool ok = set_flags(fd);
    if (address->sa_family != AF_UNIX)
        ok = ok && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
    if (address->sa_family == AF_INET6)
        ok = ok && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0;
    if (address->sa_family == AF_UNIX)
        (void)fchmod(fd, 0600); /* Linux makes the file with this mode; others: after bind */
    if (ok) {
        *out_step = "bind";
        ok = bind(fd, address, n) == 0;
    }
    if (ok) {
        *out_step = "listen";
        ok = listen(fd, SOMAXCONN) == 0;
    }
    if (ok)
        return fd;
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* Any address, by IPv6 sockets that take IPv4 too; where there is no IPv6, by IPv4. */
static int listen_any(uint16_t port, const char **out_step)
{
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT};
    int fd = listen_at((struct sockaddr *)&v6, sizeof v6, out_step);
    if (fd >= 0 || (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL && errno != EPROTONOSUPPORT))
        return fd;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    v4.sin_addr.s_addr = htonl(INADDR_ANY);
    return listen_at((struct sockaddr *)&v4, sizeof v4, out_step);
}

/* One address of the name, an IPv4 one if there is any, as Go does. */
static cama_err resolve(const net_host *h, struct sockaddr_storage *out, socklen_t *out_n,
                        err_info *err)
{
    char port[8];
    (void)snprintf(port, sizeof port, "%u", (unsigned)h->port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    const int r = getaddrinfo(h->name, port, &hints, &list);
    if (r == EAI_MEMORY)
        return err_set(err, CAMA_ERR_NOMEM, "no memory to look up '%s'", h->name);
    if (r || !list)
        return err_set(err, CAMA_ERR_IO, "listen tcp: lookup %s: %s", h->name, gai_strerror(r));
    const struct addrinfo *use = list;
    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        if (a->ai_family == AF_INET) {
            use = a;
            break;
        }
    }
    memcpy(out, use->ai_addr, use->ai_addrlen);
    *out_n = use->ai_addrlen;
    freeaddrinfo(list);
    return CAMA_OK;
}

/* "127.0.0.1:11434" for texts. */
static void address_text(const struct sockaddr_storage *a, char out[INET6_ADDRSTRLEN + 16])
{
    char ip[INET6_ADDRSTRLEN] = "";
    if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;
        (void)inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof ip);
        (void)snprintf(out, INET6_ADDRSTRLEN + 16, "[%s]:%u", ip, (unsigned)ntohs(v6->sin6_port));
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
        (void)inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof ip);
        (void)snprintf(out, INET6_ADDRSTRLEN + 16, "%s:%u", ip, (unsigned)ntohs(v4->sin_port));
    }
}

static bool is_any(const net_host *h)
{
    return h->name[0] == '\0' || !strcmp(h->name, "0.0.0.0") || !strcmp(h->name, "::");
}

cama_err net_listen_tcp(const net_host *h, int *out_fd, bool *out_in_use, err_info *err)
{
    char where[NET_HOST_BYTES + INET6_ADDRSTRLEN + 16];
    const char *step = "";
    int fd;
    *out_in_use = false;
    if (is_any(h)) {
        const bool v6 = strchr(h->name, ':') != NULL;
        (void)snprintf(where, sizeof where, "%s%s%s:%u", v6 ? "[" : "", h->name, v6 ? "]" : "",
                       (unsigned)h->port);
        fd = listen_any(h->port, &step);
    } else {
        struct sockaddr_storage address;
        socklen_t n = 0;
        const cama_err e = resolve(h, &address, &n, err);
        if (e)
            return e;
        address_text(&address, where);
        fd = listen_at((struct sockaddr *)&address, n, &step);
    }
    if (fd < 0) {
        char why[128];
        *out_in_use = errno == EADDRINUSE;
        reason(errno, why);
        return err_set(err, CAMA_ERR_IO, "listen tcp %s: %s: %s", where, step, why);
    }
    *out_fd = fd;
    return CAMA_OK;
}

/* A socket file that nobody listens on: left by a process that was killed. */
static bool is_dead_socket(const struct sockaddr_un *address)
{
    struct stat st;
    if (lstat(address->sun_path, &st) || !S_ISSOCK(st.st_mode))
        return false;
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return false;
    /* not to hang where the listener's queue is full: that one lives */
    const bool dead = set_flags(fd) &&
                      connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
                      errno == ECONNREFUSED;
    close(fd);
    return dead;
}

cama_err net_listen_unix(const char *path, int *out_fd, err_info *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t n = strlen(path);
    if (n == 0 || n >= sizeof address.sun_path)
        return err_set(err, CAMA_ERR_ARG, "socket '%s': %zu bytes, not 1 to %zu", path, n,
                       sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, n);
    const char *step = "";
    int fd = listen_at((struct sockaddr *)&address, sizeof address, &step);
    if (fd < 0 && errno == EADDRINUSE) {
        if (is_dead_socket(&address) && unlink(path) == 0)
            fd = listen_at((struct sockaddr *)&address, sizeof address, &step);
        else
            errno = EADDRINUSE;
    }
    if (fd >= 0 && chmod(path, 0600) != 0) {
        const int error = errno;
        close(fd);
        fd = -1;
        errno = error;
        step = "chmod";
    }
    if (fd < 0) {
        char why[128];
        reason(errno, why);
        return err_set(err, CAMA_ERR_IO, "listen unix %s: %s: %s", path, step, why);
    }
    *out_fd = fd;
    return CAMA_OK;
}

bool net_is_loopback(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n))
        return false;
    if (a.ss_family == AF_INET)
        return ntohl(((struct sockaddr_in *)&a)->sin_addr.s_addr) >> 24 == 127;
    if (a.ss_family != AF_INET6)
        return false;
    const struct in6_addr *v6 = &((struct sockaddr_in6 *)&a)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
}

uint16_t net_port(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n))
        return 0;
    if (a.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&a)->sin_port);
    return a.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&a)->sin6_port) : 0;
}
