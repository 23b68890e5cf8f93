#include "cli/cli_line.h"

#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "cli/cli_int.h"

#define MAX_HISTORY 1000
#define LOOK_MS 500 /* until an interrupt is seen that came between a look and the wait */

struct cli_line {
    EditLine *el;
    History *history;
    const char *prompt;
    buf path;    /* of the history; empty: nowhere to keep it */
    bool forget; /* nothing is remembered */
    bool pastes; /* the terminal can mark what is pasted */
    bool told;   /* that the history cannot be written */
};

static char *give_prompt(EditLine *el)
{
    cli_line *l = NULL;
    (void)el_get(el, EL_CLIENTDATA, &l); /* set in line_open */
    return (char *)l->prompt;            /* libedit's type; it only reads */
}

/* ---- pasting ---- */

#define PASTE_BEGIN L"\\e[200~" /* as libedit's bind takes it */
#define PASTE_FUNCTION L"cama-paste"

static const wchar_t paste_end[] = L"\033[201~";

/* Asks the terminal to mark pasted text, or no longer. */
static void mark_pastes(const cli_line *l, bool on)
{
    if (!l->pastes)
        return;
    (void)fputs(on ? "\033[?2004h" : "\033[?2004l", stdout);
    (void)fflush(stdout);
}

static bool can_mark_pastes(void)
{
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

/* The pasted characters up to the end's mark, into *out as wchar_t. false: Ctrl-C, or the terminal
 * is gone. */
static bool read_paste(EditLine *el, buf *out)
{
    const size_t n_end = sizeof paste_end / sizeof paste_end[0] - 1;
    size_t n = 0; /* characters of the mark that came just now */
    wchar_t c;
    while (n < n_end) {
        if (el_wgetc(el, &c) != 1)
            return false;
        if (c == paste_end[n]) {
            n++;
            continue;
        }
        (void)buf_append(out, paste_end, n * sizeof c); /* sticky: it was no mark after all */
        n = c == paste_end[0];
        if (c == L'\r')
            c = L'\n';
        if (c && !n)
            (void)buf_append(out, &c, sizeof c);
    }
    return true;
}

static unsigned char paste(EditLine *el, int key)
{
    (void)key;
    buf text;
    buf_init(&text, CLI_MAX_INPUT);
    const bool whole = read_paste(el, &text);
    static const wchar_t nul = 0;
    (void)buf_append(&text, &nul, sizeof nul);
    unsigned char what = CC_REFRESH;
    if (!whole)
        what = CC_EOF; /* line_read looks why */
    else if (text.fail || (text.n > sizeof nul && el_winsertstr(el, (const void *)text.data)))
        what = CC_ERROR; /* too much of it: a beep, and nothing */
    buf_done(&text);
    return what;
}

/* ---- opening ---- */

/* One byte of the terminal: 1, 0 at its end, -1 for an interrupt or an error. */
static int read_byte(char *out)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    while (!cli_interrupted()) {
        if (poll(&in, 1, LOOK_MS) > 0)
            return (int)read(STDIN_FILENO, out, 1);
    }
    return -1;
}

/* In the place of libedit's own, which sleeps through an interrupt that comes just before its
 * read. Bytes that are no character are dropped, as there. */
static int read_char(EditLine *el, wchar_t *out)
{
    (void)el;
    mbstate_t state = {0};
    for (;;) {
        char byte;
        const int got = read_byte(&byte);
        if (got < 1)
            return got;
        const size_t n = mbrtowc(out, &byte, 1, &state);
        if (n <= 1)
            return 1;
        if (n == (size_t)-1)
            state = (mbstate_t){0};
    }
}

static void find_history(buf *path)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    if (state && *state)
        (void)buf_printf(path, "%s/cama_history", state); /* no memory: no history is kept */
    else if (home && *home)
        (void)buf_printf(path, "%s/.cama_history", home);
}

static cama_err start(cli_line *l, cama_error *err)
{
    HistEvent event;
    l->el = el_init("cama", stdin, stdout, stderr);
    l->history = history_init();
    if (!l->el || !l->history)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for line editing");
    (void)history(l->history, &event, H_SETSIZE, MAX_HISTORY);
    if (l->path.n)
        (void)history(l->history, &event, H_LOAD, l->path.data); /* the first time there is none */
    (void)el_set(l->el, EL_CLIENTDATA, l);
    (void)el_set(l->el, EL_PROMPT, give_prompt);
    (void)el_set(l->el, EL_GETCFN, read_char);
    (void)el_set(l->el, EL_EDITOR, "emacs");
    (void)el_set(l->el, EL_HIST, history, l->history);
    (void)el_set(l->el, EL_BIND, "^U", "vi-kill-line-prev", NULL); /* emacs would take all of it */
    (void)el_source(l->el, NULL);  /* the user's ~/.editrc, if there is one */
    l->pastes = can_mark_pastes(); /* bound last: a `bind -v` there makes the keys anew */
    (void)el_wset(l->el, EL_ADDFN, PASTE_FUNCTION, L"Insert pasted text", paste); /* kept as is */
    (void)el_wset(l->el, EL_BIND, PASTE_BEGIN, PASTE_FUNCTION, NULL);
    return CAMA_OK;
}

cama_err line_open(cli_line **out, cama_error *err)
{
    cli_line *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for line editing");
    buf_init(&l->path, 4096);
    find_history(&l->path);
    const cama_err e = start(l, err);
    if (e)
        line_close(l);
    else
        *out = l;
    return e;
}

void line_close(cli_line *l)
{
    if (!l)
        return;
    if (l->history)
        history_end(l->history);
    if (l->el)
        el_end(l->el);
    buf_done(&l->path);
    free(l);
}

line_event line_read(cli_line *l, const char *prompt, buf *out)
{
    int n = 0;
    l->prompt = prompt;
    cli_catch_interrupt(false);
    errno = 0;
    /* Before the prompt shows: what is typed at once must meet the terminal in this mode already.
     */
    (void)el_set(l->el, EL_PREP_TERM, 1);
    mark_pastes(l, true);
    const char *text = el_gets(l->el, &n);
    mark_pastes(l, false);
    const bool stopped = cli_interrupted();
    cli_release_interrupt();
    if (stopped) {
        el_reset(l->el);
        (void)fputc('\n', stdout);
        return LINE_INTERRUPTED;
    }
    if (!text || n <= 0) {
        (void)fputc('\n', stdout);
        return LINE_END;
    }
    (void)buf_append(out, text, (size_t)(text[n - 1] == '\n' ? n - 1 : n)); /* sticky */
    return LINE_TEXT;
}

static void save_history(cli_line *l)
{
    HistEvent event;
    const mode_t old = umask(077); /* what was asked is nobody else's business */
    if (history(l->history, &event, H_SAVE, l->path.data) < 0 && !l->told) {
        fprintf(stderr, "cama: warning: the history cannot be written to '%s'\n", l->path.data);
        l->told = true;
    }
    (void)umask(old);
}

void line_remember(cli_line *l, const char *text)
{
    HistEvent event;
    if (l->forget)
        return;
    (void)history(l->history, &event, H_ENTER, text); /* no memory: it is not remembered */
    if (l->path.n)
        save_history(l);
}

void line_keep_history(cli_line *l, bool keep)
{
    l->forget = !keep;
}
