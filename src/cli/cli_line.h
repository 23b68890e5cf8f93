/* cli_line.h - lines typed at a terminal: editing and history by libedit. */
#ifndef CLI_CLI_LINE_H
#define CLI_CLI_LINE_H

#include "base/buf.h"

typedef struct cli_line cli_line; /* opaque: the struct is in cli_line.c */

/* History is read from $XDG_STATE_HOME/cama_history, or else from ~/.cama_history. */
cama_err line_open(cli_line **out, cama_error *err);
/* Accepts NULL. */
void line_close(cli_line *l);

typedef enum line_event { LINE_TEXT, LINE_INTERRUPTED, LINE_END } line_event;

/* One line without its end into *out; what is pasted (where the terminal marks it: "bracketed
 * paste") is part of the line however many lines it has, until Enter is typed. INTERRUPTED: Ctrl-C,
 * the line is thrown away; END: Ctrl-D on an empty line, or the terminal is gone. */
line_event line_read(cli_line *l, const char *prompt, buf *out);
/* Remembers what was asked, as one entry however many lines it has, and writes the history back at
 * once: a terminal that is closed loses nothing. */
void line_remember(cli_line *l, const char *text);
/* Whether line_remember does so (from the beginning: yes). */
void line_keep_history(cli_line *l, bool keep);

#endif
