/* What a template can take, found by rendering marks and looking for them. */
#include "chat/chat.h"

#include <stdio.h>
#include <string.h>

#define PROBE_ARENA_BYTES (1u << 20)
#define PROBE_OUT_BYTES (1u << 22)
#define PROBE_NOW_S 1753000000 /* any time will do */

/* Rare words, which no template has of its own. */
#define MARK_SYSTEM "camasystemmark"
#define MARK_USER "camausermark"
#define MARK_NAME "camafunctionmark"
#define MARK_OTHER "camaotherfunction"
#define MARK_KEY "camakeymark"
#define MARK_ARG "camaargmark"
#define MARK_RESULT "camaresultmark"
#define MARK_REASON "camareasonmark"

#define USER "{\"role\":\"user\",\"content\":\"" MARK_USER "\"}"
#define CALL(name, args)                                                                           \
    "{\"type\":\"function\",\"id\":\"abcdef123\",\"function\":{\"name\":\"" name                   \
    "\",\"arguments\":" args "}}"
#define ARGS_OBJECT "{\"" MARK_KEY "\":\"" MARK_ARG "\"}"
#define ARGS_STRING "\"{\\\"" MARK_KEY "\\\": \\\"" MARK_ARG "\\\"}\""
#define RESULT                                                                                     \
    "{\"role\":\"tool\",\"name\":\"" MARK_NAME                                                     \
    "\",\"tool_call_id\":\"abcdef123\",\"content\":\"" MARK_RESULT "\"}"
#define TOOLS                                                                                      \
    "[{\"type\":\"function\",\"function\":{\"name\":\"" MARK_NAME                                  \
    "\",\"description\":\"d\",\"parameters\":{\"type\":\"object\",\"properties\":{\"" MARK_KEY     \
    "\":{\"type\":\"string\",\"description\":\"d\"}},\"required\":[\"" MARK_KEY "\"]}}}]"

typedef struct prober {
    const tmpl *t;
    buf out;
    err_info why;
    cama_err fatal;   /* no memory: not an answer of the template */
    bool tools_unset; /* leave the variable out where there are no tools */
} prober;

/* Renders messages (and TOOLS); false when the template refuses. */
static bool try_render(prober *p, const char *messages, bool with_tools)
{
    arena a;
    arena_init(&a, PROBE_ARENA_BYTES);
    json_value *vars = NULL;
    buf text;
    buf_init(&text, PROBE_ARENA_BYTES);
    buf_clear(&p->out);
    const char *tools = with_tools ? ",\"tools\":" TOOLS : p->tools_unset ? "" : ",\"tools\":null";
    cama_err e = buf_printf(&text,
                            "{\"messages\":[%s],\"bos_token\":\"\",\"eos_token\":\"\","
                            "\"add_generation_prompt\":false%s}",
                            messages, tools);
    if (!e)
        e = json_parse(text.data, text.n, &a, &vars, &p->why);
    if (!e)
        e = tmpl_render(p->t, vars, PROBE_NOW_S, NULL, &p->out, &p->why);
    buf_done(&text);
    arena_done(&a);
    if (e == CAMA_ERR_NOMEM)
        p->fatal = e;
    return e == CAMA_OK;
}

static bool seen(const prober *p, const char *mark)
{
    return p->out.data && strstr(p->out.data, mark) != NULL;
}

/* Hugging Face gives tools = none where there are none, and a few templates iterate over it. */
static void probe_no_tools(prober *p, chat_caps *c)
{
    if (try_render(p, USER, false) || p->fatal)
        return;
    p->tools_unset = true;
    c->no_tools_unset = try_render(p, USER, false);
    p->tools_unset = c->no_tools_unset;
}

static void probe_content(prober *p, chat_caps *c)
{
    c->string_content = try_render(p, USER, false) && seen(p, MARK_USER);
    /* A template that expects text may print the list: that is no support. */
    c->typed_content =
        try_render(
            p, "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"" MARK_USER "\"}]}",
            false) &&
        seen(p, MARK_USER) && !seen(p, "'text'") && !seen(p, "\"text\"");
    const char *system =
        c->string_content
            ? "{\"role\":\"system\",\"content\":\"" MARK_SYSTEM "\"}," USER
            : "{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"" MARK_SYSTEM
              "\"}]},{\"role\":\"user\",\"content\":[{\"type\":"
              "\"text\",\"text\":\"" MARK_USER "\"}]}";
    c->system_role = try_render(p, system, false) && seen(p, MARK_SYSTEM) && seen(p, MARK_USER);
}

/* A user, an assistant with these calls, and the result of a tool. */
static bool try_calls(prober *p, const char *content, const char *calls, bool with_tools)
{
    char messages[1024];
    const int n =
        snprintf(messages, sizeof messages,
                 USER ",{\"role\":\"assistant\",\"content\":%s,\"tool_calls\":[%s]}," RESULT,
                 content, calls);
    return n > 0 && (size_t)n < sizeof messages && try_render(p, messages, with_tools);
}

/* The form of arguments: an object must come out as JSON, text as it went in. */
static void probe_args(prober *p, chat_caps *c, const char *content)
{
    const bool object_ok = try_calls(p, content, CALL(MARK_NAME, ARGS_OBJECT), true);
    c->object_args = object_ok && seen(p, MARK_ARG) && !seen(p, "'" MARK_KEY "'");
    c->tool_calls = object_ok && seen(p, MARK_ARG);
    c->tool_role |= object_ok && seen(p, MARK_RESULT);
    const bool string_ok = try_calls(p, content, CALL(MARK_NAME, ARGS_STRING), true);
    c->string_args = string_ok && seen(p, MARK_ARG) && !seen(p, "\\\"" MARK_KEY);
    c->tool_calls |= c->string_args;
    c->tool_role |= string_ok && seen(p, MARK_RESULT);
}

static void probe_calls(prober *p, chat_caps *c)
{
    c->tools = try_render(p, USER, true) && seen(p, MARK_NAME);
    probe_args(p, c, "\"\"");
    if (!c->tool_calls) {
        probe_args(p, c, "null");
        c->null_calls = c->tool_calls;
    }
    if (!c->tool_calls)
        return;
    const char *content = c->null_calls ? "null" : "\"\"";
    const char *one = c->object_args ? CALL(MARK_NAME, ARGS_OBJECT) : CALL(MARK_NAME, ARGS_STRING);
    const char *two = c->object_args
                          ? CALL(MARK_NAME, ARGS_OBJECT) "," CALL(MARK_OTHER, ARGS_OBJECT)
                          : CALL(MARK_NAME, ARGS_STRING) "," CALL(MARK_OTHER, ARGS_STRING);
    c->parallel_calls =
        try_calls(p, content, two, false) && seen(p, MARK_NAME) && seen(p, MARK_OTHER);
    c->null_content = try_calls(p, "null", one, false) && seen(p, MARK_ARG) && !seen(p, "None");
}

static void probe_thinking(prober *p, chat_caps *c)
{
    c->thinking = tmpl_uses(p->t, "enable_thinking") || tmpl_uses(p->t, "thinking");
    c->reasoning =
        try_render(p,
                   USER ",{\"role\":\"assistant\",\"content\":\"x\",\"reasoning_content\":"
                        "\"" MARK_REASON "\"}",
                   false) &&
        seen(p, MARK_REASON);
}

cama_err chat_probe(const tmpl *t, chat_caps *out, err_info *err)
{
    prober p = {.t = t};
    chat_caps c = {0};
    buf_init(&p.out, PROBE_OUT_BYTES);
    probe_no_tools(&p, &c);
    probe_content(&p, &c);
    const bool usable = c.string_content || c.typed_content;
    if (!usable && !p.fatal)
        (void)try_render(&p, USER, false); /* again, for the text of its refusal */
    else if (!p.fatal)
        probe_calls(&p, &c);
    if (usable && !p.fatal)
        probe_thinking(&p, &c);
    buf_done(&p.out);
    if (p.fatal)
        return err_set(err, p.fatal, "chat template: no memory to try it");
    if (!usable)
        return err_set(err, CAMA_ERR_TEMPLATE, "the template does not take one user message: %s",
                       p.why.text[0] ? p.why.text : "its text is not in the prompt");
    *out = c;
    return CAMA_OK;
}
