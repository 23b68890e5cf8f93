/* modelfile.h - the Modelfile: FROM, PARAMETER, TEMPLATE, SYSTEM, ADAPTER, DRAFT, LICENSE, MESSAGE,
 * RENDERER, PARSER, REQUIRES.
 *
 * The parser knows the grammar and no more: paths are not opened, values are not checked but for
 * the role of a message. modelfile_write prints one back so that it reads as the same.
 */
#ifndef STORE_MODELFILE_H
#define STORE_MODELFILE_H

#include "base/arena.h"
#include "base/buf.h"

#define MODELFILE_MAX_BYTES (4u << 20)
#define MODELFILE_MAX_COMMANDS 4096

typedef struct modelfile_command {
    const char *name; /* lower case: "from", "parameter" ... */
    const char *key;  /* PARAMETER: its name; MESSAGE: the role; else "" */
    const char *value;
    uint32_t line; /* from 1 */
} modelfile_command;

typedef struct modelfile {
    const modelfile_command *commands;
    size_t n;
} modelfile;

/* UTF-8, or UTF-16 or UTF-8 with a BOM. CAMA_ERR_FORMAT with Ollama's text: "(line 3): command must
 * be one of ...", "no FROM line", "unexpected EOF". All in the arena. */
cama_err modelfile_parse(const char *text, size_t n, arena *a, modelfile *out, err_info *err);
/* One line (or a quoted block): "SYSTEM \"\"\"...\"\"\"\n". It reads as the same, but for what no
 * Modelfile can say: characters that the parser drops, and """ at the end of an inner line. */
cama_err modelfile_write_command(const modelfile_command *c, buf *out);

#endif
