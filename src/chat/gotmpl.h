/* gotmpl.h - Go's text/template, as the TEMPLATE of a Modelfile is written in.
 *
 * Complete: actions, pipelines, variables, range/with/if/else/define/template/block/break/continue,
 * trimming, every built-in function, and Ollama's own (json, currentDate, yesterdayDate,
 * toTypeScriptType). Data is JSON; a key that is missing prints as Go's option missingkey=zero over
 * Ollama's own structs does. Steps, depth and output are bounded as in tmpl.h.
 * Where Ollama itself would be of no use its road is left: see docs/templates.md.
 * A gotmpl is immutable after gotmpl_open and may be rendered by several threads at once.
 */
#ifndef CHAT_GOTMPL_H
#define CHAT_GOTMPL_H

#include "chat/tmpl.h"

typedef struct gotmpl gotmpl;

/* CAMA_ERR_TEMPLATE with Go's text ("template: :1: unexpected ..."), CAMA_ERR_LIMIT. */
cama_err gotmpl_open(const char *source, size_t n, gotmpl **out, err_info *err);
void gotmpl_close(gotmpl *t);

/* Whether any action names this field or variable chain's part, as Ollama asks it ("tools",
 * "suffix", "messages", "thinking"): case does not count. */
bool gotmpl_uses(const gotmpl *t, const char *identifier);

/* As tmpl_render; data becomes dot and $, its numbers float64, as Go reads JSON. CAMA_ERR_TEMPLATE
 * with Go's text and position. */
cama_err gotmpl_render(const gotmpl *t, const json_value *data, int64_t now_s,
                       const tmpl_limits *limits, buf *out, err_info *err);

/* ---- a conversation through it, as Ollama does (collation, legacy templates, suffix) ---- */

typedef struct gochat_request {
    /* role, content, thinking, tool_calls (arguments an object), tool_name, tool_call_id, images (a
     * list, of which only the length is seen, or a count) */
    const json_value *messages;
    const json_value *tools;
    const char *prompt, *suffix; /* suffix not NULL: fill-in-the-middle */
    int think;                   /* -1: not set, 0, 1 */
    const char *think_level;     /* "" or low, medium, high, max */
    int64_t now_s;
    const tmpl_limits *limits; /* of each turn; NULL: those of gotmpl_render */
} gochat_request;

/* Appends the prompt to out, all or nothing. CAMA_ERR_TEMPLATE with Go's text, CAMA_ERR_LIMIT,
 * CAMA_ERR_NOMEM. */
cama_err gochat_render(const gotmpl *t, const gochat_request *q, buf *out, err_info *err);

/* What the template's own text says about answers: the tag before a tool call (the text behind
 * .ToolCalls up to the first '{'; "{" when there is none, as Ollama has it), and the tags around
 * .Thinking, "" when there are none. Each is cut to its size. */
typedef struct gochat_tags {
    char call[64], think_open[64], think_close[64];
} gochat_tags;
void gotmpl_tags(const gotmpl *t, gochat_tags *out);

#endif
