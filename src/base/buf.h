/* buf.h - a growing run of bytes with a limit from birth.
 *
 * A failed append leaves the bytes as they were and makes the failure sticky: a writer may append
 * many times and look once, with buf_error. data is NUL-terminated whenever it is not NULL.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"

typedef struct buf {
    char *data; /* NULL while empty and never grown */
    size_t n;   /* bytes in use, without the terminating NUL */
    size_t cap;
    size_t max_bytes;
    cama_err fail; /* sticky: CAMA_ERR_NOMEM or CAMA_ERR_LIMIT */
} buf;

void buf_init(buf *b, size_t max_bytes);
void buf_done(buf *b);
void buf_clear(buf *b); /* n = 0 and no error; keeps the memory */

cama_err buf_append(buf *b, const void *bytes, size_t n);
cama_err buf_puts(buf *b, const char *text);
cama_err buf_putc(buf *b, char c);
cama_err buf_printf(buf *b, const char *fmt, ...) ERR_PRINTF(2, 3);
/* Makes room for n more bytes and gives where they go; NULL on failure. Add them to b->n. */
char *buf_reserve(buf *b, size_t n);
/* Drops the first n bytes (n <= b->n). O(b->n). */
void buf_drop_front(buf *b, size_t n);

/* CAMA_OK, or the first failure with a text that names what was being built. */
cama_err buf_error(const buf *b, const char *what, err_info *err);

#endif
