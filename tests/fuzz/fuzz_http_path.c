/* What a stranger writes into a request line and a header: targets, hosts, origins, fields. The
 * first byte says which. A redirect must lead to one place, on this server, in one step; an origin
 * that passes must be one of those that are meant. */
#include "http/http_access.h"
#include "http/http_head.h"
#include "http/http_route.h"
#include "net/host.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const api_route table[] = {
    {"GET", "/", NULL, API_HEAD, ""},
    {"GET", "/api/version", NULL, API_HEAD, ""},
    {"POST", "/api/chat", NULL, 0, ""},
    {"HEAD", "/api/blobs/:digest", NULL, 0, ""},
    {"POST", "/api/blobs/:digest", NULL, API_UPLOAD, ""},
};
#define N_ROUTE (sizeof table / sizeof *table)

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void try_target(const char *text, const char *method)
{
    static http_target t;
    static http_target again;
    static http_routing r;
    static http_routing next;
    if (http_target_parse(text, &t, NULL))
        return;
    http_route_find(table, N_ROUTE, method, &t, &r);
    must((r.match == HTTP_FOUND) == (r.route != NULL));
    if (r.match == HTTP_FOUND)
        must(!strchr(r.param, '/'));
    if (r.match != HTTP_REDIRECT)
        return;
    must(r.location[0] == '/' && r.location[1] != '/');
    for (const char *p = r.location; *p; p++)
        must((unsigned char)*p > ' ' && (unsigned char)*p < 0x7f);
    if (http_target_parse(r.location, &again, NULL))
        return; /* its escapes are past the limit */
    http_route_find(table, N_ROUTE, method, &again, &next);
    if (next.match == HTTP_REDIRECT) /* a cleaned path may still have a slash too many */
        must(strlen(next.location) < strlen(r.location));
}

static void try_origin(const char *text)
{
    http_origins o;
    if (http_origins_init(&o, NULL, NULL))
        return;
    const char *host = NULL;
    if (!strncmp(text, "http://", 7) || !strncmp(text, "https://", 8))
        host = strstr(text, "://") + 3;
    if (http_origin_allowed(&o, text) && host) {
        /* one of three names, then nothing or digits */
        const char *const names[] = {"localhost", "127.0.0.1", "0.0.0.0"};
        bool found = false;
        for (size_t i = 0; i < 3; i++) {
            const size_t n = strlen(names[i]);
            if (strncmp(host, names[i], n) != 0)
                continue;
            const char *rest = host + n;
            found =
                !*rest || (*rest == ':' && rest[1] && !rest[1 + strspn(rest + 1, "0123456789")]);
        }
        must(found);
    }
    http_origins_done(&o);
    if (!http_origins_init(&o, text, NULL)) { /* as a pattern */
        (void)http_origin_allowed(&o, text);
        (void)http_origin_allowed(&o, "http://localhost:1");
        http_origins_done(&o);
    }
}

static void try_head(const char *text, size_t n)
{
    http_head h = {0};
    size_t at = 0;
    while (at < n) { /* name 0 value 0 */
        const char *name = text + at;
        const size_t n_name = strnlen(name, n - at);
        at += n_name + 1;
        const char *value = at < n ? text + at : "";
        const size_t n_value = at < n ? strnlen(value, n - at) : 0;
        at += n_value + 1;
        http_head_add(&h, name, n_name, value, n_value);
    }
    http_head_end(&h, n & 1);
    must(h.wrong || !(h.has_length && h.has_encoding));
    must(strlen(h.host) < sizeof h.host && strlen(h.origin) < sizeof h.origin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 20000)
        return 0;
    char *text = malloc(size);
    if (!text)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    net_host h;
    switch (data[0] % 6) {
    case 0:
        try_target(text, "GET");
        break;
    case 1:
        try_target(text, "POST");
        break;
    case 2:
        (void)http_host_check(text, "mybox");
        break;
    case 3:
        try_origin(text);
        break;
    case 4:
        try_head(text, size - 1);
        break;
    default:
        if (!net_host_parse(text, &h, NULL)) {
            char url[2 * NET_HOST_BYTES + 32];
            net_host again;
            net_host_url(&h, url);
            if (h.name[0]) /* ":80" has none, and no URL of its own */
                must(!net_host_parse(url, &again, NULL) && !strcmp(again.name, h.name) &&
                     again.port == h.port && again.tls == h.tls && !strcmp(again.path, h.path));
        }
    }
    free(text);
    return 0;
}
