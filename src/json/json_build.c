#include "json/json_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIN_CAPACITY 4

size_t json_capacity(size_t n)
{
    size_t cap = MIN_CAPACITY;
    while (cap < n && cap <= SIZE_MAX / 2)
        cap *= 2;
    return cap;
}

static json_value *new_value(arena *a, json_kind kind)
{
    json_value *v = arena_take(a, sizeof *v);
    if (v)
        v->kind = kind;
    return v;
}

json_value *json_new_null(arena *a)
{
    return new_value(a, JSON_NULL);
}

json_value *json_new_bool(arena *a, bool b)
{
    json_value *v = new_value(a, JSON_BOOL);
    if (v)
        v->boolean = b;
    return v;
}

static json_value *new_number(arena *a, json_kind kind, const char *text)
{
    json_value *v = new_value(a, kind);
    if (!v)
        return NULL;
    v->n = strlen(text);
    v->text = arena_copy(a, text, v->n);
    return v->text ? v : NULL;
}

json_value *json_new_int(arena *a, int64_t i)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, i);
    json_value *v = new_number(a, JSON_INT, text);
    if (v) {
        v->integer = i;
        v->number = (double)i;
    }
    return v;
}

/* digits without a point and the place of the point: 0.digits * 10^*out_point. */
static size_t shortest_digits(double d, char digits[24], int *out_point)
{
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision, d);
        if (strtod(text, NULL) == d)
            break;
    }
    const char *e = strchr(text, 'e');
    size_t n = 0;
    for (const char *p = text; p < e; p++) {
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
    }
    while (n > 1 && digits[n - 1] == '0')
        n--;
    digits[n] = '\0';
    *out_point = atoi(e + 1) + 1;
    return n;
}

size_t json_format_double(double d, char out[JSON_DOUBLE_BYTES])
{
    const char *sign = signbit(d) ? "-" : "";
    if (isnan(d) || isinf(d))
        return (size_t)snprintf(out, JSON_DOUBLE_BYTES, "%s",
                                isnan(d) ? "nan"
                                : *sign  ? "-inf"
                                         : "inf");
    char digits[24];
    int point;
    const int n = (int)shortest_digits(fabs(d), digits, &point);
    int len;
    if (d == 0)
        len = snprintf(out, JSON_DOUBLE_BYTES, "%s0.0", sign);
    else if (point > 16 || point < -3)
        len = snprintf(out, JSON_DOUBLE_BYTES, "%s%c%s%se%+03d", sign, digits[0], n > 1 ? "." : "",
                       digits + 1, point - 1);
    else if (point <= 0)
        len = snprintf(out, JSON_DOUBLE_BYTES, "%s0.%.*s%s", sign, -point, "0000", digits);
    else if (point >= n)
        len = snprintf(out, JSON_DOUBLE_BYTES, "%s%s%.*s.0", sign, digits, point - n,
                       "0000000000000000");
    else
        len = snprintf(out, JSON_DOUBLE_BYTES, "%s%.*s.%s", sign, point, digits, digits + point);
    return (size_t)len;
}

json_value *json_new_float(arena *a, double d)
{
    if (isnan(d) || isinf(d))
        return json_new_null(a); /* JSON has no word for these */
    char text[JSON_DOUBLE_BYTES];
    (void)json_format_double(d, text);
    json_value *v = new_number(a, JSON_FLOAT, text);
    if (v)
        v->number = d;
    return v;
}

json_value *json_new_string(arena *a, const char *text, size_t n)
{
    json_value *v = new_value(a, JSON_STRING);
    if (!v)
        return NULL;
    v->n = n;
    v->text = arena_copy(a, text, n);
    return v->text ? v : NULL;
}

json_value *json_new_array(arena *a)
{
    return new_value(a, JSON_ARRAY);
}

json_value *json_new_object(arena *a)
{
    return new_value(a, JSON_OBJECT);
}

/* Room for one more of size bytes behind *p; n is full when it is 0 or a capacity. */
static bool grow(arena *a, void **p, size_t n, size_t size)
{
    const bool full = n == 0 || (n >= MIN_CAPACITY && (n & (n - 1)) == 0);
    if (*p && !full)
        return true;
    if (*p && n == 0)
        return true; /* an empty array of json_parse has its first capacity */
    void *more = arena_take_array(a, json_capacity(n + 1), size);
    if (!more)
        return false;
    if (*p)
        memcpy(more, *p, n * size);
    *p = more;
    return true;
}

bool json_append(arena *a, json_value *array, json_value *value)
{
    if (!array || !value)
        return false;
    void *p = array->items;
    if (!grow(a, &p, array->n, sizeof(json_value *)))
        return false;
    array->items = p;
    array->items[array->n++] = value;
    return true;
}

static json_member *find_member(const json_value *object, const char *key)
{
    if (!object || object->kind != JSON_OBJECT)
        return NULL;
    const size_t n_key = strlen(key);
    for (size_t i = 0; i < object->n; i++) {
        json_member *m = &object->members[i];
        if (m->n_key == n_key && memcmp(m->key, key, n_key) == 0)
            return m;
    }
    return NULL;
}

bool json_put(arena *a, json_value *object, const char *key, json_value *value)
{
    if (!object || !value)
        return false;
    json_member *m = find_member(object, key);
    if (m) {
        m->value = value;
        return true;
    }
    void *p = object->members;
    if (!grow(a, &p, object->n, sizeof(json_member)))
        return false;
    object->members = p;
    m = &object->members[object->n];
    m->n_key = strlen(key);
    m->key = arena_copy(a, key, m->n_key);
    m->value = value;
    if (!m->key)
        return false;
    object->n++;
    return true;
}

const json_value *json_get(const json_value *object, const char *key)
{
    const json_member *m = find_member(object, key);
    return m ? m->value : NULL;
}
