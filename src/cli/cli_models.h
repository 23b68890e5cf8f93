/* cli_models.h - the tables of models, for `list` and the REPL's /list. */
#ifndef CLI_CLI_MODELS_H
#define CLI_CLI_MODELS_H

#include "cli/cli_server.h"

/* prefix NULL: all. json: the server's reply as it is. */
cama_err models_print_list(cli_server *s, const char *prefix, bool json, cama_error *err);
/* The reply of /api/show. */
cama_err models_show(cli_server *s, const char *name, bool verbose, arena *a, json_value **out,
                     cama_error *err);
/* Asks for the model to be loaded or (keep_alive "0") to go. keep_alive: JSON; NULL: the server's.
 */
cama_err models_load(cli_server *s, const char *name, const char *keep_alive, cama_error *err);
/* Whether text is a path of a file rather than a model's name. */
bool models_is_file(const char *text);

#endif
