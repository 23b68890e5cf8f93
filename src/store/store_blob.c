/* Blobs in and out: written while they are hashed, and named by what came out. */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store_hash.h"
#include "store/store_int.h"
#include "store/store_os.h"

#define CHUNK_BYTES ((size_t)1 << 20)

struct blob_writer {
    store *s;
    store_temp temp;
    store_hash hash;
    uint64_t n;
};

void blob_writer_abort(blob_writer *b)
{
    if (!b)
        return;
    store_temp_drop(&b->temp);
    store_hash_done(&b->hash);
    free(b);
}

cama_err blob_writer_open(store *s, blob_writer **out, err_info *err)
{
    blob_writer *b = calloc(1, sizeof *b);
    if (!b)
        return err_set(err, CAMA_ERR_NOMEM, "store: no memory to write a blob");
    b->s = s;
    b->temp.fd = -1;
    cama_err e = store_hash_init(&b->hash, err);
    if (!e)
        e = store_temp_open(s->blobs, STORE_BLOB_TEMP, &b->temp, err);
    if (e) {
        blob_writer_abort(b);
        return e;
    }
    *out = b;
    return CAMA_OK;
}

cama_err blob_writer_append(blob_writer *b, const void *bytes, size_t n, err_info *err)
{
    cama_err e = store_hash_add(&b->hash, bytes, n, err);
    if (!e)
        e = store_temp_write(&b->temp, bytes, n, err);
    b->n += n;
    return e;
}

/* A link to a file of this size stays: what it names was hashed when the link was made, and a copy
 * beside it would take the space twice. It becomes as young as a blob just written, so that no
 * prune takes it before a manifest names it. Whatever else is there is replaced. */
static bool keeps_link(const char *path, uint64_t n)
{
    struct stat st;
    if (lstat(path, &st) != 0 || !S_ISLNK(st.st_mode))
        return false;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != n)
        return false;
    /* a link that stays old is at worst pruned as any other */
    (void)utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
    return true;
}

static cama_err place(blob_writer *b, const char *digest, err_info *err)
{
    char path[STORE_PATH_BYTES];
    store_path_blob(b->s, digest, path);
    (void)pthread_mutex_lock(&b->s->write_lock);
    cama_err e = CAMA_OK;
    if (!keeps_link(path, b->n))
        e = store_temp_commit(&b->temp, path, err);
    (void)pthread_mutex_unlock(&b->s->write_lock);
    return e;
}

cama_err blob_writer_commit(blob_writer *b, const char *want, char out_digest[STORE_DIGEST_BYTES],
                            err_info *err)
{
    char expected[STORE_DIGEST_BYTES] = "";
    char got[STORE_DIGEST_BYTES];
    cama_err e = want ? digest_parse(want, expected, err) : CAMA_OK;
    if (!e)
        e = store_hash_end(&b->hash, got, err);
    if (!e && want && strcmp(expected, got) != 0)
        e = err_set(err, CAMA_ERR_FORMAT, "digest mismatch, expected \"%s\", got \"%s\"", expected,
                    got);
    if (!e)
        e = place(b, got, err);
    if (!e && out_digest)
        memcpy(out_digest, got, sizeof got);
    blob_writer_abort(b);
    return e;
}

cama_err store_blob_put(store *s, const void *bytes, size_t n, char out_digest[STORE_DIGEST_BYTES],
                        err_info *err)
{
    blob_writer *b;
    cama_err e = blob_writer_open(s, &b, err);
    if (e)
        return e;
    e = blob_writer_append(b, bytes, n, err);
    if (!e)
        return blob_writer_commit(b, NULL, out_digest, err);
    blob_writer_abort(b);
    return e;
}

cama_err store_blob_read(const store *s, const char *digest, size_t max, arena *a, const char **out,
                         size_t *out_n, err_info *err)
{
    char clean[STORE_DIGEST_BYTES];
    char path[STORE_PATH_BYTES];
    cama_err e = digest_parse(digest, clean, err);
    if (e)
        return e;
    store_text got;
    store_path_blob(s, clean, path);
    e = store_file_read(path, max, a, &got, err);
    if (e == CAMA_ERR_NOT_FOUND)
        return err_set(err, e, "blob \"%s\" not found", clean);
    if (e)
        return e;
    *out = got.text;
    *out_n = got.n;
    return CAMA_OK;
}

/* ---- files that are there already ---- */

typedef struct import_job {
    store *s;
    const char *path;
    int fd;
    struct stat before;
    uint64_t done;
    char *chunk;
    bool (*progress)(void *user, uint64_t done, uint64_t all);
    void *user;
} import_job;

static cama_err next_chunk(import_job *j, int fd, size_t *out_got, err_info *err)
{
    const cama_err e = store_file_read_some(fd, j->chunk, CHUNK_BYTES, out_got, j->path, err);
    if (e)
        return e;
    j->done += *out_got;
    const uint64_t all = (uint64_t)j->before.st_size;
    if (j->progress && !j->progress(j->user, j->done < all ? j->done : all, all))
        return err_set(err, CAMA_ERR_CANCELED, "store: reading '%s' was canceled", j->path);
    return CAMA_OK;
}

int blob_writer_fd(const blob_writer *b)
{
    return b->temp.fd;
}

/* The digest of a file that changes meanwhile is nobody's. */
static cama_err check_unchanged(const import_job *j, err_info *err)
{
    struct stat now;
    if (fstat(j->fd, &now) != 0)
        return store_file_error(err, "stat", j->path);
    if (now.st_size != j->before.st_size || (uint64_t)now.st_size != j->done ||
        store_os_modified_ns(&now) != store_os_modified_ns(&j->before))
        return err_set(err, CAMA_ERR_IO, "store: '%s' was changed while it was read", j->path);
    return CAMA_OK;
}

static cama_err link_in_place(import_job *j, const char *digest, err_info *err)
{
    char path[STORE_PATH_BYTES];
    store_path_blob(j->s, digest, path);
    char *target = realpath(j->path, NULL);
    if (!target)
        return store_file_error(err, "find", j->path);
    cama_err e = CAMA_OK;
    struct stat st;
    (void)pthread_mutex_lock(&j->s->write_lock);
    /* a blob that is there with all its bytes is as good, and needs nobody to keep the file; what
     * else is there is of no use to anybody */
    if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != j->before.st_size)
        e = store_file_link(target, path, err);
    else
        (void)utimensat(AT_FDCWD, path, NULL, 0); /* as young as if just written */
    (void)pthread_mutex_unlock(&j->s->write_lock);
    free(target);
    return e;
}

static cama_err import_link(import_job *j, char out_digest[STORE_DIGEST_BYTES], err_info *err)
{
    store_hash hash;
    char digest[STORE_DIGEST_BYTES];
    cama_err e = store_hash_init(&hash, err);
    if (e)
        return e;
    for (size_t got = 1; !e && got;) {
        e = next_chunk(j, j->fd, &got, err);
        if (!e)
            e = store_hash_add(&hash, j->chunk, got, err);
    }
    if (!e)
        e = check_unchanged(j, err);
    if (!e)
        e = store_hash_end(&hash, digest, err);
    store_hash_done(&hash);
    if (!e)
        e = link_in_place(j, digest, err);
    if (!e)
        memcpy(out_digest, digest, sizeof digest);
    return e;
}

/* A clone shares the blocks of the file and is ours alone: it cannot change while it is hashed. */
static cama_err fill_by_clone(import_job *j, blob_writer *b, err_info *err)
{
    cama_err e = CAMA_OK;
    for (size_t got = 1; !e && got;) {
        e = next_chunk(j, b->temp.fd, &got, err);
        if (!e)
            e = store_hash_add(&b->hash, j->chunk, got, err);
    }
    b->n = j->done;
    return e;
}

cama_err blob_writer_adopt(blob_writer *b,
                           bool (*progress)(void *user, uint64_t done, uint64_t all), void *user,
                           err_info *err)
{
    import_job j = {.s = b->s, .path = b->temp.path, .fd = -1, .progress = progress, .user = user};
    if (fstat(b->temp.fd, &j.before) != 0 || lseek(b->temp.fd, 0, SEEK_SET) != 0)
        return store_file_error(err, "read", b->temp.path);
    j.chunk = malloc(CHUNK_BYTES);
    if (!j.chunk)
        return err_set(err, CAMA_ERR_NOMEM, "store: no memory to read '%s'", b->temp.path);
    const cama_err e = fill_by_clone(&j, b, err);
    free(j.chunk);
    return e;
}

static cama_err fill_by_copy(import_job *j, blob_writer *b, err_info *err)
{
    cama_err e = CAMA_OK;
    for (size_t got = 1; !e && got;) {
        e = next_chunk(j, j->fd, &got, err);
        if (!e)
            e = blob_writer_append(b, j->chunk, got, err);
    }
    return e ? e : check_unchanged(j, err);
}

static cama_err import_copy(import_job *j, char out_digest[STORE_DIGEST_BYTES], err_info *err)
{
    blob_writer *b;
    cama_err e = blob_writer_open(j->s, &b, err);
    if (e)
        return e;
    const bool cloned = store_os_clone(j->fd, b->temp.path, &b->temp.fd);
    if (b->temp.fd < 0)
        e = store_file_error(err, "make", b->temp.path);
    else
        e = cloned ? fill_by_clone(j, b, err) : fill_by_copy(j, b, err);
    if (!e)
        return blob_writer_commit(b, NULL, out_digest, err);
    blob_writer_abort(b);
    return e;
}

cama_err store_blob_import(store *s, const char *path, bool link,
                           bool (*progress)(void *user, uint64_t done, uint64_t all), void *user,
                           char out_digest[STORE_DIGEST_BYTES], err_info *err)
{
    import_job j = {.s = s, .path = path, .progress = progress, .user = user};
    cama_err e = store_file_open_read(path, &j.fd, &j.before, err);
    if (e)
        return e;
    j.chunk = malloc(CHUNK_BYTES);
    if (!j.chunk)
        e = err_set(err, CAMA_ERR_NOMEM, "store: no memory to read '%s'", path);
    else
        e = link ? import_link(&j, out_digest, err) : import_copy(&j, out_digest, err);
    free(j.chunk);
    (void)close(j.fd); /* only read from: nothing can be lost */
    return e;
}
