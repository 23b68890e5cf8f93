/* cli_progress.h - what goes on, on standard error: lines that a terminal sees change.
 *
 * A file or a pipe gets each text once, when it is final, and no control sequences.
 */
#ifndef CLI_CLI_PROGRESS_H
#define CLI_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cli_progress {
    bool terminal;
    char text[256];   /* of the step in work; "": none */
    int percent;      /* -1: not known */
    uint64_t seen_ns; /* when the terminal last got it */
} cli_progress;

void progress_init(cli_progress *p);
/* Another step begins; the one before is done. */
void progress_step(cli_progress *p, const char *text);
/* "text 42%" in the line of the step. */
void progress_share(cli_progress *p, uint64_t done, uint64_t all);
/* The last step is done. */
void progress_end(cli_progress *p);

#endif
