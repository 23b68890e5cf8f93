/* Making values, and the limits every part of a render counts against. */
#include "chat/tmpl_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- failing and counting ---- */

static void fail_args(trun *r, cama_err code, const char *fmt, va_list args)
{
    if (r->fail)
        return;
    char text[ERR_TEXT_BYTES];
    (void)vsnprintf(text, sizeof text, fmt, args); /* cut when longer */
    r->fail = err_set(r->err, code, "chat template line %u: %s", r->line, text);
}

void tmpl_fail_code(trun *r, cama_err code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail_args(r, code, fmt, args);
    va_end(args);
}

tval tmpl_fail(trun *r, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail_args(r, CAMA_ERR_TEMPLATE, fmt, args);
    va_end(args);
    return (tval){.kind = V_UNDEF};
}

bool tmpl_step(trun *r, size_t n)
{
    r->n_step += n;
    if (r->n_step > r->max_steps)
        tmpl_fail_code(r, CAMA_ERR_LIMIT, "more than %llu steps", (unsigned long long)r->max_steps);
    return !r->fail;
}

bool tmpl_enter(trun *r)
{
    if (r->level >= TMPL_MAX_LEVEL)
        tmpl_fail_code(r, CAMA_ERR_LIMIT, "nested deeper than %u", TMPL_MAX_LEVEL);
    if (!tmpl_step(r, 1))
        return false;
    r->level++;
    return true;
}

void tmpl_leave(trun *r)
{
    r->level--;
}

void *tmpl_take(trun *r, size_t n)
{
    if (!tmpl_step(r, n / 64))
        return NULL;
    void *p = arena_take(&r->mem, n);
    if (p)
        return p;
    if (n + 64 > r->mem.max_bytes - r->mem.used_bytes)
        tmpl_fail_code(r, CAMA_ERR_LIMIT, "needs more than %zu bytes of memory", r->mem.max_bytes);
    else
        tmpl_fail_code(r, CAMA_ERR_NOMEM, "no memory past %zu bytes", r->mem.used_bytes);
    return NULL;
}

void *tmpl_take_array(trun *r, size_t n, size_t size)
{
    if (n > (SIZE_MAX / 2) / size) {
        tmpl_fail_code(r, CAMA_ERR_LIMIT, "needs %zu elements", n);
        return NULL;
    }
    return tmpl_take(r, n * size);
}

/* ---- scalars ---- */

tval tmpl_none(void)
{
    return (tval){.kind = V_NONE};
}

tval tmpl_bool(bool b)
{
    return (tval){.kind = V_BOOL, .u.b = b};
}

tval tmpl_int(int64_t i)
{
    return (tval){.kind = V_INT, .u.i = i};
}

tval tmpl_float(double f)
{
    return (tval){.kind = V_FLOAT, .u.f = f};
}

tval tmpl_undef(trun *r, const char *hint)
{
    tundef *u = tmpl_take(r, sizeof *u);
    if (u)
        u->hint = hint;
    return (tval){.kind = V_UNDEF, .u.undef = u};
}

tval tmpl_undef_attr(trun *r, tval of, const tstr *name)
{
    tundef *u = tmpl_take(r, sizeof *u);
    if (u)
        *u = (tundef){.type = tmpl_type(of), .name = name};
    return (tval){.kind = V_UNDEF, .u.undef = u};
}

/* ---- strings ---- */

size_t tmpl_count_cp(const char *p, size_t n)
{
    size_t n_cp = 0;
    for (size_t i = 0; i < n; i++)
        n_cp += ((unsigned char)p[i] & 0xC0) != 0x80; /* every lead byte is one */
    return n_cp;
}

tval tmpl_str_val(const tstr *s)
{
    return (tval){.kind = s ? V_STR : V_UNDEF, .u.s = s};
}

static tval wrap(trun *r, const char *p, size_t n, size_t n_cp)
{
    tstr *s = tmpl_take(r, sizeof *s);
    if (!s)
        return (tval){.kind = V_UNDEF};
    *s = (tstr){p, n, n_cp};
    return (tval){.kind = V_STR, .u.s = s};
}

tval tmpl_str_static(trun *r, const char *p, size_t n)
{
    return wrap(r, p, n, tmpl_count_cp(p, n));
}

tval tmpl_str(trun *r, const char *p, size_t n)
{
    char *copy = tmpl_take(r, n);
    if (!copy)
        return (tval){.kind = V_UNDEF};
    if (n)
        memcpy(copy, p, n);
    return tmpl_str_static(r, copy, n);
}

tval tmpl_text(trun *r, const char *literal)
{
    return tmpl_str_static(r, literal, strlen(literal));
}

tval tmpl_buf_str(trun *r, buf *b)
{
    tval v = {.kind = V_UNDEF};
    if (b->fail == CAMA_ERR_LIMIT)
        tmpl_fail_code(r, b->fail, "a text is longer than its limit of %zu bytes", b->max_bytes);
    else if (b->fail)
        tmpl_fail_code(r, b->fail, "no memory for a text past %zu bytes", b->n);
    else if (!r->fail)
        v = tmpl_str(r, b->data ? b->data : "", b->n);
    buf_done(b);
    return v;
}

/* Text that grows piece by piece (x = x + y in a loop) would take its length squared. So the room
 * behind the newest result is kept, and an addition to that very text goes there: the old value
 * is a prefix of the new one and stays as it was. */
tval tmpl_concat(trun *r, const tstr *a, const tstr *b)
{
    if (b->n == 0)
        return tmpl_str_val(a);
    if (a->n == 0)
        return tmpl_str_val(b);
    if (a->n && a->p + a->n == r->tail && r->tail_spare >= b->n) {
        if (!tmpl_step(r, b->n / 64))
            return (tval){.kind = V_UNDEF};
        memcpy(r->tail, b->p, b->n);
        r->tail += b->n;
        r->tail_spare -= b->n;
        return wrap(r, a->p, a->n + b->n, a->n_cp + b->n_cp);
    }
    const size_t n = a->n + b->n;
    const size_t room = n < 256 ? n : 2 * n;
    char *p = tmpl_take(r, room);
    if (!p)
        return (tval){.kind = V_UNDEF};
    memcpy(p, a->p, a->n);
    memcpy(p + a->n, b->p, b->n);
    if (room > n) {
        r->tail = p + n;
        r->tail_spare = room - n;
    }
    return wrap(r, p, n, a->n_cp + b->n_cp);
}

size_t tmpl_byte_at(const tstr *s, size_t cp)
{
    if (cp >= s->n_cp)
        return s->n;
    if (s->n_cp == s->n)
        return cp;
    size_t i = 0;
    for (size_t k = 0; k < cp; k++) {
        i++;
        while (i < s->n && ((unsigned char)s->p[i] & 0xC0) == 0x80)
            i++;
    }
    return i;
}

tval tmpl_substr(trun *r, const tstr *s, size_t from_cp, size_t to_cp)
{
    const size_t to = to_cp > s->n_cp ? s->n_cp : to_cp;
    if (from_cp >= to)
        return tmpl_text(r, "");
    const size_t from_byte = tmpl_byte_at(s, from_cp);
    const tstr rest = {s->p + from_byte, s->n - from_byte, s->n_cp - from_cp};
    if (rest.n_cp != rest.n && !tmpl_step(r, s->n / 64))
        return (tval){.kind = V_UNDEF};
    return wrap(r, rest.p, tmpl_byte_at(&rest, to - from_cp), to - from_cp);
}

/* ---- lists ---- */

tlist *tmpl_list_new(trun *r, size_t cap)
{
    tlist *l = tmpl_take(r, sizeof *l);
    if (!l || cap == 0)
        return l;
    l->items = tmpl_take_array(r, cap, sizeof *l->items);
    l->cap = cap;
    return l->items ? l : NULL;
}

bool tmpl_list_add(trun *r, tlist *l, tval v)
{
    if (!l || r->fail)
        return false;
    if (l->n == l->cap) {
        const size_t cap = l->cap ? 2 * l->cap : 4;
        tval *more = tmpl_take_array(r, cap, sizeof *more);
        if (!more)
            return false;
        if (l->n)
            memcpy(more, l->items, l->n * sizeof *more);
        l->items = more;
        l->cap = cap;
    }
    l->items[l->n++] = v;
    return true;
}

tval tmpl_list_val(tlist *l)
{
    return (tval){.kind = l ? V_LIST : V_UNDEF, .u.list = l};
}

tval tmpl_tuple_val(tlist *l)
{
    return (tval){.kind = l ? V_TUPLE : V_UNDEF, .u.list = l};
}

tval tmpl_pair(trun *r, tval a, tval b)
{
    tlist *l = tmpl_list_new(r, 2);
    if (!tmpl_list_add(r, l, a) || !tmpl_list_add(r, l, b))
        return (tval){.kind = V_UNDEF};
    return tmpl_tuple_val(l);
}

tval tmpl_named_gen(trun *r, tlist *l, const char *type)
{
    tgen *g = l ? tmpl_take(r, sizeof *g) : NULL;
    if (!g)
        return (tval){.kind = V_UNDEF};
    *g = (tgen){.list = l, .type = type};
    return (tval){.kind = V_GEN, .u.gen = g};
}

tval tmpl_gen_val(trun *r, tlist *l)
{
    return tmpl_named_gen(r, l, "generator");
}

/* ---- from JSON ---- */

static tval from_json_array(trun *r, const json_value *j)
{
    tlist *l = tmpl_list_new(r, j->n);
    for (size_t i = 0; l && i < j->n; i++) {
        if (!tmpl_list_add(r, l, tmpl_from_json(r, j->items[i])))
            break;
    }
    return tmpl_list_val(l);
}

static tval from_json_object(trun *r, const json_value *j)
{
    tdict *d = tmpl_dict_new(r);
    for (size_t i = 0; d && i < j->n; i++) {
        const json_member *m = &j->members[i];
        const tval key = tmpl_str(r, m->key, m->n_key);
        if (!tmpl_dict_put(r, d, key, tmpl_from_json(r, m->value)))
            break;
    }
    return (tval){.kind = d ? V_DICT : V_UNDEF, .u.dict = d};
}

static tval from_json_number(trun *r, const json_value *j)
{
    if (j->kind == JSON_INT)
        return tmpl_int(j->integer);
    if (memchr(j->text, '.', j->n) || memchr(j->text, 'e', j->n) || memchr(j->text, 'E', j->n))
        return tmpl_float(j->number);
    tval v = tmpl_str(r, j->text, j->n);
    if (v.kind == V_STR)
        v.kind = V_BIG;
    return v;
}

tval tmpl_from_json(trun *r, const json_value *j)
{
    tval v = {.kind = V_NONE};
    if (!j || !tmpl_enter(r))
        return v;
    switch (j->kind) {
    case JSON_NULL:
        break;
    case JSON_BOOL:
        v = tmpl_bool(j->boolean);
        break;
    case JSON_INT:
    case JSON_FLOAT:
        v = from_json_number(r, j);
        break;
    case JSON_STRING:
        v = tmpl_str(r, j->text, j->n);
        break;
    case JSON_ARRAY:
        v = from_json_array(r, j);
        break;
    case JSON_OBJECT:
        v = from_json_object(r, j);
        break;
    }
    tmpl_leave(r);
    return v;
}
