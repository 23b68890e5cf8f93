/* cli_card.h - what `show` and /show info print of a model: sections as Ollama lays them out. */
#ifndef CLI_CLI_CARD_H
#define CLI_CLI_CARD_H

#include "base/arena.h"
#include "base/buf.h"
#include "json/json.h"

/* reply: that of /api/show. verbose: metadata and tensors too. All memory is taken of a. */
cama_err card_write(const json_value *reply, bool verbose, arena *a, buf *out);

#endif
