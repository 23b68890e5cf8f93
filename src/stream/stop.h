/* stop.h - finds the first end of any stop string in text that comes in pieces.
 *
 * For each string the length of its longest prefix that the text so far ends with (Knuth, Morris
 * and Pratt, 1977): a byte costs amortised O(1) a string, and how much must be held back is the
 * largest of these lengths.
 */
#ifndef STREAM_STOP_H
#define STREAM_STOP_H

#include "base/err.h"

typedef struct stop_string {
    char *text;     /* [n] */
    uint16_t *next; /* [n + 1]: longest proper border of the first i bytes */
    uint16_t n;
    uint16_t at;   /* bytes of it that the text ends with */
    int32_t index; /* as the caller counts */
} stop_string;

typedef struct stop_set {
    stop_string *strings;
    size_t n;
} stop_set;

/* The strings are copied; empty ones are left out. CAMA_ERR_LIMIT: more than STREAM_MAX_STOP, or
 * one of more than STREAM_MAX_STOP_BYTES; CAMA_ERR_NOMEM. *s is then empty. */
cama_err stop_init(stop_set *s, const char *const *stop, size_t n_stop, err_info *err);
void stop_done(stop_set *s);

/* Reads on: gives the string that ends at this byte, the longest of them, or NULL. */
const stop_string *stop_byte(stop_set *s, char c);
/* Bytes at the end of the text that may still become a stop string. */
size_t stop_held(const stop_set *s);

#endif
