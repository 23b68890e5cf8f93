/* cli_param.h - options of a model, as a Modelfile and the REPL write them, into JSON.
 *
 * The names and types are those of wire/options.def, the texts of errors Ollama's.
 */
#ifndef CLI_CLI_PARAM_H
#define CLI_CLI_PARAM_H

#include "base/arena.h"
#include "cli/cli_args.h"
#include "wire/options.h"

#define PARAM_MAX 64

/* The value of row as JSON; of a list one element. CAMA_ERR_ARG: "invalid int value [many]". */
cama_err param_write(const option_row *row, const char *text, buf *out, cama_error *err);

/* Options that somebody set, each once. */
typedef struct param_set {
    struct {
        const char *name;
        const char *json;  /* its value */
        const char *shown; /* as /show parameters has it */
    } rows[PARAM_MAX];
    size_t n;
} param_set;

/* All texts become the values: more than one only for a list. Memory is the arena's. CAMA_ERR_ARG:
 * "unknown parameter 'x'"; the set is then as it was. */
cama_err param_put(param_set *set, const char *name, const char *const *texts, size_t n, arena *a,
                   cama_error *err);
/* What the command line gave. */
cama_err param_take_args(param_set *set, const cli_args *args, arena *a, cama_error *err);
/* {"seed":1,"stop":["a"]}; "{}" when there is none. */
cama_err param_write_set(const param_set *set, buf *out);

#endif
