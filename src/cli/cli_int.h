/* cli_int.h - what the commands share: telling people, opening a model, reading input. */
#ifndef CLI_CLI_INT_H
#define CLI_CLI_INT_H

#include "base/arena.h"
#include "base/buf.h"
#include "cli/cli.h"
#include "cli/cli_args.h"

#define CLI_MAX_INPUT ((size_t)64 << 20) /* bytes of standard input that are read */

/* Each gives the exit status. */
int cli_run(cli_args *args);
int cli_logits(cli_args *args);
int cli_tokenize(cli_args *args);
int cli_detokenize(cli_args *args);
int cli_show(cli_args *args);
int cli_show_model(cli_args *args);
int cli_serve(cli_args *args);
int cli_create(cli_args *args);
int cli_list(cli_args *args);
int cli_ps(cli_args *args);
int cli_stop(cli_args *args);
int cli_cp(cli_args *args);
int cli_rm(cli_args *args);
/* `cama --version`: what the server says, too. */
int cli_server_version(void);
int cli_embed(cli_args *args);
int cli_engines(cli_args *args);
int cli_verify(cli_args *args);
/* Questions from the terminal until /bye; the model is the session's from here on. */
int cli_repl(cli_args *args, cama_model *m);

/* "cama: text" on standard error; gives the exit status. */
int cli_fail(const cama_error *err);
/* Whether the error is that the reader of standard output left. */
bool cli_pipe_closed(const cama_error *err);
/* "text; remedy", for errors whose remedy the door knows and the room below does not. */
void cli_name_remedy(cama_error *err, const char *remedy);
/* A warning of the library, on standard error; for cama_model_opts.on_warning. */
void cli_warning(void *user, const char *text);

/* The file of the stored model pos[0] takes its place among the arguments; memory is the arena's.
 */
cama_err cli_find_file(cli_args *args, arena *a, cama_error *err);
/* The engine and device that were given, else those of CAMA_ENGINE and CAMA_DEVICE; NULL: auto. A
 * variable that names none is told. */
const char *cli_engine_name(const cli_args *args);
cama_device cli_device(const cli_args *args);
/* Opens args->pos[0], with warnings told. */
cama_err cli_open(const cli_args *args, cama_open_mode mode, cama_model **out, cama_error *err);

/* All of standard input. CAMA_ERR_LIMIT past CLI_MAX_INPUT. */
cama_err cli_read_input(buf *out, cama_error *err);
/* The argument's text, or standard input for "-"; *out_text points into one of them. */
cama_err cli_text_argument(const char *arg, buf *input, const char **out_text, size_t *out_n,
                           cama_error *err);
/* Writes to standard output; CAMA_ERR_IO when it is gone. A reader that left (`| head -1`) is told
 * by the exit status alone. */
cama_err cli_print(const char *text, size_t n, cama_error *err);

/* Ctrl-C asks for an end; between these two calls it does nothing else. once: a second one ends the
 * program, for who will not wait until a long prompt's step is computed. */
void cli_catch_interrupt(bool once);
void cli_release_interrupt(void);
bool cli_interrupted(void);

/* Where an answer goes, beside standard output. */
typedef struct cli_sink {
    bool wordwrap; /* on a terminal, lines end between words */
    buf *text;     /* collects it; NULL: there is no conversation */
} cli_sink;
/* An answer to standard output. */
cama_err cli_answer(cama_model *m, const cama_gen_opts *gen, const cli_sink *to,
                    cama_gen_result *result, cama_error *err);
/* Engine, device, memory and speeds on standard error. */
void cli_print_figures(const cama_model *m, const cama_gen_result *r, bool verbose);
/* "98.4 MiB". */
void cli_format_bytes(uint64_t bytes, char *out, size_t n);

/* The conversation so far, as JSON for cama_gen_opts.messages. It is kept whole: what does not fit
 * into the context is left out of what is handed to the model, and is back when there is room. */
typedef struct cli_chat {
    buf json;  /* the messages, one behind the other */
    buf parts; /* where each begins */
    buf out;   /* what cli_chat_messages gave last */
    size_t n_message;
    size_t n_turn; /* a turn begins with a user's message; system messages belong to none */
} cli_chat;
void cli_chat_init(cli_chat *c);
void cli_chat_done(cli_chat *c);
cama_err cli_chat_add(cli_chat *c, const char *role, const char *text, cama_error *err);
/* Back to the first n_message messages. */
void cli_chat_cut(cli_chat *c, size_t n_message);
/* The array without the n_drop oldest turns, NUL-terminated, until the next call; NULL: no memory.
 * *out_n_dropped: messages that were left out. */
const char *cli_chat_messages(cli_chat *c, size_t n_drop, size_t *out_n_dropped);

#endif
