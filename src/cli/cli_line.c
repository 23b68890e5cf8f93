#include "cli/cli_line.h"

#include <errno.h>
#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli_int.h"

#define MAX_HISTORY 1000

struct cli_line {
    EditLine *el;
    History *history;
    const char *prompt;
    buf path; /* of the history; empty: nowhere to keep it */
};

static char *give_prompt(EditLine *el)
{
    cli_line *l = NULL;
    (void)el_get(el, EL_CLIENTDATA, &l); /* set in line_open */
    return (char *)l->prompt;            /* libedit's type; it only reads */
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
    (void)el_set(l->el, EL_EDITOR, "emacs");
    (void)el_set(l->el, EL_HIST, history, l->history);
    (void)el_source(l->el, NULL); /* the user's ~/.editrc, if there is one */
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
    HistEvent event;
    if (l->history && l->path.n) {
        const mode_t old = umask(077); /* what was asked is nobody else's business */
        if (history(l->history, &event, H_SAVE, l->path.data) < 0)
            fprintf(stderr, "cama: warning: the history cannot be written to '%s'\n", l->path.data);
        (void)umask(old);
    }
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
    cli_catch_interrupt();
    errno = 0;
    /* Before the prompt shows: what is typed at once must meet the terminal in this mode already.
     */
    (void)el_set(l->el, EL_PREP_TERM, 1);
    const char *text = el_gets(l->el, &n);
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

void line_remember(cli_line *l, const char *text)
{
    HistEvent event;
    (void)history(l->history, &event, H_ENTER, text); /* no memory: it is not remembered */
}
