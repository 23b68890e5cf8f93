#include "tok/tok_int.h"

#include <string.h>

/* Length that the first byte promises; what does not follow it is not looked at. */
static size_t char_bytes(unsigned char lead)
{
    return lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/* Scores so that the best one has the least key: a float's bits, turned to sort like the number. */
static uint32_t score_key(float score)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    const uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ~ascending;
}

/* Queues left and its neighbour if together they are a token. */
static cama_err queue_pair(const tok_vocab *v, tok_scratch *s, int32_t left, err_info *err)
{
    if (left < 0 || s->node[left].next < 0)
        return CAMA_OK;
    const tok_node *node = &s->node[left];
    const size_t n = node->n + s->node[node->next].n;
    if (n > v->max_text)
        return CAMA_OK;
    const int32_t id = tok_find(v, s->text.data + node->at, n);
    if (id < 0)
        return CAMA_OK;
    const float score = v->score[id] + 0.0f; /* -0 is 0 */
    return tok_heap_push(&s->heap, (uint64_t)score_key(score) << 32 | (uint32_t)left, n, err);
}

static size_t split_chars(const char *text, size_t n, tok_node *node)
{
    size_t n_node = 0;
    for (size_t i = 0; i < n; n_node++) {
        size_t step = char_bytes((unsigned char)text[i]);
        if (step > n - i)
            step = n - i;
        node[n_node] = (tok_node){.at = (uint32_t)i,
                                  .n = (uint32_t)step,
                                  .prev = (int32_t)n_node - 1,
                                  .next = i + step < n ? (int32_t)n_node + 1 : -1};
        i += step;
    }
    return n_node;
}

/* Best score first, the leftmost of equal ones. A queued pair is stale when one of the two was
 * swallowed or grew, which shows in the length. */
static cama_err merge_all(const tok_vocab *v, tok_scratch *s, size_t n_node, err_info *err)
{
    tok_node *node = s->node;
    cama_err e = CAMA_OK;
    s->heap.n = 0;
    for (size_t i = 0; !e && i < n_node; i++)
        e = queue_pair(v, s, (int32_t)i, err);
    tok_heap_item item;
    while (!e && tok_heap_pop(&s->heap, &item)) {
        const int32_t left = (int32_t)(item.key & UINT32_MAX);
        const int32_t right = node[left].next;
        if (node[left].n == 0 || right < 0 || node[left].n + node[right].n != item.value)
            continue;
        node[left].n += node[right].n;
        node[left].next = node[right].next;
        if (node[right].next >= 0)
            node[node[right].next].prev = left;
        node[right].n = 0;
        e = queue_pair(v, s, node[left].prev, err);
        if (!e)
            e = queue_pair(v, s, left, err);
    }
    return e;
}

static cama_err escape_text(const char *text, size_t n, bool prefix, buf *out, err_info *err)
{
    buf_clear(out);
    if (prefix)
        (void)buf_puts(out, TOK_SPACE); /* sticky: looked at below */
    for (size_t done = 0; done < n;) {
        const char *space = memchr(text + done, ' ', n - done);
        const size_t stop = space ? (size_t)(space - text) : n;
        (void)buf_append(out, text + done, stop - done);
        if (space)
            (void)buf_puts(out, TOK_SPACE);
        done = stop + (space != NULL);
    }
    return buf_error(out, "text to encode", err);
}

cama_err tok_spm_encode(const tok_vocab *v, const char *text, size_t n, bool prefix, tok_scratch *s,
                        tok_ids *ids, err_info *err)
{
    cama_err e = escape_text(text, n, prefix, &s->text, err);
    if (!e)
        e = tok_scratch_nodes(s, s->text.n, err);
    if (e || s->text.n == 0)
        return e;
    const size_t n_node = split_chars(s->text.data, s->text.n, s->node);
    e = merge_all(v, s, n_node, err);
    for (int32_t i = 0; !e && i >= 0; i = s->node[i].next) {
        const char *word = s->text.data + s->node[i].at;
        const int32_t id = tok_find(v, word, s->node[i].n);
        e = id >= 0 ? tok_push_id(ids, id, err) : tok_push_bytes(v, word, s->node[i].n, ids, err);
    }
    return e;
}
