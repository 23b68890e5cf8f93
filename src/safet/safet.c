#include "safet/safet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/ckd.h"
#include "base/strmap.h"
#include "json/json.h"

#define MAX_INDEX_BYTES ((size_t)1 << 30) /* tensors and names of all shards */
#define MAX_JSON_BYTES ((size_t)4 << 30)  /* one header, read */
#define MAX_VALUES ((size_t)8 << 20)      /* thirty for each tensor */

struct safet_file {
    arena index_arena;
    const safet_source *sources;
    safet_tensor *tensors;
    size_t n_tensor, cap;
    strmap names;
};

/* One shard while its header is read. */
typedef struct shard {
    safet_file *f;
    const safet_source *from;
    uint32_t no;
    uint64_t n_file, data_at;
    arena json_arena;
} shard;

static const struct {
    const char *name;
    size_t bytes;
} types[SAFET_N_TYPE] = {
#define X(name_, bytes_) {#name_, (bytes_)},
    SAFET_TYPES(X)
#undef X
};

const char *safet_type_name(safet_type t)
{
    return types[t].name;
}

size_t safet_type_bytes(safet_type t)
{
    return types[t].bytes;
}

/* ---- reading ---- */

static cama_err read_at(const safet_source *s, uint64_t at, void *out, size_t n, err_info *err)
{
    char *to = out;
    while (n) {
        const ssize_t got = pread(s->fd, to, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(err, CAMA_ERR_IO, "cannot read '%s': %s", s->name, strerror(errno));
        if (got == 0)
            return err_set(err, CAMA_ERR_IO, "'%s' ends at byte %llu: it was cut short", s->name,
                           (unsigned long long)at);
        to += got;
        n -= (size_t)got;
        at += (uint64_t)got;
    }
    return CAMA_OK;
}

cama_err safet_read(const safet_file *f, const safet_tensor *t, uint64_t from, void *out, size_t n,
                    err_info *err)
{
    if (from > t->n_bytes || n > t->n_bytes - from)
        return err_set(err, CAMA_ERR_ARG, "tensor '%s' has %llu bytes: %zu from %llu are not there",
                       t->name, (unsigned long long)t->n_bytes, n, (unsigned long long)from);
    return read_at(&f->sources[t->shard], t->at + from, out, n, err);
}

/* ---- one entry ---- */

static bool get_count(const json_value *v, uint64_t *out)
{
    if (!v || v->kind != JSON_INT || v->integer < 0)
        return false;
    *out = (uint64_t)v->integer;
    return true;
}

static cama_err read_type(const json_value *entry, safet_tensor *t, err_info *err)
{
    const json_value *v = json_get(entry, "dtype");
    if (!v || v->kind != JSON_STRING)
        return err_set(err, CAMA_ERR_FORMAT, "it has no dtype");
    for (int i = 0; i < SAFET_N_TYPE; i++) {
        if (!strcmp(types[i].name, v->text)) {
            t->type = (safet_type)i;
            return CAMA_OK;
        }
    }
    return err_set(err, CAMA_ERR_UNSUPPORTED, "its dtype '%.40s' is unknown", v->text);
}

/* Shape and size; the product is checked. */
static cama_err read_shape(const json_value *entry, safet_tensor *t, err_info *err)
{
    const json_value *v = json_get(entry, "shape");
    if (!v || v->kind != JSON_ARRAY)
        return err_set(err, CAMA_ERR_FORMAT, "it has no shape");
    if (v->n > SAFET_MAX_DIMS)
        return err_set(err, CAMA_ERR_LIMIT, "it has %zu dimensions, the limit is %d", v->n,
                       SAFET_MAX_DIMS);
    t->n_dims = (uint32_t)v->n;
    uint64_t n = types[t->type].bytes;
    for (size_t i = 0; i < v->n; i++) {
        if (!get_count(v->items[i], &t->shape[i]) || ckd_mul(&n, n, t->shape[i]))
            return err_set(err, CAMA_ERR_FORMAT, "dimension %zu is no count, or past 2^64 bytes",
                           i);
    }
    t->n_bytes = n;
    return CAMA_OK;
}

static cama_err read_place(const shard *s, const json_value *entry, safet_tensor *t, err_info *err)
{
    const json_value *v = json_get(entry, "data_offsets");
    uint64_t begin;
    uint64_t end;
    if (!v || v->kind != JSON_ARRAY || v->n != 2 || !get_count(v->items[0], &begin) ||
        !get_count(v->items[1], &end) || begin > end)
        return err_set(err, CAMA_ERR_FORMAT, "it has no data_offsets");
    if (end - begin != t->n_bytes)
        return err_set(err, CAMA_ERR_FORMAT, "its data_offsets hold %llu bytes, its shape %llu",
                       (unsigned long long)(end - begin), (unsigned long long)t->n_bytes);
    if (end > s->n_file - s->data_at)
        return err_set(err, CAMA_ERR_FORMAT, "its data ends at %llu, past the %llu bytes there are",
                       (unsigned long long)end, (unsigned long long)(s->n_file - s->data_at));
    t->at = s->data_at + begin;
    return CAMA_OK;
}

static cama_err grow(safet_file *f, err_info *err)
{
    if (f->n_tensor < f->cap)
        return CAMA_OK;
    if (f->n_tensor == SAFET_MAX_TENSOR)
        return err_set(err, CAMA_ERR_LIMIT, "more than %u tensors", SAFET_MAX_TENSOR);
    const size_t cap = f->cap ? 2 * f->cap : 256;
    safet_tensor *more = realloc(f->tensors, cap * sizeof *more);
    if (!more)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for %zu tensors", cap);
    f->tensors = more;
    f->cap = cap;
    return CAMA_OK;
}

static cama_err add_entry(shard *s, const json_member *m, err_info *err)
{
    safet_file *f = s->f;
    safet_tensor t = {.shard = s->no};
    if (m->n_key == 0 || m->n_key > SAFET_MAX_NAME_BYTES)
        return err_set(err, CAMA_ERR_LIMIT, "its name has %zu bytes, allowed are 1 to %d", m->n_key,
                       SAFET_MAX_NAME_BYTES);
    if (m->value->kind != JSON_OBJECT)
        return err_set(err, CAMA_ERR_FORMAT, "its entry is no object");
    cama_err e = read_type(m->value, &t, err);
    if (!e)
        e = read_shape(m->value, &t, err);
    if (!e)
        e = read_place(s, m->value, &t, err);
    if (!e)
        e = grow(f, err);
    if (e)
        return e;
    bool found = false;
    t.name = arena_copy(&f->index_arena, m->key, m->n_key);
    if (!t.name || strmap_add(&f->names, t.name, m->n_key, (uint32_t)f->n_tensor, &found))
        return err_set(err, CAMA_ERR_NOMEM, "no memory for its name");
    if (found)
        return err_set(err, CAMA_ERR_FORMAT, "it is there twice");
    f->tensors[f->n_tensor++] = t;
    return CAMA_OK;
}

/* ---- one shard ---- */

static int by_place(const void *a, const void *b)
{
    const safet_tensor *x = *(const safet_tensor *const *)a;
    const safet_tensor *y = *(const safet_tensor *const *)b;
    return x->at != y->at ? (x->at > y->at) - (x->at < y->at)
                          : (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

/* No byte is in two tensors of the shard, which are those from `first` on. */
static cama_err check_overlaps(const safet_file *f, size_t first, err_info *err)
{
    const size_t n = f->n_tensor - first;
    const safet_tensor **sorted = calloc(n ? n : 1, sizeof *sorted);
    if (!sorted)
        return err_set(err, CAMA_ERR_NOMEM, "no memory to check %zu tensors", n);
    for (size_t i = 0; i < n; i++)
        sorted[i] = &f->tensors[first + i];
    qsort(sorted, n, sizeof *sorted, by_place);
    cama_err e = CAMA_OK;
    for (size_t i = 1; !e && i < n; i++) {
        if (sorted[i - 1]->at + sorted[i - 1]->n_bytes > sorted[i]->at)
            e = err_set(err, CAMA_ERR_FORMAT, "tensors '%s' and '%s' overlap", sorted[i - 1]->name,
                        sorted[i]->name);
    }
    free(sorted);
    return e;
}

static cama_err read_header(shard *s, json_value **out, err_info *err)
{
    uint8_t length[8];
    uint64_t n = 0;
    struct stat st;
    if (fstat(s->from->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return err_set(err, CAMA_ERR_IO, "it is no regular file");
    s->n_file = (uint64_t)st.st_size;
    if (s->n_file < sizeof length)
        return err_set(err, CAMA_ERR_FORMAT, "%llu bytes are no safetensors file",
                       (unsigned long long)s->n_file);
    cama_err e = read_at(s->from, 0, length, sizeof length, err);
    for (int i = 7; i >= 0; i--)
        n = n << 8 | length[i];
    if (!e && n > SAFET_MAX_HEADER_BYTES)
        e = err_set(err, CAMA_ERR_LIMIT,
                    "a header of %llu bytes, the limit is %u: is it a safetensors file?",
                    (unsigned long long)n, SAFET_MAX_HEADER_BYTES);
    if (!e && n > s->n_file - sizeof length)
        e = err_set(err, CAMA_ERR_FORMAT, "a header of %llu bytes in a file of %llu",
                    (unsigned long long)n, (unsigned long long)s->n_file);
    if (e)
        return e;
    s->data_at = sizeof length + n;
    char *text = malloc((size_t)n + 1);
    if (!text)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for a header of %llu bytes",
                       (unsigned long long)n);
    e = read_at(s->from, sizeof length, text, (size_t)n, err);
    if (!e)
        e = json_parse_most(text, (size_t)n, MAX_VALUES, &s->json_arena, out, err);
    free(text);
    return e;
}

static cama_err read_entries(shard *s, const json_value *header, err_info *err)
{
    const size_t first = s->f->n_tensor;
    if (header->kind != JSON_OBJECT)
        return err_set(err, CAMA_ERR_FORMAT, "its header is no object");
    for (size_t i = 0; i < header->n; i++) {
        const json_member *m = &header->members[i];
        if (!strcmp(m->key, "__metadata__"))
            continue;
        const cama_err e = add_entry(s, m, err);
        if (e)
            return err_wrap(err, e, "tensor '%.80s'", m->key);
    }
    return check_overlaps(s->f, first, err);
}

static cama_err read_shard(safet_file *f, uint32_t no, err_info *err)
{
    shard s = {.f = f, .from = &f->sources[no], .no = no};
    json_value *header = NULL;
    arena_init(&s.json_arena, MAX_JSON_BYTES);
    cama_err e = read_header(&s, &header, err);
    if (!e)
        e = read_entries(&s, header, err);
    arena_done(&s.json_arena);
    return e ? err_wrap(err, e, "%s", s.from->name) : CAMA_OK;
}

/* ---- life ---- */

cama_err safet_open(const safet_source *sources, size_t n, safet_file **out, err_info *err)
{
    if (n == 0 || n > SAFET_MAX_SHARD)
        return err_set(err, CAMA_ERR_LIMIT, "%zu safetensors files, allowed are 1 to %d", n,
                       SAFET_MAX_SHARD);
    safet_file *f = calloc(1, sizeof *f);
    if (!f)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for a list of tensors");
    arena_init(&f->index_arena, MAX_INDEX_BYTES);
    f->sources = sources;
    cama_err e = strmap_init(&f->names, 512);
    if (e)
        (void)err_set(err, e, "no memory for a list of tensors");
    for (uint32_t i = 0; !e && i < n; i++)
        e = read_shard(f, i, err);
    if (e) {
        safet_close(f);
        return e;
    }
    *out = f;
    return CAMA_OK;
}

void safet_close(safet_file *f)
{
    if (!f)
        return;
    strmap_done(&f->names);
    arena_done(&f->index_arena);
    free(f->tensors);
    free(f);
}

size_t safet_n_tensor(const safet_file *f)
{
    return f->n_tensor;
}

const safet_tensor *safet_tensor_at(const safet_file *f, size_t i)
{
    return &f->tensors[i];
}

const safet_tensor *safet_find(const safet_file *f, const char *name)
{
    uint32_t i;
    return strmap_get(&f->names, name, strlen(name), &i) ? &f->tensors[i] : NULL;
}
