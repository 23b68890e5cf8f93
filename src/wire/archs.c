#include "wire/archs.h"

#include <string.h>

static const char *const names[] = {
#define X(name) name,
#include "wire/archs.def"
#undef X
};

#define N_NAME (sizeof names / sizeof *names)

const char *wire_arch_at(size_t i)
{
    return i < N_NAME ? names[i] : NULL;
}

bool wire_has_arch(const char *name)
{
    for (size_t i = 0; i < N_NAME; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}
