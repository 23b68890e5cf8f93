/* cli_line.h - lines typed at a terminal: editing and history by libedit. */
#ifndef CLI_CLI_LINE_H
#define CLI_CLI_LINE_H

#include "base/buf.h"

typedef struct cli_line cli_line; /* opaque: the struct is in cli_line.c */

/* History is read from $XDG_STATE_HOME/cama_history, or else from ~/.cama_history. */
cama_err line_open(cli_line **out, cama_error *err);
/* Writes the history back; accepts NULL. */
void line_close(cli_line *l);

typedef enum line_event { LINE_TEXT, LINE_INTERRUPTED, LINE_END } line_event;

/* One line without its end into *out. INTERRUPTED: Ctrl-C, the line is thrown away; END: Ctrl-D on
 * an empty line, or the terminal is gone. */
line_event line_read(cli_line *l, const char *prompt, buf *out);
/* Remembers what was asked, as one entry however many lines it has. */
void line_remember(cli_line *l, const char *text);

#endif
