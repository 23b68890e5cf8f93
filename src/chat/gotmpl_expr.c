/* Tokens -> tree: pipelines, commands and their words; and what nodes look like in an error. */
#include "chat/gotmpl_int.h"

#include <string.h>

/* Splits "a.b.c" into a list in the arena. */
static bool split_idents(gparser *p, gstr text, gstr **out, size_t *out_n)
{
    size_t n = 1;
    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == '.';
    gstr *list = arena_take_array(p->mem, n, sizeof *list);
    if (!list) {
        (void)gparse_nomem(p); /* sticks in p */
        return false;
    }
    size_t k = 0;
    for (size_t i = 0, from = 0; i <= text.n; i++) {
        if (i == text.n || text.p[i] == '.') {
            list[k++] = (gstr){text.p + from, i - from};
            from = i + 1;
        }
    }
    *out = list;
    *out_n = n;
    return true;
}

static gnode *names_node(gparser *p, gnode_kind kind, uint32_t pos, gstr text)
{
    gnode *n = gparse_node(p, kind, pos);
    return n && split_idents(p, text, &n->idents, &n->n_ident) ? n : NULL;
}

/* ---- words ---- */

static gnode *number_node(gparser *p, gtoken t)
{
    char text[128];
    gnode *n = gparse_node(p, GN_NUMBER, t.pos);
    if (!n)
        return NULL;
    n->text = t.text;
    const char *error = gotmpl_number(t.text, t.kind, &n->number, text);
    return error ? gparse_error(p, "%s", error) : n;
}

static gnode *function_node(gparser *p, gtoken t)
{
    gnode *n = gparse_node(p, GN_IDENT, t.pos);
    if (!n)
        return NULL;
    n->text = t.text;
    n->fn = gotmpl_find_func(t.text);
    if (n->fn)
        return n;
    buf b;
    buf_init(&b, 1024);
    gotmpl_quote(t.text, false, &b);
    (void)gparse_error(p, "function %s not defined", b.data ? b.data : ""); /* sticks in p */
    buf_done(&b);
    return NULL;
}

static gnode *use_variable(gparser *p, gtoken t)
{
    for (size_t i = 0; i < p->n_var; i++)
        if (gstr_same(p->vars[i], t.text))
            return names_node(p, GN_VARIABLE, t.pos, t.text);
    return gparse_error(p, "undefined variable \"%.*s\"", (int)t.text.n, t.text.p);
}

static gnode *parenthesized(gparser *p)
{
    if (!gparse_descend(p))
        return NULL;
    gnode *n = gparse_pipeline(p, "parenthesized pipeline", GT_RIGHT_PAREN);
    p->nest--;
    return n;
}

static gnode *string_node(gparser *p, gtoken t)
{
    gstr text;
    if (!gparse_unquote(p, t.text, &text))
        return NULL;
    gnode *n = gparse_node(p, GN_STRING, t.pos);
    if (n) {
        n->text = text;
        n->quoted = t.text;
    }
    return n;
}

/* NULL without an error: no word begins here. */
static gnode *parse_term(gparser *p)
{
    const gtoken t = gparse_next_solid(p);
    gnode *n = NULL;
    switch (t.kind) {
    case GT_IDENT:
        return function_node(p, t);
    case GT_DOT:
        return gparse_node(p, GN_DOT, t.pos);
    case GT_NIL:
        return gparse_node(p, GN_NIL, t.pos);
    case GT_VARIABLE:
        return use_variable(p, t);
    case GT_FIELD:
        return names_node(p, GN_FIELD, t.pos, (gstr){t.text.p + 1, t.text.n - 1});
    case GT_BOOL:
        n = gparse_node(p, GN_BOOL, t.pos);
        if (n)
            n->flag = t.text.n == 4;
        return n;
    case GT_CHAR_CONST:
    case GT_COMPLEX:
    case GT_NUMBER:
        return number_node(p, t);
    case GT_LEFT_PAREN:
        return parenthesized(p);
    case GT_STRING:
    case GT_RAW_STRING:
        return string_node(p, t);
    default:
        gparse_backup(p);
        return NULL;
    }
}

static void *unexpected_dot(gparser *p, const gnode *node)
{
    buf text;
    buf quoted;
    buf_init(&text, 1024);
    buf_init(&quoted, 4096);
    gotmpl_print_node(node, &text);
    gotmpl_quote((gstr){text.data ? text.data : "", text.n}, false, &quoted);
    (void)gparse_error(p, "unexpected . after term %s", /* sticks in p */
                       quoted.data ? quoted.data : "");
    buf_done(&text);
    buf_done(&quoted);
    return NULL;
}

/* node.a.b: fields behind a field or a variable become part of it. */
static gnode *parse_chain(gparser *p, gnode *node)
{
    const uint32_t pos = gparse_peek(p).pos;
    const bool joins = node->kind == GN_FIELD || node->kind == GN_VARIABLE;
    gstr list[64]; /* a step; longer chains are taken in several */
    size_t n_have = joins ? node->n_ident : 0;
    gstr *have = joins ? node->idents : NULL;
    while (gparse_peek(p).kind == GT_FIELD) {
        size_t n = 0;
        while (n < 64 && gparse_peek(p).kind == GT_FIELD) {
            const gstr text = gparse_next(p).text;
            list[n++] = (gstr){text.p + 1, text.n - 1};
        }
        gstr *more = arena_take_array(p->mem, n_have + n, sizeof *more);
        if (!more)
            return gparse_nomem(p);
        if (n_have)
            memcpy(more, have, n_have * sizeof *more);
        memcpy(more + n_have, list, n * sizeof *more);
        have = more;
        n_have += n;
    }
    if (node->kind == GN_BOOL || node->kind == GN_STRING || node->kind == GN_NUMBER ||
        node->kind == GN_NIL || node->kind == GN_DOT)
        return unexpected_dot(p, node);
    gnode *n = gparse_node(p, joins ? node->kind : GN_CHAIN, pos);
    if (n) {
        n->pipe = joins ? NULL : node;
        n->idents = have;
        n->n_ident = n_have;
    }
    return n;
}

static gnode *parse_operand(gparser *p)
{
    gnode *node = parse_term(p);
    if (!node || p->fail || gparse_peek(p).kind != GT_FIELD)
        return node;
    return parse_chain(p, node);
}

static gnode *parse_command(gparser *p)
{
    gnode *cmd = gparse_node(p, GN_COMMAND, gparse_peek_solid(p).pos);
    while (!p->fail) {
        (void)gparse_peek_solid(p); /* skips white space */
        gnode *operand = parse_operand(p);
        if (p->fail || (operand && !gparse_push(p, &cmd->kids, &cmd->n, operand)))
            return NULL;
        const gtoken t = gparse_next(p);
        if (t.kind == GT_SPACE)
            continue;
        if (t.kind == GT_RIGHT_DELIM || t.kind == GT_RIGHT_PAREN)
            gparse_backup(p);
        else if (t.kind != GT_PIPE)
            return gparse_unexpected(p, t, "operand");
        break;
    }
    if (cmd && cmd->n == 0)
        return gparse_error(p, "empty command");
    return cmd;
}

/* ---- pipelines ---- */

static bool declare(gparser *p, gnode *pipe, gtoken v)
{
    return gparse_push(p, &pipe->decl, &pipe->n_decl, names_node(p, GN_VARIABLE, v.pos, v.text)) &&
           gparse_push_var(p, v.text);
}

/* `$a, $b :=` in front of a pipeline. A range may declare two. */
static bool parse_declarations(gparser *p, gnode *pipe, const char *context)
{
    for (;;) {
        const gtoken v = gparse_peek_solid(p);
        if (v.kind != GT_VARIABLE)
            return true;
        (void)gparse_next(p);
        const gtoken behind = gparse_peek(p); /* a space here must be given back, too */
        const gtoken next = gparse_peek_solid(p);
        if (next.kind == GT_ASSIGN || next.kind == GT_DECLARE) {
            pipe->flag = next.kind == GT_ASSIGN;
            (void)gparse_next_solid(p);
            return declare(p, pipe, v);
        }
        if (next.kind == GT_CHAR && gstr_is(next.text, ",")) {
            (void)gparse_next_solid(p);
            if (!declare(p, pipe, v))
                return false;
            if (strcmp(context, "range") == 0 && pipe->n_decl < 2) {
                const gtoken t = gparse_peek_solid(p);
                if (t.kind == GT_VARIABLE || t.kind == GT_RIGHT_DELIM || t.kind == GT_RIGHT_PAREN)
                    continue;
                (void)gparse_error(p, "range can only initialize variables"); /* sticks in p */
                return false;
            }
            (void)gparse_error(p, "too many declarations in %s", context); /* sticks in p */
            return false;
        }
        if (behind.kind == GT_SPACE)
            gparse_backup3(p, v, behind);
        else
            gparse_backup2(p, v);
        return true;
    }
}

static gnode *check_pipeline(gparser *p, gnode *pipe, const char *context)
{
    if (pipe->n == 0)
        return gparse_error(p, "missing value for %s", context);
    for (size_t i = 1; i < pipe->n; i++) {
        const gnode_kind kind = pipe->kids[i]->kids[0]->kind;
        if (kind == GN_BOOL || kind == GN_DOT || kind == GN_NIL || kind == GN_NUMBER ||
            kind == GN_STRING)
            return gparse_error(p, "non executable command in pipeline stage %zu", i + 1);
    }
    return pipe;
}

gnode *gparse_pipeline(gparser *p, const char *context, gtoken_kind end)
{
    gnode *pipe = gparse_node(p, GN_PIPE, gparse_peek_solid(p).pos);
    if (!pipe || !parse_declarations(p, pipe, context))
        return NULL;
    while (!p->fail) {
        const gtoken t = gparse_next_solid(p);
        if (t.kind == end)
            return check_pipeline(p, pipe, context);
        switch (t.kind) {
        case GT_BOOL:
        case GT_CHAR_CONST:
        case GT_COMPLEX:
        case GT_DOT:
        case GT_FIELD:
        case GT_IDENT:
        case GT_NUMBER:
        case GT_NIL:
        case GT_RAW_STRING:
        case GT_STRING:
        case GT_VARIABLE:
        case GT_LEFT_PAREN:
            gparse_backup(p);
            if (!gparse_push(p, &pipe->kids, &pipe->n, parse_command(p)))
                return NULL;
            break;
        default:
            return gparse_unexpected(p, t, context);
        }
    }
    return NULL;
}

/* ---- nodes as text ---- */

static void print_idents(const gnode *n, bool lead, buf *out)
{
    for (size_t i = 0; i < n->n_ident; i++) {
        if (lead || i > 0)
            (void)buf_putc(out, '.'); /* sticks in out, as all below */
        (void)buf_append(out, n->idents[i].p, n->idents[i].n);
    }
}

static void print_pipe(const gnode *n, buf *out)
{
    for (size_t i = 0; i < n->n_decl; i++) {
        (void)buf_puts(out, i ? ", " : "");
        gotmpl_print_node(n->decl[i], out);
    }
    if (n->n_decl)
        (void)buf_puts(out, n->flag ? " = " : " := ");
    for (size_t i = 0; i < n->n; i++) {
        (void)buf_puts(out, i ? " | " : "");
        gotmpl_print_node(n->kids[i], out);
    }
}

/* A pipeline that is a word stands in parentheses. */
static void print_word(const gnode *n, buf *out)
{
    if (n->kind == GN_PIPE)
        (void)buf_putc(out, '(');
    gotmpl_print_node(n, out);
    if (n->kind == GN_PIPE)
        (void)buf_putc(out, ')');
}

static void print_kids(const gnode *n, buf *out)
{
    for (size_t i = 0; i < n->n && !out->fail; i++) {
        if (n->kind == GN_COMMAND) {
            (void)buf_puts(out, i ? " " : "");
            print_word(n->kids[i], out);
        } else {
            gotmpl_print_node(n->kids[i], out);
        }
    }
}

static void print_branch(const gnode *n, const char *name, buf *out)
{
    (void)buf_printf(out, "{{%s ", name);
    print_pipe(n->pipe, out);
    (void)buf_puts(out, "}}");
    gotmpl_print_node(n->list, out);
    if (n->other) {
        (void)buf_puts(out, "{{else}}");
        gotmpl_print_node(n->other, out);
    }
    (void)buf_puts(out, "{{end}}");
}

static void print_template(const gnode *n, buf *out)
{
    (void)buf_puts(out, "{{template ");
    gotmpl_quote(n->text, false, out);
    if (n->pipe) {
        (void)buf_putc(out, ' ');
        print_pipe(n->pipe, out);
    }
    (void)buf_puts(out, "}}");
}

void gotmpl_print_node(const gnode *n, buf *out)
{
    switch (n->kind) {
    case GN_LIST:
    case GN_COMMAND:
        print_kids(n, out);
        break;
    case GN_ACTION:
        (void)buf_puts(out, "{{");
        print_pipe(n->pipe, out);
        (void)buf_puts(out, "}}");
        break;
    case GN_CHAIN:
        print_word(n->pipe, out);
        print_idents(n, true, out);
        break;
    case GN_FIELD:
    case GN_VARIABLE:
        print_idents(n, n->kind == GN_FIELD, out);
        break;
    case GN_PIPE:
        print_pipe(n, out);
        break;
    case GN_IF:
        print_branch(n, "if", out);
        break;
    case GN_RANGE:
        print_branch(n, "range", out);
        break;
    case GN_WITH:
        print_branch(n, "with", out);
        break;
    case GN_TEMPLATE:
        print_template(n, out);
        break;
    case GN_BOOL:
        (void)buf_puts(out, n->flag ? "true" : "false");
        break;
    case GN_STRING:
        (void)buf_append(out, n->quoted.p, n->quoted.n);
        break;
    case GN_TEXT:
    case GN_IDENT:
    case GN_NUMBER:
        (void)buf_append(out, n->text.p, n->text.n);
        break;
    default:
        (void)buf_puts(out, n->kind == GN_DOT        ? "."
                            : n->kind == GN_NIL      ? "nil"
                            : n->kind == GN_BREAK    ? "{{break}}"
                            : n->kind == GN_CONTINUE ? "{{continue}}"
                            : n->kind == GN_ELSE     ? "{{else}}"
                                                     : "{{end}}");
    }
}
