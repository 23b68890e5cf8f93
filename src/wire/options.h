/* options.h - the names, types and defaults of model options, once for every room.
 *
 * options.def is the table. Old options that Ollama still takes without effect are listed too, so
 * that a warning can tell them from names that nobody knows.
 */
#ifndef WIRE_OPTIONS_H
#define WIRE_OPTIONS_H

#include "base/err.h"

typedef enum option_type {
    OPTION_INT,
    OPTION_FLOAT,
    OPTION_BOOL,
    OPTION_STRINGS,
    OPTION_WORD
} option_type;

typedef struct option_row {
    const char *name;
    option_type type;
    double fallback;
} option_row;

extern const option_row option_table[];
extern const size_t option_n;

/* Case counts, as in Ollama. NULL: no such option. */
const option_row *option_find(const char *name, size_t n_name);
/* mirostat, tfs_z, numa, low_vram and their like: accepted by Ollama, without effect since. */
bool option_is_retired(const char *name, size_t n_name);
/* What a row of the type WORD may be, its default first: "auto, native, mlx". NULL: another type.
 */
const char *option_words(const option_row *row);
/* Whether text is one of these words. */
bool option_is_word(const option_row *row, const char *text, size_t n);
/* "integer", "float32", "boolean", "array", "string": as Ollama's error texts say it. */
const char *option_type_name(option_type t);

#endif
