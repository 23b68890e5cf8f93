/* The REPL of `cama run`: reading questions and commands. */
#include "cli/cli_repl.h"

#include <stdio.h>
#include <string.h>

#define SESSION_BYTES ((size_t)64 << 20) /* all texts of /set together */

void repl_complain(const cama_error *err)
{
    fprintf(stderr, "cama: %s\n", err->text);
}

char *repl_keep(session *s, const char *text)
{
    char *copy = arena_copy(&s->texts, text, strlen(text));
    if (!copy)
        fprintf(stderr, "cama: no memory for '%.60s'\n", text);
    return copy;
}

static const char quotes[] = "\"\"\"";

/* Where a text of several lines begins: behind """ at the front, or behind that of /set system. */
static const char *find_opening(const char *line)
{
    static const char *const before[] = {"/set", "system"};
    const bool set = !strncmp(line, before[0], strlen(before[0]));
    for (size_t i = 0; set && i < sizeof before / sizeof before[0]; i++) {
        if (strncmp(line, before[i], strlen(before[i])) != 0)
            return NULL;
        line += strlen(before[i]);
        line += strspn(line, " \t");
    }
    return strncmp(line, quotes, 3) ? NULL : line + 3;
}

/* A line, or all up to the """ that ends it. *text is NUL-terminated on LINE_TEXT. */
static line_event read_question(session *s, buf *text)
{
    line_event event = line_read(s->line, ">>> ", text);
    const char *opening = event == LINE_TEXT && text->n ? find_opening(text->data) : NULL;
    if (!opening)
        return event;
    const size_t at = (size_t)(opening - text->data);
    const char *end;
    while (!(end = strstr(text->data + at, quotes))) {
        (void)buf_putc(text, '\n'); /* sticky: seen by the caller */
        event = line_read(s->line, "... ", text);
        if (event != LINE_TEXT || text->fail)
            return event;
    }
    if (at == 3) { /* the quotes are the question's; a command takes its own off */
        text->n = (size_t)(end - text->data);
        text->data[text->n] = '\0';
        buf_drop_front(text, 3);
    }
    return LINE_TEXT;
}

static void turn(session *s, buf *text)
{
    buf_clear(text);
    switch (read_question(s, text)) {
    case LINE_END:
        s->over = true;
        return;
    case LINE_INTERRUPTED:
        printf("Use Ctrl + d or /bye to exit.\n");
        return;
    case LINE_TEXT:
        break;
    }
    cama_error err;
    if (buf_error(text, "the question", &err)) {
        repl_complain(&err);
        return;
    }
    if (!text->n || !text->data[strspn(text->data, " \t\n")])
        return;
    line_remember(s->line, text->data);
    char *question = text->data + strspn(text->data, " \t\n");
    if (*question == '/')
        repl_command(s, question);
    else
        s->vt->ask(s, question);
}

int repl_run(const repl_vt *vt, void *end)
{
    session s = {.vt = vt, .end = end};
    cama_error err;
    buf text;
    arena_init(&s.texts, SESSION_BYTES);
    buf_init(&text, CLI_MAX_INPUT);
    if (line_open(&s.line, &err)) {
        s.status = cli_fail(&err);
        s.over = true;
    }
    while (!s.over)
        turn(&s, &text);
    line_close(s.line);
    buf_done(&text);
    arena_done(&s.texts);
    return s.status;
}
