/* Models split over files: NAME-00001-of-00003.gguf and so on, or as many descriptors.
 *
 * The names are made from the first one and never from metadata, which could point anywhere. Each
 * shard says its number (from 0) and how many there are; both are checked. */
#include "gguf/gguf_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX_BYTES 20 /* "-00001-of-00003.gguf" */

/* A count that may be absent: 0 then. */
static cama_err count_of(const gguf_header *h, const char *key, uint64_t *out, err_info *err)
{
    const gguf_kv *kv = gguf_find_in(h, key);
    *out = 0;
    return kv ? gguf_kv_u64(kv, out, err) : CAMA_OK;
}

static void make_suffix(uint64_t no, uint64_t n_shard, char out[SUFFIX_BYTES + 1])
{
    /* the casts keep within the five digits, for n_shard <= GGUF_MAX_SHARD */
    (void)snprintf(out, SUFFIX_BYTES + 1, "-%05u-of-%05u.gguf", (unsigned)(no + 1) % 100000,
                   (unsigned)n_shard % 100000);
}

/* Whether h calls itself shard `no` of n_shard. */
static cama_err check_number(const gguf_header *h, uint64_t no, uint64_t n_shard, err_info *err)
{
    uint64_t n;
    cama_err e = count_of(h, "split.count", &n, err);
    if (e)
        return e;
    if (n != n_shard)
        return err_set(err, CAMA_ERR_FORMAT,
                       "split.count is %" PRIu64 ", the first shard has %" PRIu64, n, n_shard);
    if (!gguf_find_in(h, "split.no"))
        return err_set(err, CAMA_ERR_FORMAT, "a shard of %" PRIu64 " without split.no", n_shard);
    e = count_of(h, "split.no", &n, err);
    if (!e && n != no)
        return err_set(err, CAMA_ERR_FORMAT,
                       "split.no is %" PRIu64 ", not %" PRIu64 " as the file's name says", n, no);
    return e;
}

/* The name that `path` with the suffix of shard `no` makes; malloc'd. */
static char *make_name(const char *path, uint64_t no, uint64_t n_shard)
{
    const size_t n_path = strlen(path);
    char *name = malloc(n_path + 1);
    if (name) {
        memcpy(name, path, n_path + 1);
        make_suffix(no, n_shard, name + n_path - SUFFIX_BYTES);
    }
    return name;
}

static cama_err open_shard(gguf_file *f, const filemap *map, uint64_t no, uint64_t n_shard,
                           gguf_header *out, err_info *err)
{
    f->n_map = (size_t)no + 1;
    f->n_bytes += map->n_bytes;
    cama_err e = gguf_read_header(map->bytes, map->n_bytes, &f->file_arena, out, err);
    if (!e) {
        e = check_number(out, no, n_shard, err);
        strmap_done(&out->keys);
    }
    return e;
}

static cama_err read_shard(gguf_file *f, const gguf_source *from, uint64_t no, uint64_t n_shard,
                           gguf_header *out, err_info *err)
{
    filemap *map = &f->maps[no];
    char *made = from->fds ? NULL : make_name(from->path, no, n_shard);
    const char *name = from->fds ? from->path : made;
    if (!name)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for a file name");
    cama_err e =
        from->fds ? filemap_open_fd(from->fds[no], name, map, err) : filemap_open(name, map, err);
    if (!e)
        e = open_shard(f, map, no, n_shard, out, err);
    if (e)
        (void)err_wrap(err, e, "shard %" PRIu64 " of %" PRIu64 ", '%s'", no + 1, n_shard, name);
    free(made);
    return e;
}

/* One list out of those of all shards. */
static cama_err join(gguf_file *f, const gguf_header *heads, size_t n_shard, err_info *err)
{
    size_t n = 0;
    for (size_t i = 0; i < n_shard; i++)
        n += heads[i].n_tensor; /* no wrap: each is at most GGUF_MAX_TENSOR */
    if (n > GGUF_MAX_TENSOR)
        return err_set(err, CAMA_ERR_LIMIT, "%zu tensors in %zu shards, the limit is %u", n,
                       n_shard, GGUF_MAX_TENSOR);
    uint64_t want;
    const cama_err e = count_of(&f->head, "split.tensors.count", &want, err);
    if (e)
        return e;
    if (want != n && gguf_find_in(&f->head, "split.tensors.count"))
        return err_set(err, CAMA_ERR_FORMAT,
                       "split.tensors.count is %" PRIu64 ", the %zu shards have %zu", want, n_shard,
                       n);
    gguf_tensor *all = arena_take_array(&f->file_arena, n, sizeof *all);
    if (!all)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for a list of %zu tensors", n);
    f->head.tensors = all;
    f->head.n_tensor = n;
    for (size_t i = 0; i < n_shard; i++) {
        memcpy(all, heads[i].tensors, heads[i].n_tensor * sizeof *all);
        all += heads[i].n_tensor;
    }
    return CAMA_OK;
}

static cama_err read_others(gguf_file *f, const gguf_source *from, size_t n_shard, err_info *err)
{
    filemap *maps = arena_take_array(&f->file_arena, n_shard, sizeof *maps);
    gguf_header *heads = arena_take_array(&f->file_arena, n_shard, sizeof *heads);
    if (!maps || !heads)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for %zu shards", n_shard);
    maps[0] = f->maps[0];
    heads[0] = f->head;
    f->maps = maps;
    for (size_t i = 1; i < n_shard; i++) {
        const cama_err e = read_shard(f, from, i, n_shard, &heads[i], err);
        if (e)
            return e;
    }
    return join(f, heads, n_shard, err);
}

static cama_err check_name(const char *path, uint64_t n_shard, const char *want, err_info *err)
{
    const size_t n_path = strlen(path);
    if (n_path < SUFFIX_BYTES || strcmp(path + n_path - SUFFIX_BYTES, want) != 0)
        return err_set(err, CAMA_ERR_ARG,
                       "the first of %" PRIu64 " shards must be named to end in %s, so that the "
                       "others can be found",
                       n_shard, want);
    return CAMA_OK;
}

/* What the first file's own words and name must be before any other is touched. */
static cama_err check_first(const gguf_file *f, const gguf_source *from, uint64_t n_shard,
                            err_info *err)
{
    uint64_t no;
    cama_err e = count_of(&f->head, "split.no", &no, err);
    if (e)
        return e;
    char want[SUFFIX_BYTES + 1];
    make_suffix(0, n_shard, want);
    if (no != 0)
        return err_set(err, CAMA_ERR_ARG,
                       "this is shard %" PRIu64 " of %" PRIu64 ": open the one that ends in %s",
                       no + 1, n_shard, want);
    if (n_shard > GGUF_MAX_SHARD)
        return err_set(err, CAMA_ERR_LIMIT, "split.count is %" PRIu64 ", the limit is %d", n_shard,
                       GGUF_MAX_SHARD);
    if (!from->path)
        return err_set(err, CAMA_ERR_UNSUPPORTED,
                       "shard 1 of %" PRIu64 " in memory; a split model is opened from files",
                       n_shard);
    if (from->fds && from->n_fd != n_shard)
        return err_set(err, CAMA_ERR_ARG, "a model of %" PRIu64 " shards in %zu files", n_shard,
                       from->n_fd);
    e = from->fds ? CAMA_OK : check_name(from->path, n_shard, want, err);
    return e ? e : check_number(&f->head, 0, n_shard, err);
}

cama_err gguf_read_shards(gguf_file *f, const gguf_source *from, err_info *err)
{
    uint64_t n_shard;
    cama_err e = count_of(&f->head, "split.count", &n_shard, err);
    if (!e && n_shard <= 1 && from->fds && from->n_fd > 1)
        e = err_set(err, CAMA_ERR_ARG, "a model of one file in %zu files", from->n_fd);
    if (e || n_shard <= 1)
        return e;
    e = check_first(f, from, n_shard, err);
    return e ? e : read_others(f, from, (size_t)n_shard, err);
}
