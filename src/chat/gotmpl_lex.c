/* Source -> tokens, one at a time: an error of the parser before a bad character comes first. */
#include "chat/gotmpl_int.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

#define SPACES " \t\r\n"
#define END_OF_INPUT UINT32_MAX

static const struct {
    const char *word;
    gtoken_kind kind;
} keywords[] = {
    {"block", GT_BLOCK},   {"break", GT_BREAK},       {"continue", GT_CONTINUE},
    {"define", GT_DEFINE}, {"else", GT_ELSE},         {"end", GT_END},
    {"if", GT_IF},         {"range", GT_RANGE},       {"nil", GT_NIL},
    {"with", GT_WITH},     {"template", GT_TEMPLATE}, {"true", GT_BOOL},
    {"false", GT_BOOL},
};

bool gstr_is(gstr s, const char *text)
{
    const size_t n = strlen(text);
    return s.n == n && memcmp(s.p, text, n) == 0;
}

bool gstr_same(gstr a, gstr b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static bool is_space(uint32_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool starts(const glexer *l, size_t at, const char *text)
{
    const size_t n = strlen(text);
    return at <= l->in.n && l->in.n - at >= n && memcmp(l->in.p + at, text, n) == 0;
}

/* Where text is from `at` on; l->in.n when it is not. */
static size_t find(const glexer *l, size_t at, const char *text)
{
    while (at < l->in.n && !starts(l, at, text))
        at++;
    return at < l->in.n ? at : l->in.n;
}

static uint32_t peek_char(const glexer *l, size_t *out_n)
{
    uint32_t cp = END_OF_INPUT;
    *out_n = l->pos < l->in.n ? gotmpl_decode(l->in, l->pos, &cp) : 0;
    return cp;
}

static uint32_t peek_cp(const glexer *l)
{
    size_t n;
    return peek_char(l, &n);
}

static uint32_t next_cp(glexer *l)
{
    size_t n;
    const uint32_t cp = peek_char(l, &n);
    l->pos += n;
    l->line += cp == '\n';
    return cp;
}

static gtoken token(glexer *l, gtoken_kind kind)
{
    const gtoken t = {
        kind, (uint32_t)l->start, l->start_line, {l->in.p + l->start, l->pos - l->start}};
    l->start = l->pos;
    l->start_line = l->line;
    return t;
}

static void count_lines(glexer *l, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        l->line += l->in.p[i] == '\n';
}

/* Go counts the lines of what it skips here even where it has already read over them. */
static void ignore(glexer *l)
{
    count_lines(l, l->start, l->pos);
    l->start = l->pos;
    l->start_line = l->line;
}

static gtoken error_token(glexer *l)
{
    const gtoken t = {GT_ERROR, (uint32_t)l->start, l->start_line, {l->error, strlen(l->error)}};
    l->in.n = 0;
    l->pos = 0;
    l->start = 0;
    l->in_action = false;
    return t;
}

static gtoken error_text(glexer *l, const char *text)
{
    (void)snprintf(l->error, sizeof l->error, "%s", text);
    return error_token(l);
}

/* fmt's %#U: U+0040 '@', the character only when it can be printed. */
static gtoken error_cp(glexer *l, const char *what, uint32_t cp)
{
    char bytes[5] = {0};
    if (cp == END_OF_INPUT) { /* Go's eof is rune -1 */
        (void)snprintf(l->error, sizeof l->error, "%s U+FFFFFFFFFFFFFFFF", what);
    } else if (gotmpl_is_print(cp)) {
        bytes[utf8_encode(cp, bytes)] = '\0';
        (void)snprintf(l->error, sizeof l->error, "%s U+%04X '%s'", what, (unsigned)cp, bytes);
    } else {
        (void)snprintf(l->error, sizeof l->error, "%s U+%04X", what, (unsigned)cp);
    }
    return error_token(l);
}

static bool left_trim(const glexer *l, size_t at)
{
    return at + 2 <= l->in.n && l->in.p[at] == '-' && is_space((unsigned char)l->in.p[at + 1]);
}

static bool right_trim(const glexer *l, size_t at)
{
    return at + 2 <= l->in.n && is_space((unsigned char)l->in.p[at]) && l->in.p[at + 1] == '-';
}

static bool at_right_delim(const glexer *l, bool *out_trim)
{
    *out_trim = right_trim(l, l->pos) && starts(l, l->pos + 2, "}}");
    return *out_trim || starts(l, l->pos, "}}");
}

static void skip_spaces(glexer *l)
{
    while (l->pos < l->in.n && strchr(SPACES, l->in.p[l->pos]) && l->in.p[l->pos])
        l->pos++;
}

/* Eats a comment with its right delimiter; false: l->error says why not. */
static bool skip_comment(glexer *l, gtoken *out_error)
{
    bool trim;
    l->pos += 2;
    const size_t end = find(l, l->pos, "*/");
    if (end == l->in.n) {
        *out_error = error_text(l, "unclosed comment");
        return false;
    }
    l->pos = end + 2;
    if (!at_right_delim(l, &trim)) {
        *out_error = error_text(l, "comment ends before closing delimiter");
        return false;
    }
    count_lines(l, l->start, l->pos);
    l->start = l->pos;
    l->pos += trim ? 4 : 2;
    if (trim)
        skip_spaces(l);
    ignore(l);
    return true;
}

static gtoken lex_text(glexer *l)
{
    for (;;) {
        const size_t open = find(l, l->pos, "{{");
        if (open == l->in.n) {
            l->pos = l->in.n;
            if (l->pos == l->start)
                return token(l, GT_EOF);
            count_lines(l, l->start, l->pos);
            return token(l, GT_TEXT);
        }
        if (open > l->pos) {
            size_t end = open;
            if (left_trim(l, open + 2))
                while (end > l->start && is_space((unsigned char)l->in.p[end - 1]))
                    end--;
            l->pos = end;
            count_lines(l, l->start, end);
            const gtoken t = token(l, GT_TEXT);
            l->pos = open;
            ignore(l);
            if (t.text.n)
                return t;
        }
        const size_t marker = left_trim(l, open + 2) ? 2 : 0;
        l->pos = open + 2;
        if (!starts(l, l->pos + marker, "/*")) {
            const gtoken t = token(l, GT_LEFT_DELIM);
            l->in_action = true;
            l->pos += marker;
            ignore(l);
            l->parens = 0;
            return t;
        }
        l->pos += marker;
        ignore(l);
        gtoken error;
        if (!skip_comment(l, &error))
            return error;
    }
}

static gtoken lex_right_delim(glexer *l)
{
    bool trim;
    (void)at_right_delim(l, &trim); /* it is one: only the marker is asked for */
    if (trim) {
        l->pos += 2;
        ignore(l);
    }
    l->pos += 2;
    const gtoken t = token(l, GT_RIGHT_DELIM);
    if (trim) {
        skip_spaces(l);
        ignore(l);
    }
    l->in_action = false;
    return t;
}

static gtoken lex_space(glexer *l)
{
    size_t n = 0;
    for (; is_space(peek_cp(l)); n++)
        (void)next_cp(l);
    if (right_trim(l, l->pos - 1) && starts(l, l->pos + 1, "}}")) { /* the marker takes a space */
        l->pos--;
        l->line -= l->in.p[l->pos] == '\n';
        if (n == 1)
            return lex_right_delim(l);
    }
    return token(l, GT_SPACE);
}

static bool at_terminator(const glexer *l)
{
    const uint32_t cp = peek_cp(l);
    if (cp == END_OF_INPUT || is_space(cp))
        return true;
    return (cp < 0x80 && strchr(".,|:)(", (int)cp) && cp) || starts(l, l->pos, "}}");
}

static gtoken lex_name(glexer *l, gtoken_kind kind)
{
    if (kind != GT_IDENT && at_terminator(l))
        return token(l, kind == GT_VARIABLE ? GT_VARIABLE : GT_DOT);
    while (peek_cp(l) != END_OF_INPUT && gotmpl_is_word(peek_cp(l)))
        (void)next_cp(l);
    if (!at_terminator(l))
        return error_cp(l, "bad character", peek_cp(l));
    gtoken t = token(l, kind);
    if (kind != GT_IDENT)
        return t;
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (gstr_is(t.text, keywords[i].word))
            t.kind = keywords[i].kind;
    return t;
}

/* Up to the closing quote; escapes are looked at later. */
static gtoken lex_quoted(glexer *l, uint32_t quote, gtoken_kind kind)
{
    for (;;) {
        uint32_t cp = next_cp(l);
        if (cp == '\\' && quote != '`') {
            cp = next_cp(l);
            if (cp != END_OF_INPUT && cp != '\n')
                continue;
        }
        if (cp == quote)
            return token(l, kind);
        if (cp == END_OF_INPUT || (cp == '\n' && quote != '`'))
            return error_text(l, quote == '\''  ? "unterminated character constant"
                                 : quote == '"' ? "unterminated quoted string"
                                                : "unterminated raw quoted string");
    }
}

static bool accept(glexer *l, const char *set)
{
    const uint32_t cp = peek_cp(l);
    if (cp == 0 || cp >= 0x80 || !strchr(set, (int)cp))
        return false;
    l->pos++;
    return true;
}

static void accept_run(glexer *l, const char *set)
{
    while (accept(l, set))
        continue;
}

static bool scan_number(glexer *l)
{
    const char *digits = "0123456789_";
    int base = 10;
    (void)accept(l, "+-");
    if (accept(l, "0")) {
        if (accept(l, "xX")) {
            digits = "0123456789abcdefABCDEF_";
            base = 16;
        } else if (accept(l, "oO")) {
            digits = "01234567_";
            base = 8;
        } else if (accept(l, "bB")) {
            digits = "01_";
            base = 2;
        }
    }
    accept_run(l, digits);
    if (accept(l, "."))
        accept_run(l, digits);
    if ((base == 10 && accept(l, "eE")) || (base == 16 && accept(l, "pP"))) {
        (void)accept(l, "+-");
        accept_run(l, "0123456789_");
    }
    (void)accept(l, "i");
    if (peek_cp(l) != END_OF_INPUT && gotmpl_is_word(peek_cp(l))) {
        (void)next_cp(l);
        return false;
    }
    return true;
}

static gtoken bad_number(glexer *l)
{
    buf b;
    buf_init(&b, sizeof l->error - 32);
    gstr s = {l->in.p + l->start, l->pos - l->start};
    if (s.n > 64) /* the error must fit */
        s.n = 64;
    gotmpl_quote(s, false, &b);
    (void)snprintf(l->error, sizeof l->error, "bad number syntax: %s", b.data ? b.data : "\"\"");
    buf_done(&b);
    return error_token(l);
}

static gtoken lex_number(glexer *l)
{
    if (!scan_number(l))
        return bad_number(l);
    const uint32_t sign = peek_cp(l);
    if (sign != '+' && sign != '-')
        return token(l, GT_NUMBER);
    if (!scan_number(l) || l->in.p[l->pos - 1] != 'i')
        return bad_number(l);
    return token(l, GT_COMPLEX);
}

static gtoken lex_punctuation(glexer *l, uint32_t cp)
{
    switch (cp) {
    case '=':
        return token(l, GT_ASSIGN);
    case ':':
        if (next_cp(l) != '=')
            return error_text(l, "expected :=");
        return token(l, GT_DECLARE);
    case '|':
        return token(l, GT_PIPE);
    case '(':
        l->parens++;
        return token(l, GT_LEFT_PAREN);
    case ')':
        if (l->parens == 0)
            return error_text(l, "unexpected right paren");
        l->parens--;
        return token(l, GT_RIGHT_PAREN);
    default:
        if (cp >= 0x20 && cp < 0x7F)
            return token(l, GT_CHAR);
        return error_cp(l, "unrecognized character in action:", cp);
    }
}

static gtoken lex_action(glexer *l)
{
    bool trim;
    if (at_right_delim(l, &trim))
        return l->parens ? error_text(l, "unclosed left paren") : lex_right_delim(l);
    const uint32_t cp = peek_cp(l);
    if (cp == END_OF_INPUT)
        return error_text(l, "unclosed action");
    if (is_space(cp))
        return lex_space(l);
    if (cp == '+' || cp == '-' || (cp >= '0' && cp <= '9'))
        return lex_number(l);
    if (cp == '.' && l->pos + 1 < l->in.n && l->in.p[l->pos + 1] >= '0' &&
        l->in.p[l->pos + 1] <= '9')
        return lex_number(l);
    if (cp == '.' && l->pos + 1 == l->in.n) /* Go takes it for a number without digits */
        return lex_number(l);
    if (gotmpl_is_word(cp))
        return lex_name(l, GT_IDENT);
    (void)next_cp(l);
    switch (cp) {
    case '"':
        return lex_quoted(l, '"', GT_STRING);
    case '`':
        return lex_quoted(l, '`', GT_RAW_STRING);
    case '\'':
        return lex_quoted(l, '\'', GT_CHAR_CONST);
    case '$':
        return lex_name(l, GT_VARIABLE);
    case '.':
        return lex_name(l, GT_FIELD);
    default:
        return lex_punctuation(l, cp);
    }
}

void gotmpl_lex_init(glexer *l, gstr source)
{
    *l = (glexer){.in = source, .line = 1, .start_line = 1};
}

gtoken gotmpl_lex_next(glexer *l)
{
    return l->in_action ? lex_action(l) : lex_text(l);
}
