/* Source to tokens, with the white space rules of jinja2's lexer (trim_blocks, lstrip_blocks). */
#include "chat/tmpl_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

typedef struct lexer {
    const char *src;
    size_t n;
    size_t pos;
    uint32_t line;
    size_t line_pos;    /* up to where line has counted */
    bool line_starting; /* nothing but white space may stand before pos on its line */
    char brackets[TMPL_MAX_NEST];
    size_t n_bracket;
    arena *mem;
    ttokens *out;
    err_info *err;
} lexer;

static cama_err no_memory(lexer *x)
{
    return err_set(x->err, CAMA_ERR_NOMEM, "chat template: no memory for %zu bytes of source",
                   x->n);
}

static uint32_t line_at(lexer *x, size_t pos)
{
    for (; x->line_pos < pos; x->line_pos++)
        x->line += x->src[x->line_pos] == '\n';
    return x->line;
}

static cama_err push(lexer *x, ttoken t)
{
    ttokens *o = x->out;
    if (o->n == o->cap) {
        const size_t cap = o->cap ? 2 * o->cap : 256;
        ttoken *more = realloc(o->of, cap * sizeof *more);
        if (!more)
            return no_memory(x);
        o->of = more;
        o->cap = cap;
    }
    t.line = line_at(x, x->pos);
    o->of[o->n++] = t;
    return CAMA_OK;
}

static const tstr *keep(lexer *x, const char *p, size_t n)
{
    tstr *s = arena_take(x->mem, sizeof *s);
    if (s)
        *s = (tstr){p, n, tmpl_count_cp(p, n)};
    return s;
}

static cama_err push_text(lexer *x, ttoken_kind kind, const char *p, size_t n)
{
    const tstr *s = keep(x, p, n);
    return s ? push(x, (ttoken){.kind = kind, .text = s}) : no_memory(x);
}

static bool at(const lexer *x, size_t pos, const char *what)
{
    const size_t n = strlen(what);
    return pos <= x->n && x->n - pos >= n && memcmp(x->src + pos, what, n) == 0;
}

/* Bytes of the white space character at pos, 0 when there is none. */
static size_t space_at(const lexer *x, size_t pos)
{
    uint32_t cp;
    if (pos >= x->n)
        return 0;
    const size_t len = utf8_decode(x->src + pos, x->n - pos, &cp);
    return tmpl_is_space(cp) ? len : 0;
}

static size_t skip_space(const lexer *x, size_t from)
{
    size_t pos = from;
    for (size_t len; (len = space_at(x, pos)) > 0; pos += len) {
    }
    return pos;
}

/* text[from..to) without white space at its end. */
static size_t strip_right(const lexer *x, size_t from, size_t to)
{
    size_t end = from;
    for (size_t i = from; i < to;) {
        const size_t len = space_at(x, i);
        uint32_t cp;
        i += len ? len : utf8_decode(x->src + i, to - i, &cp);
        if (!len)
            end = i;
    }
    return end;
}

static cama_err push_data(lexer *x, size_t from, size_t to)
{
    return to > from ? push_text(x, T_DATA, x->src + from, to - from) : CAMA_OK;
}

/* Text before a tag at `tag` whose opening has this sign; `strips`: lstrip_blocks applies to it. */
static cama_err text_before(lexer *x, size_t from, size_t tag, char sign, bool strips)
{
    size_t to = tag;
    if (sign == '-') {
        to = strip_right(x, from, tag);
    } else if (sign != '+' && strips) {
        size_t line = tag;
        while (line > from && x->src[line - 1] != '\n')
            line--;
        if ((line > from || x->line_starting) && strip_right(x, line, tag) == line)
            to = line;
    }
    return push_data(x, from, to);
}

/* Behind a closing tag: '-' eats all white space, nothing eats one newline, '+' nothing. */
static void after_tag(lexer *x, size_t end, char sign)
{
    x->pos = sign == '-' ? skip_space(x, end) : end;
    if (sign == 0 && x->pos < x->n && x->src[x->pos] == '\n')
        x->pos++;
    x->line_starting = x->src[x->pos - 1] == '\n';
}

static char sign_at(const lexer *x, size_t pos)
{
    const char c = pos < x->n ? x->src[pos] : '\0';
    return c == '-' || c == '+' ? c : '\0';
}

static cama_err fail_at(lexer *x, size_t pos, const char *what)
{
    return err_set(x->err, CAMA_ERR_TEMPLATE, "chat template line %u: %s", line_at(x, pos), what);
}

static cama_err lex_comment(lexer *x)
{
    for (size_t i = x->pos; i + 1 < x->n; i++) {
        if (!at(x, i, "#}"))
            continue;
        const char sign = i > x->pos ? sign_at(x, i - 1) : '\0';
        after_tag(x, i + 2, sign);
        return CAMA_OK;
    }
    return fail_at(x, x->pos, "Missing end of comment tag");
}

/* Whether {% raw %} opens at tag; *out_end is the byte behind it. */
static bool raw_at(const lexer *x, size_t tag, size_t *out_end)
{
    size_t i = skip_space(x, tag + 2 + (sign_at(x, tag + 2) != 0));
    if (!at(x, i, "raw"))
        return false;
    i = skip_space(x, i + 3);
    if (at(x, i, "-%}")) {
        *out_end = skip_space(x, i + 3);
        return true;
    }
    *out_end = i + 2;
    return at(x, i, "%}");
}

static cama_err lex_raw(lexer *x, size_t start)
{
    x->line_starting = start > 0 && x->src[start - 1] == '\n';
    for (size_t i = start; i + 1 < x->n; i++) {
        if (!at(x, i, "{%"))
            continue;
        const char sign = sign_at(x, i + 2);
        size_t k = skip_space(x, i + 2 + (sign != 0));
        if (!at(x, k, "endraw"))
            continue;
        k = skip_space(x, k + 6);
        const char close = at(x, k + 1, "%}") ? sign_at(x, k) : '\0';
        k += close != 0;
        if (!at(x, k, "%}"))
            continue;
        const cama_err e = text_before(x, start, i, sign, true);
        after_tag(x, k + 2, close);
        return e;
    }
    return fail_at(x, start, "Missing end of raw directive");
}

/* One \ escape of a string literal at src[i] (the backslash), as Python's unicode-escape. */
static size_t lex_escape(const lexer *x, size_t i, size_t end, char *out, size_t *n_out)
{
    static const char from[] = "\\'\"abfnrtv\n";
    static const char to[] = "\\'\"\a\b\f\n\r\t\v";
    const char c = x->src[i + 1];
    const char *simple = c ? strchr(from, c) : NULL;
    if (c == '\n')
        return 2; /* a backslash at the end of a line joins the lines */
    if (simple) {
        out[(*n_out)++] = to[simple - from];
        return 2;
    }
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    const bool octal = c >= '0' && c <= '7';
    size_t k = i + (octal ? 1 : 2);
    uint32_t cp = 0;
    size_t n = 0;
    for (; n < (octal ? 3 : digits) && k < end; n++, k++) {
        const char d = x->src[k];
        const int v = d >= '0' && d <= '9'   ? d - '0'
                      : d >= 'a' && d <= 'f' ? d - 'a' + 10
                      : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                             : 99;
        if (v >= (octal ? 8 : 16))
            break;
        cp = cp * (octal ? 8 : 16) + (uint32_t)v;
    }
    if (octal || digits) {
        if (digits && n < digits)
            return 0;
        *n_out += utf8_encode(cp, out + *n_out);
        return k - i;
    }
    out[(*n_out)++] = '\\'; /* Python keeps an escape that it does not know */
    return 1;
}

static cama_err lex_string(lexer *x)
{
    const char quote = x->src[x->pos];
    size_t end = x->pos + 1;
    while (end < x->n && x->src[end] != quote)
        end += x->src[end] == '\\' ? 2 : 1;
    if (end >= x->n)
        return fail_at(x, x->pos, "unterminated string");
    char *text = arena_take(x->mem, end - x->pos); /* escapes only shrink */
    if (!text)
        return no_memory(x);
    size_t n = 0;
    for (size_t i = x->pos + 1; i < end;) {
        if (x->src[i] != '\\') {
            text[n++] = x->src[i++];
            continue;
        }
        const size_t len = lex_escape(x, i, end, text, &n);
        if (!len)
            return fail_at(x, i, "bad escape in a string");
        i += len;
    }
    const cama_err e = push_text(x, T_STRING, text, n);
    x->pos = end + 1;
    return e;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits with single underscores between them; copied without, at most cap - 1 of them. */
static size_t copy_digits(const lexer *x, size_t from, char *out, size_t *n_out, size_t cap)
{
    size_t i = from;
    while (i < x->n && (is_digit(x->src[i]) || (x->src[i] == '_' && i > from && i + 1 < x->n &&
                                                is_digit(x->src[i + 1])))) {
        if (x->src[i] != '_' && *n_out + 1 < cap)
            out[(*n_out)++] = x->src[i];
        i++;
    }
    return i;
}

static cama_err push_integer(lexer *x, const char *text, size_t n, int base, size_t end)
{
    errno = 0;
    const long long v = strtoll(text, NULL, base);
    ttoken t = {.kind = T_NUMBER, .value = {.kind = V_INT, .u.i = v}};
    if (errno) {
        if (base != 10)
            return fail_at(x, x->pos, "integer past 64 bits");
        const char *copy = arena_copy(x->mem, text, n);
        const tstr *s = copy ? keep(x, copy, n) : NULL;
        if (!s)
            return no_memory(x);
        t.value = (tval){.kind = V_BIG, .u.s = s};
    }
    const cama_err e = push(x, t);
    x->pos = end;
    return e;
}

/* 0x, 0o, 0b; 0 when the text is not one of them. */
static int radix_at(const lexer *x)
{
    if (x->src[x->pos] != '0' || x->pos + 2 >= x->n)
        return 0;
    switch (x->src[x->pos + 1] | 0x20) {
    case 'x':
        return 16;
    case 'o':
        return 8;
    case 'b':
        return 2;
    default:
        return 0;
    }
}

static cama_err lex_radix(lexer *x, int base)
{
    char text[80];
    size_t n = 0;
    size_t i = x->pos + 2;
    for (; i < x->n && n + 1 < sizeof text; i++) {
        const char c = x->src[i];
        const char low = (char)(c | 0x20);
        const int v = is_digit(c) ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : 99;
        if (c != '_' && v >= base)
            break;
        if (c != '_')
            text[n++] = c;
    }
    text[n] = '\0';
    return n ? push_integer(x, text, n, base, i) : fail_at(x, x->pos, "bad number");
}

static cama_err lex_number(lexer *x)
{
    const int base = radix_at(x);
    if (base)
        return lex_radix(x, base);
    char text[400];
    size_t n = 0;
    size_t i = copy_digits(x, x->pos, text, &n, sizeof text - 40);
    const size_t end_int = i;
    const bool after_dot = x->pos > 0 && x->src[x->pos - 1] == '.';
    if (!after_dot && i + 1 < x->n && x->src[i] == '.' && is_digit(x->src[i + 1])) {
        text[n++] = '.';
        i = copy_digits(x, i + 1, text, &n, sizeof text - 20);
    }
    size_t k = i + 1;
    if (k < x->n && (x->src[k] == '+' || x->src[k] == '-'))
        k++;
    if (!after_dot && i < x->n && (x->src[i] | 0x20) == 'e' && k < x->n && is_digit(x->src[k])) {
        text[n++] = 'e';
        if (x->src[k - 1] == '-')
            text[n++] = '-';
        i = copy_digits(x, k, text, &n, sizeof text);
    }
    text[n] = '\0';
    if (i == end_int) {
        if (n > 1 && text[0] == '0' && strspn(text, "0") < n)
            return fail_at(x, x->pos, "a number may not start with 0");
        return push_integer(x, text, n, 10, i);
    }
    const ttoken t = {.kind = T_NUMBER, .value = {.kind = V_FLOAT, .u.f = strtod(text, NULL)}};
    const cama_err e = push(x, t);
    x->pos = i;
    return e;
}

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c) ||
           (unsigned char)c >= 0x80;
}

static cama_err lex_bracket(lexer *x, top op)
{
    static const char opening[] = "([{";
    static const char closing[] = ")]}";
    const char c = x->src[x->pos];
    if (op == OP_LPAREN || op == OP_LBRACKET || op == OP_LBRACE) {
        if (x->n_bracket == sizeof x->brackets)
            return err_set(x->err, CAMA_ERR_LIMIT,
                           "chat template line %u: more than %zu brackets open", line_at(x, x->pos),
                           sizeof x->brackets);
        x->brackets[x->n_bracket++] = closing[strchr(opening, c) - opening];
        return CAMA_OK;
    }
    if (x->n_bracket == 0 || x->brackets[x->n_bracket - 1] != c)
        return fail_at(x, x->pos, "unexpected closing bracket");
    x->n_bracket--;
    return CAMA_OK;
}

static cama_err lex_operator(lexer *x)
{
    static const struct {
        const char *text;
        top op;
    } ops[] = {
        {"//", OP_FLOORDIV}, {"**", OP_POW},   {"==", OP_EQ},      {"!=", OP_NE},
        {">=", OP_GE},       {"<=", OP_LE},    {"+", OP_ADD},      {"-", OP_SUB},
        {"*", OP_MUL},       {"/", OP_DIV},    {"%", OP_MOD},      {"~", OP_TILDE},
        {">", OP_GT},        {"<", OP_LT},     {"=", OP_ASSIGN},   {".", OP_DOT},
        {",", OP_COMMA},     {":", OP_COLON},  {"|", OP_PIPE},     {";", OP_SEMICOLON},
        {"(", OP_LPAREN},    {")", OP_RPAREN}, {"[", OP_LBRACKET}, {"]", OP_RBRACKET},
        {"{", OP_LBRACE},    {"}", OP_RBRACE},
    };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (!at(x, x->pos, ops[i].text))
            continue;
        cama_err e = ops[i].op >= OP_LPAREN ? lex_bracket(x, ops[i].op) : CAMA_OK;
        if (!e)
            e = push(x, (ttoken){.kind = T_OP, .op = ops[i].op});
        x->pos += strlen(ops[i].text);
        return e;
    }
    return fail_at(x, x->pos, "unexpected character");
}

/* The closing of a tag at pos, with its sign; *out_len is its length without what it eats. */
static bool close_at(const lexer *x, bool print, char *out_sign, size_t *out_len)
{
    const char *close = print ? "}}" : "%}";
    *out_sign = sign_at(x, x->pos);
    if (print && *out_sign == '+')
        return false; /* jinja2 knows no +}} */
    *out_len = 2 + (*out_sign != 0);
    return at(x, x->pos + (*out_sign != 0), close);
}

static cama_err lex_inside(lexer *x, bool print)
{
    x->n_bracket = 0;
    for (;;) {
        x->pos = skip_space(x, x->pos);
        if (x->pos >= x->n)
            return fail_at(x, x->pos, "unexpected end of template inside a tag");
        char sign;
        size_t len;
        if (x->n_bracket == 0 && close_at(x, print, &sign, &len)) {
            const cama_err e = push(x, (ttoken){.kind = print ? T_PRINT_END : T_BLOCK_END});
            after_tag(x, x->pos + len, print && !sign ? '+' : sign);
            return e;
        }
        const char c = x->src[x->pos];
        cama_err e;
        if (is_digit(c)) {
            e = lex_number(x);
        } else if (is_name_byte(c)) {
            size_t end = x->pos;
            while (end < x->n && is_name_byte(x->src[end]))
                end++;
            e = push_text(x, T_NAME, x->src + x->pos, end - x->pos);
            x->pos = end;
        } else if (c == '\'' || c == '"') {
            e = lex_string(x);
        } else {
            e = lex_operator(x);
        }
        if (e)
            return e;
    }
}

/* The tag at `tag`, whose second byte is kind; text from x->pos to it comes first. */
static cama_err lex_tag(lexer *x, size_t tag, char kind)
{
    const char sign = sign_at(x, tag + 2);
    cama_err e = text_before(x, x->pos, tag, sign, kind != '{');
    size_t raw_end;
    if (e)
        return e;
    if (kind == '%' && raw_at(x, tag, &raw_end))
        return lex_raw(x, raw_end);
    x->pos = tag + 2 + (sign != 0);
    if (kind == '#')
        return lex_comment(x);
    e = push(x, (ttoken){.kind = kind == '{' ? T_PRINT_BEGIN : T_BLOCK_BEGIN});
    return e ? e : lex_inside(x, kind == '{');
}

static cama_err lex_all(lexer *x)
{
    x->line_starting = true;
    while (x->pos < x->n) {
        size_t tag = x->pos;
        while (tag + 1 < x->n && !(x->src[tag] == '{' && strchr("{%#", x->src[tag + 1])))
            tag++;
        cama_err e;
        if (tag + 1 >= x->n) {
            e = push_data(x, x->pos, x->n);
            x->pos = x->n;
        } else {
            e = lex_tag(x, tag, x->src[tag + 1]);
        }
        if (e)
            return e;
    }
    return push(x, (ttoken){.kind = T_EOF});
}

/* Newlines become \n, one at the end is dropped, bytes that are no UTF-8 become U+FFFD. */
static size_t normalise(const char *source, size_t n, char *out)
{
    size_t k = 0;
    for (size_t i = 0; i < n;) {
        if (source[i] == '\r') {
            i += i + 1 < n && source[i + 1] == '\n' ? 2 : 1;
            out[k++] = '\n';
        } else if (source[i] == '\0') {
            i++; /* strings of the interpreter may hold it, but nothing writes one */
            k += utf8_encode(UTF8_REPLACEMENT, out + k);
        } else {
            uint32_t cp;
            i += utf8_decode(source + i, n - i, &cp);
            k += utf8_encode(cp, out + k);
        }
    }
    return k > 0 && out[k - 1] == '\n' ? k - 1 : k;
}

cama_err tmpl_lex(const char *source, size_t n, arena *mem, ttokens *out, err_info *err)
{
    lexer x = {.n = n, .line = 1, .mem = mem, .out = out, .err = err};
    if (n > TMPL_MAX_SOURCE)
        return err_set(err, CAMA_ERR_LIMIT, "chat template: %zu bytes, past the limit of %u", n,
                       TMPL_MAX_SOURCE);
    char *text = arena_take(mem, 3 * n + 1);
    if (!text)
        return no_memory(&x);
    x.src = text;
    x.n = normalise(source, n, text);
    return lex_all(&x);
}
