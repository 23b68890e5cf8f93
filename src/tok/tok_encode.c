#include "tok/tok_int.h"

#include <stdlib.h>
#include <string.h>

/* A stretch of the text: id < 0 while it is still text. */
typedef struct fragment {
    size_t at, n;
    int32_t id;
} fragment;

typedef struct fragments {
    fragment *item;
    size_t n, cap;
} fragments;

static cama_err add(fragments *f, size_t at, size_t n, int32_t id, err_info *err)
{
    if (n == 0 && id < 0)
        return CAMA_OK;
    if (f->n == f->cap) {
        const size_t cap = f->cap ? 2 * f->cap : 16;
        fragment *item = realloc(f->item, cap * sizeof *item);
        if (!item)
            return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for %zu special tokens", cap);
        f->item = item;
        f->cap = cap;
    }
    f->item[f->n++] = (fragment){at, n, id};
    return CAMA_OK;
}

static bool has_bit(const uint32_t set[8], char byte)
{
    return set[(unsigned char)byte >> 5] >> ((unsigned char)byte & 31) & 1;
}

/* ASCII, as in C's isspace. */
static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The special token of class c that text starts with, TOK_NONE if there is none. */
static int32_t special_at(const tok_vocab *v, const tok_cut_class *c, const char *text,
                          bool parse_special)
{
    if (!has_bit(c->first, text[0]) || !has_bit(c->last, text[c->n_byte - 1]))
        return TOK_NONE;
    uint32_t id;
    if (!strmap_get(&v->cut_ids, text, c->n_byte, &id))
        return TOK_NONE;
    return parse_special || v->attr[id] == TOK_USER ? (int32_t)id : TOK_NONE;
}

/* The pieces of one raw fragment, cut at the special tokens of one length, leftmost first. */
static cama_err cut_fragment(const tok_vocab *v, const tok_cut_class *c, const char *text,
                             const fragment *f, bool parse_special, fragments *to, err_info *err)
{
    size_t done = f->at; /* the text before is in to */
    const size_t end = f->at + f->n;
    cama_err e = CAMA_OK;
    for (size_t i = f->at; !e && i + c->n_byte <= end;) {
        const int32_t id = special_at(v, c, text + i, parse_special);
        if (id < 0) {
            i++;
            continue;
        }
        size_t stop = i;
        while (v->strip[id] & TOK_LSTRIP && stop > done && is_space(text[stop - 1]))
            stop--;
        e = add(to, done, stop - done, TOK_NONE, err);
        if (!e)
            e = add(to, i, c->n_byte, id, err);
        i += c->n_byte;
        while (v->strip[id] & TOK_RSTRIP && i < end && is_space(text[i]))
            i++;
        done = i;
    }
    return e ? e : add(to, done, end - done, TOK_NONE, err);
}

/* Whether a token of the class may be in the text at all. */
static bool may_hold(const tok_cut_class *c, const uint32_t bytes[8])
{
    bool first = false;
    bool last = false;
    for (int i = 0; i < 8; i++) {
        first |= (c->first[i] & bytes[i]) != 0;
        last |= (c->last[i] & bytes[i]) != 0;
    }
    return first && last;
}

static cama_err cut_text(const tok_vocab *v, const char *text, size_t n, bool parse_special,
                         fragments *out, err_info *err)
{
    uint32_t bytes[8] = {0};
    for (size_t i = 0; i < n; i++)
        bytes[(unsigned char)text[i] >> 5] |= 1u << ((unsigned char)text[i] & 31);
    fragments other = {0};
    cama_err e = add(out, 0, n, TOK_NONE, err);
    for (uint32_t k = 0; !e && k < v->n_cut; k++) {
        if (!may_hold(&v->cut[k], bytes))
            continue;
        other.n = 0;
        for (size_t i = 0; !e && i < out->n; i++) {
            const fragment f = out->item[i];
            e = f.id >= 0 ? add(&other, f.at, f.n, f.id, err)
                          : cut_fragment(v, &v->cut[k], text, &f, parse_special, &other, err);
        }
        const fragments swap = *out;
        *out = other;
        other = swap;
    }
    free(other.item);
    return e;
}

static cama_err encode_raw(const tok_vocab *v, const char *text, size_t n, bool after_special,
                           tok_scratch *s, tok_ids *ids, err_info *err)
{
    switch (v->kind) {
    case TOK_KIND_BPE:
        return tok_bpe_encode(v, text, n, s, ids, err);
    case TOK_KIND_SPM:
        return tok_spm_encode(v, text, n, v->add_space_prefix && after_special, s, ids, err);
    case TOK_KIND_WPM:
        return tok_wpm_encode(v, text, n, s, ids, err);
    case TOK_KIND_UGM:
        return tok_ugm_encode(v, text, n, s, ids, err);
    case TOK_KIND_NONE:
        break;
    }
    return err_set(err, CAMA_ERR_UNSUPPORTED, "this model has no tokenizer");
}

static cama_err encode_fragments(const tok_vocab *v, const char *text, const fragments *f,
                                 tok_ids *ids, err_info *err)
{
    tok_scratch s = {0};
    buf_init(&s.text, SIZE_MAX);
    buf_init(&s.word, SIZE_MAX);
    tok_pieces_init(&s.pieces);
    cama_err e = CAMA_OK;
    bool after_special = true;
    for (size_t i = 0; !e && i < f->n; i++) {
        const fragment *it = &f->item[i];
        if (it->id >= 0)
            e = tok_push_id(ids, it->id, err);
        else
            e = encode_raw(v, text + it->at, it->n, after_special, &s, ids, err);
        after_special = it->id >= 0;
    }
    buf_done(&s.text);
    buf_done(&s.word);
    tok_pieces_done(&s.pieces);
    free(s.heap.item);
    free(s.node);
    return e;
}

static cama_err push_if(bool wanted, int32_t id, tok_ids *ids, err_info *err)
{
    return wanted && id >= 0 ? tok_push_id(ids, id, err) : CAMA_OK;
}

cama_err tok_encode(const tok_vocab *v, const char *text, size_t n, tok_flags flags, tok_ids *ids,
                    err_info *err)
{
    if (n > TOK_MAX_ENCODE_BYTES)
        return err_set(err, CAMA_ERR_LIMIT, "tok: text of %zu bytes, limit %d", n,
                       TOK_MAX_ENCODE_BYTES);
    const size_t n_before = ids->n;
    const tok_special *sp = &v->special;
    const bool sep_at_end = v->kind == TOK_KIND_WPM || sp->add_sep;
    fragments f = {0};
    cama_err e = cut_text(v, text, n, flags.parse_special, &f, err);
    if (!e)
        e = push_if(flags.add_special && sp->add_bos, sp->bos, ids, err);
    if (!e)
        e = encode_fragments(v, text, &f, ids, err);
    if (!e)
        e = push_if(flags.add_special && sep_at_end, sp->sep, ids, err);
    if (!e)
        e = push_if(flags.add_special && sp->add_eos, sp->eos, ids, err);
    free(f.item);
    if (e)
        ids->n = n_before;
    return e;
}
