/* cli_repl.h - the conversation at the terminal: what its loop and its commands share. */
#ifndef CLI_CLI_REPL_H
#define CLI_CLI_REPL_H

#include "base/arena.h"
#include "cli/cli_int.h"
#include "cli/cli_line.h"

typedef struct session {
    cli_args *args;
    cama_model *m; /* NULL only while it cannot be opened again */
    cli_chat chat;
    cli_line *line;
    arena texts;        /* what /set and /load were given, and args points at */
    const char *system; /* in texts or argv; NULL: none */
    bool verbose, over;
    int status;
} session;

/* "cama: text" on standard error. */
void repl_complain(const cama_error *err);
/* Forgets the conversation, but for the system message. */
void repl_begin_chat(session *s);
/* Carries out a line that begins with a slash; text is changed. */
void repl_command(session *s, char *text);

#endif
