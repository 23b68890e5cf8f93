#include "http/http_route.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- targets ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static cama_err decode_path(const char *text, size_t n, char *out, err_info *err)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (at + 1 >= HTTP_MAX_PATH)
            return err_set(err, CAMA_ERR_LIMIT, "path of %zu bytes is past the limit of %d", n,
                           HTTP_MAX_PATH - 1);
        if (text[i] != '%') {
            out[at++] = text[i];
            continue;
        }
        if (n - i < 3 || hex_value(text[i + 1]) < 0 || hex_value(text[i + 2]) < 0)
            return err_set(err, CAMA_ERR_FORMAT, "path has a broken escape at byte %zu", i);
        const char c = (char)(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
        if (c == '\0')
            return err_set(err, CAMA_ERR_FORMAT, "path has a NUL at byte %zu", i);
        out[at++] = c;
        i += 2;
    }
    out[at] = '\0';
    return CAMA_OK;
}

cama_err http_target_parse(const char *text, http_target *out, err_info *err)
{
    out->authority[0] = '\0';
    const char *at = text;
    const bool plain = !strncasecmp(at, "http://", 7);
    if (plain || !strncasecmp(at, "https://", 8)) {
        at += plain ? 7 : 8;
        const size_t n = strcspn(at, "/?");
        if (n >= sizeof out->authority)
            return err_set(err, CAMA_ERR_LIMIT, "host of %zu bytes is past the limit of %zu", n,
                           sizeof out->authority - 1);
        memcpy(out->authority, at, n);
        out->authority[n] = '\0';
        at += n;
        if (*at != '/' && *at != '\0' && *at != '?')
            return err_set(err, CAMA_ERR_FORMAT, "target has no path");
    } else if (*at != '/') {
        return err_set(err, CAMA_ERR_FORMAT, "target does not begin with '/'");
    }
    const size_t n_path = strcspn(at, "?");
    const char *query = at[n_path] ? at + n_path + 1 : "";
    if (strlen(query) >= sizeof out->query)
        return err_set(err, CAMA_ERR_LIMIT, "query of %zu bytes is past the limit of %zu",
                       strlen(query), sizeof out->query - 1);
    (void)snprintf(out->query, sizeof out->query, "%s", query);
    if (n_path == 0) { /* http://host */
        (void)snprintf(out->path, sizeof out->path, "/");
        return CAMA_OK;
    }
    return decode_path(at, n_path, out->path, err);
}

/* ---- redirects ---- */

/* Without empty segments, "." and "..", as Go's path.Clean; a slash at the end stays. */
static void clean_path(const char *path, char *out)
{
    size_t at = 0;
    out[at++] = '/';
    const char *p = path;
    while (*p) {
        const size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') {
            if (at > 1)
                at--; /* the slash behind the last segment */
            while (at > 1 && out[at - 1] != '/')
                at--;
        } else if (n > 0 && !(n == 1 && p[0] == '.')) {
            memmove(out + at, p, n); /* out never gets longer than what was read */
            at += n;
            out[at++] = '/';
        }
        p += n;
        p += *p == '/';
    }
    const size_t n_path = strlen(path);
    const bool slash = n_path > 0 && path[n_path - 1] == '/';
    if (at > 1 && !slash)
        at--;
    out[at] = '\0';
}

/* Everything that Go leaves in a path as it is. */
static bool is_path_char(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("-_.~$&+,/:;=@!'()*", c));
}

static void escape_location(const char *path, const char *query, char *out, size_t out_bytes)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t at = 0;
    for (const char *p = path; *p && at + 4 < out_bytes; p++) {
        const unsigned char c = (unsigned char)*p;
        if (is_path_char(c)) {
            out[at++] = *p;
            continue;
        }
        out[at++] = '%';
        out[at++] = digits[c >> 4];
        out[at++] = digits[c & 15];
    }
    if (*query && at + 4 < out_bytes)
        out[at++] = '?';
    for (const char *p = query; *p && at + 4 < out_bytes; p++) {
        const unsigned char c = (unsigned char)*p;
        if (c > ' ' && c < 0x7f) {
            out[at++] = *p;
            continue;
        }
        out[at++] = '%';
        out[at++] = digits[c >> 4];
        out[at++] = digits[c & 15];
    }
    out[at] = '\0';
}

/* ---- the table ---- */

/* A pattern's ":name" takes one segment that is not empty. */
static bool path_matches(const char *pattern, const char *path, char *param)
{
    param[0] = '\0';
    while (*pattern && *path) {
        if (*pattern != ':') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        const size_t n = strcspn(path, "/");
        if (n == 0 || n >= HTTP_MAX_PATH)
            return false;
        memcpy(param, path, n);
        param[n] = '\0';
        path += n;
        pattern += strcspn(pattern, "/");
    }
    return *pattern == '\0' && *path == '\0';
}

static bool method_matches(const api_route *r, const char *method)
{
    return !strcmp(r->method, method) || ((r->flags & API_HEAD) && !strcmp(method, "HEAD"));
}

static void add_method(char *allow, const char *method)
{
    const size_t n = strlen(allow);
    (void)snprintf(allow + n, HTTP_MAX_ALLOW - n, "%s%s", n ? ", " : "", method);
}

static const api_route *find_row(const api_route *routes, size_t n_route, const char *method,
                                 const char *path, char *param)
{
    for (size_t i = 0; i < n_route; i++)
        if (method_matches(&routes[i], method) && path_matches(routes[i].path, path, param))
            return &routes[i];
    return NULL;
}

/* The path with a slash more or less at its end, which the same method may have. */
static bool other_slash(const char *path, char *out)
{
    const size_t n = strlen(path);
    if (n <= 1 || n + 2 > HTTP_MAX_PATH)
        return false;
    if (path[n - 1] == '/')
        (void)snprintf(out, HTTP_MAX_PATH, "%.*s", (int)(n - 1), path);
    else
        (void)snprintf(out, HTTP_MAX_PATH, "%s/", path);
    return true;
}

void http_route_find(const api_route *routes, size_t n_route, const char *method,
                     const http_target *t, http_routing *out)
{
    char other[HTTP_MAX_PATH + 1];
    out->route = NULL;
    out->allow[0] = out->param[0] = out->location[0] = '\0';
    clean_path(t->path, other);
    if (strcmp(other, t->path) != 0) {
        out->match = HTTP_REDIRECT;
        out->status = 307;
        escape_location(other, t->query, out->location, sizeof out->location);
        return;
    }
    out->route = find_row(routes, n_route, method, t->path, out->param);
    if (out->route) {
        out->match = HTTP_FOUND;
        return;
    }
    if (other_slash(t->path, other) && find_row(routes, n_route, method, other, out->param)) {
        out->match = HTTP_REDIRECT;
        out->status = !strcmp(method, "GET") ? 301 : 307;
        escape_location(other, t->query, out->location, sizeof out->location);
        return;
    }
    for (size_t i = 0; i < n_route; i++) {
        if (!path_matches(routes[i].path, t->path, out->param))
            continue;
        if (routes[i].flags & API_HEAD)
            add_method(out->allow, "HEAD");
        add_method(out->allow, routes[i].method);
    }
    out->match = out->allow[0] ? HTTP_NO_METHOD : HTTP_NO_PATH;
}
