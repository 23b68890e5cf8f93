#include "http/http_access.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char http_cors_methods[] = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS";
const char http_cors_headers[] =
    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,"
    "X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,"
    "X-Stainless-Lang,X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,"
    "X-Stainless-Retry-Count,X-Stainless-Runtime,X-Stainless-Runtime-Version,X-Stainless-Timeout";

static const char *const usual_origins[] = {
    "http://localhost", "https://localhost", "http://localhost:*", "https://localhost:*",
    "http://127.0.0.1", "https://127.0.0.1", "http://127.0.0.1:*", "https://127.0.0.1:*",
    "http://0.0.0.0",   "https://0.0.0.0",   "http://0.0.0.0:*",   "https://0.0.0.0:*",
    "app://*",          "file://*",          "tauri://*",          "vscode-webview://*",
    "vscode-file://*",
};

/* ---- origins ---- */

static cama_err add_origin(http_origins *o, const char *text, size_t n, err_info *err)
{
    if (n == 1 && *text == '*') {
        o->all = true;
        return CAMA_OK;
    }
    if (o->n == HTTP_MAX_ORIGINS)
        return err_set(err, CAMA_ERR_LIMIT, "origins: more than %d (OLLAMA_ORIGINS)",
                       HTTP_MAX_ORIGINS);
    const char *star = memchr(text, '*', n);
    if (star && memchr(star + 1, '*', n - (size_t)(star + 1 - text)))
        return err_set(err, CAMA_ERR_ARG, "origin '%.*s': only one '*' is allowed (OLLAMA_ORIGINS)",
                       (int)n, text);
    http_origin *to = &o->list[o->n];
    to->text = strndup(text, star ? (size_t)(star - text) : n);
    to->tail = star ? strndup(star + 1, n - (size_t)(star + 1 - text)) : NULL;
    o->n++;
    if (!to->text || (star && !to->tail))
        return err_set(err, CAMA_ERR_NOMEM, "no memory for origins");
    return CAMA_OK;
}

cama_err http_origins_init(http_origins *o, const char *extra, err_info *err)
{
    *o = (http_origins){0};
    cama_err e = CAMA_OK;
    for (const char *p = extra ? extra : ""; *p && !e;) {
        size_t n = strcspn(p, ",");
        const char *from = p;
        p += n + (p[n] == ',');
        while (n > 0 && (*from == ' ' || *from == '\t')) {
            from++;
            n--;
        }
        while (n > 0 && (from[n - 1] == ' ' || from[n - 1] == '\t'))
            n--;
        if (n > 0)
            e = add_origin(o, from, n, err);
    }
    for (size_t i = 0; i < sizeof usual_origins / sizeof *usual_origins && !e; i++)
        e = add_origin(o, usual_origins[i], strlen(usual_origins[i]), err);
    if (e)
        http_origins_done(o);
    return e;
}

void http_origins_done(http_origins *o)
{
    for (size_t i = 0; i < o->n; i++) {
        free(o->list[i].text);
        free(o->list[i].tail);
    }
    *o = (http_origins){0};
}

static bool is_port(const char *text, size_t n)
{
    return n >= 1 && n <= 5 && strspn(text, "0123456789") >= n;
}

static bool origin_matches(const http_origin *p, const char *origin)
{
    const size_t n = strlen(origin);
    const size_t n_text = strlen(p->text);
    if (!p->tail)
        return !strcmp(p->text, origin);
    const size_t n_tail = strlen(p->tail);
    if (n < n_text + n_tail || strncmp(origin, p->text, n_text) != 0 ||
        strcmp(origin + n - n_tail, p->tail) != 0)
        return false;
    /* "scheme://host:*" asks for a port, not for anything behind a colon */
    const char *scheme = strstr(p->text, "://");
    const bool port = scheme && n_tail == 0 && n_text > 0 && p->text[n_text - 1] == ':' &&
                      p->text + n_text - 1 > scheme;
    return !port || is_port(origin + n_text, n - n_text);
}

bool http_origin_allowed(const http_origins *o, const char *origin)
{
    if (o->all)
        return true;
    for (size_t i = 0; i < o->n; i++)
        if (origin_matches(&o->list[i], origin))
            return true;
    return false;
}

static bool is_own(const char *origin, const char *host)
{
    if (!strncmp(origin, "http://", 7))
        return !strcmp(origin + 7, host);
    return !strncmp(origin, "https://", 8) && !strcmp(origin + 8, host);
}

http_cors http_cors_check(const http_origins *o, const char *origin, const char *host)
{
    if (!origin || !*origin || is_own(origin, host))
        return HTTP_CORS_NONE;
    return http_origin_allowed(o, origin) ? HTTP_CORS_ALLOW : HTTP_CORS_DENY;
}

/* ---- Host ---- */

/* The name without its port and without brackets. */
static bool strip_port(const char *host, char *out, size_t out_bytes)
{
    size_t n = strlen(host);
    const char *from = host;
    if (*host == '[') {
        const char *end = strchr(host, ']');
        if (!end || (end[1] && (end[1] != ':' || end[2 + strspn(end + 2, "0123456789")])))
            return false;
        from = host + 1;
        n = (size_t)(end - from);
    } else {
        const char *colon = strchr(host, ':');
        if (colon && !strchr(colon + 1, ':'))
            n = (size_t)(colon - host);
    }
    if (n >= out_bytes)
        return false;
    memcpy(out, from, n);
    out[n] = '\0';
    return true;
}

static bool is_near_v4(uint32_t a)
{
    return a >> 24 == 127 || a == 0 || a >> 24 == 10 || a >> 20 == 0xac1 || a >> 16 == 0xc0a8;
}

static bool is_near_v6(const struct in6_addr *a)
{
    if (IN6_IS_ADDR_V4MAPPED(a)) {
        uint32_t v4 = 0;
        memcpy(&v4, a->s6_addr + 12, sizeof v4);
        return is_near_v4(ntohl(v4));
    }
    return IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_UNSPECIFIED(a) || (a->s6_addr[0] & 0xfe) == 0xfc;
}

static bool same_address(const struct sockaddr *have, int family, const void *want)
{
    if (!have || have->sa_family != family)
        return false;
    if (family == AF_INET)
        return !memcmp(&((const struct sockaddr_in *)(const void *)have)->sin_addr, want, 4);
    return !memcmp(&((const struct sockaddr_in6 *)(const void *)have)->sin6_addr, want, 16);
}

static bool is_own_address(int family, const void *address)
{
    struct ifaddrs *list = NULL;
    bool found = false;
    if (getifaddrs(&list))
        return false;
    for (const struct ifaddrs *i = list; i && !found; i = i->ifa_next)
        found = same_address(i->ifa_addr, family, address);
    freeifaddrs(list);
    return found;
}

static bool is_near_name(const char *name, const char *machine)
{
    static const char *const ends[] = {".localhost", ".local", ".internal"};
    if (!*name || !strcasecmp(name, "localhost") || (*machine && !strcasecmp(name, machine)))
        return true;
    const size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const size_t n_end = strlen(ends[i]);
        if (n >= n_end && !strcasecmp(name + n - n_end, ends[i]))
            return true;
    }
    return false;
}

http_host http_host_check(const char *host, const char *machine)
{
    char name[512];
    struct in_addr v4;
    struct in6_addr v6;
    if (!strip_port(host, name, sizeof name))
        return HTTP_HOST_DENY;
    if (inet_pton(AF_INET, name, &v4) == 1)
        return is_near_v4(ntohl(v4.s_addr)) || is_own_address(AF_INET, &v4) ? HTTP_HOST_ADDRESS
                                                                            : HTTP_HOST_DENY;
    if (inet_pton(AF_INET6, name, &v6) == 1)
        return is_near_v6(&v6) || is_own_address(AF_INET6, &v6) ? HTTP_HOST_ADDRESS
                                                                : HTTP_HOST_DENY;
    return is_near_name(name, machine) ? HTTP_HOST_NAME : HTTP_HOST_DENY;
}
