/* The grammar is a few rules over lines, see modelfile.h; the odd ones are Ollama's and kept, for
 * a Modelfile must give the same layers here and there:
 *  - a value that begins with " or """ ends at the first line end before which it is closed, so
 *    that text behind a closing quote belongs to the value and goes on over lines;
 *  - characters that Go calls unprintable are dropped, but for blanks and line ends in a value. */
#include "store/modelfile.h"

#include <string.h>
#include <strings.h>

#include <utf8proc.h>

#include "base/utf8.h"

#define MAX_TEXT ((size_t)MODELFILE_MAX_BYTES * 2) /* decoded: a broken byte becomes three */

static const char *const command_names[] = {
    "from",     "license", "template",  "system",  "adapter",  "draft",
    "renderer", "parser",  "parameter", "message", "requires",
};

#define N_COMMAND (sizeof command_names / sizeof command_names[0])

typedef struct parser {
    const char *text; /* UTF-8 */
    size_t n, at;
    uint32_t line;
    buf word; /* what is being read */
    arena *a;
    modelfile_command *commands;
    size_t n_command;
    err_info *err;
} parser;

/* ---- from bytes to UTF-8 ---- */

static uint32_t unit16(const unsigned char *p, bool big)
{
    return big ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static cama_err put_utf16(const char *text, size_t n, bool big, buf *out)
{
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0; i + 1 < n; i += 2) {
        char utf8[4];
        uint32_t cp = unit16(p + i, big);
        if (cp >= 0xD800 && cp < 0xDC00 && i + 3 < n) {
            const uint32_t low = unit16(p + i + 2, big);
            if (low >= 0xDC00 && low < 0xE000) {
                cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
                i += 2;
            }
        }
        (void)buf_append(out, utf8, utf8_encode(cp, utf8)); /* half a pair becomes U+FFFD */
    }
    return n % 2 ? buf_puts(out, "\xEF\xBF\xBD") : out->fail;
}

static cama_err put_utf8(const char *text, size_t n, buf *out)
{
    for (size_t i = 0; i < n;) {
        char utf8[4];
        uint32_t cp;
        i += utf8_decode(text + i, n - i, &cp);
        (void)buf_append(out, utf8, utf8_encode(cp, utf8));
    }
    return out->fail;
}

static cama_err decode(const char *text, size_t n, buf *out)
{
    if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        return put_utf8(text + 3, n - 3, out);
    if (n >= 2 && memcmp(text, "\xFE\xFF", 2) == 0)
        return put_utf16(text + 2, n - 2, true, out);
    if (n >= 2 && memcmp(text, "\xFF\xFE", 2) == 0)
        return put_utf16(text + 2, n - 2, false, out);
    return put_utf8(text, n, out);
}

/* ---- characters ---- */

static bool is_blank(uint32_t cp)
{
    return cp == ' ' || cp == '\t';
}

static bool is_line_end(uint32_t cp)
{
    return cp == '\n' || cp == '\r';
}

static bool is_letter(uint32_t cp)
{
    return (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z');
}

/* Letters, marks, numbers, punctuation, symbols, and the plain space. */
static bool is_printable(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= 0x20 && cp != 0x7F;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
        return false;
    default:
        return true;
    }
}

/* The character at p->at; false at the end. */
static bool peek(const parser *p, uint32_t *out_cp, size_t *out_n)
{
    if (p->at >= p->n)
        return false;
    *out_n = utf8_decode(p->text + p->at, p->n - p->at, out_cp);
    return true;
}

/* Past a character of n bytes. The two of a Windows line end are one line. */
static void pass(parser *p, uint32_t cp, size_t n)
{
    p->at += n;
    if (cp == '\n' || (cp == '\r' && !(p->at < p->n && p->text[p->at] == '\n')))
        p->line++;
}

static cama_err unexpected_end(parser *p)
{
    if (p->word.n)
        return err_set(p->err, CAMA_ERR_FORMAT, "unexpected EOF: %s", p->word.data);
    return err_set(p->err, CAMA_ERR_FORMAT, "unexpected EOF");
}

static const char *word_of(const parser *p)
{
    return p->word.data ? p->word.data : "";
}

static void skip_blanks(parser *p)
{
    while (p->at < p->n && is_blank((unsigned char)p->text[p->at]))
        p->at++;
}

/* ---- the parts of a line ---- */

static cama_err unknown_command(parser *p)
{
    return err_set(p->err, CAMA_ERR_FORMAT,
                   "(line %u): command must be one of \"from\", \"license\", \"template\", "
                   "\"system\", \"adapter\", \"draft\", \"renderer\", \"parser\", \"parameter\", "
                   "\"message\", or \"requires\"",
                   p->line);
}

static cama_err read_command(parser *p, const char **out)
{
    uint32_t cp;
    size_t n;
    buf_clear(&p->word);
    for (bool first = true; peek(p, &cp, &n); first = false) {
        if (!first && is_blank(cp))
            break;
        if (!first && !is_letter(cp))
            return unknown_command(p);
        if (is_printable(cp))
            (void)buf_append(&p->word, p->text + p->at, n);
        pass(p, cp, n);
    }
    const cama_err e = buf_error(&p->word, "an instruction", p->err);
    if (e)
        return e;
    for (size_t i = 0; i < N_COMMAND; i++) {
        if (p->word.n && strcasecmp(p->word.data, command_names[i]) == 0) {
            *out = command_names[i];
            return p->at < p->n ? CAMA_OK : err_set(p->err, CAMA_ERR_FORMAT, "unexpected EOF");
        }
    }
    return unknown_command(p);
}

/* The name of a parameter or a role: what stands before the next blank. */
static cama_err read_key(parser *p, bool role, const char **out)
{
    uint32_t cp;
    size_t n;
    skip_blanks(p);
    buf_clear(&p->word);
    while (peek(p, &cp, &n) && !is_blank(cp)) {
        const bool ok = is_letter(cp) || (!role && ((cp >= '0' && cp <= '9') || cp == '_'));
        if (!ok)
            return unexpected_end(p);
        (void)buf_append(&p->word, p->text + p->at, n);
        pass(p, cp, n);
    }
    const cama_err e = buf_error(&p->word, "a key", p->err);
    if (e)
        return e;
    const char *word = word_of(p);
    if (role && p->at < p->n && strcmp(word, "system") != 0 && strcmp(word, "user") != 0 &&
        strcmp(word, "assistant") != 0)
        return err_set(p->err, CAMA_ERR_FORMAT,
                       "(line %u): message role must be one of \"system\", \"user\", or "
                       "\"assistant\"",
                       p->line);
    if (p->at >= p->n)
        return err_set(p->err, CAMA_ERR_FORMAT, "unexpected EOF");
    *out = arena_copy(p->a, word, p->word.n);
    return *out ? CAMA_OK : err_set(p->err, CAMA_ERR_NOMEM, "no memory for a Modelfile");
}

/* The value of the n bytes at s without its quotes; false while a quote is open. */
static bool unquote(const char *s, size_t n, const char **out, size_t *out_n)
{
    size_t quote = 0;
    if (n >= 3 && memcmp(s, "\"\"\"", 3) == 0)
        quote = 3;
    else if (n >= 1 && *s == '"')
        quote = 1;
    if (quote && (n < 2 * quote || memcmp(s + n - quote, "\"\"\"", quote) != 0))
        return false;
    *out = s + quote;
    *out_n = n - 2 * quote;
    return true;
}

static cama_err read_value(parser *p, const char **out)
{
    uint32_t cp;
    size_t n;
    size_t n_solid = 0; /* up to the last character that is no blank and no line end */
    const char *value = "";
    size_t n_value = 0;
    buf_clear(&p->word);
    while (peek(p, &cp, &n)) {
        const bool space = is_blank(cp) || is_line_end(cp);
        if (is_line_end(cp) && unquote(word_of(p), n_solid, &value, &n_value))
            break;
        if (space ? p->word.n > 0 : is_printable(cp)) {
            (void)buf_append(&p->word, p->text + p->at, n);
            n_solid = space ? n_solid : p->word.n;
        }
        pass(p, cp, n);
    }
    const cama_err e = buf_error(&p->word, "the value of an instruction", p->err);
    if (e)
        return e;
    if (!unquote(word_of(p), n_solid, &value, &n_value))
        return err_set(p->err, CAMA_ERR_FORMAT, "unexpected EOF");
    *out = arena_copy(p->a, n_value ? value : "", n_value);
    return *out ? CAMA_OK : err_set(p->err, CAMA_ERR_NOMEM, "no memory for a Modelfile");
}

static cama_err read_line(parser *p)
{
    if (p->n_command == MODELFILE_MAX_COMMANDS)
        return err_set(p->err, CAMA_ERR_LIMIT, "(line %u): a Modelfile has at most %d instructions",
                       p->line, MODELFILE_MAX_COMMANDS);
    modelfile_command c = {.key = "", .line = p->line};
    cama_err e = read_command(p, &c.name);
    if (!e && strcmp(c.name, "parameter") == 0)
        e = read_key(p, false, &c.key);
    else if (!e && strcmp(c.name, "message") == 0)
        e = read_key(p, true, &c.key);
    if (!e)
        e = read_value(p, &c.value);
    if (!e)
        p->commands[p->n_command++] = c;
    return e;
}

static void skip_comment(parser *p)
{
    while (p->at < p->n && !is_line_end((unsigned char)p->text[p->at]))
        p->at++;
}

static cama_err read_lines(parser *p)
{
    uint32_t cp;
    size_t n;
    cama_err e = CAMA_OK;
    while (!e && peek(p, &cp, &n)) {
        if (cp == '#')
            skip_comment(p);
        else if (is_blank(cp) || is_line_end(cp))
            pass(p, cp, n);
        else
            e = read_line(p);
    }
    return e;
}

/* ---- the whole ---- */

static bool has_from(const parser *p)
{
    for (size_t i = 0; i < p->n_command; i++)
        if (strcmp(p->commands[i].name, "from") == 0)
            return true;
    return false;
}

/* An instruction takes a line at least. */
static size_t count_room(const parser *p)
{
    size_t n = 1;
    for (size_t i = 0; i < p->n && n < MODELFILE_MAX_COMMANDS; i++)
        n += is_line_end((unsigned char)p->text[i]);
    return n;
}

static cama_err parse_decoded(parser *p, modelfile *out)
{
    modelfile_command *commands = arena_take_array(p->a, count_room(p), sizeof *commands);
    if (!commands)
        return err_set(p->err, CAMA_ERR_NOMEM, "no memory for a Modelfile");
    p->commands = commands;
    const cama_err e = read_lines(p);
    if (e)
        return e;
    if (!has_from(p))
        return err_set(p->err, CAMA_ERR_FORMAT, "no FROM line");
    *out = (modelfile){p->commands, p->n_command};
    return CAMA_OK;
}

cama_err modelfile_parse(const char *text, size_t n, arena *a, modelfile *out, err_info *err)
{
    if (n > MODELFILE_MAX_BYTES)
        return err_set(err, CAMA_ERR_LIMIT, "the Modelfile has %zu bytes, allowed are %u", n,
                       MODELFILE_MAX_BYTES);
    parser p = {.a = a, .line = 1, .err = err};
    buf decoded;
    buf_init(&decoded, MAX_TEXT);
    buf_init(&p.word, MAX_TEXT);
    (void)decode(text, n, &decoded);
    cama_err e = buf_error(&decoded, "a Modelfile", err);
    if (!e) {
        p.text = decoded.n ? decoded.data : "";
        p.n = decoded.n;
        e = parse_decoded(&p, out);
    }
    buf_done(&p.word);
    buf_done(&decoded);
    return e;
}

/* ---- writing ---- */

static bool needs_quotes(const char *s, size_t n)
{
    return n > 0 && (strpbrk(s, "\r\n") || is_blank((unsigned char)s[0]) ||
                     is_blank((unsigned char)s[n - 1]) || s[0] == '"');
}

cama_err modelfile_write_command(const modelfile_command *c, buf *out)
{
    for (const char *s = c->name; *s; s++)
        (void)buf_putc(out, *s >= 'a' && *s <= 'z' ? (char)(*s - 32) : *s);
    if (*c->key)
        (void)buf_printf(out, " %s", c->key);
    const char *quote = "";
    if (needs_quotes(c->value, strlen(c->value)))
        quote = strchr(c->value, '"') ? "\"\"\"" : "\"";
    return buf_printf(out, " %s%s%s\n", quote, c->value, quote);
}
