/* Look-ups by key. Writers disagree about the width and sign of integers, and some store them as
 * floats or bools, so a number is read whatever its type and asked only whether it fits. */
#include "gguf/gguf_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A number of any of the types. Integers: (neg ? -mag : mag), exact. */
typedef struct number {
    bool is_float;
    bool neg;
    uint64_t mag;
    double real; /* the value when is_float */
} number;

static number from_signed(int64_t v)
{
    return (number){.neg = v < 0, .mag = v < 0 ? 0 - (uint64_t)v : (uint64_t)v};
}

/* The value of a numeric type at p, which need not be aligned. */
static number load(gguf_type type, const uint8_t *p)
{
    uint64_t bits = 0;
    memcpy(&bits, p, gguf_type_bytes(type));
    float f;
    double d;
    switch (type) {
    case GGUF_I8:
        return from_signed((int8_t)bits);
    case GGUF_I16:
        return from_signed((int16_t)bits);
    case GGUF_I32:
        return from_signed((int32_t)bits);
    case GGUF_I64:
        return from_signed((int64_t)bits);
    case GGUF_F32:
        memcpy(&f, p, sizeof f);
        return (number){.is_float = true, .real = (double)f};
    case GGUF_F64:
        memcpy(&d, p, sizeof d);
        return (number){.is_float = true, .real = d};
    default: /* the unsigned ones and bool */
        return (number){.mag = bits};
    }
}

/* A whole float becomes the integer that it is, when |v| < 2^64. */
static bool as_integer(const number *v, number *out)
{
    *out = *v;
    if (!v->is_float)
        return true;
    if (!(fabs(v->real) < 0x1p64) || v->real != floor(v->real))
        return false;
    *out = (number){.neg = v->real < 0, .mag = (uint64_t)fabs(v->real)};
    return true;
}

static cama_err misfit(const gguf_kv *kv, const number *v, const char *want, err_info *err)
{
    char text[40];
    if (v->is_float)
        (void)snprintf(text, sizeof text, "%.9g", v->real);
    else
        (void)snprintf(text, sizeof text, "%s%" PRIu64, v->neg ? "-" : "", v->mag);
    return err_set(err, CAMA_ERR_FORMAT, "key '%s' is %s (%s), not %s", gguf_show(kv->key).text,
                   text, gguf_type_name(kv->elem), want);
}

/* Element i of a numeric array, or the number itself. */
static cama_err number_at(const gguf_kv *kv, uint64_t i, number *out, err_info *err)
{
    const size_t bytes = gguf_type_bytes(kv->elem);
    if (!bytes)
        return err_set(err, CAMA_ERR_FORMAT, "key '%s' is %s, not a number",
                       gguf_show(kv->key).text,
                       kv->type == GGUF_ARRAY ? "an array of strings" : "a string");
    if (kv->type == GGUF_ARRAY && i >= kv->n)
        return err_set(err, CAMA_ERR_FORMAT,
                       "key '%s' has %" PRIu64 " elements, element %" PRIu64 " is wanted",
                       gguf_show(kv->key).text, kv->n, i);
    *out = load(kv->elem, kv->data + (kv->type == GGUF_ARRAY ? (size_t)i * bytes : 0));
    return CAMA_OK;
}

static cama_err scalar(const gguf_kv *kv, number *out, err_info *err)
{
    if (kv->type == GGUF_ARRAY)
        return err_set(err, CAMA_ERR_FORMAT,
                       "key '%s' is an array of %" PRIu64 " %s, not a single value",
                       gguf_show(kv->key).text, kv->n, gguf_type_name(kv->elem));
    return number_at(kv, 0, out, err);
}

static cama_err give_u64(const gguf_kv *kv, const number *v, uint64_t *out, err_info *err)
{
    number n;
    if (!as_integer(v, &n) || (n.neg && n.mag))
        return misfit(kv, v, "an integer in 0 to 2^64 - 1", err);
    *out = n.mag;
    return CAMA_OK;
}

static cama_err give_f64(const gguf_kv *kv, const number *v, double *out, err_info *err)
{
    const double real = v->is_float ? v->real : v->neg ? -(double)v->mag : (double)v->mag;
    if (!isfinite(real))
        return misfit(kv, v, "a finite number", err);
    *out = real;
    return CAMA_OK;
}

const gguf_kv *gguf_find_in(const gguf_header *h, const char *key)
{
    uint32_t i;
    return strmap_get(&h->keys, key, strlen(key), &i) ? &h->kvs[i] : NULL;
}

cama_err gguf_kv_u64(const gguf_kv *kv, uint64_t *out, err_info *err)
{
    number v;
    const cama_err e = scalar(kv, &v, err);
    return e ? e : give_u64(kv, &v, out, err);
}

const gguf_kv *gguf_find(const gguf_file *f, const char *key)
{
    return gguf_find_in(&f->head, key);
}

cama_err gguf_get_u64(const gguf_file *f, const char *key, uint64_t *out, err_info *err)
{
    const gguf_kv *kv = gguf_find(f, key);
    return kv ? gguf_kv_u64(kv, out, err) : CAMA_ERR_NOT_FOUND;
}

/* The single number at key; CAMA_ERR_NOT_FOUND when there is none, without a text. */
static cama_err find_scalar(const gguf_file *f, const char *key, const gguf_kv **out_kv,
                            number *out, err_info *err)
{
    *out_kv = gguf_find(f, key);
    return *out_kv ? scalar(*out_kv, out, err) : CAMA_ERR_NOT_FOUND;
}

/* The same for element i of what may be an array. */
static cama_err find_element(const gguf_file *f, const char *key, uint64_t i,
                             const gguf_kv **out_kv, number *out, err_info *err)
{
    *out_kv = gguf_find(f, key);
    return *out_kv ? number_at(*out_kv, i, out, err) : CAMA_ERR_NOT_FOUND;
}

cama_err gguf_get_i64(const gguf_file *f, const char *key, int64_t *out, err_info *err)
{
    const gguf_kv *kv;
    number v;
    number n;
    const cama_err e = find_scalar(f, key, &kv, &v, err);
    if (e)
        return e;
    if (!as_integer(&v, &n) || n.mag > (uint64_t)INT64_MAX + (n.neg ? 1 : 0))
        return misfit(kv, &v, "an integer in -2^63 to 2^63 - 1", err);
    /* -(mag - 1) - 1 does not pass through 2^63, which int64_t has not */
    *out = n.neg && n.mag ? -(int64_t)(n.mag - 1) - 1 : (int64_t)n.mag;
    return CAMA_OK;
}

cama_err gguf_get_f64(const gguf_file *f, const char *key, double *out, err_info *err)
{
    const gguf_kv *kv;
    number v;
    const cama_err e = find_scalar(f, key, &kv, &v, err);
    return e ? e : give_f64(kv, &v, out, err);
}

cama_err gguf_get_bool(const gguf_file *f, const char *key, bool *out, err_info *err)
{
    const gguf_kv *kv;
    number v;
    number n;
    const cama_err e = find_scalar(f, key, &kv, &v, err);
    if (e)
        return e;
    if (!as_integer(&v, &n) || n.mag > 1 || (n.neg && n.mag))
        return misfit(kv, &v, "0 or 1", err);
    *out = n.mag == 1;
    return CAMA_OK;
}

cama_err gguf_get_str(const gguf_file *f, const char *key, gguf_str *out, err_info *err)
{
    const gguf_kv *kv = gguf_find(f, key);
    if (!kv)
        return CAMA_ERR_NOT_FOUND;
    if (kv->type != GGUF_STRING)
        return err_set(err, CAMA_ERR_FORMAT, "key '%s' is of type %s, not string",
                       gguf_show(kv->key).text, gguf_type_name(kv->type));
    *out = kv->strings[0];
    return CAMA_OK;
}

cama_err gguf_get_u64_at(const gguf_file *f, const char *key, uint64_t i, uint64_t *out,
                         err_info *err)
{
    const gguf_kv *kv;
    number v;
    const cama_err e = find_element(f, key, i, &kv, &v, err);
    return e ? e : give_u64(kv, &v, out, err);
}

cama_err gguf_get_f64_at(const gguf_file *f, const char *key, uint64_t i, double *out,
                         err_info *err)
{
    const gguf_kv *kv;
    number v;
    const cama_err e = find_element(f, key, i, &kv, &v, err);
    return e ? e : give_f64(kv, &v, out, err);
}
