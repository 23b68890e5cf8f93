/* Opening a template, and what its text says about the model it was written for. */
#include "chat/gotmpl_int.h"

#include <stdlib.h>
#include <string.h>

/* ---- which names it uses ---- */

typedef bool (*visit_fn)(const gnode *n, void *user);

/* Calls fn for nodes as Ollama looks for names: not inside chains. True stops and is given on. */
static bool visit(const gnode *n, visit_fn fn, void *user)
{
    if (!n)
        return false;
    if (fn(n, user))
        return true;
    for (size_t i = 0; i < n->n; i++)
        if (visit(n->kids[i], fn, user))
            return true;
    return (n->kind != GN_CHAIN && visit(n->pipe, fn, user)) || visit(n->list, fn, user) ||
           visit(n->other, fn, user);
}

static bool visit_trees(const gotmpl *t, visit_fn fn, void *user)
{
    for (size_t i = 0; i < t->n_tree; i++)
        if (visit(t->trees[i].root, fn, user))
            return true;
    return false;
}

static bool same_letters(gstr a, const char *b)
{
    for (size_t i = 0; i < a.n; i++) {
        const char x = a.p[i] >= 'A' && a.p[i] <= 'Z' ? (char)(a.p[i] | 32) : a.p[i];
        const char y = b[i] >= 'A' && b[i] <= 'Z' ? (char)(b[i] | 32) : b[i];
        if (x != y)
            return false;
    }
    return b[a.n] == '\0';
}

static bool names_it(const gnode *n, void *user)
{
    if (n->kind != GN_FIELD && n->kind != GN_VARIABLE)
        return false;
    for (size_t i = 0; i < n->n_ident; i++)
        if (same_letters(n->idents[i], user))
            return true;
    return false;
}

bool gotmpl_uses(const gotmpl *t, const char *identifier)
{
    char name[64];
    const size_t n = strlen(identifier);
    if (n >= sizeof name)
        return false;
    memcpy(name, identifier, n + 1);
    return visit_trees(t, names_it, name);
}

/* Ollama refuses a template that is called without data. */
static bool lacks_data(const gnode *n, void *user)
{
    (void)user; /* nothing to remember */
    return n->kind == GN_TEMPLATE && !n->pipe;
}

/* ---- the last turn of a legacy template: nothing behind .Response ---- */

typedef struct gcut {
    arena *mem;
    bool done; /* .Response was met */
    bool nomem;
} gcut;

static gnode *cut_node(gcut *c, const gnode *n);

static bool is_response(const gnode *n)
{
    if (n->kind != GN_FIELD)
        return false;
    for (size_t i = 0; i < n->n_ident; i++)
        if (gstr_is(n->idents[i], "Response"))
            return true;
    return false;
}

static gnode *copy_node(gcut *c, const gnode *n)
{
    gnode *copy = arena_take(c->mem, sizeof *copy);
    if (copy)
        *copy = *n;
    else
        c->nomem = true;
    return copy;
}

/* A copy whose kids are those that stay. */
static gnode *cut_kids(gcut *c, const gnode *n)
{
    gnode *copy = copy_node(c, n);
    gnode **kids = copy ? arena_take_array(c->mem, n->n, sizeof *kids) : NULL;
    if (!kids) {
        c->nomem = true;
        return NULL;
    }
    copy->kids = kids;
    copy->n = 0;
    for (size_t i = 0; i < n->n; i++) {
        gnode *kid = cut_node(c, n->kids[i]);
        if (kid)
            kids[copy->n++] = kid;
    }
    return copy;
}

/* A command or a pipeline of which nothing stays goes with its action. */
static gnode *cut_pipe(gcut *c, const gnode *n)
{
    gnode *copy = cut_kids(c, n);
    return copy && (copy->n || !n->n) ? copy : NULL;
}

static gnode *cut_node(gcut *c, const gnode *n)
{
    if (!n || c->nomem)
        return NULL;
    if (is_response(n))
        c->done = true;
    else if (c->done)
        return NULL;
    gnode *copy = NULL;
    switch (n->kind) {
    case GN_LIST:
        return cut_kids(c, n);
    case GN_PIPE:
    case GN_COMMAND:
        return cut_pipe(c, n);
    case GN_IF:
    case GN_RANGE:
    case GN_WITH:
        copy = copy_node(c, n);
        if (copy) {
            copy->list = cut_node(c, n->list);
            copy->other = cut_node(c, n->other);
        }
        return copy;
    case GN_ACTION:
        copy = copy_node(c, n);
        if (copy)
            copy->pipe = cut_node(c, n->pipe);
        return copy && copy->pipe ? copy : NULL;
    default:
        return copy_node(c, n);
    }
}

/* ---- open ---- */

static cama_err finish(gotmpl *t, err_info *err)
{
    char *response = "response";
    char *messages = "messages";
    if (visit_trees(t, lacks_data, NULL))
        return err_set(err, CAMA_ERR_TEMPLATE, "undefined template specified");
    if (visit_trees(t, names_it, messages))
        return CAMA_OK;
    t->add_response = !visit_trees(t, names_it, response);
    gcut c = {.mem = &t->mem};
    t->root_cut = cut_node(&c, t->root);
    return c.nomem ? err_set(err, CAMA_ERR_NOMEM, "template: no memory for its tree") : CAMA_OK;
}

cama_err gotmpl_open(const char *source, size_t n, gotmpl **out, err_info *err)
{
    if (n > GOTMPL_MAX_SOURCE)
        return err_set(err, CAMA_ERR_LIMIT, "template: %zu bytes are more than %u", n,
                       GOTMPL_MAX_SOURCE);
    gotmpl *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(err, CAMA_ERR_NOMEM, "template: no memory to open it");
    arena_init(&t->mem, GOTMPL_MAX_TREE);
    char *copy = arena_copy(&t->mem, source, n);
    cama_err e = copy ? CAMA_OK : err_set(err, CAMA_ERR_NOMEM, "template: no memory for it");
    t->source = (gstr){copy, n};
    if (!e)
        e = gotmpl_parse(t, err);
    if (!e)
        e = finish(t, err);
    if (e) {
        gotmpl_close(t);
        return e;
    }
    *out = t;
    return CAMA_OK;
}

void gotmpl_close(gotmpl *t)
{
    if (!t)
        return;
    arena_done(&t->mem);
    free(t);
}

cama_err gotmpl_render(const gotmpl *t, const json_value *data, int64_t now_s,
                       const tmpl_limits *limits, buf *out, err_info *err)
{
    buf text;
    arena mem;
    bool ok = true;
    buf_init(&text, out->max_bytes > out->n ? out->max_bytes - out->n : 0);
    arena_init(&mem, TMPL_MAX_BYTES);
    gexec_opts o = {.root = t->root, .now_s = now_s, .limits = limits};
    if (data)
        o.data = gval_unwrap(gval_of_json(&mem, data, &ok));
    cama_err e = ok ? gotmpl_exec(t, &o, &text, err)
                    : err_set(err, CAMA_ERR_NOMEM, "template: no memory for its data");
    if (!e && text.n)
        (void)buf_append(out, text.data, text.n); /* looked at below */
    if (!e)
        e = buf_error(out, "the prompt", err);
    buf_done(&text);
    arena_done(&mem);
    return e;
}

/* ---- tags ---- */

static gstr trim(gstr s)
{
    uint32_t cp;
    while (s.n) {
        const size_t n = gotmpl_decode(s, 0, &cp);
        if (!gotmpl_is_space(cp))
            break;
        s = (gstr){s.p + n, s.n - n};
    }
    while (s.n && ((unsigned char)s.p[s.n - 1] < 0x80) &&
           gotmpl_is_space((unsigned char)s.p[s.n - 1]))
        s.n--;
    return s;
}

static void keep(gstr s, char *out, size_t max)
{
    if (s.n >= max)
        s.n = max - 1;
    memcpy(out, s.p, s.n);
    out[s.n] = '\0';
}

/* What stands around .Thinking in a range over .Messages: the first and the last text of the list
 * that it is in. */
typedef struct think_search {
    const gnode *list;  /* the nearest one around */
    const gnode *range; /* likewise */
    gochat_tags *out;
} think_search;

static bool is_messages(const gnode *n, void *user)
{
    (void)user; /* nothing to remember */
    return n->kind == GN_FIELD && gstr_is(n->idents[0], "Messages");
}

static void found_thinking(const think_search *s)
{
    if (!s->range || !s->list || !visit(s->range->pipe, is_messages, NULL))
        return;
    const gnode *first = s->list->kids[0];
    const gnode *last = s->list->kids[s->list->n - 1];
    if (first->kind == GN_TEXT)
        keep(trim(first->text), s->out->think_open, sizeof s->out->think_open);
    if (last->kind == GN_TEXT)
        keep(trim(last->text), s->out->think_close, sizeof s->out->think_close);
}

static void find_thinking(const gnode *n, think_search s)
{
    if (!n)
        return;
    if (n->kind == GN_FIELD && gstr_is(n->idents[0], "Thinking"))
        found_thinking(&s);
    if (n->kind == GN_LIST)
        s.list = n;
    if (n->kind == GN_RANGE)
        s.range = n;
    if (n->kind == GN_CHAIN)
        return;
    find_thinking(n->pipe, s);
    for (size_t i = 0; i < n->n; i++)
        find_thinking(n->kids[i], s);
    find_thinking(n->list, s);
    find_thinking(n->other, s);
}

static bool tests_calls(const gnode *n)
{
    for (size_t i = 0; i < n->pipe->n; i++)
        for (size_t k = 0; k < n->pipe->kids[i]->n; k++) {
            const gnode *word = n->pipe->kids[i]->kids[k];
            for (size_t w = 0; word->kind == GN_FIELD && w < word->n_ident; w++)
                if (gstr_is(word->idents[w], "ToolCalls"))
                    return true;
        }
    return false;
}

/* The first `if .ToolCalls`. */
static const gnode *find_calls(const gnode *list)
{
    for (size_t i = 0; list && i < list->n; i++) {
        const gnode *n = list->kids[i];
        if (n->kind != GN_IF && n->kind != GN_RANGE && n->kind != GN_WITH)
            continue;
        if (n->kind == GN_IF && tests_calls(n))
            return n;
        const gnode *found = find_calls(n->list);
        if (!found)
            found = find_calls(n->other);
        if (found)
            return found;
    }
    return NULL;
}

/* The first text that is more than white space; an action or a branch without one ends the search.
 * *out_end tells that it did. */
static const gnode *find_text(const gnode *list, bool *out_end)
{
    for (size_t i = 0; list && i < list->n && !*out_end; i++) {
        const gnode *n = list->kids[i];
        if (n->kind == GN_TEXT && !gotmpl_empty_tree(n))
            return n;
        if (n->kind == GN_ACTION) {
            *out_end = true;
        } else if (n->kind == GN_IF || n->kind == GN_RANGE || n->kind == GN_WITH) {
            bool inner = false;
            const gnode *found = find_text(n->list, &inner);
            inner = false;
            if (!found)
                found = find_text(n->other, &inner);
            *out_end = true;
            return found;
        }
    }
    return NULL;
}

void gotmpl_tags(const gotmpl *t, gochat_tags *out)
{
    *out = (gochat_tags){.call = "{"};
    find_thinking(t->root, (think_search){.out = out});
    const gnode *calls = find_calls(t->root);
    bool end = false;
    const gnode *text = calls ? find_text(calls->list, &end) : NULL;
    if (!text)
        return;
    const char *brace = memchr(text->text.p, '{', text->text.n);
    const gstr tag =
        trim((gstr){text->text.p, brace ? (size_t)(brace - text->text.p) : text->text.n});
    if (tag.n)
        keep(tag, out->call, sizeof out->call);
}
