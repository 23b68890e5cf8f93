/* Values with the types they would have in Go. */
#include "chat/gotmpl_int.h"

#include <stdlib.h>
#include <string.h>

const gtype gotmpl_bool = {.kind = G_BOOL, .name = "bool"};
const gtype gotmpl_int = {.kind = G_INT, .name = "int"};
const gtype gotmpl_uint8 = {.kind = G_UINT8, .name = "uint8"};
const gtype gotmpl_float = {.kind = G_FLOAT, .name = "float64"};
const gtype gotmpl_complex = {.kind = G_COMPLEX, .name = "complex128"};
const gtype gotmpl_string = {.kind = G_STRING, .name = "string"};
const gtype gotmpl_any_slice = {.kind = G_SLICE, .name = "[]interface {}"};
const gtype gotmpl_any_map = {.kind = G_MAP, .name = "map[string]interface {}"};

gval gval_none(void)
{
    return (gval){0};
}

gval gval_bool(bool b)
{
    return (gval){.type = &gotmpl_bool, .u.b = b};
}

gval gval_int(int64_t i)
{
    return (gval){.type = &gotmpl_int, .u.i = i};
}

gval gval_float(double f)
{
    return (gval){.type = &gotmpl_float, .u.f = f};
}

gval gval_string(gstr s)
{
    return (gval){.type = &gotmpl_string, .u.s = s};
}

gval gval_zero(const gtype *type)
{
    gval v = {.type = type, .iface = !type};
    if (!type)
        return v;
    v.nil = type->kind == G_SLICE || type->kind == G_MAP || type->kind == G_PTR;
    if (type->kind == G_STRING)
        v.u.s = (gstr){"", 0};
    return v; /* fields of a zero struct: NULL, see gval_field */
}

static int compare_entries(const void *a, const void *b)
{
    const gstr x = ((const gentry *)a)->key;
    const gstr y = ((const gentry *)b)->key;
    const int c = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return c ? c : (x.n > y.n) - (x.n < y.n);
}

void gval_sort(gentry *entries, size_t n)
{
    if (n > 1)
        qsort(entries, n, sizeof *entries, compare_entries);
}

static gval list_of_json(arena *mem, const json_value *v, bool *out_ok)
{
    gval *items = arena_take_array(mem, v->n, sizeof *items);
    if (!items) {
        *out_ok = false;
        return gval_none();
    }
    for (size_t i = 0; i < v->n; i++)
        items[i] = gval_of_json(mem, v->items[i], out_ok);
    gval list = {.type = &gotmpl_any_slice};
    list.u.l.items = items;
    list.u.l.n = v->n;
    list.u.l.cap = v->n;
    return list;
}

static gval map_of_json(arena *mem, const json_value *v, bool *out_ok)
{
    gentry *entries = arena_take_array(mem, v->n, sizeof *entries);
    if (!entries) {
        *out_ok = false;
        return gval_none();
    }
    for (size_t i = 0; i < v->n; i++) {
        entries[i].key = (gstr){v->members[i].key, v->members[i].n_key};
        entries[i].value = gval_of_json(mem, v->members[i].value, out_ok);
    }
    gval_sort(entries, v->n);
    gval map = {.type = &gotmpl_any_map};
    map.u.m.entries = entries;
    map.u.m.n = v->n;
    return map;
}

/* json.h bounds the depth. */
gval gval_of_json(arena *mem, const json_value *v, bool *out_ok)
{
    switch (v->kind) {
    case JSON_BOOL:
        return gval_bool(v->boolean);
    case JSON_INT:
    case JSON_FLOAT:
        return gval_float(v->number);
    case JSON_STRING:
        return gval_string((gstr){v->text, v->n});
    case JSON_ARRAY:
        return list_of_json(mem, v, out_ok);
    case JSON_OBJECT:
        return map_of_json(mem, v, out_ok);
    default:
        return gval_zero(NULL);
    }
}

const char *gval_type_name(gval v)
{
    return v.iface || !v.type ? "interface {}" : v.type->name;
}

gval gval_unwrap(gval v)
{
    v.iface = false;
    return v;
}

gval gval_indirect(gval v, bool *nil)
{
    *nil = false;
    for (;;) {
        if (v.iface && !v.type) {
            *nil = true;
            return v;
        }
        v.iface = false;
        if (!v.type || v.type->kind != G_PTR)
            return v;
        if (v.nil) {
            *nil = true;
            return v;
        }
        v = *v.u.ref;
    }
}

bool gval_true(gval v)
{
    if (!v.type)
        return false;
    switch (v.type->kind) {
    case G_BOOL:
        return v.u.b;
    case G_INT:
    case G_UINT8:
        return v.u.i != 0;
    case G_FLOAT:
        return v.u.f != 0;
    case G_COMPLEX:
        return v.u.c.re != 0 || v.u.c.im != 0;
    case G_STRING:
        return v.u.s.n > 0;
    case G_SLICE:
        return v.u.l.n > 0;
    case G_MAP:
        return v.u.m.n > 0;
    case G_PTR:
        return !v.nil;
    default:
        return true;
    }
}

bool gval_is_nil(gval v)
{
    return !v.type || v.nil;
}

static const gentry *find_entry(gval map, gstr key)
{
    const gentry want = {.key = key};
    if (!map.type->in_order)
        return map.u.m.n ? bsearch(&want, map.u.m.entries, map.u.m.n, sizeof want, compare_entries)
                         : NULL;
    for (size_t i = 0; i < map.u.m.n; i++)
        if (gstr_same(map.u.m.entries[i].key, key))
            return &map.u.m.entries[i];
    return NULL;
}

bool gval_lookup(gval map, gstr key, gval *out)
{
    const gentry *e = find_entry(map, key);
    if (!e)
        return false;
    *out = e->value;
    out->iface = out->iface || !map.type->elem;
    return true;
}

gval gval_elem(gval list, size_t i)
{
    gval v = list.u.l.items[i];
    v.iface = v.iface || !list.type->elem;
    return v;
}

gval gval_field(gval v, size_t i)
{
    const gfield *f = &v.type->fields[i];
    gval out = v.u.fields ? v.u.fields[i] : gval_zero(f->type);
    out.iface = !f->type;
    return out;
}
