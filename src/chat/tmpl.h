/* tmpl.h - chat templates: messages in, prompt out.
 *
 * The Jinja of a GGUF's tokenizer.chat_template, interpreted. A template is a program from a file:
 * steps, depth and output are bounded, and nothing it does reaches outside its variables.
 * A tmpl is immutable after tmpl_open and may be rendered by several threads at once.
 */
#ifndef CHAT_TMPL_H
#define CHAT_TMPL_H

#include "base/buf.h"
#include "base/err.h"
#include "json/json.h"

typedef struct tmpl tmpl; /* opaque: a parsed template */

/* Parses; CAMA_ERR_TEMPLATE with line and text, CAMA_ERR_LIMIT for what is too long or too deep.
 * The source is copied. *out changes only on success. */
cama_err tmpl_open(const char *source, size_t n, tmpl **out, err_info *err);
void tmpl_close(tmpl *t);

/* Whether the template names this variable at all ("tools", "enable_thinking"). */
bool tmpl_uses(const tmpl *t, const char *variable);

/* What a render may take; NULL or 0: the limit named behind it. */
typedef struct tmpl_limits {
    uint64_t max_steps; /* nodes evaluated; 0: TMPL_MAX_STEPS */
    uint32_t max_depth; /* nested calls and blocks; 0: TMPL_MAX_DEPTH */
    size_t max_bytes;   /* of what the render makes; 0: TMPL_MAX_BYTES */
    /* output is bounded by out->max_bytes */
} tmpl_limits;
#define TMPL_MAX_STEPS 50000000u
#define TMPL_MAX_DEPTH 200u
#define TMPL_MAX_BYTES (256u << 20)

/* Appends to out, all or nothing. vars: a JSON object of the template's variables (messages, tools,
 * add_generation_prompt, bos_token, ...). now_s: seconds since 1970 that strftime_now sees, in
 * local time (the caller's clock, so that tests and replays are exact). CAMA_ERR_LIMIT when a limit
 * is passed, CAMA_ERR_NOMEM; raise_exception and any other failure: CAMA_ERR_TEMPLATE with its
 * text. */
cama_err tmpl_render(const tmpl *t, const json_value *vars, int64_t now_s,
                     const tmpl_limits *limits, buf *out, err_info *err);

#endif
