/* What models there are. */
#include "store/store.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "store/store_walk.h"

#define FIRST_ROOM 64

/* ---- all models ---- */

typedef struct listing {
    const store *s;
    arena *a;
    store_model *models; /* on the heap while it grows */
    size_t n, room;
    void (*on_bad)(void *user, const char *text);
    void *user;
} listing;

static void tell(void *user, const char *text)
{
    const listing *l = user;
    if (l->on_bad)
        l->on_bad(l->user, text);
}

static cama_err make_room(listing *l, err_info *err)
{
    if (l->n < l->room)
        return CAMA_OK;
    const size_t room = l->room ? 2 * l->room : FIRST_ROOM;
    store_model *models = realloc(l->models, room * sizeof *models);
    if (!models)
        return err_set(err, CAMA_ERR_NOMEM, "store: no memory to list %zu models", room);
    l->models = models;
    l->room = room;
    return CAMA_OK;
}

static cama_err list_one(void *user, const model_name *name, const char *path, err_info *err)
{
    listing *l = user;
    err_info why = {0};
    (void)path;
    cama_err e = make_room(l, err);
    if (e)
        return e;
    e = store_read_model(l->s, name, l->a, &l->models[l->n], &why);
    if (e == CAMA_ERR_NOMEM)
        return err_set(err, e, "%s", why.text);
    if (e == CAMA_OK)
        l->n++;
    else if (e != CAMA_ERR_NOT_FOUND) /* removed meanwhile */
        tell(l, why.text);
    return CAMA_OK;
}

static int newest_first(const void *a, const void *b)
{
    const store_model *x = a;
    const store_model *y = b;
    if (x->modified_ns != y->modified_ns)
        return x->modified_ns > y->modified_ns ? -1 : 1;
    return name_compare(&x->name, &y->name);
}

cama_err store_list(const store *s, arena *a, store_model **out, size_t *out_n,
                    void (*on_bad)(void *user, const char *text), void *user, err_info *err)
{
    listing l = {.s = s, .a = a, .on_bad = on_bad, .user = user};
    const store_visit v = {.on_manifest = list_one, .on_bad = tell, .user = &l};
    cama_err e = store_walk(s, &v, err);
    store_model *models = NULL;
    if (!e && !(models = arena_take_array(a, l.n, sizeof *models)))
        e = err_set(err, CAMA_ERR_NOMEM, "store: no memory to list %zu models", l.n);
    if (!e) {
        if (l.n) {
            qsort(l.models, l.n, sizeof *models, newest_first);
            memcpy(models, l.models, l.n * sizeof *models);
        }
        *out = models;
        *out_n = l.n;
    }
    free(l.models);
    return e;
}

/* ---- one model ---- */

cama_err store_find(const store *s, const model_name *name, arena *a, store_model *out,
                    err_info *err)
{
    model_name found;
    const cama_err e = store_lookup(s, name, &found, err);
    return e ? e : store_read_model(s, &found, a, out, err);
}

/* ---- the case of a new name ---- */

typedef struct casing {
    model_name name;         /* as asked for */
    model_name best;         /* a part that is equal but for case; "" */
    bool exact[NAME_N_PART]; /* the part is there as it was asked for */
} casing;

/* Of several spellings the least, so that the order in which folders are read does not matter. */
static cama_err compare_parts(void *user, const model_name *name, const char *path, err_info *err)
{
    casing *c = user;
    (void)path;
    (void)err;
    model_name there = *name;
    for (name_part p = NAME_HOST; p <= NAME_TAG; p++) {
        const char *want = name_part_of(&c->name, p);
        const char *have = name_part_of(&there, p);
        char *best = name_part_of(&c->best, p);
        if (strcasecmp(want, have) != 0)
            continue;
        if (strcmp(want, have) == 0)
            c->exact[p] = true;
        if (!*best || strcmp(have, best) < 0)
            memcpy(best, have, strlen(have) + 1);
    }
    return CAMA_OK;
}

cama_err store_canonical(const store *s, const model_name *name, model_name *out, err_info *err)
{
    casing c = {.name = *name};
    const store_visit v = {.on_manifest = compare_parts, .user = &c};
    const cama_err e = store_walk(s, &v, err);
    if (e)
        return e;
    for (name_part p = NAME_HOST; p <= NAME_TAG; p++) {
        const char *best = name_part_of(&c.best, p);
        if (*best && !c.exact[p])
            memcpy(name_part_of(&c.name, p), best, strlen(best) + 1);
    }
    *out = c.name;
    return CAMA_OK;
}
