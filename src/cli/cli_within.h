/* cli_within.h - a server inside this process, for the lifetime of one command.
 *
 * It listens on a unix socket in a folder of its own that nobody else may enter. Both are gone when
 * the command ends, also by a signal that ends a program politely; runners end with the process in
 * any case.
 */
#ifndef CLI_CLI_WITHIN_H
#define CLI_CLI_WITHIN_H

#include "cli/cli_int.h"

typedef struct cli_within cli_within; /* opaque: the struct is in cli_within.c */

/* Listens when it returns. */
cama_err within_open(const cli_args *args, cli_within **out, cama_error *err);
void within_close(cli_within *w); /* accepts NULL */
const char *within_socket(const cli_within *w);

/* Tells which of the given options only an own server could have followed. */
void within_tell_ignored(const cli_args *args);

#endif
