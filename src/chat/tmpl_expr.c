/* Expressions, by recursive descent in jinja2's order of precedence:
 *     x if c else y,  or,  and,  not,  comparisons,  + -,  ~,  * / // %,  **,  unary,  postfix
 * A filter or test binds tighter than any binary operator. */
#include "chat/tmpl_int.h"

#include <string.h>

static tnode *parse_or(tparser *p);

static tnode *binary(tparser *p, tnode_kind kind, top op, tnode *a, tnode *b)
{
    tnode *n = tmpl_new_node(p, kind);
    if (!n)
        return NULL;
    n->op = op;
    n->a = a;
    n->b = b;
    return n;
}

/* ---- arguments, subscripts, filters, tests ---- */

static bool push_kw(tparser *p, targs *args, const tstr *name, tnode *value)
{
    size_t n = args->n_kw;
    if (!tmpl_push_node(p, &args->kw, &n, value))
        return false;
    if ((args->n_kw & (args->n_kw - 1)) == 0) { /* names grow in step with values */
        const tstr **more = arena_take_array(p->mem, args->n_kw ? 2 * args->n_kw : 1, sizeof *more);
        if (!more)
            return tmpl_parse_nomem(p);
        if (args->n_kw)
            memcpy(more, args->kw_names, args->n_kw * sizeof(const tstr *));
        args->kw_names = more;
    }
    args->kw_names[args->n_kw] = name;
    args->n_kw = n;
    return true;
}

static bool parse_arg(tparser *p, targs *args)
{
    if (tmpl_skip_op(p, OP_MUL)) {
        if (args->star || args->star_star)
            return tmpl_syntax(p, "invalid syntax for function call expression");
        args->star = tmpl_parse_expression(p);
        return args->star != NULL;
    }
    if (tmpl_skip_op(p, OP_POW)) {
        if (args->star_star)
            return tmpl_syntax(p, "invalid syntax for function call expression");
        args->star_star = tmpl_parse_expression(p);
        return args->star_star != NULL;
    }
    if (p->tok->kind == T_NAME && p->tok[1].kind == T_OP && p->tok[1].op == OP_ASSIGN) {
        const tstr *name = p->tok->text;
        p->tok += 2;
        tnode *value = tmpl_parse_expression(p);
        return value && !args->star_star ? push_kw(p, args, name, value)
                                         : tmpl_syntax(p, "keyword argument after **") != NULL;
    }
    tnode *value = tmpl_parse_expression(p);
    if (args->n_kw || args->star || args->star_star)
        return tmpl_syntax(p, "positional argument follows keyword argument");
    return value && tmpl_push_node(p, &args->pos, &args->n_pos, value);
}

/* At the opening parenthesis. */
static targs *parse_args(tparser *p)
{
    targs *args = arena_take(p->mem, sizeof *args);
    if (!args)
        return tmpl_parse_nomem(p);
    if (!tmpl_want_op(p, OP_LPAREN, "("))
        return NULL;
    bool first = true;
    while (!tmpl_is_op(p, OP_RPAREN)) {
        if (!first && !tmpl_want_op(p, OP_COMMA, ","))
            return NULL;
        if (!first && tmpl_is_op(p, OP_RPAREN))
            break; /* a comma at the end */
        first = false;
        if (!parse_arg(p, args))
            return NULL;
    }
    p->tok++;
    return args;
}

static tnode *parse_call(tparser *p, tnode *callee)
{
    tnode *n = tmpl_new_node(p, N_CALL);
    targs *args = parse_args(p);
    if (!n || !args)
        return NULL;
    n->a = callee;
    n->args = args;
    return n;
}

/* One of a subscript: an index or start:stop:step. N_SLICE holds a, b, c, each may be NULL. */
static tnode *parse_index(tparser *p)
{
    tnode *start = NULL;
    if (!tmpl_is_op(p, OP_COLON)) {
        start = tmpl_parse_expression(p);
        if (!start || !tmpl_is_op(p, OP_COLON))
            return start;
    }
    tnode *n = tmpl_new_node(p, N_SLICE);
    if (!n)
        return NULL;
    n->a = start;
    for (int part = 0; part < 2 && tmpl_skip_op(p, OP_COLON); part++) {
        if (tmpl_is_op(p, OP_COLON) || tmpl_is_op(p, OP_RBRACKET) || tmpl_is_op(p, OP_COMMA))
            continue;
        tnode *e = tmpl_parse_expression(p);
        if (!e)
            return NULL;
        *(part == 0 ? &n->b : &n->c) = e;
    }
    return n;
}

static tnode *parse_brackets(tparser *p, tnode *of)
{
    p->tok++;
    tnode *tuple = NULL;
    tnode *index = parse_index(p);
    while (index && tmpl_skip_op(p, OP_COMMA)) {
        if (!tuple) {
            tuple = tmpl_new_node(p, N_TUPLE);
            if (!tuple || !tmpl_push_node(p, &tuple->kids, &tuple->n, index))
                return NULL;
        }
        if (tmpl_is_op(p, OP_RBRACKET))
            break;
        index = parse_index(p);
        if (!index || !tmpl_push_node(p, &tuple->kids, &tuple->n, index))
            return NULL;
    }
    if (!index || !tmpl_want_op(p, OP_RBRACKET, "]"))
        return NULL;
    return binary(p, N_ITEM, OP_NONE, of, tuple ? tuple : index);
}

static tnode *parse_dot(tparser *p, tnode *of)
{
    p->tok++;
    tnode *n = NULL;
    if (p->tok->kind == T_NAME) {
        n = binary(p, N_ATTR, OP_NONE, of, NULL);
        if (n)
            n->text = p->tok->text;
    } else if (p->tok->kind == T_NUMBER && p->tok->value.kind == V_INT) {
        tnode *index = tmpl_new_node(p, N_CONST);
        if (index)
            index->value = p->tok->value;
        n = index ? binary(p, N_ITEM, OP_NONE, of, index) : NULL;
    } else {
        return tmpl_syntax(p, "expected name or number");
    }
    p->tok++;
    return n;
}

static tnode *parse_postfix(tparser *p, tnode *start)
{
    tnode *n = start;
    while (n) {
        if (tmpl_is_op(p, OP_DOT))
            n = parse_dot(p, n);
        else if (tmpl_is_op(p, OP_LBRACKET))
            n = parse_brackets(p, n);
        else if (tmpl_is_op(p, OP_LPAREN))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

/* a.b of a filter's or test's name becomes one text. */
static const tstr *parse_dotted_name(tparser *p)
{
    if (p->tok->kind != T_NAME)
        return tmpl_syntax(p, "expected a name");
    const tstr *name = p->tok->text;
    p->tok++;
    while (tmpl_is_op(p, OP_DOT) && p->tok[1].kind == T_NAME) {
        const tstr *more = p->tok[1].text;
        p->tok += 2;
        tstr *both = arena_take(p->mem, sizeof *both);
        char *text = arena_take(p->mem, name->n + more->n + 2);
        if (!both || !text)
            return tmpl_parse_nomem(p);
        memcpy(text, name->p, name->n);
        text[name->n] = '.';
        memcpy(text + name->n + 1, more->p, more->n);
        *both = (tstr){text, name->n + 1 + more->n, name->n_cp + 1 + more->n_cp};
        name = both;
    }
    return name;
}

/* a: the value, NULL for the one a block supplies; fn, text: its name; args. */
tnode *tmpl_parse_filter(tparser *p, tnode *value, bool inlined)
{
    tnode *n = value;
    bool bare = inlined;
    while (!p->fail && (bare || tmpl_is_op(p, OP_PIPE))) {
        if (!bare)
            p->tok++;
        bare = false;
        tnode *filter = tmpl_new_node(p, N_FILTER);
        const tstr *name = parse_dotted_name(p);
        if (!filter || !name)
            return NULL;
        filter->a = n;
        filter->text = name;
        filter->fn = tmpl_find_filter(name);
        if (tmpl_is_op(p, OP_LPAREN)) {
            filter->args = parse_args(p);
            if (!filter->args)
                return NULL;
        }
        n = filter;
    }
    return p->fail ? NULL : n;
}

static tnode *parse_primary(tparser *p);

static bool starts_test_argument(const tparser *p)
{
    switch (p->tok->kind) {
    case T_NAME:
        return !tmpl_is_name(p, "else") && !tmpl_is_name(p, "or") && !tmpl_is_name(p, "and") &&
               !tmpl_is_name(p, "is");
    case T_STRING:
    case T_NUMBER:
        return true;
    default:
        return tmpl_is_op(p, OP_LBRACKET) || tmpl_is_op(p, OP_LBRACE);
    }
}

/* flag: `is not`. */
static tnode *parse_test(tparser *p, tnode *value)
{
    p->tok++;
    tnode *n = tmpl_new_node(p, N_TEST);
    if (!n)
        return NULL;
    n->a = value;
    n->flag = tmpl_skip_name(p, "not");
    n->text = parse_dotted_name(p);
    if (!n->text)
        return NULL;
    n->fn = tmpl_find_test(n->text);
    if (tmpl_is_op(p, OP_LPAREN)) {
        n->args = parse_args(p);
        return n->args ? n : NULL;
    }
    if (tmpl_is_name(p, "is"))
        return tmpl_syntax(p, "You cannot chain multiple tests with is");
    if (!starts_test_argument(p))
        return n;
    tnode *arg = parse_postfix(p, parse_primary(p));
    n->args = arena_take(p->mem, sizeof *n->args);
    if (!n->args)
        return tmpl_parse_nomem(p);
    return arg && tmpl_push_node(p, &n->args->pos, &n->args->n_pos, arg) ? n : NULL;
}

static tnode *parse_filters_and_tests(tparser *p, tnode *start)
{
    tnode *n = start;
    while (n && !p->fail) {
        if (tmpl_is_op(p, OP_PIPE))
            n = tmpl_parse_filter(p, n, false);
        else if (tmpl_is_name(p, "is"))
            n = parse_test(p, n);
        else if (tmpl_is_op(p, OP_LPAREN))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

/* ---- literals and names ---- */

static tnode *constant(tparser *p, tval v)
{
    tnode *n = tmpl_new_node(p, N_CONST);
    if (n)
        n->value = v;
    return n;
}

/* "a" "b" is one string. */
static tnode *parse_string(tparser *p)
{
    const tstr *s = p->tok->text;
    for (p->tok++; p->tok->kind == T_STRING; p->tok++) {
        const tstr *more = p->tok->text;
        tstr *both = arena_take(p->mem, sizeof *both);
        char *text = arena_take(p->mem, s->n + more->n + 1);
        if (!both || !text)
            return tmpl_parse_nomem(p);
        memcpy(text, s->p, s->n);
        memcpy(text + s->n, more->p, more->n);
        *both = (tstr){text, s->n + more->n, s->n_cp + more->n_cp};
        s = both;
    }
    return constant(p, tmpl_str_val(s));
}

static tnode *parse_list(tparser *p)
{
    tnode *n = tmpl_new_node(p, N_LIST);
    p->tok++;
    while (n && !tmpl_is_op(p, OP_RBRACKET)) {
        if (n->n && !tmpl_want_op(p, OP_COMMA, ","))
            return NULL;
        if (tmpl_is_op(p, OP_RBRACKET))
            break;
        tnode *item = tmpl_parse_expression(p);
        if (!item || !tmpl_push_node(p, &n->kids, &n->n, item))
            return NULL;
    }
    p->tok++;
    return n;
}

/* kids: key, value, key, value, ... */
static tnode *parse_dict(tparser *p)
{
    tnode *n = tmpl_new_node(p, N_DICT);
    p->tok++;
    while (n && !tmpl_is_op(p, OP_RBRACE)) {
        if (n->n && !tmpl_want_op(p, OP_COMMA, ","))
            return NULL;
        if (tmpl_is_op(p, OP_RBRACE))
            break;
        tnode *key = tmpl_parse_expression(p);
        if (!key || !tmpl_want_op(p, OP_COLON, ":"))
            return NULL;
        tnode *value = tmpl_parse_expression(p);
        if (!value || !tmpl_push_node(p, &n->kids, &n->n, key) ||
            !tmpl_push_node(p, &n->kids, &n->n, value))
            return NULL;
    }
    p->tok++;
    return n;
}

static void mark_macros(tparser *p, uint32_t name)
{
    for (size_t i = 0; i < p->n_sig; i++) {
        p->sigs[i]->caller |= name == NAME_CALLER;
        p->sigs[i]->varargs |= name == NAME_VARARGS;
        p->sigs[i]->kwargs |= name == NAME_KWARGS;
    }
}

static tnode *parse_name(tparser *p)
{
    static const struct {
        const char *word;
        tval value;
    } words[] = {
        {"true", {.kind = V_BOOL, .u.b = true}},
        {"True", {.kind = V_BOOL, .u.b = true}},
        {"false", {.kind = V_BOOL, .u.b = false}},
        {"False", {.kind = V_BOOL, .u.b = false}},
        {"none", {.kind = V_NONE}},
        {"None", {.kind = V_NONE}},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (tmpl_skip_name(p, words[i].word))
            return constant(p, words[i].value);
    }
    tnode *n = tmpl_new_node(p, N_NAME);
    if (!n)
        return NULL;
    n->name = tmpl_intern(p, p->tok->text);
    n->text = p->tok->text;
    mark_macros(p, n->name);
    p->tok++;
    return n;
}

static tnode *parse_primary(tparser *p)
{
    tnode *n = NULL;
    if (!tmpl_descend(p))
        return NULL;
    switch (p->tok->kind) {
    case T_NAME:
        n = parse_name(p);
        break;
    case T_STRING:
        n = parse_string(p);
        break;
    case T_NUMBER:
        n = constant(p, p->tok->value);
        p->tok++;
        break;
    default:
        if (tmpl_is_op(p, OP_LPAREN)) {
            p->tok++;
            n = tmpl_parse_tuple(p, TUPLE_COND | TUPLE_PAREN);
            if (n && !tmpl_want_op(p, OP_RPAREN, ")"))
                n = NULL;
        } else if (tmpl_is_op(p, OP_LBRACKET)) {
            n = parse_list(p);
        } else if (tmpl_is_op(p, OP_LBRACE)) {
            n = parse_dict(p);
        } else {
            (void)tmpl_syntax(p, "an expression is missing here"); /* n stays NULL */
        }
    }
    p->nest--;
    return n;
}

/* ---- operators ---- */

static tnode *parse_unary(tparser *p, bool with_filters)
{
    tnode *n;
    if (!tmpl_descend(p))
        return NULL;
    if (tmpl_is_op(p, OP_SUB) || tmpl_is_op(p, OP_ADD)) {
        const tnode_kind kind = tmpl_is_op(p, OP_SUB) ? N_NEG : N_POS;
        p->tok++;
        tnode *of = parse_unary(p, false);
        n = of ? binary(p, kind, OP_NONE, of, NULL) : NULL;
    } else {
        n = parse_primary(p);
    }
    n = parse_postfix(p, n);
    if (with_filters)
        n = parse_filters_and_tests(p, n);
    p->nest--;
    return p->fail ? NULL : n;
}

tnode *tmpl_parse_unary(tparser *p)
{
    return parse_unary(p, true);
}

static tnode *parse_pow(tparser *p)
{
    tnode *n = parse_unary(p, true);
    while (n && tmpl_skip_op(p, OP_POW)) {
        tnode *right = parse_unary(p, true);
        n = right ? binary(p, N_BINARY, OP_POW, n, right) : NULL;
    }
    return n;
}

static tnode *parse_product(tparser *p)
{
    tnode *n = parse_pow(p);
    while (n && (tmpl_is_op(p, OP_MUL) || tmpl_is_op(p, OP_DIV) || tmpl_is_op(p, OP_FLOORDIV) ||
                 tmpl_is_op(p, OP_MOD))) {
        const top op = p->tok->op;
        p->tok++;
        tnode *right = parse_pow(p);
        n = right ? binary(p, N_BINARY, op, n, right) : NULL;
    }
    return n;
}

/* kids: all that is joined. */
static tnode *parse_concat(tparser *p)
{
    tnode *first = parse_product(p);
    if (!first || !tmpl_is_op(p, OP_TILDE))
        return first;
    tnode *n = tmpl_new_node(p, N_CONCAT);
    if (!n || !tmpl_push_node(p, &n->kids, &n->n, first))
        return NULL;
    while (tmpl_skip_op(p, OP_TILDE)) {
        tnode *next = parse_product(p);
        if (!next || !tmpl_push_node(p, &n->kids, &n->n, next))
            return NULL;
    }
    return n;
}

static tnode *parse_sum(tparser *p)
{
    tnode *n = parse_concat(p);
    while (n && (tmpl_is_op(p, OP_ADD) || tmpl_is_op(p, OP_SUB))) {
        const top op = p->tok->op;
        p->tok++;
        tnode *right = parse_concat(p);
        n = right ? binary(p, N_BINARY, op, n, right) : NULL;
    }
    return n;
}

static top comparison_at(tparser *p)
{
    if (p->tok->kind == T_OP && p->tok->op >= OP_EQ && p->tok->op <= OP_GE) {
        p->tok++;
        return p->tok[-1].op;
    }
    if (tmpl_skip_name(p, "in"))
        return OP_IN;
    if (tmpl_is_name(p, "not") && p->tok[1].kind == T_NAME && p->tok[1].text->n == 2 &&
        memcmp(p->tok[1].text->p, "in", 2) == 0) {
        p->tok += 2;
        return OP_NOT_IN;
    }
    return OP_NONE;
}

/* kids[0] ops[0] kids[1] ops[1] kids[2] ..., each pair compared as in Python. */
static tnode *parse_compare(tparser *p)
{
    tnode *first = parse_sum(p);
    top op = first ? comparison_at(p) : OP_NONE;
    if (op == OP_NONE)
        return first;
    tnode *n = tmpl_new_node(p, N_COMPARE);
    if (!n || !tmpl_push_node(p, &n->kids, &n->n, first))
        return NULL;
    size_t cap = 0;
    for (; op != OP_NONE; op = comparison_at(p)) {
        tnode *right = parse_sum(p);
        const size_t k = n->n - 1;
        if (!right || !tmpl_push_node(p, &n->kids, &n->n, right))
            return NULL;
        if (k == cap) {
            cap = cap ? 2 * cap : 1;
            top *more = arena_take_array(p->mem, cap, sizeof *more);
            if (!more)
                return tmpl_parse_nomem(p);
            if (k)
                memcpy(more, n->ops, k * sizeof *more);
            n->ops = more;
        }
        n->ops[k] = op;
    }
    return n;
}

static tnode *parse_not(tparser *p)
{
    if (!tmpl_is_name(p, "not"))
        return parse_compare(p);
    if (!tmpl_descend(p))
        return NULL;
    p->tok++;
    tnode *of = parse_not(p);
    p->nest--;
    return of ? binary(p, N_NOT, OP_NONE, of, NULL) : NULL;
}

static tnode *parse_and(tparser *p)
{
    tnode *n = parse_not(p);
    while (n && tmpl_skip_name(p, "and")) {
        tnode *right = parse_not(p);
        n = right ? binary(p, N_AND, OP_NONE, n, right) : NULL;
    }
    return n;
}

static tnode *parse_or(tparser *p)
{
    tnode *n = parse_and(p);
    while (n && tmpl_skip_name(p, "or")) {
        tnode *right = parse_and(p);
        n = right ? binary(p, N_OR, OP_NONE, n, right) : NULL;
    }
    return n;
}

/* a if b else c; c may be NULL. */
tnode *tmpl_parse_expression(tparser *p)
{
    if (!tmpl_descend(p))
        return NULL;
    tnode *n = parse_or(p);
    while (n && tmpl_skip_name(p, "if")) {
        tnode *test = parse_or(p);
        tnode *other = NULL;
        if (test && tmpl_skip_name(p, "else")) {
            other = tmpl_parse_expression(p);
            test = other ? test : NULL;
        }
        n = test ? binary(p, N_COND, OP_NONE, n, test) : NULL;
        if (n)
            n->c = other;
    }
    p->nest--;
    return p->fail ? NULL : n;
}

static bool at_tuple_end(const tparser *p, unsigned how)
{
    return p->tok->kind == T_PRINT_END || p->tok->kind == T_BLOCK_END || p->tok->kind == T_EOF ||
           tmpl_is_op(p, OP_RPAREN) || ((how & TUPLE_STOP_IN) && tmpl_is_name(p, "in")) ||
           ((how & TUPLE_STOP_RECURSIVE) && tmpl_is_name(p, "recursive"));
}

static tnode *parse_tuple_item(tparser *p, unsigned how)
{
    if (how & TUPLE_TARGET)
        return parse_primary(p);
    return how & TUPLE_COND ? tmpl_parse_expression(p) : parse_or(p);
}

/* One expression, or several with commas. */
tnode *tmpl_parse_tuple(tparser *p, unsigned how)
{
    tnode *tuple = NULL;
    tnode *item = NULL;
    size_t n = 0;
    bool comma = false;
    while (!at_tuple_end(p, how)) {
        if (n && !tmpl_skip_op(p, OP_COMMA))
            break;
        comma = n > 0;
        if (n && at_tuple_end(p, how))
            break;
        if (n == 1) {
            tuple = tmpl_new_node(p, N_TUPLE);
            if (!tuple || !tmpl_push_node(p, &tuple->kids, &tuple->n, item))
                return NULL;
        }
        item = parse_tuple_item(p, how);
        if (!item || (tuple && !tmpl_push_node(p, &tuple->kids, &tuple->n, item)))
            return NULL;
        n++;
    }
    if (n == 1 && !comma)
        return item;
    if (n == 0 && !(how & TUPLE_PAREN))
        return tmpl_syntax(p, "an expression is missing here");
    if (tuple)
        return tuple;
    tuple = tmpl_new_node(p, N_TUPLE);
    return tuple && (n == 0 || tmpl_push_node(p, &tuple->kids, &tuple->n, item)) ? tuple : NULL;
}
