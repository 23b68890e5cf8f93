#include "tok/tok_pre.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/utf8.h"
#include "tok/tok_class.h"

enum { MAX_TEXT_BYTES = 1 << 30, MAX_REGEX_BYTES = 65536 };

struct tok_splitter {
    const tok_set *set;
    pcre2_code *code[TOK_PRE_MAX_STEP];
    bool has_jit[TOK_PRE_MAX_STEP];
    uint8_t bmp[65536]; /* class byte of the characters that most texts are made of */
};

/* ---- the expressions ---------------------------------------------------------------------------
 */

/* Our own, so that PCRE2's memory is counted and can be made to fail like the rest. */
static void *take(PCRE2_SIZE n, void *unused)
{
    (void)unused;
    return malloc(n);
}

static void give(void *p, void *unused)
{
    (void)unused;
    free(p);
}

static void put_classes(buf *out, unsigned first, unsigned last)
{
    for (unsigned group = 0; group < 8; group++)
        (void)buf_printf(out, "\\x%02X-\\x%02X", 0x80u | group << 4 | first,
                         0x80u | group << 4 | last); /* sticky in out */
}

/* The bytes of \p{name} as the inside of a bracket; false if there is no such name. */
static bool put_property(buf *out, char name)
{
    switch (name) {
    case 'L':
        (void)buf_puts(out, "A-Za-z");
        put_classes(out, TOK_CLASS_UPPER, TOK_CLASS_LETTER);
        return true;
    case 'H':
        put_classes(out, TOK_CLASS_UPPER, TOK_CLASS_LETTER);
        return true;
    case 'N':
        (void)buf_puts(out, "0-9");
        put_classes(out, TOK_CLASS_NUMBER, TOK_CLASS_NUMBER);
        return true;
    case 'M':
        put_classes(out, TOK_CLASS_MARK, TOK_CLASS_MARK);
        return true;
    case 'P':
        (void)buf_puts(out, "!-#%-*,-/:;?@\\[-\\]_{}");
        put_classes(out, TOK_CLASS_PUNCT, TOK_CLASS_PUNCT);
        return true;
    case 'S':
        (void)buf_puts(out, "$+<=>\\^`|~");
        put_classes(out, TOK_CLASS_SYMBOL, TOK_CLASS_SYMBOL);
        return true;
    default:
        if (name < '1' || name > '7')
            return false;
        const unsigned group = (unsigned)(name - '0') << 4;
        (void)buf_printf(out, "\\x%02X-\\x%02X", 0x80u | group, 0x8Fu | group);
        return true;
    }
}

/* From the notation of tok_pre.h to PCRE2's over class bytes. */
static cama_err translate(const char *regex, buf *out, err_info *err)
{
    bool inside = false; /* a bracket: properties then add to it */
    for (const char *p = regex; *p; p++) {
        if (p[0] == '\\' && p[1] == 'p' && p[2] == '{' && p[3] && p[4] == '}') {
            if (!inside)
                (void)buf_putc(out, '['); /* sticky: looked at below */
            if (!put_property(out, p[3]))
                return err_set(err, CAMA_ERR_INTERNAL, "tok: unknown property in '%s'", regex);
            if (!inside)
                (void)buf_putc(out, ']');
            p += 4;
            continue;
        }
        if (p[0] == '\\' && p[1]) {
            (void)buf_append(out, p, 2);
            p++;
            continue;
        }
        if (*p == '[')
            inside = true;
        if (*p == ']')
            inside = false;
        (void)buf_putc(out, *p);
    }
    return buf_error(out, "pre-tokenizer expression", err);
}

static cama_err compile_step(tok_splitter *s, size_t i, pcre2_compile_context *ctx, err_info *err)
{
    buf text;
    buf_init(&text, MAX_REGEX_BYTES);
    cama_err e = translate(s->set->step[i].regex, &text, err);
    if (!e) {
        int code = 0;
        PCRE2_SIZE at = 0;
        s->code[i] = pcre2_compile((PCRE2_SPTR)text.data, text.n,
                                   PCRE2_NO_AUTO_CAPTURE | PCRE2_DOLLAR_ENDONLY, &code, &at, ctx);
        if (!s->code[i])
            e = err_set(err, code == PCRE2_ERROR_HEAP_FAILED ? CAMA_ERR_NOMEM : CAMA_ERR_INTERNAL,
                        "tok: expression '%s' fails at %zu with %d", s->set->step[i].regex,
                        (size_t)at, code);
        else /* without the right to make code at run time the interpreter does it */
            s->has_jit[i] = pcre2_jit_compile(s->code[i], PCRE2_JIT_COMPLETE) == 0;
    }
    buf_done(&text);
    return e;
}

static unsigned group_of(const tok_set *set, uint32_t cp)
{
    for (size_t i = 0; i < set->n_group && set->group[i].lo <= cp; i++)
        if (cp <= set->group[i].hi)
            return set->group[i].number;
    return 0;
}

static uint8_t class_byte(const tok_set *set, uint32_t cp, tok_class cls)
{
    if (cp < 0x80)
        return (uint8_t)cp;
    if (cls == TOK_CLASS_SPACE)
        return '\v';
    return (uint8_t)(0x80u | group_of(set, cp) << 4 | (unsigned)cls);
}

cama_err tok_splitter_new(const tok_set *set, tok_splitter **out, err_info *err)
{
    tok_splitter *s = calloc(1, sizeof *s);
    pcre2_general_context *general = pcre2_general_context_create(take, give, NULL);
    pcre2_compile_context *ctx = general ? pcre2_compile_context_create(general) : NULL;
    cama_err e = CAMA_OK;
    if (!s || !ctx)
        e = err_set(err, CAMA_ERR_NOMEM, "tok: no memory for a pre-tokenizer");
    if (!e) {
        s->set = set;
        tok_class_fill(s->bmp);
        for (uint32_t cp = 0; cp < 65536; cp++)
            s->bmp[cp] = class_byte(set, cp, (tok_class)s->bmp[cp]);
    }
    for (size_t i = 0; !e && i < set->n_step; i++)
        if (set->step[i].kind == TOK_STEP_REGEX)
            e = compile_step(s, i, ctx, err);
    pcre2_compile_context_free(ctx);
    pcre2_general_context_free(general);
    if (e) {
        tok_splitter_free(s);
        return e;
    }
    *out = s;
    return CAMA_OK;
}

void tok_splitter_free(tok_splitter *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < TOK_PRE_MAX_STEP; i++)
        pcre2_code_free(s->code[i]);
    free(s);
}

/* ---- scratch -----------------------------------------------------------------------------------
 */

void tok_pieces_init(tok_pieces *p)
{
    *p = (tok_pieces){0};
}

void tok_pieces_done(tok_pieces *p)
{
    free(p->end);
    free(p->end_other);
    free(p->cls);
    free(p->at);
    pcre2_match_data_free(p->match);
    *p = (tok_pieces){0};
}

/* Room for n characters: there are never more pieces than that. */
static cama_err reserve(tok_pieces *p, size_t n, err_info *err)
{
    if (!p->match) {
        pcre2_general_context *general = pcre2_general_context_create(take, give, NULL);
        p->match = general ? pcre2_match_data_create(1, general) : NULL;
        pcre2_general_context_free(general);
        if (!p->match)
            return err_set(err, CAMA_ERR_NOMEM, "tok: no memory to split");
    }
    if (n <= p->cap)
        return CAMA_OK;
    void *match = p->match;
    p->match = NULL;
    tok_pieces_done(p); /* nothing in it is needed any more */
    p->match = match;
    const size_t cap = n + n / 4 + 64;
    p->end = malloc(cap * sizeof *p->end);
    p->end_other = malloc(cap * sizeof *p->end_other);
    p->cls = malloc(cap);
    p->at = malloc((cap + 1) * sizeof *p->at);
    if (!p->end || !p->end_other || !p->cls || !p->at)
        return err_set(err, CAMA_ERR_NOMEM, "tok: no memory to split %zu characters", n);
    p->cap = cap;
    return CAMA_OK;
}

/* ---- splitting ---------------------------------------------------------------------------------
 */

/* The pieces while the steps run: ends counted in characters. */
typedef struct cut_list {
    uint32_t *end;
    size_t n;
} cut_list;

static void cut(cut_list *to, size_t end)
{
    if (end > (to->n ? to->end[to->n - 1] : 0))
        to->end[to->n++] = (uint32_t)end;
}

static int match_at(const tok_splitter *s, size_t i, const uint8_t *cls, size_t n, size_t from,
                    pcre2_match_data *match)
{
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (s->has_jit[i])
        rc = pcre2_jit_match(s->code[i], cls, n, from, 0, match, NULL);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter's stack is on the heap */
        rc = pcre2_match(s->code[i], cls, n, from, PCRE2_NO_JIT, match, NULL);
    return rc;
}

/* The piece [first, last) cut by expression i. Look-around must not see past the piece. */
static cama_err split_regex(const tok_splitter *s, size_t i, const tok_pieces *p, size_t first,
                            size_t last, cut_list *to, err_info *err)
{
    const size_t n = last - first;
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(p->match);
    for (size_t from = 0; from < n;) {
        const int rc = match_at(s, i, p->cls + first, n, from, p->match);
        if (rc == PCRE2_ERROR_NOMATCH)
            break;
        if (rc < 0)
            return err_set(err, rc == PCRE2_ERROR_NOMEMORY ? CAMA_ERR_NOMEM : CAMA_ERR_LIMIT,
                           "tok: the pre-tokenizer gives up on %zu characters (%d)", n, rc);
        cut(to, first + at[0]);
        cut(to, first + at[1]);
        from = at[1] > from ? at[1] : from + 1;
    }
    cut(to, last);
    return CAMA_OK;
}

static bool is_number(uint8_t cls, tok_step_kind kind)
{
    if (cls < 0x80 || kind != TOK_STEP_THREES_N)
        return cls >= '0' && cls <= '9';
    return (cls & 0x0F) == TOK_CLASS_NUMBER;
}

/* 12345 becomes 12 345. As an expression this would look ahead to the end of the run at each cut.
 */
static void split_threes(tok_step_kind kind, const tok_pieces *p, size_t first, size_t last,
                         cut_list *to)
{
    for (size_t i = first; i < last;) {
        size_t end = i;
        while (end < last && is_number(p->cls[end], kind))
            end++;
        if (end == i) {
            i++;
            continue;
        }
        for (size_t at = i + (end - i) % 3; at < end; at += 3)
            if (at > i || kind == TOK_STEP_THREES_D)
                cut(to, at);
        if (kind == TOK_STEP_THREES_N)
            cut(to, end);
        i = end;
    }
    cut(to, last);
}

static cama_err run_step(const tok_splitter *s, size_t i, const tok_pieces *p, cut_list *from,
                         cut_list *to, err_info *err)
{
    const tok_step *step = &s->set->step[i];
    cama_err e = CAMA_OK;
    to->n = 0;
    for (size_t k = 0; !e && k < from->n; k++) {
        const size_t first = k ? from->end[k - 1] : 0;
        if (step->kind == TOK_STEP_REGEX)
            e = split_regex(s, i, p, first, from->end[k], to, err);
        else
            split_threes(step->kind, p, first, from->end[k], to);
    }
    return e;
}

/* Fills cls and at; gives the number of characters. */
static size_t classify(const tok_splitter *s, const char *text, size_t n, tok_pieces *p)
{
    size_t n_char = 0;
    for (size_t i = 0; i < n; n_char++) {
        p->at[n_char] = (uint32_t)i;
        if ((unsigned char)text[i] < 0x80) {
            p->cls[n_char] = (uint8_t)text[i++];
            continue;
        }
        uint32_t cp;
        i += utf8_decode(text + i, n - i, &cp);
        p->cls[n_char] = cp < 65536 ? s->bmp[cp] : class_byte(s->set, cp, tok_class_of(cp));
    }
    p->at[n_char] = (uint32_t)n;
    return n_char;
}

cama_err tok_split(const tok_splitter *s, const char *text, size_t n, tok_pieces *p, err_info *err)
{
    p->n_piece = 0;
    if (n == 0)
        return CAMA_OK;
    if (n > MAX_TEXT_BYTES)
        return err_set(err, CAMA_ERR_LIMIT, "tok: text of %zu bytes, limit %d", n, MAX_TEXT_BYTES);
    cama_err e = reserve(p, n, err);
    if (e)
        return e;
    cut_list now = {p->end, 0};
    cut_list next = {p->end_other, 0};
    cut(&now, classify(s, text, n, p));
    for (size_t i = 0; !e && i < s->set->n_step; i++) {
        e = run_step(s, i, p, &now, &next, err);
        const cut_list swap = now;
        now = next;
        next = swap;
    }
    if (e)
        return e;
    p->end = now.end;
    p->end_other = next.end;
    for (size_t k = 0; k < now.n; k++)
        p->end[k] = p->at[p->end[k]];
    p->n_piece = now.n;
    return CAMA_OK;
}
