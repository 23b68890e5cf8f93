#include "tok/tok_int.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* A unigram model: of all ways to cut a text into tokens, the one with the greatest sum of scores
 * (Kudo 2018). Before that the text is normalised by the file's own table, a double array with XOR
 * in place of addition, whose leaves point at replacement strings. */

#define UNKNOWN_PENALTY 10.0 /* SentencePiece's kUnkPenalty */

/* ---- opening --------------------------------------------------------------------------------- */

static bool is_matched(const tok_vocab *v, uint32_t id)
{
    return v->attr[id] == TOK_NORMAL || v->attr[id] == TOK_USER || v->attr[id] == TOK_UNUSED;
}

static int compare_texts(const tok_str *a, const tok_str *b)
{
    const size_t n = a->n < b->n ? a->n : b->n;
    const int order = memcmp(a->text, b->text, n);
    return order ? order : (a->n > b->n) - (a->n < b->n);
}

static int compare_entries(const void *a, const void *b)
{
    const tok_ugm_entry *x = a;
    const tok_ugm_entry *y = b;
    const int order = compare_texts(&x->text, &y->text);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

/* Tokens in the order of their texts: those that a text starts with lie on one path of searches. */
static cama_err open_entries(tok_vocab *v, err_info *err)
{
    tok_ugm *u = &v->ugm;
    u->entry = arena_take_array(&v->vocab_arena, v->n_token, sizeof *u->entry);
    if (!u->entry)
        return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for %u tokens", v->n_token);
    float min_score = FLT_MAX;
    for (uint32_t i = 0; i < v->n_token; i++) {
        if (is_matched(v, i))
            u->entry[u->n_entry++] = (tok_ugm_entry){v->text[i], (int32_t)i};
        if (v->attr[i] == TOK_NORMAL && v->score[i] < min_score)
            min_score = v->score[i];
        u->has_user |= v->attr[i] == TOK_USER;
    }
    qsort(u->entry, u->n_entry, sizeof *u->entry, compare_entries);
    u->unknown_score = (float)(min_score - UNKNOWN_PENALTY);
    return CAMA_OK;
}

static cama_err open_charsmap(tok_vocab *v, const tok_vocab_def *def, err_info *err)
{
    tok_ugm *u = &v->ugm;
    if (!def->charsmap || def->n_charsmap == 0)
        return CAMA_OK;
    uint32_t n_byte = 0;
    if (def->n_charsmap >= 4)
        memcpy(&n_byte, def->charsmap, 4);
    if (def->n_charsmap < 4 || n_byte % 4 || n_byte > def->n_charsmap - 4 ||
        def->charsmap[def->n_charsmap - 1])
        return err_set(err, CAMA_ERR_FORMAT, "tok: precompiled_charsmap of %zu bytes is malformed",
                       def->n_charsmap);
    char *copy = arena_copy(&v->vocab_arena, (const char *)def->charsmap, def->n_charsmap);
    uint32_t *units = arena_take(&v->vocab_arena, n_byte);
    if (!copy || !units)
        return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for the table of characters");
    memcpy(units, copy + 4, n_byte);
    u->unit = units;
    u->n_unit = n_byte / 4;
    u->replace = copy + 4 + n_byte;
    u->n_replace = def->n_charsmap - 4 - n_byte;
    return CAMA_OK;
}

cama_err tok_ugm_open(tok_vocab *v, const tok_vocab_def *def, err_info *err)
{
    v->ugm.merge_spaces = def->remove_extra_whitespaces > 0;
    const cama_err e = open_entries(v, err);
    return e ? e : open_charsmap(v, def, err);
}

/* ---- tokens that a text starts with ------------------------------------------------------------
 */

/* The entries that agree with the first n bytes of a text. */
typedef struct range {
    uint32_t lo, hi;
} range;

/* First of the entries in r whose byte at `at` is >= byte. An entry that ends before is less. */
static uint32_t lower_bound(const tok_ugm *u, range r, uint32_t at, unsigned byte)
{
    while (r.lo < r.hi) {
        const uint32_t mid = r.lo + (r.hi - r.lo) / 2;
        const tok_str *t = &u->entry[mid].text;
        if (t->n <= at || (unsigned char)t->text[at] < byte)
            r.lo = mid + 1;
        else
            r.hi = mid;
    }
    return r.lo;
}

static range narrow(const tok_ugm *u, range r, uint32_t at, unsigned char byte)
{
    const uint32_t lo = lower_bound(u, r, at, byte);
    return (range){lo, lower_bound(u, (range){lo, r.hi}, at, byte + 1u)};
}

/* Bytes of the longest user-defined token that text starts with. */
static size_t user_prefix(const tok_vocab *v, const char *text, size_t n)
{
    const tok_ugm *u = &v->ugm;
    size_t longest = 0;
    range r = {0, u->has_user ? u->n_entry : 0};
    for (uint32_t i = 0; i < n && r.lo < r.hi; i++) {
        r = narrow(u, r, i, (unsigned char)text[i]);
        for (uint32_t k = r.lo; k < r.hi && u->entry[k].text.n == i + 1; k++)
            if (v->attr[u->entry[k].id] == TOK_USER)
                longest = i + 1;
    }
    return longest;
}

/* ---- normalising -------------------------------------------------------------------------------
 */

static uint32_t unit_base(uint32_t unit)
{
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

/* Bytes of the longest prefix that the table replaces, 0 if none; *out_text is what by. */
static size_t table_prefix(const tok_ugm *u, const char *text, size_t n, const char **out_text)
{
    size_t longest = 0;
    uint32_t node = u->n_unit ? unit_base(u->unit[0]) : 0;
    for (size_t i = 0; i < n && text[i] && u->n_unit; i++) {
        const unsigned char byte = (unsigned char)text[i];
        node ^= byte;
        if (node >= u->n_unit || (u->unit[node] & 0x800000FFu) != byte)
            break;
        const bool is_leaf = u->unit[node] >> 8 & 1;
        node ^= unit_base(u->unit[node]);
        if (node >= u->n_unit)
            break;
        const uint32_t at = u->unit[node] & 0x7FFFFFFFu;
        if (is_leaf && at < u->n_replace) {
            longest = i + 1;
            *out_text = u->replace + at; /* the table ends with a NUL */
        }
    }
    return longest;
}

typedef struct spacing {
    bool prefix;  /* a space before the first word */
    bool merge;   /* one space for many, none at the ends */
    bool started; /* the first word was met */
    bool in_word;
} spacing;

static void put_normal(const char *text, size_t n, spacing *s, buf *out)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ' ') {
            s->in_word = false;
            if (!s->merge)
                (void)buf_puts(out, TOK_SPACE); /* sticky: looked at by normalise */
            continue;
        }
        if (!s->in_word && ((s->prefix && !s->started) || s->merge)) {
            (void)buf_puts(out, TOK_SPACE);
            s->started = true;
        }
        s->in_word = true;
        (void)buf_putc(out, text[i]);
    }
}

static cama_err normalise(const tok_vocab *v, const char *text, size_t n, buf *out, err_info *err)
{
    spacing s = {.prefix = v->add_space_prefix, .merge = v->ugm.merge_spaces};
    buf_clear(out);
    for (size_t i = 0; i < n;) {
        const char *by = text + i;
        size_t step = user_prefix(v, text + i, n - i);
        size_t n_by = step;
        if (step == 0 && (step = table_prefix(&v->ugm, text + i, n - i, &by)) > 0)
            n_by = strlen(by);
        if (step == 0) {
            uint32_t cp;
            step = n_by = utf8_decode(text + i, n - i, &cp);
            if (!utf8_valid(text + i, step)) {
                step = 1;
                n_by = 3;
                by = "\xEF\xBF\xBD";
            }
        }
        put_normal(by, n_by, &s, out);
        i += step;
    }
    return buf_error(out, "text to encode", err);
}

/* ---- the best way ------------------------------------------------------------------------------
 */

/* The best way to cut the text up to some byte: its last token starts at from. */
typedef struct way {
    double score;
    uint32_t from;
    int32_t id;
} way;

static size_t char_bytes(const char *text, size_t n)
{
    uint32_t cp;
    return utf8_decode(text, n, &cp);
}

static void offer(way *to, double score, uint32_t from, int32_t id)
{
    if (score > to->score)
        *to = (way){score, from, id};
}

/* Goes on from byte i with every token that the text there starts with. */
static void extend(const tok_vocab *v, const char *text, uint32_t n, uint32_t i, uint32_t n_char,
                   way *best)
{
    const tok_ugm *u = &v->ugm;
    bool has_char = false;
    range r = {0, u->n_entry};
    for (uint32_t k = i; k < n && r.lo < r.hi; k++) {
        r = narrow(u, r, k - i, (unsigned char)text[k]);
        if (r.lo == r.hi || u->entry[r.lo].text.n != k - i + 1)
            continue;
        const int32_t id = u->entry[r.lo].id;
        has_char |= k - i + 1 == n_char;
        const double score = v->attr[id] == TOK_USER ? 0.0 : (double)v->score[id];
        offer(&best[k + 1], best[i].score + score, i, id);
    }
    if (!has_char)
        offer(&best[i + n_char], best[i].score + (double)u->unknown_score, i, v->special.unk);
}

/* The tokens of the best way, last one first, with one unknown token for a run of them. */
static cama_err collect(const tok_vocab *v, const way *best, uint32_t n, tok_ids *ids,
                        err_info *err)
{
    const size_t start = ids->n;
    bool after_unknown = false;
    for (uint32_t i = n; i > 0; i = best[i].from) {
        const int32_t id = best[i].id;
        const bool is_unknown = id == v->special.unk;
        if (id >= 0 && !(is_unknown && after_unknown)) {
            const cama_err e = tok_push_id(ids, id, err);
            if (e)
                return e;
        }
        after_unknown = is_unknown;
    }
    for (size_t a = start, b = ids->n; a + 1 < b; a++) {
        const int32_t swap = ids->id[a];
        ids->id[a] = ids->id[--b];
        ids->id[b] = swap;
    }
    return CAMA_OK;
}

cama_err tok_ugm_encode(const tok_vocab *v, const char *text, size_t n, tok_scratch *s,
                        tok_ids *ids, err_info *err)
{
    cama_err e = normalise(v, text, n, &s->text, err);
    if (e || s->text.n == 0)
        return e;
    if (s->text.n >= UINT32_MAX)
        return err_set(err, CAMA_ERR_LIMIT, "tok: normalised text of %zu bytes", s->text.n);
    const uint32_t n_byte = (uint32_t)s->text.n;
    way *best = malloc(((size_t)n_byte + 1) * sizeof *best);
    if (!best)
        return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for %u bytes of text", n_byte);
    for (uint32_t i = 0; i <= n_byte; i++)
        best[i] = (way){-DBL_MAX, 0, v->special.unk};
    best[0].score = 0;
    for (uint32_t i = 0; i < n_byte;) {
        const uint32_t n_char = (uint32_t)char_bytes(s->text.data + i, n_byte - i);
        extend(v, s->text.data, n_byte, i, n_char, best);
        i += n_char;
    }
    e = collect(v, best, n_byte, ids, err);
    free(best);
    return e;
}
