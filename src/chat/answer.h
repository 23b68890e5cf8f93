/* answer.h - text of a model -> content, reasoning and tool calls, while it streams.
 *
 *     "<think>Hm</think>Hi <tool_call>{"name":"f","arguments":{}}</tool_call>"
 *      -> THINK "Hm", CONTENT "Hi ", CALLS [{"function":{"name":"f","arguments":{}}}]
 *
 * Text that may be the beginning of a tag is held until the next piece decides; however the text
 * is cut into pieces, the joined events are the same.
 *
 * Reasoning counts at the very beginning of an answer; white space behind both its tags is dropped.
 * Behind the tag of a call each whole JSON object is looked at: with a tool's name in it or before
 * it (the first one there, of two that begin at one place the longer) it is a call, its arguments
 * under `arguments` or `parameters`, or, where it has no `name`, all of it. What follows a call is
 * not given out. Text behind a tag that turns out to be no call is content. The tags "{" and "["
 * count at the very beginning only, and the first value that is no call ends the search.
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
