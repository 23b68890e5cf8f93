/* The tensor list, and the layout of the data behind it.
 *
 * ggml's reader wants tensors back to back in the order of the list. Nothing here depends on that:
 * any layout is good that is aligned, inside the file, and free of overlaps. */
#include "gguf/gguf_int.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/ckd.h"

#define DEFAULT_ALIGNMENT 32
#define FORK_FIRST_ID 97 /* ik_llama.cpp numbers its own formats from here */

/* Where a tensor's bytes lie, counted from the start of the data. */
typedef struct span {
    uint64_t begin;
    uint64_t end;
    size_t i_tensor;
} span;

static cama_err check_type(uint32_t id, quant_type *out, err_info *err)
{
    const quant_type t = quant_from_gguf(id);
    if (t != QUANT_N_TYPE) {
        *out = t;
        return CAMA_OK;
    }
    if (quant_gone_name(id))
        return err_set(err, CAMA_ERR_UNSUPPORTED,
                       "its format %u (%s) is gone from GGUF: convert the model again", id,
                       quant_gone_name(id));
    if (id >= FORK_FIRST_ID)
        return err_set(err, CAMA_ERR_UNSUPPORTED,
                       "its format %u is unknown here; ids from %d on are ik_llama.cpp's own: "
                       "quantise the model with llama.cpp instead",
                       id, FORK_FIRST_ID);
    return err_set(err, CAMA_ERR_UNSUPPORTED, "its format %u is unknown", id);
}

static cama_err read_shape(gguf_cursor *c, gguf_tensor *t, err_info *err)
{
    uint32_t n_dims;
    cama_err e = gguf_read_u32(c, &n_dims, err);
    if (e)
        return e;
    if (n_dims > GGUF_MAX_DIMS)
        return err_set(err, CAMA_ERR_FORMAT, "%u dimensions, the limit is %d", n_dims,
                       GGUF_MAX_DIMS);
    t->n_dims = (int)n_dims;
    int64_t n_elem = 1;
    for (uint32_t i = 0; i < GGUF_MAX_DIMS; i++) {
        t->ne[i] = 1;
        e = i < n_dims ? gguf_read_u64(c, &t->ne[i], err) : CAMA_OK;
        if (e)
            return e;
        if (t->ne[i] > INT64_MAX || ckd_mul(&n_elem, n_elem, (int64_t)t->ne[i]))
            return err_set(err, CAMA_ERR_FORMAT,
                           "dimension %u of %" PRIu64 " makes more than %" PRId64 " elements", i,
                           t->ne[i], INT64_MAX);
    }
    return CAMA_OK;
}

static cama_err find_size(gguf_tensor *t, err_info *err)
{
    const quant_info *info = &quant_table[t->type];
    if (t->ne[0] % info->block_n)
        return err_set(err, CAMA_ERR_FORMAT,
                       "rows of %" PRIu64 " elements, not a multiple of %u as %s needs", t->ne[0],
                       info->block_n, info->name);
    uint64_t n_bytes = t->ne[0] / info->block_n;
    bool over = ckd_mul(&n_bytes, n_bytes, info->block_bytes);
    for (int i = 1; i < GGUF_MAX_DIMS; i++)
        over = over || ckd_mul(&n_bytes, n_bytes, t->ne[i]);
    if (over || n_bytes > SIZE_MAX)
        return err_set(err, CAMA_ERR_FORMAT,
                       "%" PRIu64 " x %" PRIu64 " x %" PRIu64 " x %" PRIu64
                       " elements of %s pass the address space",
                       t->ne[0], t->ne[1], t->ne[2], t->ne[3], info->name);
    t->n_bytes = n_bytes;
    return CAMA_OK;
}

static cama_err read_tensor_rest(gguf_cursor *c, gguf_tensor *t, uint64_t *out_offset,
                                 err_info *err)
{
    cama_err e = read_shape(c, t, err);
    uint32_t id;
    if (!e)
        e = gguf_read_u32(c, &id, err);
    if (!e)
        e = check_type(id, &t->type, err);
    if (!e)
        e = find_size(t, err);
    if (!e)
        e = gguf_read_u64(c, out_offset, err);
    return e;
}

static cama_err read_tensor(gguf_cursor *c, gguf_tensor *t, uint64_t *out_offset, err_info *err)
{
    cama_err e = gguf_read_str(c, &t->name, err);
    if (e)
        return err_wrap(err, e, "tensor name");
    if (t->name.n > GGUF_MAX_NAME_BYTES)
        return err_set(err, CAMA_ERR_FORMAT, "tensor '%s' has a name of %zu bytes, the limit is %d",
                       gguf_show(t->name).text, t->name.n, GGUF_MAX_NAME_BYTES);
    e = read_tensor_rest(c, t, out_offset, err);
    return e ? err_wrap(err, e, "tensor '%s'", gguf_show(t->name).text) : CAMA_OK;
}

static cama_err read_alignment(const gguf_header *h, uint64_t *out, err_info *err)
{
    const gguf_kv *kv = gguf_find_in(h, "general.alignment");
    *out = DEFAULT_ALIGNMENT;
    if (!kv)
        return CAMA_OK;
    if (kv->type != GGUF_U32)
        return err_set(err, CAMA_ERR_FORMAT, "general.alignment is of type %s, not u32",
                       gguf_type_name(kv->type));
    const cama_err e = gguf_kv_u64(kv, out, err);
    if (e)
        return e;
    if (*out < 8 || (*out & (*out - 1)))
        return err_set(err, CAMA_ERR_FORMAT,
                       "general.alignment is %" PRIu64 ", not a power of two from 8 on", *out);
    return CAMA_OK;
}

/* Turns the offset of t into its place in the file. */
static cama_err place(const gguf_cursor *c, uint64_t data_at, uint64_t align, gguf_tensor *t,
                      span *s, err_info *err)
{
    if (s->begin % align)
        return err_set(err, CAMA_ERR_FORMAT,
                       "tensor '%s' is at offset %" PRIu64
                       ", not a multiple of the alignment %" PRIu64,
                       gguf_show(t->name).text, s->begin, align);
    uint64_t end_at;
    if (ckd_add(&s->end, s->begin, t->n_bytes) || ckd_add(&end_at, s->end, data_at) ||
        end_at > c->n_file)
        return err_set(err, CAMA_ERR_FORMAT,
                       "tensor '%s' has %" PRIu64 " bytes from offset %" PRIu64
                       " of the data on, which begins at %" PRIu64 ": past the file's %zu bytes",
                       gguf_show(t->name).text, t->n_bytes, s->begin, data_at, c->n_file);
    t->data = c->feed ? NULL : c->bytes + data_at + s->begin; /* a head has no data */
    return CAMA_OK;
}

static int compare_spans(const void *a, const void *b)
{
    const span *x = a;
    const span *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end); /* empty ones first */
}

static cama_err check_overlaps(const gguf_header *h, span *spans, err_info *err)
{
    qsort(spans, h->n_tensor, sizeof *spans, compare_spans);
    for (size_t i = 1; i < h->n_tensor; i++) {
        const span *a = &spans[i - 1];
        const span *b = &spans[i];
        if (a->end > b->begin)
            return err_set(err, CAMA_ERR_FORMAT,
                           "tensor '%s' ends at offset %" PRIu64 " of the data, past %" PRIu64
                           " where tensor '%s' begins",
                           gguf_show(h->tensors[a->i_tensor].name).text, a->end, b->begin,
                           gguf_show(h->tensors[b->i_tensor].name).text);
    }
    return CAMA_OK;
}

static cama_err read_list(gguf_cursor *c, gguf_header *h, span *spans, err_info *err)
{
    uint64_t align;
    cama_err e = read_alignment(h, &align, err);
    for (size_t i = 0; !e && i < h->n_tensor; i++) {
        spans[i].i_tensor = i;
        e = read_tensor(c, &h->tensors[i], &spans[i].begin, err);
        if (e)
            return err_wrap(err, e, "entry %zu of %zu of the tensor list", i, h->n_tensor);
    }
    /* no wrap: the cursor is within 512 MiB and the alignment within 2^31 */
    const uint64_t data_at = e ? 0 : (c->at + align - 1) / align * align;
    for (size_t i = 0; !e && i < h->n_tensor; i++)
        e = place(c, data_at, align, &h->tensors[i], &spans[i], err);
    return e ? e : check_overlaps(h, spans, err);
}

cama_err gguf_read_tensors(gguf_cursor *c, arena *a, gguf_header *h, err_info *err)
{
    h->tensors = arena_take_array(a, h->n_tensor, sizeof *h->tensors);
    span *spans = calloc(h->n_tensor + 1, sizeof *spans); /* + 1: none is not NULL */
    cama_err e;
    if (!h->tensors || !spans)
        e = err_set(err, CAMA_ERR_NOMEM, "no memory for a list of %zu tensors", h->n_tensor);
    else
        e = read_list(c, h, spans, err);
    free(spans);
    return e;
}
