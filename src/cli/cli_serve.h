/* cli_serve.h - options of the command line on their way to a server. */
#ifndef CLI_CLI_SERVE_H
#define CLI_CLI_SERVE_H

#include "cli/cli_int.h"
#include "pool/pool.h"

/* Names of the choices that pool_opts points at. */
typedef struct cli_engine_names {
    char kv_type[16], activations[16], weights[16];
} cli_engine_names;

/* What was given on the command line, into o; the rest stays. names lives as long as o. */
void cli_engine_opts(const cli_args *args, cli_engine_names *names, pool_opts *o);
/* Whether an option chooses how a server's engine runs, so that no request can carry it. */
bool cli_is_of_engine(const cli_option *o);

#endif
