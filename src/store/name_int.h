/* name_int.h - the parts of a name, one by one: they are the levels of the manifests folder. */
#ifndef STORE_NAME_INT_H
#define STORE_NAME_INT_H

#include "store/name.h"

typedef enum name_part { NAME_HOST, NAME_SPACE, NAME_MODEL, NAME_TAG } name_part;
#define NAME_N_PART 4

bool name_part_valid(name_part part, const char *text, size_t n);
/* Where the part is kept: room for its longest text and a NUL. */
char *name_part_of(model_name *n, name_part part);

/* Part by part, the case counts: an order for lists. */
int name_compare(const model_name *a, const model_name *b);

#endif
