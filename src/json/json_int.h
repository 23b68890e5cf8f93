/* json_int.h - inside the json room: the strict scanner that stands before json-c. */
#ifndef JSON_JSON_INT_H
#define JSON_JSON_INT_H

#include "json/json.h"

/* An integer that json-c would clamp (or whose sign it would drop, as in -0) is handed to it as a
 * float: its digits followed by this exponent, which tells it from every other number. */
#define JSON_INT_MARK "e000000000"
#define JSON_INT_MARK_BYTES 10

typedef struct json_scan_in {
    const char *text;
    size_t n;
    size_t max_values; /* counted as JSON_CONTAINER_VALUES says */
} json_scan_in;

/* Checks that text is one RFC 8259 value within JSON_MAX_DEPTH. Numbers that need a mark make the
 * whole value be copied to marked, which is untouched (n = 0) otherwise. out_used NULL: nothing but
 * white space may follow; else anything may, and it is set to where the value ends. */
cama_err json_scan(const json_scan_in *in, buf *marked, size_t *out_used, err_info *err);

/* Capacity of the arrays behind a value: what json_append grows by and json_parse must keep. */
size_t json_capacity(size_t n);

#endif
