/* cli_args.h - the command line as a table: which options exist, what they take, where they go.
 *
 * cli_parse reads argv with getopt_long and a table row decides everything about an option. It
 * prints nothing: a mistake comes back as a text that names the flag, the value and the limit.
 */
#ifndef CLI_CLI_ARGS_H
#define CLI_CLI_ARGS_H

#include "base/buf.h"
#include "base/err.h"

#define CLI_MAX_STOP 64
#define CLI_MAX_OPTION 96 /* rows of the table */

/* Which commands an option belongs to. */
typedef enum cli_command {
    CLI_SERVE,
    CLI_CREATE,
    CLI_SHOW,
    CLI_RUN,
    CLI_STOP,
    CLI_LIST,
    CLI_PS,
    CLI_CP,
    CLI_RM,
    CLI_LOGITS,
    CLI_TOKENIZE,
    CLI_DETOKENIZE,
    CLI_EMBED,
    CLI_ENGINES,
    CLI_VERIFY,
    CLI_MAN,
    CLI_COMPLETION,
    CLI_VERSION,
    CLI_HELP,
    CLI_N_COMMAND
} cli_command;

typedef struct cli_command_info {
    const char *name;
    const char *alias; /* or NULL */
    const char *args;  /* "FILE [PROMPT...]" */
    const char *summary;
    int min_pos, max_pos; /* positional arguments; -1: any number */
    bool ollama;          /* Ollama has it: its words and its exit status 1 for mistakes */
} cli_command_info;

extern const cli_command_info cli_commands[CLI_N_COMMAND];

typedef struct cli_args {
    cli_command command;
    cama_model_opts model; /* without on_warning */
    cama_gen_opts gen;     /* without prompt and callbacks; stop points at stops */
    const char *stops[CLI_MAX_STOP];
    const char *system, *tokens, *out;
    uint32_t chunk;
    bool verbose, json, special, no_bos, tensors, plan, template_, help;
    bool figures, hidethinking, nowordwrap, insecure, in_process, link, embed;
    bool license, modelfile, parameters, show_system;
    const char *format, *think, *keepalive, *file, *quantize, *host, *models; /* NULL: not given */
    int truncate;                                                             /* -1: not given */
    uint32_t dimensions;                                                      /* 0: not given */
    bool given[CLI_MAX_OPTION]; /* rows of the table that the command line or /set named */
    bool mistake_is_ollamas;    /* after a failed cli_parse: told and counted as Ollama does */
    int kv_type, activations, weights; /* of the choices in the table, which are the enums' order */
    int engine, device;                /* the same; -1: not given */
    bool selftest;
    const char *engines, *prompt;      /* verify */
    uint32_t n_token;                  /* verify */
    float max_diff, max_kl, min_agree; /* verify, where they are given */
    char **pos;                        /* [n_pos] positional arguments, in argv */
    int n_pos;
} cli_args;

typedef enum cli_kind {
    CLI_FLAG, /* bool */
    CLI_U32,
    CLI_I32,
    CLI_I64,
    CLI_FLOAT,
    CLI_BYTES,   /* uint64_t: 1500, 64K, 512M, 8G */
    CLI_TEXT,    /* const char *, in argv */
    CLI_CHOICE,  /* int: an index into choices */
    CLI_STOPS,   /* one more stop string */
    CLI_SWITCH,  /* int: --name or --name=true: 1, --name=false: 0 */
    CLI_OPTIONAL /* const char *: --name is "true", else --name=value */
} cli_kind;

typedef struct cli_option {
    const char *name;  /* "num-ctx"; /set parameter takes it with underscores */
    const char *alias; /* another long name, or NULL */
    char letter;       /* 0: none */
    cli_kind kind;
    double min, max;     /* numbers */
    const char *choices; /* "f16|f32" */
    const char *arg;     /* in help */
    const char *help;
    unsigned commands; /* 1u << cli_command */
    bool parameter;    /* /set parameter takes it */
    size_t offset;     /* in cli_args */
} cli_option;

extern const cli_option cli_options[];
extern const size_t cli_n_option;

/* The word of a CLI_CHOICE: "f16". */
#define CLI_CHOICE_BYTES 16
void cli_choice_name(const cli_option *o, int choice, char out[CLI_CHOICE_BYTES]);
/* Its place among the choices. False: it is none of them. */
bool cli_find_choice(const cli_option *o, const char *text, int *out);
/* NULL past the end. */
const cli_option *cli_option_at(size_t i);
/* The row's place in the table. */
size_t cli_option_index(const cli_option *o);

/* Defaults, then argv. argv[0] is the program; its order may change. CAMA_ERR_ARG with a text for
 * people. What it points at lives as long as argv; *out itself must not move. */
cama_err cli_parse(int argc, char **argv, cli_args *out, err_info *err);
/* Sets a parameter by its name in the REPL ("num_ctx"). text must live as long as args. */
cama_err cli_set_parameter(cli_args *args, const char *name, const char *text, err_info *err);

/* "1,5,9" or "1 5 9" into ids; *out_ids is freed with free. CAMA_ERR_ARG names what is no id. */
cama_err cli_parse_ids(const char *text, int32_t **out_ids, size_t *out_n, err_info *err);

/* CLI_N_COMMAND: there is none of that name. */
cli_command cli_find_command(const char *name);

/* The help of the program (command CLI_N_COMMAND) or of one command. */
cama_err cli_write_help(cli_command c, buf *out);
/* The manual page, roff: cama.1 or cama-COMMAND.1. */
cama_err cli_write_man(cli_command c, buf *out);
/* A script that bash reads. */
cama_err cli_write_completion(buf *out);

#endif
