#include "engine/mlx/emlx_memo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_LINE 2048
#define MAX_PATH 4096

bool emlx_memo_path(char *out, size_t n)
{
    const char *own = getenv("CAMA_DATA_DIR");
    const char *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    int len;
    if (own && *own)
        len = snprintf(out, n, "%s/%s", own, EMLX_MEMO_FILE);
    else if (data && *data == '/')
        len = snprintf(out, n, "%s/cama/%s", data, EMLX_MEMO_FILE);
    else if (home && *home == '/')
        len = snprintf(out, n, "%s/%s/cama/%s", home,
#ifdef __APPLE__
                       "Library/Application Support",
#else
                       ".local/share",
#endif
                       EMLX_MEMO_FILE);
    else
        return false;
    return len > 0 && (size_t)len < n;
}

/* As a string of JSON. What could end the line is a space. */
static void put_text(buf *out, const char *name, const char *text)
{
    (void)buf_printf(out, "\"%s\":\"", name); /* failures stick, here and below */
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            (void)buf_putc(out, '\\');
        (void)buf_putc(out, (unsigned char)*text < 0x20 ? ' ' : *text);
    }
    (void)buf_puts(out, "\",");
}

static void put_key(buf *out, const emlx_memo_key *key)
{
    char hash[24];
    (void)snprintf(hash, sizeof hash, "%016" PRIx64, key->hash);
    (void)buf_putc(out, '{');
    put_text(out, "kernel", key->kernel);
    put_text(out, "hash", hash);
    put_text(out, "build", key->build);
    put_text(out, "device", key->device);
    put_text(out, "os", key->os);
}

cama_err emlx_memo_line(const emlx_memo_key *key, const emlx_memo_result *r, buf *out)
{
    put_key(out, key);
    (void)buf_printf(out, "\"ok\":%s,\"error\":%.6g,\"limit\":%.6g,", r->ok ? "true" : "false",
                     r->error, r->limit);
    put_text(out, "why", r->why);
    if (!out->fail)
        out->n--; /* the last comma */
    return buf_puts(out, "}\n");
}

/* What follows a key on its line. */
static bool read_result(const char *at, emlx_memo_result *out)
{
    static const char error[] = ",\"error\":", limit[] = ",\"limit\":", why[] = ",\"why\":\"";
    emlx_memo_result r = {.ok = strncmp(at, "\"ok\":true", 9) == 0};
    if (!r.ok && strncmp(at, "\"ok\":false", 10) != 0)
        return false;
    at += r.ok ? 9 : 10;
    if (strncmp(at, error, sizeof error - 1) != 0)
        return false;
    char *end;
    r.error = strtod(at + sizeof error - 1, &end);
    if (strncmp(end, limit, sizeof limit - 1) != 0)
        return false;
    r.limit = strtod(end + sizeof limit - 1, &end);
    if (strncmp(end, why, sizeof why - 1) != 0)
        return false;
    at = end + sizeof why - 1;
    for (size_t n = 0; *at && *at != '"'; at++) {
        if (*at == '\\' && at[1])
            at++;
        if (n + 1 < sizeof r.why)
            r.why[n++] = *at;
    }
    if (strcmp(at, "\"}") != 0) /* cut short */
        return false;
    *out = r;
    return true;
}

bool emlx_memo_find(const char *text, size_t n, const emlx_memo_key *key, emlx_memo_result *out)
{
    buf head;
    buf_init(&head, MAX_LINE);
    put_key(&head, key);
    bool found = false;
    for (size_t at = 0; !head.fail && at < n;) {
        const char *end = memchr(text + at, '\n', n - at);
        const size_t len = end ? (size_t)(end - text) - at : n - at;
        if (end && len < MAX_LINE && len > head.n && memcmp(text + at, head.data, head.n) == 0) {
            char line[MAX_LINE];
            memcpy(line, text + at, len);
            line[len] = 0;
            found |= read_result(line + head.n, out);
        }
        at += len + 1;
    }
    buf_done(&head);
    return found;
}

cama_err emlx_memo_read(const char *path, buf *out)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return CAMA_OK;
    char *room = buf_reserve(out, EMLX_MEMO_MAX_BYTES + 1);
    ssize_t got = 1;
    size_t n = 0;
    while (room && got > 0 && n <= EMLX_MEMO_MAX_BYTES) {
        got = read(fd, room + n, EMLX_MEMO_MAX_BYTES + 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    (void)close(fd); /* nothing was written */
    if (!room)
        return CAMA_ERR_NOMEM;
    while (n > 0 && room[n - 1] != '\n') /* a line that was cut would swallow the next one */
        n--;
    if (got == 0) /* all of it, and within the limit */
        out->n += n;
    out->data[out->n] = 0;
    return CAMA_OK;
}

/* Every folder on the way to the file; those that are there are left alone. */
static void make_folders(const char *path)
{
    char part[MAX_PATH];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        const size_t n = (size_t)(slash - path);
        if (n >= sizeof part)
            return;
        memcpy(part, path, n);
        part[n] = 0;
        (void)mkdir(part, 0700); /* where it fails open will say so */
    }
}

static bool write_all(int fd, const char *data, size_t n)
{
    while (n > 0) {
        const ssize_t put = write(fd, data, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        data += put;
        n -= (size_t)put;
    }
    return true;
}

cama_err emlx_memo_write(const char *path, const buf *text, const buf *lines, err_info *err)
{
    char temp[MAX_PATH];
    const int len = snprintf(temp, sizeof temp, "%s.%ld", path, (long)getpid());
    if (len < 0 || (size_t)len >= sizeof temp)
        return err_set(err, CAMA_ERR_IO, "mlx: path '%.200s...' is too long", path);
    size_t skip = 0; /* of the oldest lines */
    while (text->n - skip + lines->n > EMLX_MEMO_MAX_BYTES && skip < text->n) {
        const char *end = memchr(text->data + skip, '\n', text->n - skip);
        skip = end ? (size_t)(end - text->data) + 1 : text->n;
    }
    make_folders(path);
    const int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0 && (skip == text->n || write_all(fd, text->data + skip, text->n - skip)) &&
              write_all(fd, lines->data, lines->n);
    const int why = errno;
    if (fd >= 0 && close(fd) != 0)
        ok = false;
    if (ok && rename(temp, path) == 0)
        return CAMA_OK;
    const int last = ok ? errno : why;
    if (fd >= 0)
        (void)unlink(temp); /* half written: nobody reads it */
    return err_set(err, CAMA_ERR_IO, "mlx: cannot write '%s': %s", path, strerror(last));
}
