#include "tok/tok_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { SHORT_WORD = 32 }; /* symbols up to which looking at all pairs beats a queue */
#define NO_RANK UINT32_MAX

static uint32_t byte_to_char(uint8_t byte)
{
    if ((byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174)
        return byte;
    if (byte <= 32)
        return 256u + byte;
    if (byte == 173)
        return 256 + 67;
    return 256u + 33 + (byte - 127u);
}

int tok_char_to_byte(uint32_t cp)
{
    if (cp < 256)
        return byte_to_char((uint8_t)cp) == cp ? (int)cp : -1;
    if (cp <= 256 + 32)
        return (int)cp - 256;
    if (cp < 256 + 67)
        return (int)cp - 256 - 33 + 127;
    return cp == 256 + 67 ? 173 : -1;
}

/* ---- pairs -------------------------------------------------------------------------------------
 */

static uint32_t slot_of(const tok_bpe *b, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) ^ b->key;
    h ^= h >> 31;
    h *= 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
    h *= 0xBF58476D1CE4E5B9u;
    return (uint32_t)(h >> 32) & b->slot_mask;
}

/* Rank of a pair, NO_RANK if it does not merge. */
static uint32_t rank_of(const tok_bpe *b, int32_t left, int32_t right)
{
    if (left < 0 || right < 0 || !b->slot)
        return NO_RANK;
    for (uint32_t i = slot_of(b, left, right); b->slot[i]; i = (i + 1) & b->slot_mask) {
        const tok_merge *m = &b->merge[b->slot[i] - 1];
        if (m->left == left && m->right == right)
            return b->slot[i] - 1;
    }
    return NO_RANK;
}

static int32_t symbol_of(const tok_vocab *v, const char *text, size_t n)
{
    uint32_t i;
    if (strmap_get(&v->ids, text, n, &i))
        return (int32_t)i;
    return strmap_get(&v->bpe.extra, text, n, &i) ? (int32_t)(v->n_token + i) : -1;
}

static tok_str symbol_text(const tok_vocab *v, int32_t sym)
{
    return (uint32_t)sym < v->n_token ? v->text[sym]
                                      : v->bpe.extra_text[(uint32_t)sym - v->n_token];
}

/* ---- opening -----------------------------------------------------------------------------------
 */

static cama_err grow_extra(tok_bpe *b, err_info *err)
{
    if (b->n_extra < b->cap_extra)
        return CAMA_OK;
    const uint32_t cap = b->cap_extra ? 2 * b->cap_extra : 64;
    tok_str *text = realloc(b->extra_text, cap * sizeof *text);
    if (!text)
        return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for %u symbols", cap);
    b->extra_text = text;
    b->cap_extra = cap;
    return CAMA_OK;
}

/* The symbol of a text, made if no token and no merge named it yet. */
static cama_err intern(tok_vocab *v, const char *text, size_t n, int32_t *out, err_info *err)
{
    *out = symbol_of(v, text, n);
    if (*out >= 0)
        return CAMA_OK;
    tok_bpe *b = &v->bpe;
    cama_err e = grow_extra(b, err);
    if (e)
        return e;
    char *copy = arena_copy(&v->vocab_arena, text, n);
    if (!copy || strmap_set(&b->extra, copy, n, b->n_extra))
        return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for the text of a merge");
    b->extra_text[b->n_extra] = (tok_str){copy, n};
    *out = (int32_t)(v->n_token + b->n_extra++);
    return CAMA_OK;
}

static cama_err open_merge(tok_vocab *v, tok_str text, uint32_t rank, buf *both, err_info *err)
{
    /* The left part is not empty, and may itself start with a space. */
    const char *space = text.n > 1 ? memchr(text.text + 1, ' ', text.n - 1) : NULL;
    if (!space || text.n > TOK_MAX_TEXT)
        return err_set(err, CAMA_ERR_FORMAT, "tok: merge %u is no pair: '%.*s'", rank,
                       (int)(text.n < 64 ? text.n : 64), text.text);
    const size_t n_left = (size_t)(space - text.text);
    const size_t n_right = text.n - n_left - 1;
    tok_merge *m = &v->bpe.merge[rank];
    buf_clear(both);
    (void)buf_append(both, text.text, n_left); /* sticky: looked at below */
    (void)buf_append(both, space + 1, n_right);
    cama_err e = buf_error(both, "merge", err);
    if (!e)
        e = intern(v, text.text, n_left, &m->left, err);
    if (!e)
        e = intern(v, space + 1, n_right, &m->right, err);
    if (!e)
        e = intern(v, both->data, both->n, &m->both, err);
    return e;
}

static cama_err open_merges(tok_vocab *v, const tok_vocab_def *def, err_info *err)
{
    tok_bpe *b = &v->bpe;
    if (def->n_merge == 0)
        return CAMA_OK;
    if (def->n_merge > TOK_MAX_MERGE)
        return err_set(err, CAMA_ERR_LIMIT, "tok: %zu merges, limit %d", def->n_merge,
                       TOK_MAX_MERGE);
    uint32_t n_slot = 4;
    while (n_slot < 2 * def->n_merge)
        n_slot *= 2;
    b->merge = malloc(def->n_merge * sizeof *b->merge);
    b->slot = calloc(n_slot, sizeof *b->slot);
    if (!b->merge || !b->slot)
        return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for %zu merges", def->n_merge);
    b->slot_mask = n_slot - 1;
    buf both;
    buf_init(&both, TOK_MAX_TEXT);
    cama_err e = CAMA_OK;
    for (uint32_t rank = 0; !e && rank < def->n_merge; rank++) {
        e = open_merge(v, def->merges[rank], rank, &both, err);
        if (e || rank_of(b, b->merge[rank].left, b->merge[rank].right) != NO_RANK)
            continue; /* the first of two equal merges counts */
        uint32_t i = slot_of(b, b->merge[rank].left, b->merge[rank].right);
        while (b->slot[i])
            i = (i + 1) & b->slot_mask;
        b->slot[i] = rank + 1;
        b->n_merge++;
    }
    buf_done(&both);
    return e;
}

cama_err tok_bpe_open(tok_vocab *v, const tok_vocab_def *def, const tok_pre *pre, err_info *err)
{
    tok_bpe *b = &v->bpe;
    b->chars = pre->effects & TOK_PRE_CHARS;
    b->ignore_merges = pre->effects & TOK_PRE_IGNORE_MERGES;
    b->key = v->ids.key[0];
    cama_err e = strmap_init(&b->extra, 0);
    if (e)
        return err_set(err, e, "tok: no memory for merges");
    e = open_merges(v, def, err);
    for (int byte = 0; !e && byte < 256; byte++) {
        char text[4];
        const size_t n = utf8_encode(byte_to_char((uint8_t)byte), text);
        e = intern(v, text, n, &b->byte_sym[byte], err);
    }
    return e ? e : tok_splitter_new(pre->set, &b->splitter, err);
}

void tok_bpe_close(tok_bpe *b)
{
    free(b->merge);
    free(b->slot);
    free(b->extra_text);
    strmap_done(&b->extra);
    tok_splitter_free(b->splitter);
}

/* ---- one word ----------------------------------------------------------------------------------
 */

/* One symbol a byte, or a character of a vocabulary without byte mapping. */
static size_t word_symbols(const tok_vocab *v, const char *word, size_t n, tok_node *node)
{
    size_t n_node = 0;
    for (size_t i = 0; i < n; n_node++) {
        size_t step = 1;
        if (v->bpe.chars) {
            uint32_t cp;
            step = utf8_decode(word + i, n - i, &cp);
        }
        const int32_t sym =
            v->bpe.chars ? symbol_of(v, word + i, step) : v->bpe.byte_sym[(unsigned char)word[i]];
        node[n_node] = (tok_node){.at = (uint32_t)i, .n = (uint32_t)step, .sym = sym};
        i += step;
    }
    return n_node;
}

/* The pair of least rank, the leftmost of equal ones, until none merges. O(n^2), n is small. */
static size_t merge_short(const tok_bpe *b, tok_node *node, size_t n)
{
    uint32_t rank[SHORT_WORD];
    for (size_t i = 0; i + 1 < n; i++)
        rank[i] = rank_of(b, node[i].sym, node[i + 1].sym);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best])
                best = i;
        if (rank[best] == NO_RANK)
            break;
        node[best].sym = b->merge[rank[best]].both;
        node[best].n += node[best + 1].n;
        for (size_t i = best + 1; i + 1 < n; i++) {
            node[i] = node[i + 1];
            rank[i] = i + 2 < n ? rank[i + 1] : NO_RANK;
        }
        n--;
        if (best > 0)
            rank[best - 1] = rank_of(b, node[best - 1].sym, node[best].sym);
        if (best + 1 < n)
            rank[best] = rank_of(b, node[best].sym, node[best + 1].sym);
    }
    return n;
}

static cama_err queue_pair(const tok_bpe *b, tok_scratch *s, int32_t left, err_info *err)
{
    if (left < 0 || s->node[left].next < 0)
        return CAMA_OK;
    const uint32_t rank = rank_of(b, s->node[left].sym, s->node[s->node[left].next].sym);
    if (rank == NO_RANK)
        return CAMA_OK;
    return tok_heap_push(&s->heap, (uint64_t)rank << 32 | (uint32_t)left, 0, err);
}

static void swallow_next(tok_node *node, int32_t left)
{
    const int32_t right = node[left].next;
    node[left].n += node[right].n;
    node[left].next = node[right].next;
    if (node[right].next >= 0)
        node[node[right].next].prev = left;
    node[right].n = 0;
}

/* The same with a queue: O(n log n). Entries go stale when a neighbour was merged away; a pair
 * whose symbols are no longer those of the rank is passed over. */
static cama_err merge_long(const tok_bpe *b, tok_scratch *s, size_t *n_node, err_info *err)
{
    tok_node *node = s->node;
    cama_err e = CAMA_OK;
    s->heap.n = 0;
    for (size_t i = 0; i < *n_node; i++) {
        node[i].prev = (int32_t)i - 1;
        node[i].next = i + 1 < *n_node ? (int32_t)i + 1 : -1;
    }
    for (size_t i = 0; !e && i < *n_node; i++)
        e = queue_pair(b, s, (int32_t)i, err);
    tok_heap_item item;
    while (!e && tok_heap_pop(&s->heap, &item)) {
        const tok_merge *m = &b->merge[item.key >> 32];
        const int32_t left = (int32_t)(item.key & UINT32_MAX);
        const int32_t right = node[left].next;
        if (node[left].n == 0 || right < 0 || node[left].sym != m->left ||
            node[right].sym != m->right)
            continue;
        swallow_next(node, left);
        node[left].sym = m->both;
        e = queue_pair(b, s, node[left].prev, err);
        if (!e)
            e = queue_pair(b, s, left, err);
    }
    size_t n = 0;
    for (size_t i = 0; i < *n_node; i++)
        if (node[i].n)
            node[n++] = node[i];
    *n_node = n;
    return e;
}

/* A symbol that is no token: its bytes, as many as are tokens. */
static cama_err push_symbol(const tok_vocab *v, const char *word, const tok_node *node,
                            tok_ids *ids, err_info *err)
{
    if (node->sym >= 0 && (uint32_t)node->sym < v->n_token)
        return tok_push_id(ids, node->sym, err);
    if (v->bpe.chars)
        return tok_push_bytes(v, word + node->at, node->n, ids, err);
    const tok_str text = symbol_text(v, node->sym);
    cama_err e = CAMA_OK;
    for (size_t i = 0; !e && i < text.n; i++) {
        const int32_t id = tok_find(v, text.text + i, 1);
        if (id >= 0)
            e = tok_push_id(ids, id, err);
    }
    return e;
}

/* The token that is the whole word, where the vocabulary asks for that. */
static cama_err whole_word(const tok_vocab *v, const char *word, size_t n, buf *mapped, int32_t *id,
                           err_info *err)
{
    *id = TOK_NONE;
    if (v->bpe.chars) {
        if (word[0] == '\n') /* a run of newlines is taken whole */
            *id = tok_find(v, word, n);
        return CAMA_OK;
    }
    if (!v->bpe.ignore_merges || n > v->max_text)
        return CAMA_OK;
    buf_clear(mapped);
    for (size_t i = 0; i < n; i++) {
        char text[4];
        const size_t k = utf8_encode(byte_to_char((uint8_t)word[i]), text);
        (void)buf_append(mapped, text, k); /* sticky: looked at below */
    }
    *id = tok_find(v, mapped->data, mapped->n);
    return buf_error(mapped, "word", err);
}

static cama_err encode_word(const tok_vocab *v, const char *word, size_t n, tok_scratch *s,
                            tok_ids *ids, err_info *err)
{
    int32_t whole;
    cama_err e = whole_word(v, word, n, &s->word, &whole, err);
    if (e)
        return e;
    if (whole >= 0)
        return tok_push_id(ids, whole, err);
    e = tok_scratch_nodes(s, n, err);
    if (e)
        return e;
    size_t n_node = word_symbols(v, word, n, s->node);
    if (n_node <= SHORT_WORD)
        n_node = merge_short(&v->bpe, s->node, n_node);
    else
        e = merge_long(&v->bpe, s, &n_node, err);
    for (size_t i = 0; !e && i < n_node; i++)
        e = push_symbol(v, word, &s->node[i], ids, err);
    return e;
}

cama_err tok_bpe_encode(const tok_vocab *v, const char *text, size_t n, tok_scratch *s,
                        tok_ids *ids, err_info *err)
{
    cama_err e = tok_clean_text(text, n, v->bpe.chars, &s->text, err);
    if (!e)
        e = tok_split(v->bpe.splitter, s->text.data, s->text.n, &s->pieces, err);
    size_t from = 0;
    for (size_t i = 0; !e && i < s->pieces.n_piece; i++) {
        e = encode_word(v, s->text.data + from, s->pieces.end[i] - from, s, ids, err);
        from = s->pieces.end[i];
    }
    return e;
}
