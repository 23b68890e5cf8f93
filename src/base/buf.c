#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ckd.h"

void buf_init(buf *b, size_t max_bytes)
{
    *b = (buf){.max_bytes = max_bytes};
}

void buf_done(buf *b)
{
    free(b->data);
    *b = (buf){.max_bytes = b->max_bytes};
}

void buf_clear(buf *b)
{
    b->n = 0;
    b->fail = CAMA_OK;
    if (b->data)
        b->data[0] = '\0';
}

char *buf_reserve(buf *b, size_t n)
{
    if (b->fail)
        return NULL;
    size_t need = 0;
    if (n > b->max_bytes - b->n || ckd_add(&need, b->n + n, 1)) {
        b->fail = CAMA_ERR_LIMIT;
        return NULL;
    }
    if (need <= b->cap)
        return b->data + b->n;
    size_t cap = b->cap > (SIZE_MAX / 2) ? need : b->cap * 2;
    if (cap < need)
        cap = need;
    if (cap < 64)
        cap = 64;
    char *p = realloc(b->data, cap);
    if (!p) {
        b->fail = CAMA_ERR_NOMEM;
        return NULL;
    }
    b->data = p;
    b->cap = cap;
    return b->data + b->n;
}

cama_err buf_append(buf *b, const void *bytes, size_t n)
{
    char *p = buf_reserve(b, n);
    if (!p)
        return b->fail;
    if (n)
        memcpy(p, bytes, n);
    p[n] = '\0';
    b->n += n;
    return CAMA_OK;
}

cama_err buf_puts(buf *b, const char *text)
{
    return buf_append(b, text, strlen(text));
}

cama_err buf_putc(buf *b, char c)
{
    return buf_append(b, &c, 1);
}

cama_err buf_printf(buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *p = n < 0 ? NULL : buf_reserve(b, (size_t)n);
    if (p) {
        (void)vsnprintf(p, (size_t)n + 1, fmt, again); /* same arguments: same n */
        b->n += (size_t)n;
    } else if (!b->fail) {
        b->fail = CAMA_ERR_ARG; /* an encoding error inside the format */
    }
    va_end(again);
    return b->fail;
}

void buf_drop_front(buf *b, size_t n)
{
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->n - n);
    b->n -= n;
    b->data[b->n] = '\0';
}

cama_err buf_error(const buf *b, const char *what, err_info *err)
{
    switch (b->fail) {
    case CAMA_OK:
        return CAMA_OK;
    case CAMA_ERR_LIMIT:
        return err_set(err, b->fail, "%s: longer than its limit of %zu bytes", what, b->max_bytes);
    case CAMA_ERR_NOMEM:
        return err_set(err, b->fail, "%s: no memory past %zu bytes", what, b->n);
    default:
        return err_set(err, b->fail, "%s: cannot be formatted", what);
    }
}
