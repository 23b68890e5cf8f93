/* json.h - JSON values (RFC 8259): a reader with limits, and a writer that streams.
 *
 * Values live in an arena: a tree is dropped with it. Objects keep the order of their keys; a key
 * that comes twice keeps its last value. Numbers keep their text, so that 1.0 stays 1.0 and large
 * integers stay exact. Strings are UTF-8; a lone surrogate escape becomes U+FFFD.
 */
#ifndef JSON_JSON_H
#define JSON_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

typedef enum json_kind {
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,
    JSON_FLOAT,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
} json_kind;

typedef struct json_value json_value;
typedef struct json_member json_member;

struct json_value {
    json_kind kind;
    bool boolean;
    int64_t integer;      /* JSON_INT, when it fits (else kind is JSON_FLOAT) */
    double number;        /* JSON_INT and JSON_FLOAT */
    const char *text;     /* JSON_STRING: UTF-8, NUL-terminated; numbers: their text */
    size_t n;             /* bytes of text, elements of an array, members of an object */
    json_value **items;   /* JSON_ARRAY */
    json_member *members; /* JSON_OBJECT */
};

struct json_member {
    const char *key; /* NUL-terminated */
    size_t n_key;
    json_value *value;
};

#define JSON_MAX_DEPTH 256

/* One value and nothing behind it but white space. CAMA_ERR_FORMAT: the text of Go's encoding/json
 * (which clients of Ollama know) and the byte offset; also for nesting past JSON_MAX_DEPTH and for
 * a key with a NUL in it. Bytes that are no UTF-8 become U+FFFD. *out changes only on success. */
cama_err json_parse(const char *text, size_t n, arena *a, json_value **out, err_info *err);

/* The same of a file from anyone: CAMA_ERR_LIMIT past max_values values, counted as below. */
cama_err json_parse_most(const char *text, size_t n, size_t max_values, arena *a, json_value **out,
                         err_info *err);

/* The first value of text, as Go's json.Decoder reads a request body: whatever stands behind it is
 * ignored, and the messages give no place ("unexpected EOF"). Bodies come from anyone:
 * CAMA_ERR_LIMIT past JSON_MAX_VALUES values, where an object or an array, which takes a kilobyte
 * while it is read, counts as several. */
#define JSON_MAX_VALUES 4194304u
#define JSON_CONTAINER_VALUES 8u
cama_err json_parse_prefix(const char *text, size_t n, arena *a, json_value **out, err_info *err);

/* Builders, all in an arena; NULL when it is out of memory (and a NULL argument gives NULL on). */
json_value *json_new_null(arena *a);
json_value *json_new_bool(arena *a, bool b);
json_value *json_new_int(arena *a, int64_t i);
json_value *json_new_float(arena *a, double d); /* NaN and infinities, which JSON lacks: null */
json_value *json_new_string(arena *a, const char *text, size_t n);
json_value *json_new_array(arena *a);
json_value *json_new_object(arena *a);
/* false when out of memory or when value is NULL. */
bool json_append(arena *a, json_value *array, json_value *value);
bool json_put(arena *a, json_value *object, const char *key, json_value *value); /* key is copied */

/* NULL when absent, or when object is NULL or no object. O(members). */
const json_value *json_get(const json_value *object, const char *key);

/* The shortest text that reads back as d, as Python's repr: 0.1, 1.0, 1e+16, inf. NUL-terminated;
 * gives its length. */
#define JSON_DOUBLE_BYTES 40
size_t json_format_double(double d, char out[JSON_DOUBLE_BYTES]);

/* Compact JSON text appended to out: no spaces, non-ASCII kept. CAMA_ERR_LIMIT also for nesting
 * past JSON_MAX_DEPTH. */
cama_err json_write(const json_value *v, buf *out);
/* A quoted and escaped string appended to out. Invalid UTF-8 becomes U+FFFD. */
cama_err json_write_string(const char *text, size_t n, buf *out);

#endif
