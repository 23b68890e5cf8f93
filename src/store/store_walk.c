#include "store/store_walk.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "store/store_hash.h"
#include "store/store_manifest.h"

typedef struct walk {
    const store *s;
    const store_visit *v;
    bool beside_v2; /* in manifests, while there is a manifests-v2 */
    err_info *err;
    model_name name;
    char path[STORE_PATH_BYTES];
    size_t n_path;
} walk;

static cama_err tell_bad(walk *w, const char *path, const char *why)
{
    char text[ERR_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "store: '%.*s' %s", ERR_TEXT_BYTES - 128, path, why);
    if (w->v->on_bad)
        w->v->on_bad(w->v->user, text);
    return CAMA_OK;
}

/* 1, 0, or -1: it cannot be said, see errno. */
static int is_folder(const walk *w, const struct dirent *entry)
{
    if (entry->d_type == DT_DIR || entry->d_type == DT_REG)
        return entry->d_type == DT_DIR;
    struct stat st; /* a link to a folder is as good as one */
    return stat(w->path, &st) == 0 ? S_ISDIR(st.st_mode) : -1;
}

static bool is_wanted(const walk *w, name_part part, const char *text)
{
    if (text[0] == '.')
        return false;
    if (!w->v->only)
        return true;
    model_name only = *w->v->only;
    return strcasecmp(name_part_of(&only, part), text) == 0;
}

static cama_err unreadable(walk *w)
{
    if (errno == ENOENT || errno == ENOTDIR) /* removed meanwhile, or a store without models */
        return CAMA_OK;
    if (!w->v->on_bad || errno == ENOMEM)
        return store_file_error(w->err, "read", w->path);
    return tell_bad(w, w->path, strerror(errno));
}

static cama_err look_if_hidden(const walk *w, bool *out)
{
    char path[STORE_PATH_BYTES];
    *out = false;
    if (!w->beside_v2 || w->v->hidden_too)
        return CAMA_OK;
    const cama_err e = store_path_manifest_read(w->s, &w->name, path, w->err);
    *out = !e && strcmp(path, w->path) != 0;
    return e;
}

static cama_err walk_level(walk *w, name_part part);

/* w->path names the entry. */
static cama_err visit(walk *w, name_part part, const struct dirent *entry)
{
    const size_t n = strlen(entry->d_name);
    const int folder = is_folder(w, entry);
    if (folder < 0)
        return unreadable(w);
    if (folder != (part != NAME_TAG))
        return CAMA_OK; /* a stray file between folders, a folder among manifests */
    if (!name_part_valid(part, entry->d_name, n))
        return tell_bad(w, w->path, "is no name of a model");
    memcpy(name_part_of(&w->name, part), entry->d_name, n + 1);
    if (folder)
        return walk_level(w, part + 1);
    bool hidden;
    const cama_err e = look_if_hidden(w, &hidden);
    return e || hidden ? e : w->v->on_manifest(w->v->user, &w->name, w->path, w->err);
}

static cama_err visit_entry(walk *w, name_part part, const struct dirent *entry)
{
    if (!is_wanted(w, part, entry->d_name))
        return CAMA_OK;
    const size_t n_path = w->n_path;
    const int n = snprintf(w->path + n_path, sizeof w->path - n_path, "/%s", entry->d_name);
    cama_err e = CAMA_OK;
    if ((size_t)n >= sizeof w->path - n_path) {
        e = tell_bad(w, w->path, "has a path that is too long");
    } else {
        w->n_path += (size_t)n;
        e = visit(w, part, entry);
    }
    w->n_path = n_path;
    w->path[n_path] = '\0';
    return e;
}

static cama_err walk_level(walk *w, name_part part)
{
    DIR *d = opendir(w->path);
    if (!d)
        return unreadable(w);
    cama_err e = CAMA_OK;
    while (!e) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (entry) {
            e = visit_entry(w, part, entry);
            continue;
        }
        if (errno)
            e = unreadable(w);
        break;
    }
    (void)closedir(d); /* only read from */
    return e;
}

static cama_err walk_from(walk *w, const char *folder)
{
    w->n_path = strlen(folder);
    memcpy(w->path, folder, w->n_path + 1);
    return walk_level(w, NAME_HOST);
}

cama_err store_walk(const store *s, const store_visit *v, err_info *err)
{
    walk w = {.s = s, .v = v, .err = err};
    const cama_err e = walk_from(&w, s->manifests_v2);
    if (e)
        return e;
    struct stat st;
    w.beside_v2 = stat(s->manifests_v2, &st) == 0 || errno != ENOENT;
    return walk_from(&w, s->manifests);
}

/* ---- one name ---- */

typedef struct lookup {
    const model_name *want;
    model_name best;
    int best_score; /* -1: none yet */
} lookup;

/* How near in case: the host counts most, and all parts alike is the highest. */
static int score_case(const model_name *a, const model_name *b)
{
    return 8 * (strcmp(a->host, b->host) == 0) + 4 * (strcmp(a->space, b->space) == 0) +
           2 * (strcmp(a->model, b->model) == 0) + (strcmp(a->tag, b->tag) == 0);
}

static cama_err consider(void *user, const model_name *name, const char *path, err_info *err)
{
    lookup *l = user;
    (void)path;
    (void)err;
    const int score = score_case(l->want, name);
    /* folders are read in no order: the lesser name breaks a tie, so that it is always the same */
    if (score < l->best_score || (score == l->best_score && name_compare(name, &l->best) > 0))
        return CAMA_OK;
    l->best = *name;
    l->best_score = score;
    return CAMA_OK;
}

cama_err store_lookup(const store *s, const model_name *name, model_name *out, err_info *err)
{
    lookup l = {.want = name, .best_score = -1};
    const store_visit v = {.only = name, .on_manifest = consider, .user = &l};
    const cama_err e = store_walk(s, &v, err);
    if (e)
        return e;
    if (l.best_score < 0) {
        char text[NAME_BYTES];
        name_format(name, text);
        return err_set(err, CAMA_ERR_NOT_FOUND, "model '%s' not found", text);
    }
    *out = l.best;
    return CAMA_OK;
}

cama_err store_read_manifest(const char *path, const model_name *name, arena *a, store_model *out,
                             err_info *err)
{
    store_text got;
    store_model m = {.name = *name};
    cama_err e = store_file_read(path, STORE_MAX_MANIFEST, a, &got, err);
    if (e)
        return e == CAMA_ERR_LIMIT ? err_wrap(err, CAMA_ERR_FORMAT, "manifest") : e;
    m.modified_ns = got.modified_ns;
    e = store_manifest_parse(got.text, got.n, a, &m, err);
    if (!e)
        e = store_hash_bytes(got.text, got.n, m.digest, err);
    if (e)
        return err_wrap(err, e, "manifest '%s'", path);
    *out = m;
    return CAMA_OK;
}

/* A manifest may name no config (Ollama reads such ones): all of its fields are then absent. */
static cama_err read_config(const store *s, arena *a, store_model *m, err_info *err)
{
    store_text got = {"{}", 2, 0};
    char path[STORE_PATH_BYTES] = "";
    if (m->config.digest) {
        store_path_blob(s, m->config.digest, path);
        const cama_err e = store_file_read(path, STORE_MAX_CONFIG, a, &got, err);
        if (e)
            return e == CAMA_ERR_NOT_FOUND || e == CAMA_ERR_LIMIT
                       ? err_wrap(err, CAMA_ERR_FORMAT, "config")
                       : e;
    }
    const cama_err e = store_config_parse(got.text, got.n, a, &m->config_json, err);
    return e ? err_wrap(err, e, "config '%s'", path) : CAMA_OK;
}

cama_err store_read_model(const store *s, const model_name *name, arena *a, store_model *out,
                          err_info *err)
{
    store_model m;
    char path[STORE_PATH_BYTES];
    cama_err e = store_path_manifest_read(s, name, path, err);
    if (!e)
        e = store_read_manifest(path, name, a, &m, err);
    if (e)
        return e;
    e = read_config(s, a, &m, err);
    if (e) {
        char text[NAME_BYTES];
        name_format(name, text);
        return err_wrap(err, e, "model '%s'", text);
    }
    *out = m;
    return CAMA_OK;
}
