/* `x is ...`: the tests of jinja2. */
#include "chat/tmpl_int.h"

#include "base/utf8.h"

static tval is_defined(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(c->self.kind != V_UNDEF);
}

static tval is_undefined(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(c->self.kind == V_UNDEF);
}

static tval is_none(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(c->self.kind == V_NONE);
}

static tval is_string(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(c->self.kind == V_STR);
}

static tval is_mapping(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(c->self.kind == V_DICT);
}

static tval is_iterable(trun *r, tcall *c)
{
    (void)r;
    const tkind k = c->self.kind; /* an undefined value iterates as nothing */
    return tmpl_bool(tmpl_has_len(c->self) || k == V_GEN);
}

static tval is_sequence(trun *r, tcall *c)
{
    (void)r;
    const tkind k = c->self.kind; /* has both a length and items, even if they cannot be used */
    return tmpl_bool(tmpl_has_len(c->self) && k != V_VIEW && k != V_LOOP);
}

static tval is_number(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(tmpl_is_number(c->self) || c->self.kind == V_BIG);
}

static tval is_integer(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(c->self.kind == V_INT || c->self.kind == V_BIG);
}

static tval is_float(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(c->self.kind == V_FLOAT);
}

static tval is_boolean(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(c->self.kind == V_BOOL);
}

static tval is_true(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(c->self.kind == V_BOOL && c->self.u.b);
}

static tval is_false(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(c->self.kind == V_BOOL && !c->self.u.b);
}

static tval is_callable(trun *r, tcall *c)
{
    (void)r;
    switch (c->self.kind) {
    case V_UNDEF: /* has a __call__, which raises */
    case V_MACRO:
    case V_FUNC:
    case V_METHOD:
    case V_LOOP:
    case V_JOINER:
        return tmpl_bool(true);
    default:
        return tmpl_bool(false);
    }
}

static tval is_even(trun *r, tcall *c)
{
    const tval rest = tmpl_binary(r, OP_MOD, c->self, tmpl_int(2));
    return tmpl_bool(tmpl_equal(r, rest, tmpl_int(0)));
}

static tval is_odd(trun *r, tcall *c)
{
    const tval rest = tmpl_binary(r, OP_MOD, c->self, tmpl_int(2));
    return tmpl_bool(tmpl_equal(r, rest, tmpl_int(1)));
}

static tval is_divisible(trun *r, tcall *c)
{
    const tval rest = tmpl_binary(r, OP_MOD, c->self, c->in[0]);
    return tmpl_bool(tmpl_equal(r, rest, tmpl_int(0)));
}

/* Some letter has that case, and none the other. */
static tval has_case(trun *r, tval v, bool upper)
{
    const tstr *s = tmpl_to_str(r, v);
    bool seen = false;
    for (size_t i = 0; s && i < s->n;) {
        uint32_t cp;
        i += utf8_decode(s->p + i, s->n - i, &cp);
        if (upper ? tmpl_is_lower(cp) : tmpl_is_upper(cp))
            return tmpl_bool(false);
        seen |= upper ? tmpl_is_upper(cp) : tmpl_is_lower(cp);
    }
    return tmpl_bool(seen);
}

static tval is_upper(trun *r, tcall *c)
{
    return has_case(r, c->self, true);
}

static tval is_lower(trun *r, tcall *c)
{
    return has_case(r, c->self, false);
}

static tval is_same(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(tmpl_same(c->self, c->in[0]));
}

static tval is_escaped(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(c->self.kind == V_STR && c->self.markup);
}

static tval is_in(trun *r, tcall *c)
{
    return tmpl_bool(tmpl_contains(r, c->in[0], c->self));
}

static tval is_eq(trun *r, tcall *c)
{
    return tmpl_bool(tmpl_equal(r, c->self, c->in[0]));
}

static tval is_ne(trun *r, tcall *c)
{
    return tmpl_bool(!tmpl_equal(r, c->self, c->in[0]));
}

static tval is_lt(trun *r, tcall *c)
{
    return tmpl_bool(tmpl_order(r, c->self, c->in[0], "<") == -1);
}

static tval is_gt(trun *r, tcall *c)
{
    return tmpl_bool(tmpl_order(r, c->self, c->in[0], ">") == 1);
}

static tval is_le(trun *r, tcall *c)
{
    const int o = tmpl_order(r, c->self, c->in[0], "<=");
    return tmpl_bool(o == -1 || o == 0);
}

static tval is_ge(trun *r, tcall *c)
{
    const int o = tmpl_order(r, c->self, c->in[0], ">=");
    return tmpl_bool(o == 1 || o == 0);
}

static tval is_filter(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(c->self.kind == V_STR && tmpl_find_filter(c->self.u.s) != NULL);
}

static tval is_test(trun *r, tcall *c)
{
    (void)r;
    return tmpl_bool(c->self.kind == V_STR && tmpl_find_test(c->self.u.s) != NULL);
}

const tbuiltin *tmpl_find_test(const tstr *name)
{
    static const tbuiltin table[] = {
        {"defined", is_defined, 0, ""},
        {"undefined", is_undefined, 0, ""},
        {"none", is_none, 0, ""},
        {"string", is_string, 0, ""},
        {"mapping", is_mapping, 0, ""},
        {"iterable", is_iterable, 0, ""},
        {"sequence", is_sequence, 0, ""},
        {"number", is_number, 0, ""},
        {"integer", is_integer, 0, ""},
        {"float", is_float, 0, ""},
        {"boolean", is_boolean, 0, ""},
        {"true", is_true, 0, ""},
        {"false", is_false, 0, ""},
        {"callable", is_callable, 0, ""},
        {"even", is_even, 0, ""},
        {"odd", is_odd, 0, ""},
        {"divisibleby", is_divisible, 1, "num"},
        {"upper", is_upper, 0, ""},
        {"lower", is_lower, 0, ""},
        {"sameas", is_same, 1, "other"},
        {"escaped", is_escaped, 0, ""},
        {"in", is_in, 1, "seq"},
        {"eq", is_eq, 1, "other"},
        {"equalto", is_eq, 1, "other"},
        {"==", is_eq, 1, "other"},
        {"ne", is_ne, 1, "other"},
        {"!=", is_ne, 1, "other"},
        {"lt", is_lt, 1, "other"},
        {"lessthan", is_lt, 1, "other"},
        {"<", is_lt, 1, "other"},
        {"gt", is_gt, 1, "other"},
        {"greaterthan", is_gt, 1, "other"},
        {">", is_gt, 1, "other"},
        {"le", is_le, 1, "other"},
        {"<=", is_le, 1, "other"},
        {"ge", is_ge, 1, "other"},
        {">=", is_ge, 1, "other"},
        {"filter", is_filter, 0, ""},
        {"test", is_test, 0, ""},
    };
    return tmpl_find(table, sizeof table / sizeof *table, name);
}
