/* + - * / // % ** and unary minus on Python's types; integers stay within 64 bits. */
#include "chat/tmpl_int.h"

#include <math.h>
#include <string.h>

#include "base/ckd.h"

static const char *op_text(top op)
{
    switch (op) {
    case OP_ADD:
        return "+";
    case OP_SUB:
        return "-";
    case OP_MUL:
        return "*";
    case OP_DIV:
        return "/";
    case OP_FLOORDIV:
        return "//";
    case OP_MOD:
        return "%";
    default:
        return "** or pow()";
    }
}

static tval overflow(trun *r)
{
    return tmpl_fail(r, "integer past 64 bits");
}

static tval int_pow(trun *r, int64_t base, int64_t exponent)
{
    int64_t result = 1;
    int64_t b = base;
    for (int64_t e = exponent; e > 0; e >>= 1) {
        if ((e & 1) && ckd_mul(&result, result, b))
            return overflow(r);
        if (e > 1 && ckd_mul(&b, b, b))
            return overflow(r);
    }
    return tmpl_int(result);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static tval int_op(trun *r, top op, int64_t a, int64_t b)
{
    int64_t v = 0;
    bool bad = false;
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0)
        return tmpl_fail(r,
                         op == OP_DIV ? "division by zero" : "integer division or modulo by zero");
    switch (op) {
    case OP_ADD:
        bad = ckd_add(&v, a, b);
        break;
    case OP_SUB:
        bad = ckd_sub(&v, a, b);
        break;
    case OP_MUL:
        bad = ckd_mul(&v, a, b);
        break;
    case OP_DIV:
        return tmpl_float((double)a / (double)b);
    case OP_FLOORDIV:
        if (b == -1)
            bad = ckd_sub(&v, 0, a);
        else
            v = floor_div(a, b);
        break;
    case OP_MOD:
        v = b == -1 ? 0 : a - floor_div(a, b) * b;
        break;
    default:
        if (b >= 0)
            return int_pow(r, a, b);
        return a ? tmpl_float(pow((double)a, (double)b))
                 : tmpl_fail(r, "0.0 cannot be raised to a negative power");
    }
    return bad ? overflow(r) : tmpl_int(v);
}

static tval float_op(trun *r, top op, double a, double b)
{
    double m;
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0)
        return tmpl_fail(r, op == OP_DIV   ? "float division by zero"
                            : op == OP_MOD ? "float modulo"
                                           : "float floor division by zero");
    switch (op) {
    case OP_ADD:
        return tmpl_float(a + b);
    case OP_SUB:
        return tmpl_float(a - b);
    case OP_MUL:
        return tmpl_float(a * b);
    case OP_DIV:
        return tmpl_float(a / b);
    case OP_FLOORDIV:
        m = fmod(a, b);
        return tmpl_float(floor((a - m) / b + 0.5) - (m != 0 && (m < 0) != (b < 0) ? 1 : 0));
    case OP_MOD:
        m = fmod(a, b);
        if (m != 0 && (m < 0) != (b < 0))
            m += b;
        return tmpl_float(m == 0 ? copysign(0.0, b) : m);
    default:
        if (a == 0 && b < 0)
            return tmpl_fail(r, "0.0 cannot be raised to a negative power");
        if (a < 0 && b != floor(b))
            return tmpl_fail(r, "complex numbers are not supported");
        return tmpl_float(pow(a, b));
    }
}

const tstr *tmpl_escape(trun *r, tval v)
{
    const tstr *s = tmpl_to_str(r, v);
    if (!s || (v.kind == V_STR && v.markup))
        return s;
    static const char special[] = "&<>\"'";
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    buf b;
    buf_init(&b, r->mem.max_bytes);
    for (size_t i = 0; i < s->n; i++) {
        const char *at = s->p[i] ? strchr(special, s->p[i]) : NULL;
        if (at)
            (void)buf_puts(&b, names[at - special]); /* sticks in b */
        else
            (void)buf_putc(&b, s->p[i]);
    }
    const tval out = tmpl_buf_str(r, &b);
    return out.kind == V_STR ? out.u.s : NULL;
}

static tval add_strings(trun *r, tval a, tval b)
{
    if (!a.markup && !b.markup)
        return tmpl_concat(r, a.u.s, b.u.s);
    const tstr *x = tmpl_escape(r, a);
    const tstr *y = tmpl_escape(r, b);
    if (!x || !y)
        return (tval){.kind = V_UNDEF};
    tval v = tmpl_concat(r, x, y);
    v.markup = v.kind == V_STR;
    return v;
}

static tval add_lists(trun *r, tval a, tval b)
{
    tlist *l = tmpl_list_new(r, a.u.list->n + b.u.list->n);
    if (!l)
        return (tval){.kind = V_UNDEF};
    if (a.u.list->n)
        memcpy(l->items, a.u.list->items, a.u.list->n * sizeof(tval));
    if (b.u.list->n)
        memcpy(l->items + a.u.list->n, b.u.list->items, b.u.list->n * sizeof(tval));
    l->n = l->cap;
    return (tval){.kind = a.kind, .u.list = l};
}

static tval repeat(trun *r, tval v, int64_t times)
{
    const size_t n = times < 0 ? 0 : (size_t)times;
    const size_t size = v.kind == V_STR ? v.u.s->n : v.u.list->n;
    if (n && size > (SIZE_MAX / 64) / n) {
        tmpl_fail_code(r, CAMA_ERR_LIMIT, "needs more than %zu bytes of memory", r->mem.max_bytes);
        return v;
    }
    if (v.kind == V_STR) {
        char *p = tmpl_take(r, n * size);
        for (size_t i = 0; p && size && i < n; i++)
            memcpy(p + i * size, v.u.s->p, size);
        tval s = p ? tmpl_str_static(r, p, n * size) : v;
        s.markup = v.markup;
        return s;
    }
    tlist *l = tmpl_list_new(r, n * size);
    for (size_t i = 0; l && size && i < n; i++)
        memcpy(l->items + i * size, v.u.list->items, size * sizeof(tval));
    if (l)
        l->n = n * size;
    return l ? (tval){.kind = v.kind, .u.list = l} : v;
}

static bool is_sequence(tval v)
{
    return v.kind == V_STR || v.kind == V_LIST || v.kind == V_TUPLE;
}

static tval wrong_types(trun *r, top op, tval a, tval b)
{
    if (a.kind == V_UNDEF || b.kind == V_UNDEF)
        return tmpl_no_use(r, a.kind == V_UNDEF ? a : b);
    if (a.kind == V_BIG || b.kind == V_BIG)
        return overflow(r);
    if (op == OP_ADD && is_sequence(a))
        return tmpl_fail(r, "can only concatenate %s (not \"%s\") to %s", tmpl_type(a),
                         tmpl_type(b), tmpl_type(a));
    return tmpl_fail(r, "unsupported operand type(s) for %s: '%s' and '%s'", op_text(op),
                     tmpl_type(a), tmpl_type(b));
}

tval tmpl_binary(trun *r, top op, tval a, tval b)
{
    if (r->fail)
        return (tval){.kind = V_UNDEF};
    if (tmpl_is_intlike(a) && tmpl_is_intlike(b))
        return int_op(r, op, tmpl_as_int(a), tmpl_as_int(b));
    if (tmpl_is_number(a) && tmpl_is_number(b))
        return float_op(r, op, tmpl_as_double(a), tmpl_as_double(b));
    if (op == OP_ADD && a.kind == V_STR && b.kind == V_STR)
        return add_strings(r, a, b);
    if (op == OP_ADD && a.kind == b.kind && is_sequence(a))
        return add_lists(r, a, b);
    if (op == OP_MUL && is_sequence(a) && tmpl_is_intlike(b))
        return repeat(r, a, tmpl_as_int(b));
    if (op == OP_MUL && is_sequence(b) && tmpl_is_intlike(a))
        return repeat(r, b, tmpl_as_int(a));
    if (op == OP_MOD && a.kind == V_STR)
        return tmpl_percent(r, a.u.s, b);
    return wrong_types(r, op, a, b);
}

/* The text with its sign turned: -9223372036854775808 is an int64, though its digits are not. */
static tval negate_big(trun *r, tval v)
{
    static const tstr minus = {"-", 1, 1};
    const tstr *s = v.u.s;
    tval out = *s->p == '-' ? tmpl_str_static(r, s->p + 1, s->n - 1) : tmpl_concat(r, &minus, s);
    if (tmpl_is_str(out, "-9223372036854775808"))
        return tmpl_int(INT64_MIN);
    if (out.kind == V_STR)
        out.kind = V_BIG;
    return out;
}

tval tmpl_negate(trun *r, tval v)
{
    if (v.kind == V_FLOAT)
        return tmpl_float(-v.u.f);
    if (tmpl_is_intlike(v))
        return int_op(r, OP_SUB, 0, tmpl_as_int(v));
    if (v.kind == V_UNDEF)
        return tmpl_no_use(r, v);
    if (v.kind == V_BIG)
        return negate_big(r, v);
    return tmpl_fail(r, "bad operand type for unary -: '%s'", tmpl_type(v));
}
