/* cli_repl.h - the conversation at the terminal: what its loop, its commands and its two ends
 * share.
 *
 * The loop reads lines and the commands of Ollama's REPL; who answers is behind a table: a model
 * in this process (cli_repl_file.c) or one of a server (cli_repl_model.c).
 */
#ifndef CLI_CLI_REPL_H
#define CLI_CLI_REPL_H

#include "base/arena.h"
#include "cli/cli_int.h"
#include "cli/cli_line.h"

typedef struct session session;

/* Each tells people what it did or why not. NULL: not supported, and said so. */
typedef struct repl_vt {
    const char *what; /* that /load takes: "file", "modelname" */
    void (*ask)(session *s, const char *question);
    void (*forget)(session *s); /* the conversation, but for the system message */
    /* what: "info", "license", "modelfile", "parameters", "system", "template" */
    void (*show)(session *s, const char *what);
    /* words: the values; NULL: list what there is */
    void (*set_parameter)(session *s, const char *name, char *words);
    void (*set_system)(session *s, const char *text);
    void (*set_format)(session *s, const char *format); /* "" : none; gives back JSON */
    void (*set_think)(session *s, const char *how);     /* "true", "false", "high", ... */
    void (*load)(session *s, const char *name);
    void (*save)(session *s, const char *name);
    void (*list)(session *s);
    void (*set_verbose)(session *s, bool on);
    void (*set_wordwrap)(session *s, bool on);
} repl_vt;

struct session {
    const repl_vt *vt;
    void *end; /* of the table's own kind */
    cli_line *line;
    arena texts; /* what /set and /load were given */
    bool over;
    int status;
};

/* Questions until /bye; gives the exit status. */
int repl_run(const repl_vt *vt, void *end);

/* Carries out a line that begins with a slash; text is changed. */
void repl_command(session *s, char *text);
/* Cuts the first word off *at: up to a space, or all between two ". NULL: there is none. */
char *repl_take_word(char **at);
/* A copy that lives as long as the session; NULL is told. */
char *repl_keep(session *s, const char *text);
/* "cama: text" on standard error. */
void repl_complain(const cama_error *err);

#endif
