/* chat.h - a conversation in, the prompt of a model out.
 *
 * A template (tmpl.h) was written for one model and takes what that model was trained on: some
 * refuse a system message, some take content only as text or only as a list of parts, some want
 * the arguments of a tool call as an object and some as JSON text. chat_probe finds out by trial
 * renders, once a model; chat_render changes a conversation so that the template can take it, and
 * says what it changed: nothing is adapted in silence.
 *
 *     chat_caps caps;
 *     err = chat_probe(t, &caps, &info);
 *     chat_message m[] = {{"system", "Be brief."}, {"user", "Hello"}};
 *     chat_request q = {.bos = "<s>", .eos = "</s>", .msgs = m, .n_msg = 2, .caps = &caps,
 *                       .add_generation_prompt = true, .now_s = time(NULL)};
 *     err = chat_render(t, &q, &prompt, &adapted, &info);
 *
 * The prompt may begin with the text of the BOS token: whoever turns it into ids must not add
 * another one.
 */
#ifndef CHAT_CHAT_H
#define CHAT_CHAT_H

#include "chat/tmpl.h"

/* What a template can take. */
typedef struct chat_caps {
    bool system_role;    /* a system message appears in the prompt */
    bool string_content; /* content as text */
    bool typed_content;  /* content as [{"type": "text", "text": ..}, ..] */
    bool null_content;   /* content null beside tool calls: neither refused nor printed as None */
    bool null_calls;     /* tool calls appear beside content null only, not beside empty text */
    bool no_tools_unset; /* without tools the variable must be left out: none is refused */
    bool tools;          /* definitions of tools appear */
    bool tool_calls;     /* calls of an assistant appear */
    bool parallel_calls; /* all of several calls in one message */
    bool object_args;    /* arguments as an object give JSON */
    bool string_args;    /* arguments as JSON text are passed on as they are */
    bool tool_role;      /* results of tools appear */
    bool reasoning;      /* reasoning_content of the last turn appears */
    bool thinking;       /* enable_thinking (or thinking) is looked at */
} chat_caps;

/* A template that cannot even take one user message: CAMA_ERR_TEMPLATE with its text. */
cama_err chat_probe(const tmpl *t, chat_caps *out, err_info *err);

typedef struct chat_message {
    const char *role; /* system, user, assistant, tool */
    const char *content;
} chat_message;

typedef enum chat_think {
    CHAT_THINK_DEFAULT, /* the template decides */
    CHAT_THINK_ON,
    CHAT_THINK_OFF
} chat_think;

typedef struct chat_request {
    const chat_caps *caps; /* of this template; NULL: probed again in each call */
    const char *bos;       /* texts of the special tokens; NULL: empty */
    const char *eos;
    const chat_message *msgs; /* used when messages is NULL */
    size_t n_msg;
    const json_value *messages; /* an array in the shape of OpenAI's; NULL: msgs */
    const json_value *tools;    /* an array; NULL: none */
    const json_value *extra;    /* more variables (chat_template_kwargs), an object; NULL: none */
    bool add_generation_prompt;
    chat_think think;
    int64_t now_s; /* what strftime_now sees */
} chat_request;

/* Bits of what chat_render changed, for a warning to the user. */
enum {
    CHAT_SYSTEM_MERGED = 1,   /* into the first user message */
    CHAT_PARTS_JOINED = 2,    /* lists of text parts became text, a line each */
    CHAT_TEXT_WRAPPED = 4,    /* text became a list of one part */
    CHAT_NULL_EMPTIED = 8,    /* null content became empty text */
    CHAT_ARGS_PARSED = 16,    /* arguments: JSON text became an object */
    CHAT_ARGS_PRINTED = 32,   /* arguments: an object became JSON text */
    CHAT_TOOLS_IGNORED = 64,  /* the template does not show tools (or calls, or results) */
    CHAT_THINK_IGNORED = 128, /* the template knows no switch for thinking */
    CHAT_EMPTY_NULLED = 256,  /* empty content beside tool calls became null */
    CHAT_N_ADAPTED = 9
};
/* One line for people for one bit; "" for none. */
const char *chat_adapted_text(uint32_t bit);

/* Appends the prompt to out, all or nothing. *out_adapted: bits of what was changed, may not be
 * NULL. CAMA_ERR_TEMPLATE with the template's own text when it refuses; CAMA_ERR_UNSUPPORTED for
 * content that is no text where only text is taken. */
cama_err chat_render(const tmpl *t, const chat_request *q, buf *out, uint32_t *out_adapted,
                     err_info *err);

#endif
