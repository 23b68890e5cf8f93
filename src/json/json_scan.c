#include "json/json_int.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* The wording of the messages is that of Go's encoding/json, which clients of Ollama know. */
typedef struct scanner {
    const char *text;
    size_t n;
    size_t pos;
    size_t copied; /* bytes of text that are in *marked already */
    buf *marked;
    bool prefix; /* messages are those of Go's Decoder, which give no place */
    size_t n_value, max_values;
    err_info *err;
} scanner;

static cama_err fail_here(scanner *s, const char *context)
{
    if (s->pos >= s->n && s->prefix)
        return err_set(s->err, CAMA_ERR_FORMAT, "unexpected EOF");
    if (s->pos >= s->n)
        return err_set(s->err, CAMA_ERR_FORMAT, "unexpected end of JSON input at byte %zu", s->pos);
    const unsigned char c = (unsigned char)s->text[s->pos];
    char shown[8];
    if (c == '\'' || c == '\\') {
        shown[0] = '\\';
        shown[1] = (char)c;
        shown[2] = '\0';
    } else if (c < 0x20 || c == 0x7F) {
        static const char names[] = "abtnvfr";
        if (c >= 7 && c <= 13)
            (void)snprintf(shown, sizeof shown, "\\%c", names[c - 7]);
        else
            (void)snprintf(shown, sizeof shown, "\\x%02x", c);
    } else {
        shown[utf8_encode(c, shown)] = '\0'; /* a byte past ASCII shows as Latin-1, as in Go */
    }
    if (s->prefix)
        return err_set(s->err, CAMA_ERR_FORMAT, "invalid character '%s' %s", shown, context);
    return err_set(s->err, CAMA_ERR_FORMAT, "invalid character '%s' %s at byte %zu", shown, context,
                   s->pos);
}

static int peek(const scanner *s)
{
    return s->pos < s->n ? (unsigned char)s->text[s->pos] : -1;
}

static void skip_space(scanner *s)
{
    while (s->pos < s->n) {
        const char c = s->text[s->pos];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
            return;
        s->pos++;
    }
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(int c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* At the character behind a backslash. *out_nul: it was \u0000. */
static cama_err scan_escape(scanner *s, bool *out_nul)
{
    const int c = peek(s);
    if (c < 0 || c == 0 || !strchr("\"\\/bfnrtu", c))
        return fail_here(s, "in string escape code");
    s->pos++;
    if (c != 'u')
        return CAMA_OK;
    for (int i = 0; i < 4; i++, s->pos++) {
        if (!is_hex(peek(s)))
            return fail_here(s, "in \\u hexadecimal character escape");
    }
    if (memcmp(s->text + s->pos - 4, "0000", 4) == 0)
        *out_nul = true;
    return CAMA_OK;
}

/* At the opening quote. *out_nul (may start as false): a NUL is inside. */
static cama_err scan_string(scanner *s, bool *out_nul)
{
    s->pos++;
    for (;;) {
        const int c = peek(s);
        if (c < 0x20)
            return fail_here(s, "in string literal");
        s->pos++;
        if (c == '"')
            return CAMA_OK;
        if (c != '\\')
            continue;
        const cama_err e = scan_escape(s, out_nul);
        if (e)
            return e;
    }
}

static cama_err mark_number(scanner *s, size_t start, bool fraction)
{
    const char *num = s->text + start;
    const size_t n = s->pos - start;
    const char *tail = NULL;
    const bool minus_zero = n == 2 && num[0] == '-' && num[1] == '0';
    if (!fraction && (n > 18 || minus_zero))
        tail = JSON_INT_MARK;
    else if (n > JSON_INT_MARK_BYTES &&
             memcmp(num + n - JSON_INT_MARK_BYTES, JSON_INT_MARK, JSON_INT_MARK_BYTES) == 0)
        tail = "0"; /* already looks marked: one zero more is the same number and is not */
    if (!tail)
        return CAMA_OK;
    cama_err e = buf_append(s->marked, s->text + s->copied, s->pos - s->copied);
    if (!e)
        e = buf_puts(s->marked, tail);
    s->copied = s->pos;
    return e ? buf_error(s->marked, "json", s->err) : CAMA_OK;
}

static cama_err scan_digits(scanner *s, const char *context)
{
    if (!is_digit(peek(s)))
        return fail_here(s, context);
    while (is_digit(peek(s)))
        s->pos++;
    return CAMA_OK;
}

static cama_err scan_number(scanner *s)
{
    const size_t start = s->pos;
    bool fraction = false;
    cama_err e = CAMA_OK;
    if (peek(s) == '-')
        s->pos++;
    if (peek(s) == '0')
        s->pos++;
    else
        e = scan_digits(s, "in numeric literal");
    if (!e && peek(s) == '.') {
        fraction = true;
        s->pos++;
        e = scan_digits(s, "after decimal point in numeric literal");
    }
    if (!e && (peek(s) == 'e' || peek(s) == 'E')) {
        fraction = true;
        s->pos++;
        if (peek(s) == '+' || peek(s) == '-')
            s->pos++;
        e = scan_digits(s, "in exponent of numeric literal");
    }
    return e ? e : mark_number(s, start, fraction);
}

static cama_err scan_word(scanner *s, const char *word)
{
    for (size_t i = 0; word[i]; i++, s->pos++) {
        if (peek(s) == word[i])
            continue;
        char context[48];
        (void)snprintf(context, sizeof context, "in literal %s (expecting '%c')", word, word[i]);
        return fail_here(s, context);
    }
    return CAMA_OK;
}

static cama_err scan_scalar(scanner *s)
{
    bool nul = false;
    switch (peek(s)) {
    case '"':
        return scan_string(s, &nul);
    case 't':
        return scan_word(s, "true");
    case 'f':
        return scan_word(s, "false");
    case 'n':
        return scan_word(s, "null");
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return scan_number(s);
    default:
        return fail_here(s, "looking for beginning of value");
    }
}

/* "key" and ':'. json-c would cut a key at a NUL. */
static cama_err scan_key(scanner *s)
{
    bool nul = false;
    skip_space(s);
    const size_t start = s->pos;
    if (peek(s) != '"')
        return fail_here(s, "looking for beginning of object key string");
    const cama_err e = scan_string(s, &nul);
    if (e)
        return e;
    if (nul)
        return err_set(s->err, CAMA_ERR_FORMAT, "object key with a NUL character at byte %zu",
                       start);
    skip_space(s);
    if (peek(s) != ':')
        return fail_here(s, "after object key");
    s->pos++;
    return CAMA_OK;
}

static cama_err scan_value(scanner *s, uint32_t depth);

/* Elements or members up to the closing bracket; at the opening one. */
static cama_err scan_container(scanner *s, uint32_t depth)
{
    const bool object = peek(s) == '{';
    const int close = object ? '}' : ']';
    if (depth >= JSON_MAX_DEPTH)
        return err_set(s->err, CAMA_ERR_FORMAT, "exceeded max depth of %d at byte %zu",
                       JSON_MAX_DEPTH, s->pos);
    s->pos++;
    skip_space(s);
    if (peek(s) == close) {
        s->pos++;
        return CAMA_OK;
    }
    for (;;) {
        cama_err e = object ? scan_key(s) : CAMA_OK;
        if (!e)
            e = scan_value(s, depth + 1);
        if (e)
            return e;
        skip_space(s);
        const int c = peek(s);
        if (c != close && c != ',')
            return fail_here(s, object ? "after object key:value pair" : "after array element");
        s->pos++;
        if (c == close)
            return CAMA_OK;
    }
}

static cama_err scan_value(scanner *s, uint32_t depth)
{
    skip_space(s);
    const int c = peek(s);
    const bool is_container = c == '{' || c == '[';
    s->n_value += is_container ? JSON_CONTAINER_VALUES : 1;
    if (s->n_value > s->max_values) /* a few bytes each become a hundred */
        return err_set(s->err, CAMA_ERR_LIMIT, "more than %zu values", s->max_values);
    return is_container ? scan_container(s, depth) : scan_scalar(s);
}

cama_err json_scan(const json_scan_in *in, buf *marked, size_t *out_used, err_info *err)
{
    scanner s = {.text = in->text,
                 .n = in->n,
                 .marked = marked,
                 .prefix = out_used != NULL,
                 .max_values = in->max_values,
                 .err = err};
    cama_err e = scan_value(&s, 0);
    if (e)
        return e;
    const size_t end = s.pos;
    skip_space(&s);
    if (s.pos < s.n && !out_used)
        return fail_here(&s, "after top-level value");
    if (out_used)
        *out_used = end;
    if (s.copied == 0)
        return CAMA_OK;
    e = buf_append(marked, in->text + s.copied, end - s.copied);
    return e ? buf_error(marked, "json", err) : CAMA_OK;
}
