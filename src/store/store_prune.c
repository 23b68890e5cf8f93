/* What nobody needs any more: the rules are Ollama's at its start, but for the age of names that
 * are none, which it does not ask for: another program may be at work on them. */
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/store_refs.h"
#include "store/store_walk.h"

typedef struct prune {
    const store *s;
    const store_refs *refs;
    int64_t min_age_s;
    int64_t now_s;
    store_pruned done;
} prune;

/* Calls fn with each entry's path; a folder that is not there has none. */
static cama_err each_entry(const char *folder,
                           void (*fn)(prune *p, const char *path, const char *name), prune *p,
                           err_info *err)
{
    char path[STORE_PATH_BYTES];
    DIR *d = opendir(folder);
    if (!d)
        return errno == ENOENT ? CAMA_OK : store_file_error(err, "read the folder", folder);
    cama_err e = CAMA_OK;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (!entry) {
            if (errno)
                e = store_file_error(err, "read the folder", folder);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        const int n = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (n > 0 && (size_t)n < sizeof path) /* the longest name of a file fits */
            fn(p, path, entry->d_name);
    }
    (void)closedir(d); /* only read from */
    return e;
}

/* ---- blobs ---- */

/* Blobs of old stores were named sha256:HEX. *path and its name follow. */
static void rename_old_form(char *path, const char *name)
{
    char digest[STORE_DIGEST_BYTES];
    char new_path[STORE_PATH_BYTES];
    if (strncmp(name, "sha256:", 7) != 0 || digest_parse(name, digest, NULL))
        return;
    memcpy(new_path, path, strlen(path) + 1);
    new_path[strlen(path) - strlen(name) + 6] = '-';
    if (access(new_path, F_OK) != 0 && rename(path, new_path) == 0)
        memcpy(path, new_path, strlen(new_path) + 1);
}

static void prune_blob(prune *p, const char *entry_path, const char *name)
{
    char digest[STORE_DIGEST_BYTES];
    char path[STORE_PATH_BYTES];
    struct stat st;
    memcpy(path, entry_path, strlen(entry_path) + 1);
    if (strncmp(name, STORE_BLOB_TEMP, strlen(STORE_BLOB_TEMP)) == 0) {
        (void)store_temp_sweep(path); /* one that stays is met again next time */
        return;
    }
    rename_old_form(path, name);
    if (digest_parse(name, digest, NULL) == CAMA_OK && store_refs_has(p->refs, digest))
        return;
    if (lstat(path, &st) != 0 || S_ISDIR(st.st_mode) ||
        p->now_s - (int64_t)st.st_mtime < p->min_age_s)
        return;
    if (unlink(path) != 0)
        return; /* met again next time */
    p->done.n_blob++;
    if (S_ISREG(st.st_mode))
        p->done.bytes += (uint64_t)st.st_size;
}

/* ---- manifests ---- */

static void sweep_manifest_temp(prune *p, const char *path, const char *name)
{
    (void)p;
    if (strncmp(name, STORE_MANIFEST_TEMP, strlen(STORE_MANIFEST_TEMP)) == 0)
        (void)store_temp_sweep(path); /* one that stays is met again next time */
}

static void prune_folder(prune *p, const char *path, const char *name, int depth);

static void prune_host(prune *p, const char *path, const char *name)
{
    prune_folder(p, path, name, 0);
}

static void prune_space(prune *p, const char *path, const char *name)
{
    prune_folder(p, path, name, 1);
}

static void prune_model(prune *p, const char *path, const char *name)
{
    prune_folder(p, path, name, 2);
}

/* rmdir takes empty folders only, so that there is nothing to look at first but the age: somebody
 * may be about to put a manifest into a young one. */
static void prune_folder(prune *p, const char *path, const char *name, int depth)
{
    static void (*const below[])(prune *, const char *, const char *) = {prune_space, prune_model};
    struct stat st;
    (void)name;
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return;
    if (depth < 2)
        (void)each_entry(path, below[depth], p, NULL); /* then it is not empty and stays */
    if (p->now_s - (int64_t)st.st_mtime >= p->min_age_s)
        (void)rmdir(path); /* most often: not empty */
}

static cama_err prune_locked(prune *p, err_info *err)
{
    store_refs refs;
    err_info why = {0};
    bool complete;
    cama_err e = store_refs_init(&refs, p->s, &complete, &why);
    if (e)
        return err_set(err, e, "%s", why.text);
    p->refs = &refs;
    if (!complete)
        e = err_set(err, CAMA_ERR_FORMAT, "nothing was pruned: %s", why.text);
    if (!e)
        e = each_entry(p->s->blobs, prune_blob, p, err);
    if (!e)
        e = each_entry(p->s->manifests, sweep_manifest_temp, p, err);
    if (!e)
        e = each_entry(p->s->manifests, prune_host, p, err);
    if (!e)
        e = each_entry(p->s->manifests_v2, prune_host, p, err);
    store_refs_done(&refs);
    p->refs = NULL;
    return e;
}

cama_err store_prune(store *s, int64_t min_age_s, store_pruned *out, err_info *err)
{
    struct timespec now; /* time() may lag behind the clock that files are stamped by */
    (void)clock_gettime(CLOCK_REALTIME, &now);
    prune p = {.s = s, .min_age_s = min_age_s, .now_s = (int64_t)now.tv_sec};
    (void)pthread_mutex_lock(&s->write_lock);
    const cama_err e = prune_locked(&p, err);
    (void)pthread_mutex_unlock(&s->write_lock);
    if (!e && out)
        *out = p.done;
    return e;
}
