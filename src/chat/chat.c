#include "chat/chat.h"

#include <string.h>

#define REQUEST_TREE_BYTES (256u << 20)

typedef struct adapter {
    arena *a;
    const chat_caps *caps;
    uint32_t adapted;
    cama_err fail; /* sticks */
    err_info *err;
} adapter;

const char *chat_adapted_text(uint32_t bit)
{
    static const char *const texts[CHAT_N_ADAPTED] = {
        "the template takes no system message: it was put before the first user message",
        "the template takes content as text only: parts were joined",
        "the template takes content as a list only: text was wrapped",
        "the template takes no null content: it was sent as empty text",
        "arguments of tool calls were parsed for the template",
        "arguments of tool calls were printed as JSON for the template",
        "the template does not show tools: they were left to it, and it ignores them",
        "the template has no switch for thinking",
        "the template shows tool calls beside null content only: empty text became null",
    };
    for (size_t i = 0; i < CHAT_N_ADAPTED; i++) {
        if (bit == 1u << i)
            return texts[i];
    }
    return "";
}

static void *no_memory(adapter *d)
{
    if (!d->fail)
        d->fail = err_set(d->err, CAMA_ERR_NOMEM, "chat: no memory for the conversation");
    return NULL;
}

static bool is_text(const json_value *v, const char *text)
{
    return v && v->kind == JSON_STRING && strcmp(v->text, text) == 0;
}

/* A copy of an object's first level, to change members in. */
static json_value *copy_object(adapter *d, const json_value *from)
{
    json_value *to = json_new_object(d->a);
    for (size_t i = 0; i < from->n; i++) {
        if (!json_put(d->a, to, from->members[i].key, from->members[i].value))
            return no_memory(d);
    }
    return to ? to : no_memory(d);
}

static void put(adapter *d, json_value *object, const char *key, json_value *value)
{
    if (!d->fail && !json_put(d->a, object, key, value))
        (void)no_memory(d);
}

/* ---- content ---- */

/* [{"type": "text", "text": ..}, ..] to text, a line each. */
static json_value *join_parts(adapter *d, const json_value *parts)
{
    buf b;
    buf_init(&b, REQUEST_TREE_BYTES);
    for (size_t i = 0; i < parts->n && !d->fail; i++) {
        const json_value *text = json_get(parts->items[i], "text");
        const json_value *type = json_get(parts->items[i], "type");
        if (!text || text->kind != JSON_STRING) {
            d->fail = err_set(d->err, CAMA_ERR_UNSUPPORTED,
                              "chat: the template takes text only, not content of type '%.40s'",
                              type && type->kind == JSON_STRING ? type->text : "?");
            break;
        }
        if (i)
            (void)buf_putc(&b, '\n'); /* sticks in b */
        (void)buf_append(&b, text->text, text->n);
    }
    if (!d->fail && b.fail)
        d->fail = buf_error(&b, "chat: content", d->err);
    json_value *v = d->fail ? NULL : json_new_string(d->a, b.data ? b.data : "", b.n);
    buf_done(&b);
    return v;
}

static json_value *wrap_text(adapter *d, json_value *text)
{
    json_value *parts = json_new_array(d->a);
    json_value *part = json_new_object(d->a);
    if (!json_put(d->a, part, "type", json_new_string(d->a, "text", 4)) ||
        !json_put(d->a, part, "text", text) || !json_append(d->a, parts, part))
        return no_memory(d);
    return parts;
}

static void adapt_content(adapter *d, json_value *message)
{
    const chat_caps *c = d->caps;
    const json_value *found = json_get(message, "content");
    json_value *content = (json_value *)(uintptr_t)found; /* the tree is not changed through it */
    const json_value *calls = json_get(message, "tool_calls");
    const bool has_calls = calls && calls->kind == JSON_ARRAY && calls->n;
    if (has_calls && c->null_calls && content && content->kind == JSON_STRING && !content->n) {
        put(d, message, "content", json_new_null(d->a));
        d->adapted |= CHAT_EMPTY_NULLED;
    } else if (content && content->kind == JSON_ARRAY && !c->typed_content) {
        put(d, message, "content", join_parts(d, content));
        d->adapted |= CHAT_PARTS_JOINED;
    } else if (content && content->kind == JSON_STRING && !c->string_content) {
        put(d, message, "content", wrap_text(d, content));
        d->adapted |= CHAT_TEXT_WRAPPED;
    } else if ((!content || content->kind == JSON_NULL) && !c->null_content) {
        json_value *empty = json_new_string(d->a, "", 0);
        put(d, message, "content", c->string_content ? empty : wrap_text(d, empty));
        d->adapted |= CHAT_NULL_EMPTIED;
    }
}

/* ---- tool calls ---- */

/* JSON text to an object; text that is none stays, and the template may cope. */
static json_value *parse_args(adapter *d, json_value *args)
{
    json_value *v = NULL;
    const cama_err e = json_parse(args->text, args->n, d->a, &v, NULL);
    if (e == CAMA_ERR_NOMEM)
        return no_memory(d);
    if (e || v->kind != JSON_OBJECT)
        return args;
    d->adapted |= CHAT_ARGS_PARSED;
    return v;
}

static json_value *print_args(adapter *d, const json_value *args)
{
    buf b;
    buf_init(&b, REQUEST_TREE_BYTES);
    json_value *v = NULL;
    if (json_write(args, &b))
        d->fail = buf_error(&b, "chat: arguments of a tool call", d->err);
    else
        v = json_new_string(d->a, b.data, b.n);
    buf_done(&b);
    d->adapted |= CHAT_ARGS_PRINTED;
    return v;
}

static json_value *adapt_call(adapter *d, json_value *call)
{
    const json_value *function = json_get(call, "function");
    const json_value *found = json_get(function, "arguments");
    json_value *args = (json_value *)(uintptr_t)found;
    if (!args || function->kind != JSON_OBJECT)
        return call;
    json_value *fixed = args;
    if (args->kind == JSON_STRING && d->caps->object_args)
        fixed = parse_args(d, args);
    else if (args->kind == JSON_OBJECT && !d->caps->object_args && d->caps->string_args)
        fixed = print_args(d, args);
    if (fixed == args)
        return call;
    json_value *inner = d->fail ? NULL : copy_object(d, function);
    json_value *outer = inner ? copy_object(d, call) : NULL;
    if (!outer)
        return no_memory(d);
    put(d, inner, "arguments", fixed);
    put(d, outer, "function", inner);
    return outer;
}

static void adapt_calls(adapter *d, json_value *message)
{
    const json_value *calls = json_get(message, "tool_calls");
    if (!calls || calls->kind != JSON_ARRAY || calls->n == 0)
        return;
    if (!d->caps->tool_calls)
        d->adapted |= CHAT_TOOLS_IGNORED;
    json_value *list = json_new_array(d->a);
    for (size_t i = 0; i < calls->n && !d->fail; i++) {
        if (!json_append(d->a, list, adapt_call(d, calls->items[i])))
            (void)no_memory(d); /* sticks in d */
    }
    put(d, message, "tool_calls", list);
}

/* ---- system messages ---- */

/* Text of content, whatever its form; parts that are no text are an error. */
static const json_value *text_of(adapter *d, const json_value *content)
{
    if (content && content->kind == JSON_ARRAY)
        return join_parts(d, content);
    return content && content->kind == JSON_STRING ? content : NULL;
}

static void append_text(adapter *d, const json_value *content, buf *b)
{
    const json_value *text = text_of(d, content);
    if (!text || text->n == 0)
        return;
    if (b->n)
        (void)buf_puts(b, "\n\n"); /* sticks in b */
    (void)buf_append(b, text->text, text->n);
}

/* A message of the user that says what was collected; from: the user's own, or NULL. */
static json_value *merged_message(adapter *d, const json_value *from, buf *system)
{
    json_value *m = from ? copy_object(d, from) : json_new_object(d->a);
    if (!m)
        return no_memory(d);
    if (from)
        append_text(d, json_get(from, "content"), system);
    put(d, m, "role", json_new_string(d->a, "user", 4));
    put(d, m, "content", json_new_string(d->a, system->data ? system->data : "", system->n));
    return m;
}

/* All system messages into the first of the user; the template refuses them. */
static json_value *merge_system(adapter *d, const json_value *messages)
{
    json_value *out = json_new_array(d->a);
    buf system;
    buf_init(&system, REQUEST_TREE_BYTES);
    bool waiting = false;
    for (size_t i = 0; i < messages->n && !d->fail; i++) {
        const json_value *role = json_get(messages->items[i], "role");
        if (is_text(role, "system")) {
            append_text(d, json_get(messages->items[i], "content"), &system);
            waiting = true;
        }
    }
    if (waiting)
        d->adapted |= CHAT_SYSTEM_MERGED;
    for (size_t i = 0; i < messages->n && !d->fail; i++) {
        json_value *m = messages->items[i];
        if (is_text(json_get(m, "role"), "system"))
            continue;
        if (waiting && is_text(json_get(m, "role"), "user")) {
            m = merged_message(d, m, &system);
            waiting = false;
        }
        if (!d->fail && !json_append(d->a, out, m))
            (void)no_memory(d); /* sticks in d */
    }
    if (waiting && !d->fail && !json_append(d->a, out, merged_message(d, NULL, &system)))
        (void)no_memory(d);
    if (!d->fail && system.fail)
        d->fail = buf_error(&system, "chat: system messages", d->err);
    buf_done(&system);
    return out;
}

/* ---- the request ---- */

static json_value *list_messages(adapter *d, const chat_request *q)
{
    json_value *list = json_new_array(d->a);
    for (size_t i = 0; i < q->n_msg && !d->fail; i++) {
        const chat_message *m = &q->msgs[i];
        json_value *o = json_new_object(d->a);
        if (!json_put(d->a, o, "role", json_new_string(d->a, m->role, strlen(m->role))) ||
            !json_put(d->a, o, "content", json_new_string(d->a, m->content, strlen(m->content))) ||
            !json_append(d->a, list, o))
            return no_memory(d);
    }
    return list;
}

static json_value *adapt_messages(adapter *d, const json_value *given)
{
    if (!given)
        return no_memory(d);
    if (given->kind != JSON_ARRAY) {
        d->fail = err_set(d->err, CAMA_ERR_ARG, "chat: messages is no array");
        return NULL;
    }
    json_value *out = json_new_array(d->a);
    const json_value *from = d->caps->system_role ? given : merge_system(d, given);
    if (!from || !out)
        return no_memory(d);
    for (size_t i = 0; i < from->n && !d->fail; i++) {
        if (from->items[i]->kind != JSON_OBJECT) {
            d->fail = err_set(d->err, CAMA_ERR_ARG, "chat: message %zu is no object", i);
            break;
        }
        json_value *m = copy_object(d, from->items[i]);
        if (!m)
            break;
        adapt_content(d, m);
        adapt_calls(d, m);
        if (is_text(json_get(m, "role"), "tool") && !d->caps->tool_role)
            d->adapted |= CHAT_TOOLS_IGNORED;
        if (!d->fail && !json_append(d->a, out, m))
            (void)no_memory(d); /* sticks in d */
    }
    return out;
}

static json_value *text_value(adapter *d, const char *text)
{
    return json_new_string(d->a, text ? text : "", text ? strlen(text) : 0);
}

static json_value *make_vars(adapter *d, const chat_request *q, json_value *messages)
{
    json_value *vars = json_new_object(d->a);
    put(d, vars, "messages", messages);
    put(d, vars, "bos_token", text_value(d, q->bos));
    put(d, vars, "eos_token", text_value(d, q->eos));
    put(d, vars, "add_generation_prompt", json_new_bool(d->a, q->add_generation_prompt));
    if (q->tools && q->tools->n) {
        put(d, vars, "tools", (json_value *)(uintptr_t)q->tools); /* only read */
        if (!d->caps->tools)
            d->adapted |= CHAT_TOOLS_IGNORED;
    } else if (!d->caps->no_tools_unset) {
        put(d, vars, "tools", json_new_null(d->a));
    }
    if (q->think != CHAT_THINK_DEFAULT) {
        put(d, vars, "enable_thinking", json_new_bool(d->a, q->think == CHAT_THINK_ON));
        put(d, vars, "thinking", json_new_bool(d->a, q->think == CHAT_THINK_ON));
        if (!d->caps->thinking)
            d->adapted |= CHAT_THINK_IGNORED;
    }
    for (size_t i = 0; q->extra && q->extra->kind == JSON_OBJECT && i < q->extra->n; i++)
        put(d, vars, q->extra->members[i].key, q->extra->members[i].value);
    return vars;
}

cama_err chat_render(const tmpl *t, const chat_request *q, buf *out, uint32_t *out_adapted,
                     err_info *err)
{
    chat_caps caps;
    if (q->caps)
        caps = *q->caps;
    const cama_err e = q->caps ? CAMA_OK : chat_probe(t, &caps, err);
    if (e)
        return e;
    arena a;
    arena_init(&a, REQUEST_TREE_BYTES);
    adapter d = {.a = &a, .caps = &caps, .err = err};
    json_value *messages = adapt_messages(&d, q->messages ? q->messages : list_messages(&d, q));
    json_value *vars = d.fail ? NULL : make_vars(&d, q, messages);
    if (!d.fail)
        d.fail = tmpl_render(t, vars, q->now_s, NULL, out, err);
    if (!d.fail)
        *out_adapted = d.adapted;
    arena_done(&a);
    return d.fail;
}
