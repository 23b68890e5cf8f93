/* The front of a GGUF file: magic, version, counts, metadata. */
#include "gguf/gguf_int.h"

#include <inttypes.h>
#include <string.h>

#include "base/utf8.h"

#define KV_MIN_BYTES 13     /* length of an empty key, type, one byte of value */
#define TENSOR_MIN_BYTES 40 /* what a tensor costs in list and data, at the very least */

static const struct {
    const char *name;
    size_t bytes;
} types[GGUF_N_TYPE] = {
    [GGUF_U8] = {"u8", 1},       [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2},     [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},     [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

size_t gguf_type_bytes(gguf_type type)
{
    return types[type].bytes;
}

const char *gguf_type_name(gguf_type type)
{
    return types[type].name;
}

gguf_shown gguf_show(gguf_str s)
{
    gguf_shown out;
    size_t n = 0;
    size_t at = 0;
    while (at < s.n) {
        uint32_t cp;
        const size_t step = utf8_decode(s.text + at, s.n - at, &cp);
        if (cp < 0x20 || (cp >= 0x7F && cp < 0xA0))
            cp = '?';
        char ch[4];
        const size_t n_ch = utf8_encode(cp, ch);
        if (n + n_ch > 72)
            break;
        memcpy(out.text + n, ch, n_ch);
        n += n_ch;
        at += step;
    }
    memcpy(out.text + n, at < s.n ? "..." : "", at < s.n ? 4 : 1);
    return out;
}

/* CAMA_OK when k more bytes are there; else a text with both figures. */
static cama_err need(const gguf_cursor *c, uint64_t k, err_info *err)
{
    if (k <= c->n - c->at)
        return c->feed ? filehead_want(c->feed, c->at + (size_t)k, err) : CAMA_OK;
    if (k <= c->n_file - c->at)
        return err_set(err, CAMA_ERR_LIMIT, "metadata of more than %zu bytes, the limit", c->n);
    return err_set(err, CAMA_ERR_FORMAT,
                   "%" PRIu64 " bytes are announced at byte %zu, but the file ends at %zu", k,
                   c->at, c->n_file);
}

cama_err gguf_read_u32(gguf_cursor *c, uint32_t *out, err_info *err)
{
    const cama_err e = need(c, 4, err);
    if (e)
        return e;
    memcpy(out, c->bytes + c->at, 4);
    c->at += 4;
    return CAMA_OK;
}

cama_err gguf_read_u64(gguf_cursor *c, uint64_t *out, err_info *err)
{
    const cama_err e = need(c, 8, err);
    if (e)
        return e;
    memcpy(out, c->bytes + c->at, 8);
    c->at += 8;
    return CAMA_OK;
}

cama_err gguf_read_str(gguf_cursor *c, gguf_str *out, err_info *err)
{
    uint64_t n;
    cama_err e = gguf_read_u64(c, &n, err);
    if (e)
        return e;
    if (n > GGUF_MAX_STRING_BYTES)
        return err_set(err, CAMA_ERR_LIMIT,
                       "a string of %" PRIu64 " bytes at byte %zu, the limit is %u", n, c->at - 8,
                       GGUF_MAX_STRING_BYTES);
    e = need(c, n, err);
    if (e)
        return e;
    *out = (gguf_str){.text = (const char *)c->bytes + c->at, .n = (size_t)n};
    c->at += (size_t)n;
    return CAMA_OK;
}

/* The spec has 0 and 1 only; another value means that the reader or the writer lost its place. */
static cama_err check_bools(const gguf_kv *kv, err_info *err)
{
    for (uint64_t i = 0; i < kv->n; i++)
        if (kv->data[i] > 1)
            return err_set(err, CAMA_ERR_FORMAT, "bool %" PRIu64 " is %d, neither 0 nor 1", i,
                           kv->data[i]);
    return CAMA_OK;
}

/* kv->n strings one after another, and an index of them. */
static cama_err read_strings(gguf_cursor *c, arena *a, gguf_kv *kv, err_info *err)
{
    /* each costs 8 bytes of length, so the index is at most twice as large as what is left */
    cama_err e = need(c, kv->n * 8, err);
    if (e)
        return e;
    gguf_str *strings = arena_take_array(a, (size_t)kv->n, sizeof *strings);
    if (!strings)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for an index of %" PRIu64 " strings", kv->n);
    for (uint64_t i = 0; i < kv->n; i++) {
        e = gguf_read_str(c, &strings[i], err);
        if (e)
            return err_wrap(err, e, "string %" PRIu64 " of %" PRIu64, i, kv->n);
    }
    kv->strings = strings;
    return CAMA_OK;
}

/* kv->n values of kv->elem, at c. */
static cama_err read_values(gguf_cursor *c, arena *a, gguf_kv *kv, err_info *err)
{
    if (kv->n > GGUF_MAX_ARRAY)
        return err_set(err, CAMA_ERR_LIMIT, "an array of %" PRIu64 " elements, the limit is %u",
                       kv->n, GGUF_MAX_ARRAY);
    kv->data = c->bytes + c->at;
    if (kv->elem == GGUF_STRING)
        return read_strings(c, a, kv, err);
    const uint64_t n_bytes = kv->n * gguf_type_bytes(kv->elem); /* at most 2^33 */
    const cama_err e = need(c, n_bytes, err);
    if (e)
        return e;
    c->at += (size_t)n_bytes;
    return kv->elem == GGUF_BOOL ? check_bools(kv, err) : CAMA_OK;
}

static cama_err read_type(gguf_cursor *c, gguf_type *out, err_info *err)
{
    uint32_t id;
    const cama_err e = gguf_read_u32(c, &id, err);
    if (e)
        return e;
    if (id >= GGUF_N_TYPE)
        return err_set(err, CAMA_ERR_FORMAT, "value type %u at byte %zu, the last one is %d", id,
                       c->at - 4, GGUF_N_TYPE - 1);
    *out = (gguf_type)id;
    return CAMA_OK;
}

static cama_err read_array_head(gguf_cursor *c, gguf_kv *kv, err_info *err)
{
    cama_err e = read_type(c, &kv->elem, err);
    if (!e && kv->elem == GGUF_ARRAY)
        return err_set(err, CAMA_ERR_UNSUPPORTED, "an array of arrays");
    if (!e)
        e = gguf_read_u64(c, &kv->n, err);
    return e;
}

static cama_err read_kv(gguf_cursor *c, arena *a, gguf_kv *kv, err_info *err)
{
    const size_t begin = c->at;
    cama_err e = gguf_read_str(c, &kv->key, err);
    if (e)
        return err_wrap(err, e, "key");
    if (kv->key.n == 0 || kv->key.n > GGUF_MAX_KEY_BYTES)
        return err_set(err, CAMA_ERR_FORMAT, "a key of %zu bytes at byte %zu, not 1 to %u",
                       kv->key.n, begin, GGUF_MAX_KEY_BYTES);
    e = read_type(c, &kv->type, err);
    kv->elem = kv->type;
    kv->n = 1;
    if (!e && kv->type == GGUF_ARRAY)
        e = read_array_head(c, kv, err);
    if (!e)
        e = read_values(c, a, kv, err);
    return e ? err_wrap(err, e, "key '%s'", gguf_show(kv->key).text) : CAMA_OK;
}

static cama_err read_kvs(gguf_cursor *c, arena *a, gguf_header *h, err_info *err)
{
    h->kvs = arena_take_array(a, h->n_kv, sizeof *h->kvs);
    if (!h->kvs || strmap_init(&h->keys, h->n_kv))
        return err_set(err, CAMA_ERR_NOMEM, "no memory for %zu keys", h->n_kv);
    for (size_t i = 0; i < h->n_kv; i++) {
        gguf_kv *kv = &h->kvs[i];
        const cama_err e = read_kv(c, a, kv, err);
        if (e)
            return err_wrap(err, e, "metadata entry %zu of %zu", i, h->n_kv);
        bool found = false;
        if (strmap_add(&h->keys, kv->key.text, kv->key.n, (uint32_t)i, &found))
            return err_set(err, CAMA_ERR_NOMEM, "no memory for %zu keys", h->n_kv);
        if (found)
            return err_set(err, CAMA_ERR_FORMAT, "key '%s' is there twice",
                           gguf_show(kv->key).text);
    }
    return CAMA_OK;
}

static cama_err read_version(gguf_cursor *c, uint32_t *out, err_info *err)
{
    const cama_err e = c->n < 8 ? CAMA_OK : need(c, 8, err);
    if (e)
        return e;
    if (c->n < 8 || memcmp(c->bytes, "GGUF", 4) != 0)
        return err_set(err, CAMA_ERR_FORMAT,
                       "not a GGUF file: %zu bytes that do not begin with \"GGUF\" and a version",
                       c->n_file);
    c->at = 4;
    (void)gguf_read_u32(c, out, err); /* 8 bytes are there */
    if (*out == 0)
        return err_set(err, CAMA_ERR_FORMAT, "GGUF version 0");
    if ((*out & 0xFFFF) == 0)
        return err_set(err, CAMA_ERR_UNSUPPORTED,
                       "a big-endian GGUF file (its version reads %#x); only little-endian ones "
                       "can be read",
                       *out);
    if (*out < 2)
        return err_set(err, CAMA_ERR_UNSUPPORTED,
                       "GGUF version 1 is no longer in use: convert the model again (versions 2 "
                       "and 3 can be read)");
    if (*out > 3)
        return err_set(err, CAMA_ERR_UNSUPPORTED,
                       "GGUF version %u is newer than what can be read (2 and 3)", *out);
    return CAMA_OK;
}

/* Counts are only believed as far as the file has bytes to back them. */
static cama_err read_count(gguf_cursor *c, const char *what, size_t min_bytes, uint64_t max,
                           size_t *out, err_info *err)
{
    uint64_t n;
    const cama_err e = gguf_read_u64(c, &n, err);
    if (e)
        return err_wrap(err, e, "number of %s", what);
    if (n > c->n_file / min_bytes)
        return err_set(err, CAMA_ERR_FORMAT,
                       "%" PRIu64 " %s cannot be in a file of %zu bytes (%zu at least for each)", n,
                       what, c->n_file, min_bytes);
    if (n > max)
        return err_set(err, CAMA_ERR_LIMIT, "%" PRIu64 " %s, the limit is %" PRIu64, n, what, max);
    *out = (size_t)n;
    return CAMA_OK;
}

static cama_err read_all(gguf_cursor *c, arena *a, gguf_header *h, err_info *err)
{
    cama_err e = read_version(c, &h->version, err);
    if (!e)
        e = read_count(c, "tensors", TENSOR_MIN_BYTES, GGUF_MAX_TENSOR, &h->n_tensor, err);
    if (!e)
        e = read_count(c, "metadata entries", KV_MIN_BYTES, GGUF_MAX_KV, &h->n_kv, err);
    if (!e)
        e = read_kvs(c, a, h, err);
    if (!e)
        e = gguf_read_tensors(c, a, h, err);
    return e;
}

static cama_err read_header(gguf_cursor *c, arena *a, gguf_header *out, err_info *err)
{
    gguf_header h = {0};
    const cama_err e = read_all(c, a, &h, err);
    if (e) {
        strmap_done(&h.keys);
        return e;
    }
    *out = h;
    return CAMA_OK;
}

cama_err gguf_read_header(const uint8_t *bytes, size_t n, arena *a, gguf_header *out, err_info *err)
{
    gguf_cursor c = {
        .bytes = bytes,
        .n = n < GGUF_MAX_META_BYTES ? n : GGUF_MAX_META_BYTES,
        .n_file = n,
    };
    return read_header(&c, a, out, err);
}

cama_err gguf_read_head(filehead *from, arena *a, gguf_header *out, err_info *err)
{
    gguf_cursor c = {
        .bytes = from->bytes, .n = from->n_max, .n_file = (size_t)from->n_file, .feed = from};
    return read_header(&c, a, out, err);
}
