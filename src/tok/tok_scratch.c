#include "tok/tok_int.h"

#include <stdlib.h>

#include "base/utf8.h"

cama_err tok_heap_push(tok_heap *h, uint64_t key, uint64_t value, err_info *err)
{
    if (h->n == h->cap) {
        const size_t cap = h->cap ? 2 * h->cap : 256;
        tok_heap_item *item = realloc(h->item, cap * sizeof *item);
        if (!item)
            return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for %zu merges", cap);
        h->item = item;
        h->cap = cap;
    }
    size_t i = h->n++;
    while (i > 0 && h->item[(i - 1) / 2].key > key) {
        h->item[i] = h->item[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    h->item[i] = (tok_heap_item){key, value};
    return CAMA_OK;
}

bool tok_heap_pop(tok_heap *h, tok_heap_item *out)
{
    if (h->n == 0)
        return false;
    *out = h->item[0];
    const tok_heap_item last = h->item[--h->n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->n)
            break;
        if (child + 1 < h->n && h->item[child + 1].key < h->item[child].key)
            child++;
        if (h->item[child].key >= last.key)
            break;
        h->item[i] = h->item[child];
        i = child;
    }
    h->item[i] = last;
    return true;
}

cama_err tok_scratch_nodes(tok_scratch *s, size_t n, err_info *err)
{
    if (n <= s->cap_node)
        return CAMA_OK;
    const size_t cap = n + n / 2 + 64;
    free(s->node); /* old symbols are of no use to the next word */
    s->cap_node = 0;
    s->node = malloc(cap * sizeof *s->node);
    if (!s->node)
        return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for a word of %zu symbols", n);
    s->cap_node = cap;
    return CAMA_OK;
}

cama_err tok_clean_text(const char *text, size_t n, bool escape, buf *out, err_info *err)
{
    buf_clear(out);
    if (!escape && utf8_valid(text, n)) {
        (void)buf_append(out, text, n); /* sticky: looked at below */
        return buf_error(out, "text to encode", err);
    }
    size_t done = 0; /* bytes before it are in out */
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        const size_t step = utf8_decode(text + i, n - i, &cp);
        /* U+FFFD itself has three bytes, the first is EF. */
        const bool broken = cp == UTF8_REPLACEMENT && (step < 3 || (unsigned char)text[i] != 0xEF);
        if (broken || (escape && cp == ' ')) {
            (void)buf_append(out, text + done, i - done);
            for (size_t k = 0; k < step; k++)
                (void)buf_puts(out, broken ? "\xEF\xBF\xBD" : TOK_SPACE);
            done = i + step;
        }
        i += step;
    }
    (void)buf_append(out, text + done, n - done);
    return buf_error(out, "text to encode", err);
}

void tok_ids_init(tok_ids *ids, size_t max_n)
{
    *ids = (tok_ids){.max_n = max_n};
}

void tok_ids_done(tok_ids *ids)
{
    free(ids->id);
    *ids = (tok_ids){.max_n = ids->max_n};
}

cama_err tok_push_id(tok_ids *ids, int32_t id, err_info *err)
{
    if (ids->n >= ids->max_n)
        return err_set(err, CAMA_ERR_LIMIT, "tok: more than %zu tokens", ids->max_n);
    if (ids->n == ids->cap) {
        const size_t cap = ids->cap ? 2 * ids->cap : 64;
        int32_t *id_new = realloc(ids->id, cap * sizeof *id_new);
        if (!id_new)
            return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for %zu tokens", cap);
        ids->id = id_new;
        ids->cap = cap;
    }
    ids->id[ids->n++] = id;
    return CAMA_OK;
}

cama_err tok_push_bytes(const tok_vocab *v, const char *text, size_t n, tok_ids *ids, err_info *err)
{
    cama_err e = CAMA_OK;
    for (size_t i = 0; !e && i < n; i++) {
        int32_t id = v->byte_id[(unsigned char)text[i]];
        if (id < 0)
            id = v->special.unk;
        if (id >= 0)
            e = tok_push_id(ids, id, err);
    }
    return e;
}
