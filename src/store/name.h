/* name.h - names of models: [scheme://][host/][namespace/]model[:tag].
 *
 * Parsed from the right as Ollama does. Missing parts take their defaults: registry.ollama.ai,
 * library, latest. Case is kept and does not count when a model is looked up.
 */
#ifndef STORE_NAME_H
#define STORE_NAME_H

#include "base/err.h"

#define NAME_MAX_HOST 350
#define NAME_MAX_PART 80
#define NAME_BYTES (NAME_MAX_HOST + 3 * NAME_MAX_PART + 8)

typedef struct model_name {
    char host[NAME_MAX_HOST + 1];
    char space[NAME_MAX_PART + 1];
    char model[NAME_MAX_PART + 1];
    char tag[NAME_MAX_PART + 1];
} model_name;

/* CAMA_ERR_ARG: the text names the part that is wrong. */
cama_err name_parse(const char *text, model_name *out, err_info *err);
/* As people see it: default host and namespace left out, the tag always there. */
void name_format(const model_name *n, char out[NAME_BYTES]);
/* All four parts: host/namespace/model:tag. */
void name_format_full(const model_name *n, char out[NAME_BYTES]);
bool name_equal(const model_name *a, const model_name *b); /* case does not count */

#endif
