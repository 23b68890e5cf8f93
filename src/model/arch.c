/* arch.c - the table of architectures. A row names what differs from llama; docs/models.md says how
 * to add one. */
#include "model/model_int.h"

#include <string.h>

static const model_arch archs[] = {
    {.name = "llama"}, /* and mistral, mixtral, tinyllama, smollm, yi, ... */
};

#define N_ARCH (sizeof archs / sizeof *archs)

const model_arch *model_arch_find(const char *name, size_t n)
{
    for (size_t i = 0; i < N_ARCH; i++)
        if (strlen(archs[i].name) == n && memcmp(archs[i].name, name, n) == 0)
            return &archs[i];
    return NULL;
}

const char *model_arch_at(size_t i)
{
    return i < N_ARCH ? archs[i].name : NULL;
}
