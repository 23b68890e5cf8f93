#include "base/err.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

#undef err_set /* macros for static analysis only: see err.h */
#undef err_vset
#undef err_wrap

/* vsnprintf cuts at a byte; step back so that the text stays valid UTF-8. */
static void trim_cut_character(char *text, size_t n_text)
{
    size_t n = n_text;
    while (n > 0 && ((unsigned char)text[n - 1] & 0xC0) == 0x80)
        n--;
    if (n == 0)
        return;
    const unsigned char lead = (unsigned char)text[n - 1];
    const size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (n - 1 + want > n_text)
        text[n - 1] = '\0';
}

/* Names from files end up in texts, and texts on terminals: what could steer one (C0 but for line
 * and tab, DEL, C1) and what is no UTF-8 is replaced by '?', byte for byte. */
static void scrub(char *text)
{
    const size_t n = strlen(text);
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        const size_t len = utf8_decode(text + i, n - i, &cp);
        const bool is_broken = cp == UTF8_REPLACEMENT && (unsigned char)text[i] != 0xEF;
        const bool is_control =
            (cp < 0x20 && cp != '\n' && cp != '\t') || (cp >= 0x7F && cp < 0xA0);
        if (is_broken || is_control)
            memset(text + i, '?', len);
        i += len;
    }
}

static void format_into(char *text, const char *fmt, va_list args)
{
    const int n = vsnprintf(text, ERR_TEXT_BYTES, fmt, args);
    if (n < 0)
        text[0] = '\0';
    else if (n >= ERR_TEXT_BYTES)
        trim_cut_character(text, ERR_TEXT_BYTES - 1);
    scrub(text);
}

cama_err err_vset(err_info *err, cama_err code, const char *fmt, va_list args)
{
    if (!err)
        return code;
    format_into(err->text, fmt, args);
    err->code = code;
    return code;
}

cama_err err_set(err_info *err, cama_err code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)err_vset(err, code, fmt, args); /* gives the code back */
    va_end(args);
    return code;
}

cama_err err_wrap(err_info *err, cama_err code, const char *fmt, ...)
{
    if (!err)
        return code;
    char head[ERR_TEXT_BYTES];
    char tail[ERR_TEXT_BYTES];
    memcpy(tail, err->text, sizeof tail);
    va_list args;
    va_start(args, fmt);
    format_into(head, fmt, args);
    va_end(args);
    return err_set(err, code, "%s: %s", head, tail);
}

const char *cama_err_text(cama_err e)
{
    static const char *const text[] = {
#define X(name, status, text) [CAMA_##name] = text,
        CAMA_ERRORS(X)
#undef X
    };
    return (size_t)e < CAMA_N_ERR ? text[e] : "unknown error";
}

int cama_err_status(cama_err e)
{
    static const int status[] = {
#define X(name, code, text) [CAMA_##name] = code,
        CAMA_ERRORS(X)
#undef X
    };
    return (size_t)e < CAMA_N_ERR ? status[e] : 500;
}
