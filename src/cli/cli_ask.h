/* cli_ask.h - questions to a model of a server, and its answers on standard output as they come. */
#ifndef CLI_CLI_ASK_H
#define CLI_CLI_ASK_H

#include "cli/cli_param.h"
#include "cli/cli_server.h"

/* What every question of a conversation carries. Texts that are JSON are NULL when not given. */
typedef struct ask_opts {
    cli_server *server; /* borrowed, as all texts */
    const char *model;
    const char *system;                      /* NULL: the model's own */
    const char *format, *think, *keep_alive; /* JSON */
    param_set params;
    bool hide_thinking, verbose, figures, nowordwrap;
} ask_opts;

typedef struct ask_result {
    bool canceled; /* Ctrl-C, or the reader of standard output left */
    bool said;     /* anything at all */
} ask_result;

/* "true", "false" or a level as JSON; NULL: it is none. */
const char *ask_think_json(const char *how);
/* From the command line: format, think, keepalive and parameters are checked, with Ollama's texts.
 * Memory is the arena's. */
cama_err ask_take_args(ask_opts *o, const cli_args *args, arena *a, cama_error *err);

/* Continues a prompt. An empty one only loads the model. */
cama_err ask_prompt(const ask_opts *o, const char *prompt, ask_result *out, cama_error *err);
/* Answers a conversation (a JSON array); *answer collects the text. */
cama_err ask_chat(const ask_opts *o, const char *messages, buf *answer, ask_result *out,
                  cama_error *err);
/* Prints the vector of a text as a JSON array. */
cama_err ask_embed(const ask_opts *o, const cli_args *args, const char *text, cama_error *err);

/* The REPL over the model; shown: its reply of /api/show. Gives the exit status. */
int cli_repl_model(const ask_opts *o, const json_value *shown);

/* What a model can do, of the reply of /api/show. */
bool ask_can(const json_value *show, const char *capability);

#endif
