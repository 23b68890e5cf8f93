#include "json/json_int.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <json-c/json.h>

#include "base/utf8.h"

/* Each invalid part becomes U+FFFD: before json-c looks, so that keys which become equal are one.
 */
static void repair_utf8(const char *text, size_t n, buf *out)
{
    for (size_t i = 0; i < n && !out->fail;) {
        uint32_t cp;
        char bytes[4];
        i += utf8_decode(text + i, n - i, &cp);
        (void)buf_append(out, bytes, utf8_encode(cp, bytes)); /* sticks in out */
    }
}

/* text is the number as the file has it, or with the mark of an integer json-c cannot hold. */
static bool read_number(arena *a, const char *text, size_t n_text, json_value *v)
{
    size_t n = n_text;
    bool integer = !memchr(text, '.', n) && !memchr(text, 'e', n) && !memchr(text, 'E', n);
    if (n > JSON_INT_MARK_BYTES &&
        memcmp(text + n - JSON_INT_MARK_BYTES, JSON_INT_MARK, JSON_INT_MARK_BYTES) == 0) {
        n -= JSON_INT_MARK_BYTES;
        integer = true;
    }
    v->text = arena_copy(a, text, n);
    if (!v->text)
        return false;
    v->n = n;
    v->kind = JSON_FLOAT;
    v->number = strtod(v->text, NULL);
    if (!integer)
        return true;
    errno = 0;
    const long long i = strtoll(v->text, NULL, 10);
    if (errno == 0) {
        v->kind = JSON_INT;
        v->integer = i;
    }
    return true;
}

/* json-c holds it exactly, for the scanner has marked what it would not; its text is canonical. */
static bool read_int(arena *a, int64_t i, json_value *v)
{
    char text[24];
    v->n = (size_t)snprintf(text, sizeof text, "%" PRId64, i);
    v->kind = JSON_INT;
    v->integer = i;
    v->number = (double)i;
    v->text = arena_copy(a, text, v->n);
    return v->text != NULL;
}

static json_value *convert(arena *a, struct json_object *o);

static bool convert_array(arena *a, struct json_object *o, json_value *v)
{
    v->kind = JSON_ARRAY;
    const size_t n = json_object_array_length(o);
    v->items = arena_take_array(a, json_capacity(n), sizeof(json_value *));
    if (!v->items)
        return false;
    for (; v->n < n; v->n++) {
        v->items[v->n] = convert(a, json_object_array_get_idx(o, v->n));
        if (!v->items[v->n])
            return false;
    }
    return true;
}

static bool convert_object(arena *a, struct json_object *o, json_value *v)
{
    v->kind = JSON_OBJECT;
    const size_t n = (size_t)json_object_object_length(o);
    v->members = arena_take_array(a, json_capacity(n), sizeof(json_member));
    if (!v->members)
        return false;
    const struct lh_entry *e = json_object_get_object(o)->head;
    for (; e && v->n < n; e = e->next, v->n++) {
        json_member *m = &v->members[v->n];
        const char *key = e->k;
        if (!key) /* json-c copies keys without looking whether the copy exists */
            return false;
        m->n_key = strlen(key);
        m->key = arena_copy(a, key, m->n_key);
        m->value = convert(a, (struct json_object *)(uintptr_t)e->v);
        if (!m->key || !m->value)
            return false;
    }
    return true;
}

static json_value *convert(arena *a, struct json_object *o)
{
    json_value *v = arena_take(a, sizeof *v);
    if (!v)
        return NULL;
    bool ok = true;
    const char *text;
    switch (json_object_get_type(o)) {
    case json_type_null:
        break;
    case json_type_boolean:
        v->kind = JSON_BOOL;
        v->boolean = json_object_get_boolean(o);
        break;
    case json_type_int:
        ok = read_int(a, json_object_get_int64(o), v);
        break;
    case json_type_double: /* a parsed double keeps its digits as user data */
        text = json_object_get_userdata(o);
        if (!text)
            text = json_object_to_json_string(o);
        ok = text && read_number(a, text, strlen(text), v);
        break;
    case json_type_string:
        v->kind = JSON_STRING;
        v->n = (size_t)json_object_get_string_len(o);
        v->text = arena_copy(a, json_object_get_string(o), v->n);
        ok = v->text != NULL;
        break;
    case json_type_array:
        ok = convert_array(a, o, v);
        break;
    case json_type_object:
        ok = convert_object(a, o, v);
        break;
    }
    return ok ? v : NULL;
}

static cama_err read_checked(const char *text, size_t n, arena *a, json_value **out, err_info *err)
{
    if (n >= INT_MAX)
        return err_set(err, CAMA_ERR_LIMIT, "json: %zu bytes, past the limit of %d", n, INT_MAX);
    struct json_tokener *tok = json_tokener_new_ex(JSON_MAX_DEPTH + 2);
    if (!tok)
        return err_set(err, CAMA_ERR_NOMEM, "json: no memory for a parser");
    /* A number ends where something follows it: the length includes a terminating NUL. */
    struct json_object *o = json_tokener_parse_ex(tok, text, (int)n);
    if (!o && json_tokener_get_error(tok) == json_tokener_continue)
        o = json_tokener_parse_ex(tok, "", 1);
    const enum json_tokener_error te = json_tokener_get_error(tok);
    json_tokener_free(tok);
    /* The scanner has passed the text, so json-c can only fail for want of memory. */
    json_value *v = te == json_tokener_success ? convert(a, o) : NULL;
    (void)json_object_put(o); /* gives 1 when freed: nothing else holds it */
    if (!v)
        return err_set(err, CAMA_ERR_NOMEM, "json: no memory for %zu bytes (limit %zu)", n,
                       a->max_bytes);
    *out = v;
    return CAMA_OK;
}

/* prefix: what stands behind the value is not looked at. */
static cama_err parse(const json_scan_in *in, bool prefix, arena *a, json_value **out,
                      err_info *err)
{
    const char *text = in->text;
    buf marked;
    buf repaired;
    buf_init(&marked, SIZE_MAX / 2);
    buf_init(&repaired, SIZE_MAX / 2);
    size_t n_used = in->n;
    cama_err e = json_scan(in, &marked, prefix ? &n_used : NULL, err);
    const char *from = marked.n ? marked.data : text;
    size_t n_from = marked.n ? marked.n : n_used;
    if (!e && !utf8_valid(from, n_from)) {
        repair_utf8(from, n_from, &repaired);
        e = buf_error(&repaired, "json", err);
        from = repaired.data;
        n_from = repaired.n;
    }
    if (!e)
        e = read_checked(from, n_from, a, out, err);
    buf_done(&marked);
    buf_done(&repaired);
    return e;
}

cama_err json_parse(const char *text, size_t n, arena *a, json_value **out, err_info *err)
{
    return json_parse_most(text, n, SIZE_MAX, a, out, err);
}

cama_err json_parse_most(const char *text, size_t n, size_t max_values, arena *a, json_value **out,
                         err_info *err)
{
    return parse(&(json_scan_in){text, n, max_values}, false, a, out, err);
}

cama_err json_parse_prefix(const char *text, size_t n, arena *a, json_value **out, err_info *err)
{
    return parse(&(json_scan_in){text, n, JSON_MAX_VALUES}, true, a, out, err);
}
