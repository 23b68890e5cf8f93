/* Any command line gives arguments or a text, and every number is within its limits. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli_args.h"

#define MAX_ARGC 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(const cli_args *a)
{
    for (size_t i = 0; cli_option_at(i); i++) {
        const cli_option *o = cli_option_at(i);
        const char *at = (const char *)a + o->offset;
        if (o->kind == CLI_FLOAT &&
            !(*(const float *)at >= (float)o->min && *(const float *)at <= (float)o->max))
            abort();
        if (o->kind == CLI_I32 && (*(const int32_t *)at < o->min || *(const int32_t *)at > o->max))
            abort();
    }
    if (a->gen.n_stop > CLI_MAX_STOP || a->n_pos < 0)
        abort();
}

/* Words end at a NUL or a line's end; the first is the command. The last word is tried as a
 * parameter and as a list of ids too. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = malloc(n + 1);
    if (!text)
        return 0;
    memcpy(text, data, n);
    text[n] = '\0';
    char name[] = "cama";
    char *argv[MAX_ARGC + 1] = {name};
    int argc = 1;
    for (size_t at = 0; at < n && argc < MAX_ARGC; argc++) {
        argv[argc] = text + at;
        at += strcspn(text + at, "\n");
        text[at++] = '\0';
    }
    argv[argc] = NULL;
    const char *last = argv[argc - 1];

    cli_args args;
    err_info err = {.text = ""};
    if (!cli_parse(argc, argv, &args, &err))
        check(&args);
    else if (!err.text[0])
        abort();
    (void)cli_set_parameter(&args, last, last, &err);
    int32_t *ids;
    size_t n_id;
    if (!cli_parse_ids(last, &ids, &n_id, &err))
        free(ids);
    free(text);
    return 0;
}
