#include "chat/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plat.h"
#include "base/utf8.h"

#define MAX_HELD (4u << 20)     /* text behind a tag that is not yet a call: given out past this */
#define MAX_ARGUMENT (4u << 20) /* bytes of one call while it is read */
#define MAX_CALL_BYTES (64u << 20)

typedef enum think_state {
    T_BEFORE, /* only white space so far: an opening tag may come */
    T_OPENED, /* behind it, white space is dropped */
    T_INSIDE, /* the closing tag is looked for */
    T_CLOSED, /* behind that, white space is dropped */
    T_OVER
} think_state;

typedef enum call_state {
    C_LOOKING, /* for the tag */
    C_INSIDE,  /* behind it: every whole object may be a call */
    C_OVER     /* all is content */
} call_state;

struct answer {
    answer_opts o;
    char *think_open;
    char *think_close;
    char *call_tag;
    char **names; /* of the tools */
    size_t n_name;
    think_state think;
    call_state call;
    buf held;         /* white space or the beginning of a thinking tag */
    buf calls;        /* from the call tag on, or the beginning of one */
    size_t scanned;   /* bytes of calls that were looked at */
    size_t used;      /* bytes of calls that were part of a call */
    size_t nameless;  /* bytes of calls in which no name of a tool begins */
    size_t n_longest; /* of the names */
    size_t open;      /* where the outermost object began */
    uint32_t n_brace;
    int32_t n_bracket; /* of a bare '[' */
    bool in_string;
    bool escaped;
    uint32_t n_call;
};

/* ---- names of tools ---- */

static const json_value *tool_name(const json_value *tools, size_t i)
{
    const json_value *name = json_get(json_get(tools->items[i], "function"), "name");
    return name && name->kind == JSON_STRING && name->n ? name : NULL;
}

static bool copy_names(answer *a, const json_value *tools)
{
    if (!tools || tools->kind != JSON_ARRAY || tools->n == 0)
        return true;
    a->names = calloc(tools->n, sizeof *a->names);
    for (size_t i = 0; a->names && i < tools->n; i++) {
        const json_value *name = tool_name(tools, i);
        if (!name)
            continue;
        a->names[a->n_name] = strdup(name->text);
        if (!a->names[a->n_name++])
            return false;
        if (name->n > a->n_longest)
            a->n_longest = name->n;
    }
    return a->names != NULL;
}

static const char *find_text(const char *text, size_t n, const char *part)
{
    const size_t n_part = strlen(part);
    for (size_t i = 0; i + n_part <= n; i++)
        if (memcmp(text + i, part, n_part) == 0)
            return text + i;
    return NULL;
}

/* The longest name that stands at the beginning of text; NULL: none. */
static const char *name_at(const answer *a, const char *text, size_t n)
{
    const char *best = NULL;
    size_t n_best = 0;
    for (size_t i = 0; i < a->n_name; i++) {
        const size_t n_name = strlen(a->names[i]);
        if (n_name > n_best && n_name <= n && memcmp(text, a->names[i], n_name) == 0) {
            best = a->names[i];
            n_best = n_name;
        }
    }
    return best;
}

/* The first name in calls[used, end). Where none begins is remembered, so that a long text is
 * searched once. */
static const char *find_name(answer *a, size_t end)
{
    size_t i = a->nameless > a->used ? a->nameless : a->used;
    for (; i < end; i++) {
        const char *name = name_at(a, a->calls.data + i, end - i);
        if (name)
            break;
    }
    a->nameless = i;
    if (i < end)
        return name_at(a, a->calls.data + i, end - i);
    /* one that is not whole yet may begin near the end */
    a->nameless = end > a->n_longest + a->used ? end - a->n_longest : a->used;
    return NULL;
}

/* ---- a call ---- */

/* arguments or parameters: an object, or the JSON text of one. */
static const json_value *arguments_in(const json_value *object, const char *key, arena *mem)
{
    const json_value *v = json_get(object, key);
    json_value *read = NULL;
    if (v && v->kind == JSON_OBJECT)
        return v;
    if (v && v->kind == JSON_STRING && !json_parse(v->text, v->n, mem, &read, NULL) &&
        read->kind == JSON_OBJECT)
        return read;
    return NULL;
}

/* The arguments of the first object in it that has a name. *out_named: there is one. The depth is
 * bounded by the reader. */
static const json_value *find_arguments(const json_value *v, arena *mem, bool *out_named)
{
    if (v->kind == JSON_OBJECT && json_get(v, "name")) {
        const json_value *args = arguments_in(v, "arguments", mem);
        *out_named = true;
        return args ? args : arguments_in(v, "parameters", mem);
    }
    for (size_t i = 0; i < v->n && (v->kind == JSON_OBJECT || v->kind == JSON_ARRAY); i++) {
        const json_value *kid = v->kind == JSON_OBJECT ? v->members[i].value : v->items[i];
        if (kid->kind != JSON_OBJECT && kid->kind != JSON_ARRAY)
            continue;
        const json_value *args = find_arguments(kid, mem, out_named);
        if (*out_named)
            return args;
    }
    return NULL;
}

static void new_id(char out[16])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    uint32_t bits[8];
    plat_random(bits, sizeof bits);
    memcpy(out, "call_", 5);
    for (size_t i = 0; i < 8; i++)
        out[5 + i] = letters[bits[i] % 36];
    out[13] = '\0';
}

static cama_err emit_call(answer *a, const char *name, const json_value *args, err_info *err)
{
    buf text;
    char id[16];
    new_id(id);
    buf_init(&text, MAX_CALL_BYTES);
    (void)buf_printf(&text, "[{\"id\":\"%s\",\"function\":{\"index\":%u,\"name\":", id,
                     (unsigned)a->n_call); /* looked at below, as all of these */
    (void)json_write_string(name, strlen(name), &text);
    (void)buf_puts(&text, ",\"arguments\":");
    (void)json_write(args, &text);
    (void)buf_puts(&text, "}}]");
    const cama_err e = buf_error(&text, "a tool call", err);
    if (!e) {
        a->n_call++;
        a->o.event(a->o.user, ANSWER_CALLS, text.data, text.n);
    }
    buf_done(&text);
    return e;
}

/* calls[open, end) is a whole object. It is a call when a tool's name stands in it or before it,
 * behind the call before. */
static cama_err try_call(answer *a, size_t end, err_info *err)
{
    arena mem;
    json_value *v = NULL;
    bool named = false;
    const char *name = find_name(a, end);
    if (!name || end - a->open > MAX_ARGUMENT)
        return CAMA_OK;
    arena_init(&mem, MAX_CALL_BYTES);
    cama_err e = json_parse(a->calls.data + a->open, end - a->open, &mem, &v, NULL);
    if (!e) {
        const json_value *args = find_arguments(v, &mem, &named);
        if (!named) /* the name stood before it: it is the arguments */
            args = v;
        if (args)
            e = emit_call(a, name, args, err);
        if (args && !e)
            a->used = end;
    } else {
        e = e == CAMA_ERR_NOMEM ? err_set(err, e, "answer: no memory to read a tool call")
                                : CAMA_OK; /* no JSON: it stays text */
    }
    arena_done(&mem);
    return e;
}

/* ---- content ---- */

static void emit(answer *a, answer_kind kind, const char *text, size_t n)
{
    if (n)
        a->o.event(a->o.user, kind, text, n);
}

/* How much of the end of text may be the beginning of tag. */
static size_t overlap(const char *text, size_t n, const char *tag)
{
    const size_t n_tag = strlen(tag);
    for (size_t k = n < n_tag ? n : n_tag - 1; k > 0; k--)
        if (memcmp(text + n - k, tag, k) == 0)
            return k;
    return 0;
}

static bool is_space(uint32_t cp)
{
    return cp == ' ' || (cp >= 0x09 && cp <= 0x0D) || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F ||
           cp == 0x205F || cp == 0x3000;
}

/* Bytes of white space in front. *out_cut: the rest may be a part of one more. */
static size_t spaces(const char *text, size_t n, bool *out_cut)
{
    size_t i = 0;
    *out_cut = false;
    while (i < n) {
        uint32_t cp;
        if (utf8_whole(text + i, n - i) == 0) {
            *out_cut = true;
            return i;
        }
        const size_t step = utf8_decode(text + i, n - i, &cp);
        if (!is_space(cp))
            break;
        i += step;
    }
    return i;
}

static bool is_bare(const answer *a)
{
    return strcmp(a->call_tag, "{") == 0 || strcmp(a->call_tag, "[") == 0;
}

/* No call can come any more: what is held is content. */
static void give_up_calls(answer *a)
{
    a->call = C_OVER;
    if (a->n_call == 0)
        emit(a, ANSWER_CONTENT, a->calls.data, a->calls.n);
    buf_clear(&a->calls);
    a->scanned = 0;
    a->used = 0;
    a->nameless = 0;
}

/* One byte behind the tag. True: an object or, for a bare tag, the whole list has ended here. */
static bool scan_byte(answer *a, char c)
{
    if (a->in_string) {
        if (a->escaped)
            a->escaped = false;
        else if (c == '\\')
            a->escaped = true;
        else if (c == '"')
            a->in_string = false;
        return false;
    }
    if (c == '"') {
        a->in_string = a->n_brace > 0; /* an apostrophe or a quote before it is only text */
    } else if (c == '{') {
        if (a->n_brace++ == 0)
            a->open = a->scanned;
    } else if (c == '}' && a->n_brace > 0) {
        return --a->n_brace == 0;
    } else if (a->n_brace == 0 && (c == '[' || c == ']')) {
        a->n_bracket += c == '[' ? 1 : -1;
    }
    return false;
}

static cama_err scan_calls(answer *a, err_info *err)
{
    cama_err e = CAMA_OK;
    while (!e && a->call == C_INSIDE && a->scanned < a->calls.n) {
        const char c = a->calls.data[a->scanned];
        const bool object = scan_byte(a, c);
        a->scanned++;
        if (object)
            e = try_call(a, a->scanned, err);
        const bool bare_end =
            a->call_tag[0] == '{' ? object : c == ']' && a->n_bracket == 0 && a->n_brace == 0;
        if (!e && ((is_bare(a) && bare_end && a->n_call == 0) || a->scanned - a->used > MAX_HELD))
            give_up_calls(a); /* it was JSON, but no call; or too long for one */
    }
    if (!e && a->call == C_INSIDE && a->used) { /* forgets what was used */
        buf_drop_front(&a->calls, a->used);
        a->scanned -= a->used;
        a->nameless = a->nameless > a->used ? a->nameless - a->used : 0;
        a->open = a->open > a->used ? a->open - a->used : 0;
        a->used = 0;
    }
    return e;
}

/* Looks for the tag in what is held and what is new. */
static cama_err look_for_tag(answer *a, err_info *err)
{
    const char *text = a->calls.data;
    const char *tag = find_text(text, a->calls.n, a->call_tag);
    const size_t keep = tag ? 0 : overlap(text, a->calls.n, a->call_tag);
    const size_t before = tag ? (size_t)(tag - text) : a->calls.n - keep;
    if (is_bare(a)) { /* it counts at the very beginning only */
        bool cut;
        const size_t n_space = spaces(text, before, &cut);
        if (n_space < before && !(cut && !tag)) {
            a->call = C_OVER;
            emit(a, ANSWER_CONTENT, text, a->calls.n);
            buf_clear(&a->calls);
            return CAMA_OK;
        }
        if (!tag)
            return CAMA_OK; /* white space: held, for nothing was said yet */
    }
    emit(a, ANSWER_CONTENT, text, before);
    buf_drop_front(&a->calls, before);
    if (!tag)
        return CAMA_OK;
    a->call = C_INSIDE;
    a->scanned = is_bare(a) ? 0 : strlen(a->call_tag);
    return scan_calls(a, err);
}

static cama_err feed_content(answer *a, const char *text, size_t n, err_info *err)
{
    if (n == 0)
        return CAMA_OK;
    if (!a->call_tag || a->call == C_OVER) {
        if (a->n_call == 0 || !a->call_tag)
            emit(a, ANSWER_CONTENT, text, n);
        return CAMA_OK;
    }
    if (buf_append(&a->calls, text, n))
        return buf_error(&a->calls, "the text of a tool call", err);
    return a->call == C_LOOKING ? look_for_tag(a, err) : scan_calls(a, err);
}

/* ---- thinking ---- */

/* One step of the machine over what is held. False: more text is needed. */
static bool think_step(answer *a)
{
    bool cut;
    const char *text = a->held.data;
    const size_t n_space = spaces(text, a->held.n, &cut);
    const size_t n = a->held.n - n_space;
    const size_t n_open = strlen(a->think_open);
    switch (a->think) {
    case T_BEFORE:
        if (n == 0 || cut)
            return false;
        if (n < n_open && memcmp(text + n_space, a->think_open, n) == 0)
            return false;
        a->think = T_OVER;
        if (n >= n_open && memcmp(text + n_space, a->think_open, n_open) == 0) {
            a->think = T_OPENED;
            buf_drop_front(&a->held, n_space + n_open);
        }
        return true;
    case T_OPENED:
    case T_CLOSED:
        buf_drop_front(&a->held, n_space);
        if (a->held.n == 0 || cut)
            return false;
        a->think = a->think == T_OPENED ? T_INSIDE : T_OVER;
        return true;
    case T_INSIDE: {
        const char *close = find_text(text, a->held.n, a->think_close);
        const size_t end =
            close ? (size_t)(close - text) : a->held.n - overlap(text, a->held.n, a->think_close);
        emit(a, ANSWER_THINK, text, end);
        buf_drop_front(&a->held, end + (close ? strlen(a->think_close) : 0));
        if (close)
            a->think = T_CLOSED;
        return close != NULL;
    }
    default:
        return false;
    }
}

static cama_err pass_held(answer *a, err_info *err)
{
    const cama_err e = feed_content(a, a->held.data, a->held.n, err);
    buf_clear(&a->held);
    return e;
}

cama_err answer_feed(answer *a, const char *text, size_t n, err_info *err)
{
    if (a->think == T_OVER)
        return feed_content(a, text, n, err);
    if (n == 0)
        return CAMA_OK;
    if (buf_append(&a->held, text, n))
        return buf_error(&a->held, "the text of an answer", err);
    while (think_step(a))
        continue;
    return a->think == T_OVER ? pass_held(a, err) : CAMA_OK;
}

cama_err answer_end(answer *a, err_info *err)
{
    cama_err e = CAMA_OK;
    if (a->think == T_INSIDE) { /* the beginning of a closing tag that did not come */
        emit(a, ANSWER_THINK, a->held.data, a->held.n);
        buf_clear(&a->held);
    } else if (a->think != T_OVER) {
        a->think = T_OVER;
        e = pass_held(a, err);
    }
    if (!e && a->call_tag && a->call == C_LOOKING)
        emit(a, ANSWER_CONTENT, a->calls.data, a->calls.n);
    if (!e && a->call_tag && a->call == C_INSIDE && a->n_call == 0)
        emit(a, ANSWER_CONTENT, a->calls.data, a->calls.n);
    buf_clear(&a->calls);
    a->call = C_OVER;
    return e;
}

/* ---- life ---- */

static bool given(const char *text)
{
    return text && *text;
}

static bool copy_opts(answer *a, const answer_opts *o)
{
    const bool thinks = given(o->think_open) && given(o->think_close);
    a->think = !thinks ? T_OVER : o->in_think ? T_OPENED : T_BEFORE;
    if (thinks) {
        a->think_open = strdup(o->think_open);
        a->think_close = strdup(o->think_close);
        if (!a->think_open || !a->think_close)
            return false;
    }
    if (o->call_tag) {
        a->call_tag = strdup(given(o->call_tag) ? o->call_tag : "{");
        return a->call_tag && copy_names(a, o->tools);
    }
    return true;
}

cama_err answer_open(const answer_opts *o, answer **out, err_info *err)
{
    answer *a = calloc(1, sizeof *a);
    if (!a)
        return err_set(err, CAMA_ERR_NOMEM, "answer: no memory to read it");
    a->o = *o;
    buf_init(&a->held, MAX_CALL_BYTES);
    buf_init(&a->calls, MAX_CALL_BYTES);
    if (!copy_opts(a, o)) {
        answer_close(a);
        return err_set(err, CAMA_ERR_NOMEM, "answer: no memory to read it");
    }
    *out = a;
    return CAMA_OK;
}

void answer_close(answer *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n_name; i++)
        free(a->names[i]);
    free(a->names);
    free(a->think_open);
    free(a->think_close);
    free(a->call_tag);
    buf_done(&a->held);
    buf_done(&a->calls);
    free(a);
}
