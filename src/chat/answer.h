/* answer.h - text of a model -> content, reasoning and tool calls, while it streams.
 *
 *     "<think>Hm</think>Hi <tool_call>{"name":"f","arguments":{}}</tool_call>"
 *      -> THINK "Hm", CONTENT "Hi ", CALLS [{"function":{"name":"f","arguments":{}}}]
 *
 * Text that may be the beginning of a tag is held until the next piece decides; however the text
 * is cut into pieces, the joined events are the same.
 */
#ifndef CHAT_ANSWER_H
#define CHAT_ANSWER_H

#include "base/buf.h"
#include "json/json.h"

typedef struct answer answer; /* opaque */

typedef enum answer_kind { ANSWER_CONTENT, ANSWER_THINK, ANSWER_CALLS } answer_kind;

typedef struct answer_opts {
    const char *think_open, *think_close; /* NULL or "": the model does not think */
    bool in_think;                        /* the prompt ended inside the opening tag */
    const char *call_tag;                 /* NULL: no tools were given */
    const json_value *tools;              /* names that may be called; borrowed */
    /* text: UTF-8; CALLS: a JSON array of {"id","function":{"index","name","arguments"}}. */
    void (*event)(void *user, answer_kind kind, const char *text, size_t n);
    void *user;
} answer_opts;

cama_err answer_open(const answer_opts *o, answer **out, err_info *err);
void answer_close(answer *a);
cama_err answer_feed(answer *a, const char *text, size_t n, err_info *err);
cama_err answer_end(answer *a, err_info *err); /* gives out what is held */

#endif
