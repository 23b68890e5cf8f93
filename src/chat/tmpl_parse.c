/* Statements: the tags between {% and %}. */
#include "chat/tmpl_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what the expressions use too ---- */

void *tmpl_parse_nomem(tparser *p)
{
    if (!p->fail)
        p->fail = err_set(p->err, CAMA_ERR_NOMEM,
                          "chat template: no memory for its tree (limit %u)", TMPL_TREE_BYTES);
    return NULL;
}

void *tmpl_syntax(tparser *p, const char *fmt, ...)
{
    if (p->fail)
        return NULL;
    char text[256];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args); /* cut when longer */
    va_end(args);
    p->fail = err_set(p->err, CAMA_ERR_TEMPLATE, "chat template line %u: %s", p->tok->line, text);
    return NULL;
}

bool tmpl_descend(tparser *p)
{
    if (p->fail)
        return false;
    if (p->nest >= TMPL_MAX_NEST) {
        p->fail = err_set(p->err, CAMA_ERR_LIMIT, "chat template line %u: nested deeper than %u",
                          p->tok->line, TMPL_MAX_NEST);
        return false;
    }
    p->nest++;
    return true;
}

tnode *tmpl_new_node(tparser *p, tnode_kind kind)
{
    tnode *n = p->fail ? NULL : arena_take(p->mem, sizeof *n);
    if (!n)
        return tmpl_parse_nomem(p);
    n->kind = kind;
    n->line = p->tok->line;
    return n;
}

uint32_t tmpl_intern(tparser *p, const tstr *name)
{
    for (size_t i = 0; i < p->n_name; i++) {
        const tstr *s = p->names[i];
        if (s->n == name->n && memcmp(s->p, name->p, s->n) == 0)
            return (uint32_t)i;
    }
    if (p->n_name == TMPL_MAX_NAMES) {
        if (!p->fail)
            p->fail = err_set(p->err, CAMA_ERR_LIMIT, "chat template line %u: more than %u names",
                              p->tok->line, TMPL_MAX_NAMES);
        return 0;
    }
    if (p->n_name == p->cap_name) {
        const size_t cap = p->cap_name ? 2 * p->cap_name : 32;
        const tstr **more = arena_take_array(p->mem, cap, sizeof *more);
        if (!more) {
            (void)tmpl_parse_nomem(p); /* the caller looks at p->fail */
            return 0;
        }
        if (p->n_name)
            memcpy(more, p->names, p->n_name * sizeof *more);
        p->names = more;
        p->cap_name = cap;
    }
    p->names[p->n_name] = name;
    return (uint32_t)p->n_name++;
}

bool tmpl_is_op(const tparser *p, top op)
{
    return p->tok->kind == T_OP && p->tok->op == op;
}

bool tmpl_is_name(const tparser *p, const char *word)
{
    const size_t n = strlen(word);
    return p->tok->kind == T_NAME && p->tok->text->n == n && memcmp(p->tok->text->p, word, n) == 0;
}

bool tmpl_skip_op(tparser *p, top op)
{
    const bool there = tmpl_is_op(p, op);
    p->tok += there;
    return there;
}

bool tmpl_skip_name(tparser *p, const char *word)
{
    const bool there = tmpl_is_name(p, word);
    p->tok += there;
    return there;
}

bool tmpl_want_op(tparser *p, top op, const char *what)
{
    if (!p->fail && tmpl_skip_op(p, op))
        return true;
    return tmpl_syntax(p, "expected '%s'", what) != NULL;
}

static bool want_name(tparser *p, const char *word)
{
    if (!p->fail && tmpl_skip_name(p, word))
        return true;
    return tmpl_syntax(p, "expected '%s'", word) != NULL;
}

bool tmpl_push_node(tparser *p, tnode ***list, size_t *n, tnode *node)
{
    if (p->fail)
        return false;
    if ((*n & (*n - 1)) == 0) { /* 0, 1, 2, 4, ...: full */
        tnode **more = arena_take_array(p->mem, *n ? 2 * *n : 1, sizeof(tnode *));
        if (!more)
            return tmpl_parse_nomem(p) != NULL;
        if (*n)
            memcpy(more, *list, *n * sizeof(tnode *));
        *list = more;
    }
    (*list)[(*n)++] = node;
    return true;
}

/* Checks that node can be assigned to. */
static bool check_target(tparser *p, const tnode *n)
{
    if (n->kind == N_NAME)
        return n->name != NAME_LOOP || p->n_loop == 0 ||
               tmpl_syntax(p, "cannot assign to 'loop' in a loop") != NULL;
    if (n->kind != N_TUPLE && n->kind != N_LIST)
        return tmpl_syntax(p, "cannot assign to this expression") != NULL;
    for (size_t i = 0; i < n->n; i++) {
        if (!check_target(p, n->kids[i]))
            return false;
    }
    return true;
}

/* ---- statements ---- */

static tnode *parse_until(tparser *p, const char *const *ends);

static bool want_block_end(tparser *p)
{
    if (!p->fail && p->tok->kind == T_BLOCK_END) {
        p->tok++;
        return true;
    }
    return tmpl_syntax(p, "expected the end of the tag") != NULL;
}

/* The body behind the current tag, up to {% end %}, which is eaten. */
static tnode *parse_block(tparser *p, const char *end)
{
    const char *const ends[] = {end, NULL};
    if (!want_block_end(p))
        return NULL;
    tnode *body = parse_until(p, ends);
    return body && want_name(p, end) ? body : NULL;
}

/* a: condition; b: body; c: else (an N_IF for elif), or NULL. At the condition. */
static tnode *parse_if(tparser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const last[] = {"endif", NULL};
    tnode *head = NULL;
    tnode **link = &head;
    for (;;) {
        tnode *n = tmpl_new_node(p, N_IF);
        if (!n)
            return NULL;
        *link = n;
        n->a = tmpl_parse_tuple(p, 0);
        if (!n->a || !want_block_end(p))
            return NULL;
        n->b = parse_until(p, ends);
        if (!n->b)
            return NULL;
        link = &n->c;
        if (!tmpl_skip_name(p, "elif"))
            break;
    }
    if (tmpl_skip_name(p, "else")) {
        if (!want_block_end(p))
            return NULL;
        *link = parse_until(p, last);
        if (!*link)
            return NULL;
    }
    return want_name(p, "endif") ? head : NULL;
}

/* kids: target, iterable, test or NULL, body, else or NULL; flag: recursive. */
static tnode *parse_for(tparser *p)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    tnode *n = tmpl_new_node(p, N_FOR);
    tnode **kids = n ? arena_take_array(p->mem, 5, sizeof *kids) : NULL;
    if (!kids)
        return tmpl_parse_nomem(p);
    n->kids = kids;
    n->n = 5;
    p->n_loop++; /* from the target on, which may not be called loop */
    kids[0] = tmpl_parse_tuple(p, TUPLE_STOP_IN | TUPLE_TARGET);
    if (!kids[0] || !check_target(p, kids[0]) || !want_name(p, "in"))
        return NULL;
    kids[1] = tmpl_parse_tuple(p, TUPLE_STOP_RECURSIVE);
    if (!kids[1])
        return NULL;
    if (tmpl_skip_name(p, "if")) {
        kids[2] = tmpl_parse_expression(p);
        if (!kids[2])
            return NULL;
    }
    n->flag = tmpl_skip_name(p, "recursive");
    if (!want_block_end(p))
        return NULL;
    kids[3] = parse_until(p, ends);
    p->n_loop--;
    if (!kids[3])
        return NULL;
    if (tmpl_skip_name(p, "else"))
        kids[4] = parse_block(p, "endfor");
    else
        return want_name(p, "endfor") ? n : NULL;
    return kids[4] ? n : NULL;
}

/* a: N_NAME, tuple, or N_ATTR of a namespace; b: value. The block form: b filter or NULL, c body.
 */
static tnode *parse_set(tparser *p)
{
    tnode *n = tmpl_new_node(p, N_SET);
    if (!n)
        return NULL;
    if (p->tok->kind == T_NAME && p->tok[1].kind == T_OP && p->tok[1].op == OP_DOT) {
        tnode *space = tmpl_new_node(p, N_NAME);
        tnode *attr = tmpl_new_node(p, N_ATTR);
        if (!space || !attr)
            return NULL;
        space->name = tmpl_intern(p, p->tok->text);
        space->text = p->tok->text;
        p->tok += 2;
        if (p->tok->kind != T_NAME)
            return tmpl_syntax(p, "expected a name behind the dot");
        attr->a = space;
        attr->text = p->tok->text;
        p->tok++;
        n->a = attr;
    } else {
        n->a = tmpl_parse_tuple(p, TUPLE_TARGET);
        if (!n->a || !check_target(p, n->a))
            return NULL;
    }
    if (tmpl_skip_op(p, OP_ASSIGN)) {
        n->b = tmpl_parse_tuple(p, TUPLE_COND);
        return n->b ? n : NULL;
    }
    n->kind = N_SET_BLOCK;
    n->b = tmpl_parse_filter(p, NULL, false);
    n->c = p->fail ? NULL : parse_block(p, "endset");
    return n->c ? n : NULL;
}

static bool parse_params(tparser *p, tsig *sig)
{
    if (!tmpl_want_op(p, OP_LPAREN, "("))
        return false;
    size_t n_default = 0; /* counts both lists: NULL stands for no default */
    size_t cap = 0;
    while (!tmpl_is_op(p, OP_RPAREN)) {
        if (sig->n && !tmpl_want_op(p, OP_COMMA, ","))
            return false;
        if (p->tok->kind != T_NAME)
            return tmpl_syntax(p, "expected the name of a parameter");
        if (sig->n == cap) {
            cap = cap ? 2 * cap : 4;
            uint32_t *more = arena_take_array(p->mem, cap, sizeof *more);
            if (!more)
                return tmpl_parse_nomem(p);
            if (sig->n)
                memcpy(more, sig->params, sig->n * sizeof *more);
            sig->params = more;
        }
        sig->params[sig->n++] = tmpl_intern(p, p->tok->text);
        p->tok++;
        tnode *value = NULL;
        if (tmpl_skip_op(p, OP_ASSIGN)) {
            value = tmpl_parse_expression(p);
            if (!value)
                return false;
        } else if (n_default && sig->defaults[n_default - 1]) {
            return tmpl_syntax(p, "non-default argument follows default argument");
        }
        if (!tmpl_push_node(p, &sig->defaults, &n_default, value))
            return false;
    }
    p->tok++;
    return true;
}

/* The body of a macro or call block: what it reads decides what may be passed. */
static tnode *parse_macro_body(tparser *p, tsig *sig, const char *end)
{
    const uint32_t n_loop = p->n_loop;
    if (p->n_sig == sizeof p->sigs / sizeof *p->sigs)
        return tmpl_syntax(p, "more than %zu macros inside each other", p->n_sig);
    p->sigs[p->n_sig++] = sig;
    p->n_loop = 0; /* a break cannot leave it */
    tnode *body = parse_block(p, end);
    p->n_loop = n_loop;
    p->n_sig--;
    return body;
}

/* name, sig, b: body. */
static tnode *parse_macro(tparser *p)
{
    tnode *n = tmpl_new_node(p, N_MACRO);
    tsig *sig = n ? arena_take(p->mem, sizeof *sig) : NULL;
    if (!sig)
        return tmpl_parse_nomem(p);
    if (p->tok->kind != T_NAME)
        return tmpl_syntax(p, "expected the name of the macro");
    sig->name = p->tok->text;
    n->name = tmpl_intern(p, p->tok->text);
    p->tok++;
    if (!parse_params(p, sig))
        return NULL;
    n->sig = sig;
    n->b = parse_macro_body(p, sig, "endmacro");
    return n->b ? n : NULL;
}

/* a: the call; sig; b: body, which the callee sees as caller(). */
static tnode *parse_call_block(tparser *p)
{
    tnode *n = tmpl_new_node(p, N_CALL_BLOCK);
    tsig *sig = n ? arena_take(p->mem, sizeof *sig) : NULL;
    if (!sig)
        return tmpl_parse_nomem(p);
    if (tmpl_is_op(p, OP_LPAREN) && !parse_params(p, sig))
        return NULL;
    n->sig = sig;
    n->a = tmpl_parse_expression(p);
    if (!n->a)
        return NULL;
    if (n->a->kind != N_CALL)
        return tmpl_syntax(p, "expected call");
    n->b = parse_macro_body(p, sig, "endcall");
    return n->b ? n : NULL;
}

static tnode *parse_filter_block(tparser *p)
{
    tnode *n = tmpl_new_node(p, N_FILTER_BLOCK);
    if (!n)
        return NULL;
    n->a = tmpl_parse_filter(p, NULL, true);
    n->b = n->a ? parse_block(p, "endfilter") : NULL;
    return n->b ? n : NULL;
}

/* kids: target, value, target, value, ...; b: body. */
static tnode *parse_with(tparser *p)
{
    tnode *n = tmpl_new_node(p, N_WITH);
    while (n && p->tok->kind != T_BLOCK_END) {
        if (n->n && !tmpl_want_op(p, OP_COMMA, ","))
            return NULL;
        tnode *target = tmpl_parse_unary(p);
        if (!target || !check_target(p, target) || !tmpl_want_op(p, OP_ASSIGN, "="))
            return NULL;
        tnode *value = tmpl_parse_expression(p);
        if (!value || !tmpl_push_node(p, &n->kids, &n->n, target) ||
            !tmpl_push_node(p, &n->kids, &n->n, value))
            return NULL;
    }
    if (n)
        n->b = parse_block(p, "endwith");
    return n && n->b ? n : NULL;
}

/* Marks what the model said, for training; a scope of its own, else transparent. */
static tnode *parse_generation(tparser *p)
{
    tnode *n = tmpl_new_node(p, N_GENERATION);
    const uint32_t n_loop = p->n_loop;
    p->n_loop = 0; /* jinja2 makes a call block of it */
    if (n)
        n->b = parse_block(p, "endgeneration");
    p->n_loop = n_loop;
    return n && n->b ? n : NULL;
}

static tnode *parse_jump(tparser *p, tnode_kind kind)
{
    if (p->n_loop == 0)
        return tmpl_syntax(p, "'%s' outside loop", kind == N_BREAK ? "break" : "continue");
    return tmpl_new_node(p, kind);
}

static tnode *parse_break(tparser *p)
{
    return parse_jump(p, N_BREAK);
}

static tnode *parse_continue(tparser *p)
{
    return parse_jump(p, N_CONTINUE);
}

/* At the name of a tag. */
static tnode *parse_statement(tparser *p)
{
    static const struct {
        const char *name;
        tnode *(*parse)(tparser *p);
    } tags[] = {
        {"if", parse_if},           {"for", parse_for},
        {"set", parse_set},         {"macro", parse_macro},
        {"call", parse_call_block}, {"filter", parse_filter_block},
        {"with", parse_with},       {"generation", parse_generation},
        {"break", parse_break},     {"continue", parse_continue},
    };
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        if (tmpl_skip_name(p, tags[i].name)) {
            tnode *n = tags[i].parse(p);
            return n && want_block_end(p) ? n : NULL;
        }
    }
    if (p->tok->kind != T_NAME)
        return tmpl_syntax(p, "a tag needs a name");
    return tmpl_syntax(p, "Encountered unknown tag '%.*s'", (int)p->tok->text->n, p->tok->text->p);
}

static tnode *parse_print(tparser *p)
{
    tnode *n = tmpl_new_node(p, N_PRINT);
    p->tok++;
    if (!n)
        return NULL;
    n->a = tmpl_parse_tuple(p, TUPLE_COND);
    if (!n->a)
        return NULL;
    if (p->tok->kind != T_PRINT_END)
        return tmpl_syntax(p, "expected '}}'");
    p->tok++;
    return n;
}

static bool at_end_tag(tparser *p, const char *const *ends)
{
    for (size_t i = 0; ends && ends[i]; i++) {
        if (tmpl_is_name(p, ends[i]))
            return true;
    }
    return false;
}

static tnode *parse_piece(tparser *p)
{
    if (p->tok->kind == T_PRINT_BEGIN)
        return parse_print(p);
    tnode *n = tmpl_new_node(p, N_TEXT);
    if (n)
        n->text = p->tok->text;
    p->tok++;
    return n;
}

/* kids: the pieces up to one of the end tags (at its name), or to the end of the source (NULL). */
static tnode *parse_until(tparser *p, const char *const *ends)
{
    tnode *block = tmpl_new_node(p, N_BLOCK);
    if (!block)
        return NULL;
    if (!tmpl_descend(p))
        return NULL;
    while (!p->fail) {
        if (p->tok->kind == T_EOF) {
            if (ends)
                return tmpl_syntax(p, "Unexpected end of template: '%s' is missing", ends[0]);
            break;
        }
        tnode *n;
        if (p->tok->kind == T_BLOCK_BEGIN) {
            p->tok++;
            if (at_end_tag(p, ends))
                break;
            n = parse_statement(p);
        } else {
            n = parse_piece(p);
        }
        if (!n || !tmpl_push_node(p, &block->kids, &block->n, n))
            return NULL;
    }
    p->nest--;
    return p->fail ? NULL : block;
}

tnode *tmpl_parse_body(tparser *p)
{
    return parse_until(p, NULL);
}
