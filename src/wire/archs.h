/* archs.h - the names of the architectures that runners load, for those who see no model. */
#ifndef WIRE_ARCHS_H
#define WIRE_ARCHS_H

#include <stdbool.h>
#include <stddef.h>

/* NULL past the end. */
const char *wire_arch_at(size_t i);
bool wire_has_arch(const char *name);

#endif
