/* Tokens -> tree: the look-ahead, and the actions that control others. The order in which tokens
 * are looked at is Go's, since it decides which error is told and on which line. */
#include "chat/gotmpl_int.h"

#include <stdio.h>
#include <string.h>

gtoken gparse_next(gparser *p)
{
    if (p->n_peek > 0)
        p->n_peek--;
    else
        p->tok[0] = gotmpl_lex_next(&p->lex);
    return p->tok[p->n_peek];
}

void gparse_backup(gparser *p)
{
    p->n_peek++;
}

/* The last token is tok[0] already; t1 comes before it. */
void gparse_backup2(gparser *p, gtoken t1)
{
    p->tok[1] = t1;
    p->n_peek = 2;
}

void gparse_backup3(gparser *p, gtoken t2, gtoken t1)
{
    p->tok[1] = t1;
    p->tok[2] = t2;
    p->n_peek = 3;
}

gtoken gparse_peek(gparser *p)
{
    if (p->n_peek == 0) {
        p->tok[0] = gotmpl_lex_next(&p->lex);
        p->n_peek = 1;
    }
    return p->tok[p->n_peek - 1];
}

gtoken gparse_next_solid(gparser *p)
{
    gtoken t = gparse_next(p);
    while (t.kind == GT_SPACE)
        t = gparse_next(p);
    return t;
}

gtoken gparse_peek_solid(gparser *p)
{
    const gtoken t = gparse_next_solid(p);
    gparse_backup(p);
    return t;
}

/* ---- errors ---- */

void *gparse_error(gparser *p, const char *fmt, ...)
{
    if (p->fail)
        return NULL;
    va_list args;
    va_start(args, fmt);
    (void)err_vset(p->err, CAMA_ERR_TEMPLATE, fmt, args); /* both keep the code, given below */
    va_end(args);
    p->fail = CAMA_ERR_TEMPLATE;
    char *text = p->err ? p->err->text : NULL;
    char head[48];
    const int n_head = snprintf(head, sizeof head, "template: :%u: ", (unsigned)p->tok[0].line);
    if (text) {
        const size_t room = CAMA_ERROR_BYTES - 1 - (size_t)n_head;
        const size_t n = strnlen(text, room);
        memmove(text + n_head, text, n);
        memcpy(text, head, (size_t)n_head);
        text[(size_t)n_head + n] = '\0';
    }
    return NULL;
}

void *gparse_nomem(gparser *p)
{
    if (!p->fail)
        p->fail = p->mem->used_bytes >= p->mem->max_bytes / 2
                      ? err_set(p->err, CAMA_ERR_LIMIT,
                                "template: its tree is larger than %u bytes", GOTMPL_MAX_TREE)
                      : err_set(p->err, CAMA_ERR_NOMEM, "template: no memory for its tree");
    return NULL;
}

bool gparse_descend(gparser *p)
{
    if (++p->nest <= GOTMPL_MAX_NEST)
        return !p->fail;
    if (!p->fail)
        p->fail =
            err_set(p->err, CAMA_ERR_LIMIT,
                    "template: blocks and parentheses are nested deeper than %u", GOTMPL_MAX_NEST);
    return false;
}

/* A token as an error shows it, cut at ten characters as Go does. */
static void describe(gtoken t, buf *out)
{
    if (t.kind == GT_EOF) {
        (void)buf_puts(out, "EOF"); /* sticks in out, as below */
    } else if (t.kind == GT_ERROR) {
        (void)buf_append(out, t.text.p, t.text.n);
    } else if (t.kind > GT_KEYWORD && t.kind != GT_DOT) {
        (void)buf_printf(out, "<%.*s>", (int)t.text.n, t.text.p);
    } else if (t.kind == GT_DOT) {
        (void)buf_puts(out, "<.>");
    } else if (t.text.n > 10) {
        size_t n = 0;
        uint32_t cp;
        for (int i = 0; i < 10 && n < t.text.n; i++)
            n += gotmpl_decode(t.text, n, &cp);
        gotmpl_quote((gstr){t.text.p, n}, false, out);
        (void)buf_puts(out, "...");
    } else {
        gotmpl_quote(t.text, false, out);
    }
}

void *gparse_unexpected(gparser *p, gtoken t, const char *context)
{
    buf b;
    buf_init(&b, 1024);
    describe(t, &b);
    const char *text = b.data ? b.data : "";
    if (t.kind != GT_ERROR)
        (void)gparse_error(p, "unexpected %s in %s", text, context); /* sticks in p */
    else if (p->action_line && p->action_line != t.line)
        (void)gparse_error(p, "%s%s started at :%u", text,
                           b.n >= 7 && strcmp(text + b.n - 7, " action") == 0 ? "" : " in action",
                           (unsigned)p->action_line);
    else
        (void)gparse_error(p, "%s", text);
    buf_done(&b);
    return NULL;
}

/* ---- nodes ---- */

gnode *gparse_node(gparser *p, gnode_kind kind, uint32_t pos)
{
    if (p->fail)
        return NULL;
    gnode *n = arena_take(p->mem, sizeof *n);
    if (!n)
        return gparse_nomem(p);
    n->kind = kind;
    n->pos = pos;
    return n;
}

/* Grows at each power of two: old lists stay in the arena, which is at most their sum. */
bool gparse_push(gparser *p, gnode ***list, size_t *n, gnode *node)
{
    if (!node || p->fail)
        return false;
    if ((*n & (*n - 1)) == 0) {
        gnode **more = arena_take_array(p->mem, *n ? *n * 2 : 1, sizeof *more);
        if (!more) {
            (void)gparse_nomem(p); /* sticks in p */
            return false;
        }
        if (*n)
            memcpy(more, *list, *n * sizeof *more);
        *list = more;
    }
    (*list)[(*n)++] = node;
    return true;
}

static bool too_many(gparser *p, const char *what, unsigned max)
{
    if (!p->fail)
        p->fail = err_set(p->err, CAMA_ERR_LIMIT, "template: more than %u %s", max, what);
    return false;
}

bool gparse_push_var(gparser *p, gstr name)
{
    if (p->n_var == GOTMPL_MAX_VARS)
        return too_many(p, "variables in one scope", GOTMPL_MAX_VARS);
    if (p->n_var == p->cap_var) {
        const size_t cap = p->cap_var ? p->cap_var * 2 : 16;
        gstr *more = arena_take_array(p->mem, cap, sizeof *more);
        if (!more) {
            (void)gparse_nomem(p); /* sticks in p */
            return false;
        }
        if (p->n_var)
            memcpy(more, p->vars, p->n_var * sizeof *more);
        p->vars = more;
        p->cap_var = cap;
    }
    p->vars[p->n_var++] = name;
    return true;
}

bool gparse_unquote(gparser *p, gstr quoted, gstr *out)
{
    /* an escape of six bytes can be three long, a bad byte becomes three */
    char *text = p->fail ? NULL : arena_take(p->mem, quoted.n * 3 + 1);
    size_t n = 0;
    if (!text) {
        (void)gparse_nomem(p); /* sticks in p */
        return false;
    }
    if (!gotmpl_unquote(quoted, text, &n)) {
        (void)gparse_error(p, "invalid syntax"); /* sticks in p */
        return false;
    }
    *out = (gstr){text, n};
    return true;
}

static bool blank(gstr s)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        i += gotmpl_decode(s, i, &cp);
        if (!gotmpl_is_space(cp))
            return false;
    }
    return true;
}

bool gotmpl_empty_tree(const gnode *n)
{
    if (!n)
        return true;
    if (n->kind == GN_TEXT)
        return blank(n->text);
    if (n->kind != GN_LIST)
        return false;
    for (size_t i = 0; i < n->n; i++)
        if (!gotmpl_empty_tree(n->kids[i]))
            return false;
    return true;
}

/* ---- definitions ---- */

static bool append_tree(gparser *p, gtree tree)
{
    if (p->n_tree == GOTMPL_MAX_DEFINED)
        return too_many(p, "definitions", GOTMPL_MAX_DEFINED);
    if (p->n_tree == p->cap_tree) {
        const size_t cap = p->cap_tree ? p->cap_tree * 2 : 4;
        gtree *more = arena_take_array(p->mem, cap, sizeof *more);
        if (!more) {
            (void)gparse_nomem(p); /* sticks in p */
            return false;
        }
        if (p->n_tree)
            memcpy(more, p->trees, p->n_tree * sizeof *more);
        p->trees = more;
        p->cap_tree = cap;
    }
    p->trees[p->n_tree++] = tree;
    return true;
}

/* The first definition that is more than white space stands; a second one is an error. */
static bool add_tree(gparser *p, gtree tree)
{
    for (size_t i = 0; i < p->n_tree; i++) {
        if (!gstr_same(p->trees[i].name, tree.name))
            continue;
        if (gotmpl_empty_tree(p->trees[i].root)) {
            p->trees[i] = tree;
        } else if (!gotmpl_empty_tree(tree.root)) {
            buf b;
            buf_init(&b, 1024);
            gotmpl_quote(tree.name, false, &b);
            (void)gparse_error(p, "template: multiple definition of template %s", /* sticks in p */
                               b.data ? b.data : "");
            buf_done(&b);
            return false;
        }
        return true;
    }
    return append_tree(p, tree);
}

static gnode *text_or_action(gparser *p);

/* Nodes up to an end or an else, which is given in *out_end. */
static gnode *parse_list(gparser *p, gnode **out_end)
{
    gnode *list = gparse_node(p, GN_LIST, gparse_peek_solid(p).pos);
    while (!p->fail && gparse_peek_solid(p).kind != GT_EOF) {
        gnode *n = text_or_action(p);
        if (!n)
            return NULL;
        if (n->kind == GN_END || n->kind == GN_ELSE) {
            *out_end = n;
            return list;
        }
        if (!gparse_push(p, &list->kids, &list->n, n))
            return NULL;
    }
    return gparse_error(p, "unexpected EOF");
}

/* The body of a define or a block: a template of its own, with its own variables. */
static bool parse_body(gparser *p, gstr name, bool is_block)
{
    gparser own = *p;
    gnode *end = NULL;
    own.vars = NULL;
    own.n_var = 0;
    own.cap_var = 0;
    own.n_range = 0;
    own.action_line = 0;
    gnode *root = NULL;
    if (gparse_descend(&own) && gparse_push_var(&own, GSTR("$")))
        root = parse_list(&own, &end);
    gparser *teller = is_block ? p : &own; /* Go tells this error of a block on its first line */
    if (root && end && end->kind != GN_END)
        (void)gparse_error(teller, "unexpected {{else}} in %s", /* sticks in teller */
                           is_block ? "block clause" : "define clause");
    if (root && !teller->fail)
        (void)add_tree(&own, (gtree){name, root}); /* sticks in own */
    p->lex = own.lex;                              /* both have given back no token */
    p->trees = own.trees;
    p->n_tree = own.n_tree;
    p->cap_tree = own.cap_tree;
    if (own.fail)
        p->fail = own.fail;
    return !p->fail;
}

static bool expect(gparser *p, gtoken_kind kind, const char *context, gtoken *out)
{
    *out = gparse_next_solid(p);
    if (out->kind == kind)
        return true;
    (void)gparse_unexpected(p, *out, context); /* sticks in p */
    return false;
}

static bool parse_definition(gparser *p)
{
    gstr name;
    gtoken t = gparse_next_solid(p);
    if (t.kind != GT_STRING && t.kind != GT_RAW_STRING) {
        (void)gparse_unexpected(p, t, "define clause"); /* sticks in p */
        return false;
    }
    if (!gparse_unquote(p, t.text, &name) || !expect(p, GT_RIGHT_DELIM, "define clause", &t))
        return false;
    return parse_body(p, name, false);
}

static bool template_name(gparser *p, gtoken t, const char *context, gstr *out)
{
    if (t.kind == GT_STRING || t.kind == GT_RAW_STRING)
        return gparse_unquote(p, t.text, out);
    (void)gparse_unexpected(p, t, context); /* sticks in p */
    return false;
}

static gnode *parse_block(gparser *p)
{
    gstr name;
    const gtoken t = gparse_next_solid(p);
    if (!template_name(p, t, "block clause", &name))
        return NULL;
    gnode *pipe = gparse_pipeline(p, "block clause", GT_RIGHT_DELIM);
    if (!pipe || !parse_body(p, name, true))
        return NULL;
    gnode *n = gparse_node(p, GN_TEMPLATE, t.pos);
    if (n) {
        n->text = name;
        n->pipe = pipe;
    }
    return n;
}

static gnode *parse_template(gparser *p)
{
    gstr name;
    gnode *pipe = NULL;
    const gtoken t = gparse_next_solid(p);
    if (!template_name(p, t, "template clause", &name))
        return NULL;
    if (gparse_next_solid(p).kind != GT_RIGHT_DELIM) {
        gparse_backup(p);
        pipe = gparse_pipeline(p, "template clause", GT_RIGHT_DELIM);
        if (!pipe)
            return NULL;
    }
    gnode *n = gparse_node(p, GN_TEMPLATE, t.pos);
    if (n) {
        n->text = name;
        n->pipe = pipe;
    }
    return n;
}

/* ---- if, range, with ---- */

static const struct {
    gnode_kind node;
    gtoken_kind token;
    const char *name;
} branches[] = {{GN_IF, GT_IF, "if"}, {GN_RANGE, GT_RANGE, "range"}, {GN_WITH, GT_WITH, "with"}};
enum { B_IF, B_RANGE, B_WITH };

static gnode *parse_branch(gparser *p, int which);

/* `else if` and `else with` are the branch again, in a list of its own. */
static bool parse_else(gparser *p, int which, gnode *branch, const gnode *mark)
{
    gnode *end = NULL;
    if (which != B_RANGE && gparse_peek(p).kind == branches[which].token) {
        (void)gparse_next(p); /* the keyword just seen */
        branch->other = gparse_node(p, GN_LIST, mark->pos);
        return branch->other &&
               gparse_push(p, &branch->other->kids, &branch->other->n, parse_branch(p, which));
    }
    branch->other = parse_list(p, &end);
    if (branch->other && end->kind != GN_END)
        (void)gparse_error(p, "expected end; found {{else}}"); /* sticks in p */
    return !p->fail;
}

static gnode *parse_branch(gparser *p, int which)
{
    gnode *end = NULL;
    const size_t n_var = p->n_var;
    if (!gparse_descend(p))
        return NULL;
    gnode *pipe = gparse_pipeline(p, branches[which].name, GT_RIGHT_DELIM);
    gnode *branch = pipe ? gparse_node(p, branches[which].node, pipe->pos) : NULL;
    if (!branch)
        return NULL;
    branch->pipe = pipe;
    p->n_range += which == B_RANGE;
    branch->list = parse_list(p, &end);
    p->n_range -= which == B_RANGE;
    if (!branch->list || (end->kind == GN_ELSE && !parse_else(p, which, branch, end)))
        return NULL;
    p->n_var = n_var;
    p->nest--;
    return branch;
}

static gnode *parse_jump(gparser *p, gtoken word)
{
    const bool stop = word.kind == GT_BREAK;
    const gtoken t = gparse_next_solid(p);
    if (t.kind != GT_RIGHT_DELIM)
        return gparse_unexpected(p, t, stop ? "{{break}}" : "{{continue}}");
    if (p->n_range == 0)
        return gparse_error(p, "%s outside {{range}}", stop ? "{{break}}" : "{{continue}}");
    return gparse_node(p, stop ? GN_BREAK : GN_CONTINUE, word.pos);
}

static gnode *parse_else_mark(gparser *p)
{
    gtoken t = gparse_peek_solid(p);
    if (t.kind == GT_IF || t.kind == GT_WITH)
        return gparse_node(p, GN_ELSE, t.pos);
    return expect(p, GT_RIGHT_DELIM, "else", &t) ? gparse_node(p, GN_ELSE, t.pos) : NULL;
}

static gnode *parse_action(gparser *p)
{
    gtoken t = gparse_next_solid(p);
    switch (t.kind) {
    case GT_BLOCK:
        return parse_block(p);
    case GT_BREAK:
    case GT_CONTINUE:
        return parse_jump(p, t);
    case GT_ELSE:
        return parse_else_mark(p);
    case GT_END:
        return expect(p, GT_RIGHT_DELIM, "end", &t) ? gparse_node(p, GN_END, t.pos) : NULL;
    case GT_IF:
        return parse_branch(p, B_IF);
    case GT_RANGE:
        return parse_branch(p, B_RANGE);
    case GT_WITH:
        return parse_branch(p, B_WITH);
    case GT_TEMPLATE:
        return parse_template(p);
    default:
        break;
    }
    gparse_backup(p);
    const uint32_t pos = gparse_peek(p).pos;
    gnode *pipe = gparse_pipeline(p, "command", GT_RIGHT_DELIM);
    gnode *n = pipe ? gparse_node(p, GN_ACTION, pos) : NULL;
    if (n)
        n->pipe = pipe;
    return n;
}

static gnode *text_or_action(gparser *p)
{
    const gtoken t = gparse_next_solid(p);
    if (t.kind == GT_TEXT) {
        gnode *n = gparse_node(p, GN_TEXT, t.pos);
        if (n)
            n->text = t.text;
        return n;
    }
    if (t.kind != GT_LEFT_DELIM)
        return gparse_unexpected(p, t, "input");
    p->action_line = t.line;
    gnode *n = parse_action(p);
    p->action_line = 0;
    return n;
}

/* ---- the whole source ---- */

static bool parse_source(gparser *p)
{
    gnode *root = gparse_node(p, GN_LIST, gparse_peek(p).pos);
    while (!p->fail && gparse_peek(p).kind != GT_EOF) {
        if (gparse_peek(p).kind == GT_LEFT_DELIM) {
            const gtoken delim = gparse_next(p);
            if (gparse_next_solid(p).kind == GT_DEFINE) {
                if (!parse_definition(p))
                    return false;
                continue;
            }
            gparse_backup2(p, delim);
        }
        gnode *n = text_or_action(p);
        if (!n)
            return false;
        if (n->kind == GN_END || n->kind == GN_ELSE) {
            (void)gparse_error(p, "unexpected %s", /* sticks in p */
                               n->kind == GN_END ? "{{end}}" : "{{else}}");
            return false;
        }
        if (!gparse_push(p, &root->kids, &root->n, n))
            return false;
    }
    return root && !p->fail && add_tree(p, (gtree){{"", 0}, root});
}

cama_err gotmpl_parse(gotmpl *t, err_info *err)
{
    gparser p = {.mem = &t->mem, .err = err};
    gotmpl_lex_init(&p.lex, t->source);
    if (!gparse_push_var(&p, GSTR("$")) || !parse_source(&p))
        return p.fail;
    t->trees = p.trees;
    t->n_tree = p.n_tree;
    for (size_t i = 0; i < t->n_tree; i++)
        if (t->trees[i].name.n == 0)
            t->root = t->trees[i].root;
    return CAMA_OK;
}
