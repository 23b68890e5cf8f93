#include "cli/cli_wrap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "cli/cli_int.h"

#define MARGIN 5 /* columns at the end of a line that stay free; Ollama's */
#define DEFAULT_WIDTH 80
#define TAB_WIDTH 8
#define ZERO_WIDTH_SPACE 0x200Bu
#define EMOJI_STYLE 0xFE0Fu /* the character before it may be drawn twice as wide */

void wrap_init(cli_wrap *w, bool words)
{
    const char *term = getenv("TERM");
    const char *no_color = getenv("NO_COLOR");
    memset(w, 0, sizeof *w);
    w->terminal = isatty(STDOUT_FILENO);
    const bool escapes = w->terminal && term && *term && strcmp(term, "dumb") != 0;
    w->words = words && escapes;
    w->colors = escapes && !(no_color && *no_color);
}

static size_t ask_width(const cli_wrap *w)
{
    struct winsize size = {0};
    if (w->columns)
        return w->columns;
    return !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col ? size.ws_col : DEFAULT_WIDTH;
}

/* ---- the line ---- */

static size_t margin(const cli_wrap *w)
{
    return w->width - MARGIN;
}

/* What is on the line stays there. */
static void end_word(cli_wrap *w)
{
    w->n_word = w->word_width = 0;
    w->rest = false;
}

static void begin_line(cli_wrap *w, buf *out)
{
    (void)buf_putc(out, '\n'); /* sticky, as all here */
    end_word(w);
    w->at = 0;
    w->width = ask_width(w);
    w->full = w->wide = false;
    w->last = 0;
    w->cluster = 0;
}

/* The terminal's own wrapping, of a word that is longer than a line: a wide character goes to the
 * next line whole. */
static void advance(cli_wrap *w, size_t columns)
{
    w->at += columns;
    if (w->at > w->width)
        w->at = columns;
}

static void put(cli_wrap *w, const char *bytes, size_t n, size_t columns, buf *out)
{
    (void)buf_append(out, bytes, n);
    advance(w, columns);
    w->wide = false;
}

/* Behind put: the character can move with its word. */
static void remember(cli_wrap *w, const char *bytes, size_t n, size_t columns)
{
    if (w->rest)
        return;
    if (w->n_word + n > sizeof w->word) {
        w->n_word = w->word_width = 0;
        w->rest = true;
        return;
    }
    memcpy(w->word + w->n_word, bytes, n);
    w->n_word += n;
    w->word_width += columns;
}

/* Wipes the word out and prints it again on the next line. */
static void move_word(cli_wrap *w, buf *out)
{
    char word[WRAP_MAX_WORD];
    const size_t n = w->n_word;
    const size_t columns = w->word_width;
    memcpy(word, w->word, n);
    if (columns)
        (void)buf_printf(out, "\033[%zuD\033[K", columns);
    begin_line(w, out);
    if (!n)
        return;
    put(w, word, n, columns, out);
    remember(w, word, n, columns);
}

/* Spaces that do not fit are where the line ends. */
static void put_space(cli_wrap *w, char c, buf *out)
{
    const size_t next = c == '\t' ? (w->at / TAB_WIDTH + 1) * TAB_WIDTH : w->at + 1;
    end_word(w);
    if (w->full || next > margin(w)) {
        w->full = true;
        return;
    }
    put(w, &c, 1, next - w->at, out);
    w->last = (unsigned char)c;
}

/* What ends a sentence or a bracket of wide characters, which has no spaces, begins no line. */
static bool closes(const cli_wrap *w, uint32_t c, size_t columns)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return w->wide || columns > 1;
    default:
        return false;
    }
}

/* Makes room on this line or the next; hangs: past the margin there is some, too. */
static void make_room(cli_wrap *w, size_t columns, bool hangs, buf *out)
{
    const size_t end = w->at + columns;
    const bool fits = w->rest || end <= margin(w) || (hangs && end < w->width);
    if (fits && !w->full)
        return;
    if (w->full || columns > 1)
        begin_line(w, out); /* between words, or beside a wide character */
    else if (w->word_width < w->at)
        move_word(w, out);
    else
        w->rest = true; /* it began the line */
}

static void put_char(cli_wrap *w, uint32_t c, const char *bytes, size_t n, buf *out)
{
    const int known = utf8proc_charwidth((utf8proc_int32_t)c);
    const size_t columns = known < 0 ? 1 : (size_t)known;
    const bool ends = closes(w, c, columns);
    const bool joined = w->last && !utf8proc_grapheme_break_stateful(
                                       (utf8proc_int32_t)w->last, (utf8proc_int32_t)c, &w->cluster);
    if (columns)
        make_room(w, columns, ends || joined, out);
    put(w, bytes, n, columns, out);
    if (c == EMOJI_STYLE && w->at < w->width)
        w->at++; /* so much it may be; the word before it stays, as nobody knows how wide it is */
    const bool hung = !w->rest && w->at > margin(w);
    if (columns > 1 || c == ZERO_WIDTH_SPACE || c == EMOJI_STYLE || ends || hung)
        end_word(w);
    else if (columns || w->n_word)
        remember(w, bytes, n, columns);
    w->last = c;
    w->wide = columns > 1;
}

/* ---- the text ---- */

static bool is_control(uint32_t c)
{
    return c < ' ' || (c >= 0x7f && c < 0xa0);
}

static void take(cli_wrap *w, uint32_t c, buf *out)
{
    char bytes[4];
    const size_t n = utf8_encode(c, bytes); /* what is no UTF-8 becomes U+FFFD */
    if (is_control(c) && c != '\n' && c != '\t')
        return;
    if (w->words && c == '\n')
        begin_line(w, out);
    else if (!w->words || w->width < WRAP_MIN_WIDTH)
        (void)buf_append(out, bytes, n);
    else if (c == ' ' || c == '\t')
        put_space(w, (char)c, out);
    else
        put_char(w, c, bytes, n, out);
}

/* Completes the character that the piece before left unfinished, byte by byte. */
static size_t take_part(cli_wrap *w, const char *text, size_t n, buf *out)
{
    size_t used = 0;
    while (w->n_part && used < n) {
        w->part[w->n_part++] = text[used++];
        const size_t n_whole = utf8_whole(w->part, w->n_part);
        for (size_t i = 0; i < n_whole;) {
            uint32_t c;
            i += utf8_decode(w->part + i, n_whole - i, &c);
            take(w, c, out);
        }
        w->n_part -= n_whole;
        memmove(w->part, w->part + n_whole, w->n_part);
    }
    return used;
}

static void take_all(cli_wrap *w, const char *text, size_t n, buf *out)
{
    const size_t used = take_part(w, text, n, out);
    const size_t end = used + utf8_whole(text + used, n - used);
    for (size_t i = used; i < end;) {
        uint32_t c;
        i += utf8_decode(text + i, end - i, &c);
        take(w, c, out);
    }
    memcpy(w->part + w->n_part, text + end, n - end);
    w->n_part += n - end;
}

void wrap_piece(cli_wrap *w, wrap_style style, const char *text, size_t n, buf *out)
{
    if (!w->terminal) {
        (void)buf_append(out, text, n); /* sticky, as all here */
        return;
    }
    if (!w->width)
        w->width = ask_width(w);
    const bool styled = w->colors && style != WRAP_PLAIN && n;
    if (styled)
        (void)buf_puts(out, style == WRAP_GREY_BOLD ? "\033[38;5;245m\033[1m" : "\033[38;5;245m");
    take_all(w, text, n, out);
    if (styled)
        (void)buf_puts(out, "\033[0m"); /* with each piece: whatever ends us leaves no color */
}

cama_err wrap_print(cli_wrap *w, wrap_style style, const char *text, size_t n, cama_error *err)
{
    buf out;
    if (!w->terminal)
        return n ? cli_print(text, n, err) : CAMA_OK; /* however much it is */
    buf_init(&out, 4 * CLI_MAX_INPUT);
    wrap_piece(w, style, text, n, &out);
    cama_err e = buf_error(&out, "a piece of the answer", err);
    if (!e && out.n)
        e = cli_print(out.data, out.n, err);
    buf_done(&out);
    return e;
}

cama_err wrap_print_clean(const char *text, size_t n, cama_error *err)
{
    cli_wrap w;
    wrap_init(&w, false);
    return wrap_print(&w, WRAP_PLAIN, text, n, err);
}

void wrap_say(const char *text, size_t n)
{
    cama_error err;
    (void)wrap_print_clean(text, n, &err); /* the next read ends */
}
