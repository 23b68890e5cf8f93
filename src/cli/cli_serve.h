/* cli_serve.h - options of the command line on their way to a server. */
#ifndef CLI_CLI_SERVE_H
#define CLI_CLI_SERVE_H

#include "cli/cli_int.h"
#include "http/serve.h"

/* Names of the choices that serve_opts points at. */
typedef struct cli_engine_names {
    char kv_type[CLI_CHOICE_BYTES], activations[CLI_CHOICE_BYTES], weights[CLI_CHOICE_BYTES];
    char engine[CLI_CHOICE_BYTES], device[CLI_CHOICE_BYTES];
} cli_engine_names;

/* What was given on the command line, into so; the rest stays. names lives as long as so. */
void cli_engine_opts(const cli_args *args, cli_engine_names *names, serve_opts *so);
/* Whether an option chooses how a server's engine runs, so that no request can carry it. */
bool cli_is_of_engine(const cli_option *o);

#endif
