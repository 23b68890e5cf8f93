/* human.h - sizes, counts, times and numbers in the words and digits of Ollama's tables.
 *
 * Scripts read those tables, so the forms are Ollama's to the letter. Each writer gives the length.
 */
#ifndef BASE_HUMAN_H
#define BASE_HUMAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HUMAN_BYTES 48

/* Units of 1000: "98 MB" (cut, not rounded), "1.5 GB", "2 KB", "12 B". */
size_t human_bytes(uint64_t bytes, char out[HUMAN_BYTES]);
/* "134.52M", "7B", "1.5B", "12K", "999". */
size_t human_number(uint64_t n, char out[HUMAN_BYTES]);
/* "Less than a second", "4 minutes", "About an hour", "3 days"; never negative. */
size_t human_duration(int64_t ms, char out[HUMAN_BYTES]);
/* ms from now, negative: ago. "4 minutes from now", "2 weeks ago", "Forever" past 20 years. */
size_t human_time(int64_t ms, char out[HUMAN_BYTES]);
/* As Go prints %g: "1.34515008e+08", "100000", "1e-05", "+Inf". */
size_t human_float(double x, char out[HUMAN_BYTES]);

/* "2026-11-24T11:16:10.434654777+09:00" (RFC 3339) -> ms since 1970. false: it is none. */
bool human_parse_time(const char *text, int64_t *out_ms);

#endif
