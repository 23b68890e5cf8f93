#include "http/http_head.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is(const char *name, size_t n, const char *want)
{
    return n == strlen(want) && !strncasecmp(name, want, n);
}

/* A token of RFC 9110. */
static bool is_name(const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)name[i];
        if (c <= ' ' || c >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", c))
            return false;
    }
    return n > 0;
}

static bool is_value(const char *value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)value[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool is_host(const char *value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)value[i];
        if (c <= ' ' || c >= 0x7f || strchr("\"#/<>?@\\^`{|}", c))
            return false;
    }
    return true;
}

static void keep(char *to, size_t to_bytes, const char *value, size_t n)
{
    (void)snprintf(to, to_bytes, "%.*s", (int)n, value);
}

static void add_length(http_head *h, const char *value, size_t n)
{
    uint64_t v = 0;
    if (h->has_length) {
        h->wrong = "more than one Content-Length";
        return;
    }
    if (n == 0 || n > 19)
        h->wrong = "bad Content-Length";
    for (size_t i = 0; i < n && !h->wrong; i++) {
        if (value[i] < '0' || value[i] > '9')
            h->wrong = "bad Content-Length";
        v = v * 10 + (uint64_t)(value[i] - '0');
    }
    h->has_length = true;
    h->length = v;
}

static void add_encoding(http_head *h, const char *value, size_t n)
{
    if (h->has_encoding)
        h->wrong = "more than one Transfer-Encoding";
    else if (!is(value, n, "chunked"))
        h->wrong = "unsupported transfer encoding";
    h->has_encoding = true;
    h->chunked = true;
}

static void add_host(http_head *h, const char *value, size_t n)
{
    if (h->has_host)
        h->wrong = "too many Host headers";
    else if (n >= sizeof h->host || !is_host(value, n))
        h->wrong = "malformed Host header";
    else
        keep(h->host, sizeof h->host, value, n);
    h->has_host = true;
}

static void add_origin(http_head *h, const char *value, size_t n)
{
    if (h->has_origin)
        h->wrong = "too many Origin headers";
    else if (n >= sizeof h->origin)
        h->wrong = "Origin header too long";
    else
        keep(h->origin, sizeof h->origin, value, n);
    h->has_origin = true;
}

void http_head_add(http_head *h, const char *name, size_t n_name, const char *value, size_t n_value)
{
    if (h->wrong)
        return;
    if (!is_name(name, n_name))
        h->wrong = "invalid header name";
    else if (!is_value(value, n_value))
        h->wrong = "invalid header value";
    else if (is(name, n_name, "Host"))
        add_host(h, value, n_value);
    else if (is(name, n_name, "Content-Length"))
        add_length(h, value, n_value);
    else if (is(name, n_name, "Transfer-Encoding"))
        add_encoding(h, value, n_value);
    else if (is(name, n_name, "Origin"))
        add_origin(h, value, n_value);
    else if (is(name, n_name, "User-Agent"))
        keep(h->user_agent, sizeof h->user_agent, value, n_value);
    else if (is(name, n_name, "Expect"))
        h->expects_100 = is(value, n_value, "100-continue");
    else if (is(name, n_name, "Access-Control-Request-Method"))
        h->preflight = true;
}

void http_head_end(http_head *h, bool old_version)
{
    if (h->wrong)
        return;
    if (h->has_length && h->has_encoding)
        h->wrong = "Content-Length and Transfer-Encoding";
    else if (h->has_encoding && old_version)
        h->wrong = "unsupported transfer encoding";
    else if (!h->has_host && !old_version)
        h->wrong = "missing required Host header";
}
