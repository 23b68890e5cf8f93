/* Any bytes as a Modelfile: what parses must be written and parsed again to the same. */
#include "store/modelfile.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const modelfile *a, const modelfile *b)
{
    if (a->n != b->n)
        abort();
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->commands[i].name, b->commands[i].name) != 0 ||
            strcmp(a->commands[i].key, b->commands[i].key) != 0 ||
            strcmp(a->commands[i].value, b->commands[i].value) != 0)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena a;
    buf out;
    modelfile first;
    err_info err;
    arena_init(&a, (size_t)1 << 26);
    buf_init(&out, (size_t)1 << 24);
    if (modelfile_parse((const char *)data, size, &a, &first, &err) == CAMA_OK) {
        modelfile second;
        for (size_t i = 0; i < first.n; i++)
            if (modelfile_write_command(&first.commands[i], &out))
                abort();
        if (modelfile_parse(out.data, out.n, &a, &second, &err))
            abort();
        check_same(&first, &second);
    }
    buf_done(&out);
    arena_done(&a);
    return 0;
}
