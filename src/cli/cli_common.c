/* What the commands share. */
#include "cli/cli_int.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli_wrap.h"

static bool pipe_closed; /* by the reader of standard output, which is no news to anyone */

bool cli_pipe_closed(const cama_error *err)
{
    return err->code == CAMA_ERR_IO && pipe_closed;
}

int cli_fail(const cama_error *err)
{
    if (cli_pipe_closed(err))
        return CLI_PIPE_CLOSED;
    fprintf(stderr, "cama: %s\n", err->text);
    return err->code == CAMA_ERR_CANCELED ? CLI_INTERRUPTED : CLI_FAILED;
}

void cli_name_remedy(cama_error *err, const char *remedy)
{
    const cama_error before = *err;
    (void)err_set(err, before.code, "%s; %s", before.text, remedy);
}

void cli_warning(void *user, const char *text)
{
    (void)user;
    fprintf(stderr, "cama: warning: %s\n", text);
}

/* The place of a variable's word among the choices of the option; 0, the first, where it is none.
 */
static int choice_from_env(const char *variable, const char *option)
{
    const char *text = getenv(variable);
    for (size_t i = 0; text && *text && i < cli_n_option; i++) {
        const cli_option *o = &cli_options[i];
        int choice = 0;
        if (strcmp(o->name, option) != 0)
            continue;
        if (cli_find_choice(o, text, &choice))
            return choice;
        fprintf(stderr, "cama: warning: %s is '%s', must be one of %s\n", variable, text,
                o->choices);
        break;
    }
    return 0;
}

const char *cli_engine_name(const cli_args *args)
{
    static const char *const names[] = {NULL, "native", "mlx"};
    return names[args->engine >= 0 ? args->engine : choice_from_env("CAMA_ENGINE", "engine")];
}

cama_device cli_device(const cli_args *args)
{
    return (cama_device)(args->device >= 0 ? args->device
                                           : choice_from_env("CAMA_DEVICE", "device"));
}

cama_err cli_open(const cli_args *args, cama_open_mode mode, cama_model **out, cama_error *err)
{
    cama_model_opts o = args->model;
    o.mode = mode;
    o.engine = cli_engine_name(args);
    o.device = cli_device(args);
    o.on_warning = cli_warning;
    return cama_model_open(args->pos[0], &o, out, err);
}

cama_err cli_read_input(buf *out, cama_error *err)
{
    char chunk[65536];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, stdin)) > 0) {
        if (buf_append(out, chunk, n))
            return buf_error(out, "standard input", err);
    }
    if (ferror(stdin))
        return err_set(err, CAMA_ERR_IO, "cannot read standard input: %s", strerror(errno));
    return CAMA_OK;
}

cama_err cli_text_argument(const char *arg, buf *input, const char **out_text, size_t *out_n,
                           cama_error *err)
{
    if (strcmp(arg, "-") != 0) {
        *out_text = arg;
        *out_n = strlen(arg);
        return CAMA_OK;
    }
    const cama_err e = cli_read_input(input, err);
    *out_text = input->data ? input->data : "";
    *out_n = input->n;
    return e;
}

cama_err cli_print(const char *text, size_t n, cama_error *err)
{
    if (fwrite(text, 1, n, stdout) == n && !fflush(stdout))
        return CAMA_OK;
    if (errno == EPIPE)
        pipe_closed = true;
    return err_set(err, CAMA_ERR_IO, "cannot write standard output: %s", strerror(errno));
}

/* ---- Ctrl-C ---- */

static volatile sig_atomic_t interrupted;
static volatile sig_atomic_t second_ends; /* a second one does what it did before */
static struct sigaction before;           /* written while the handler is not set */

static void on_interrupt(int signal)
{
    if (interrupted && second_ends) {
        (void)sigaction(signal, &before, NULL);
        (void)raise(signal); /* comes when this handler has returned */
    }
    interrupted = 1;
}

void cli_catch_interrupt(bool once)
{
    interrupted = 0;
    second_ends = once;
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, NULL, &before); /* fails for bad arguments only */
    (void)sigaction(SIGINT, &action, NULL);
}

void cli_release_interrupt(void)
{
    (void)sigaction(SIGINT, &before, NULL);
}

bool cli_interrupted(void)
{
    return interrupted;
}

/* ---- an answer ---- */

typedef struct printer {
    buf *copy;
    cli_wrap wrap;
    cama_error err;
} printer;

static bool on_text(void *user, const char *text, size_t n)
{
    printer *p = user;
    if (p->copy)
        (void)buf_append(p->copy, text, n); /* its failure is sticky, and looked at after */
    return wrap_print(&p->wrap, WRAP_PLAIN, text, n, &p->err) == CAMA_OK;
}

static bool on_poll(void *user)
{
    (void)user;
    return !cli_interrupted();
}

cama_err cli_answer(cama_model *m, const cama_gen_opts *gen, const cli_sink *to,
                    cama_gen_result *result, cama_error *err)
{
    printer p = {.copy = to->text, .err = {.code = CAMA_OK}};
    wrap_init(&p.wrap, to->wordwrap);
    cama_gen_opts o = *gen;
    o.on_text = on_text;
    o.on_poll = on_poll;
    o.user = &p;
    cama_gen_result_init(result, sizeof *result);
    cli_catch_interrupt(to->text == NULL);
    cama_err e = cama_generate(m, &o, result, err);
    cli_release_interrupt();
    if (!e && p.err.code) {
        *err = p.err;
        e = p.err.code;
    }
    if (!e)
        e = cli_print("\n", 1, err);
    if (!e && result->context_full)
        cli_warning(NULL, "the answer was cut: the context is full (--num-ctx makes it larger)");
    return e;
}

/* ---- figures ---- */

void cli_format_bytes(uint64_t bytes, char *out, size_t n)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    double x = (double)bytes;
    while (x >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        x /= 1024;
        unit++;
    }
    (void)snprintf(out, n, unit ? "%.1f %s" : "%.0f %s", x, units[unit]);
}

static double rate(uint32_t n, uint64_t ns)
{
    return ns ? (double)n * 1e9 / (double)ns : 0;
}

static void print_memory(const cama_info *i)
{
    char weights[32];
    char kv[32];
    char scratch[32];
    char total[32];
    cli_format_bytes(i->weight_bytes, weights, sizeof weights);
    cli_format_bytes(i->kv_bytes, kv, sizeof kv);
    cli_format_bytes(i->scratch_bytes, scratch, sizeof scratch);
    cli_format_bytes(i->total_bytes, total, sizeof total);
    fprintf(stderr, "memory   %s: weights %s (%s), KV %s (%s, context %u), scratch %s\n", total,
            weights, i->weights, kv, i->kv_type, i->n_ctx, scratch);
}

void cli_print_figures(const cama_model *m, const cama_gen_result *r, bool verbose)
{
    cama_info i;
    cama_model_info(m, &i, sizeof i);
    const uint32_t n_read = r->n_prompt - r->n_cached;
    const uint32_t n_step = r->n_token ? r->n_token - 1 : 0;
    fprintf(stderr, "\nengine   %s, %s activations (%s)\ndevice   %s\n", i.engine, i.activations,
            i.engine_why, i.device);
    print_memory(&i);
    fprintf(stderr, "prefill  %u tokens, %.1f tokens/s", n_read, rate(n_read, r->prompt_ns));
    if (r->n_cached)
        fprintf(stderr, " (%u more were cached)", r->n_cached);
    fprintf(stderr, "\ndecode   %u tokens, %.1f tokens/s\n", r->n_token, rate(n_step, r->eval_ns));
    if (verbose)
        fprintf(stderr, "load     %.3f s\nprompt   %.3f s\nanswer   %.3f s\nseed     %u\n",
                (double)i.load_ns / 1e9, (double)r->prompt_ns / 1e9, (double)r->eval_ns / 1e9,
                r->seed);
}
