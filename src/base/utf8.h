/* utf8.h - UTF-8 as of RFC 3629: no surrogates, no overlong forms, nothing past U+10FFFF. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UTF8_REPLACEMENT 0xFFFDu

bool utf8_valid(const char *text, size_t n);

/* One code point from text (n >= 1); gives the bytes used. Bytes that are no UTF-8: *out_cp is
 * UTF8_REPLACEMENT and the length is that of the maximal invalid part (Unicode 15, 3.9), >= 1. */
size_t utf8_decode(const char *text, size_t n, uint32_t *out_cp);

/* 1 to 4 bytes into out; surrogates and values past U+10FFFF are written as U+FFFD. */
size_t utf8_encode(uint32_t cp, char out[4]);

/* Length of the longest prefix that does not end inside a character which more bytes could still
 * complete. Invalid bytes count as whole: they cannot become valid. n - result <= 3. */
size_t utf8_whole(const char *text, size_t n);

#endif
