#include "gguf/gguf.h"

#include <stdlib.h>
#include <string.h>

#include "gguf/gguf_int.h"

static const char no_data[] = "gguf: only the head of this file is open, not its tensors";

static cama_err index_names(gguf_file *f, err_info *err)
{
    const gguf_header *h = &f->head;
    bool found = false;
    cama_err e = strmap_init(&f->names, h->n_tensor);
    for (size_t i = 0; !e && i < h->n_tensor; i++) {
        const gguf_str name = h->tensors[i].name;
        e = strmap_add(&f->names, name.text, name.n, (uint32_t)i, &found);
        if (found)
            return err_set(err, CAMA_ERR_FORMAT, "tensor '%s' is there twice",
                           gguf_show(name).text);
    }
    return e ? err_set(err, e, "no memory for %zu tensor names", h->n_tensor) : CAMA_OK;
}

static cama_err read_file(gguf_file *f, const gguf_source *from, const uint8_t *bytes, size_t n,
                          err_info *err)
{
    f->n_bytes = n;
    cama_err e = gguf_read_header(bytes, n, &f->file_arena, &f->head, err);
    if (!e)
        e = gguf_read_shards(f, from, err);
    if (!e)
        e = index_names(f, err);
    return e;
}

static gguf_file *new_file(void)
{
    gguf_file *f = calloc(1, sizeof *f);
    if (f)
        arena_init(&f->file_arena, GGUF_MAX_INDEX_BYTES);
    return f;
}

static cama_err open_first(gguf_file *f, const gguf_source *from, err_info *err)
{
    f->maps = arena_take_array(&f->file_arena, 1, sizeof *f->maps);
    if (!f->maps)
        return err_set(err, CAMA_ERR_NOMEM, "gguf: no memory to open '%s'", from->path);
    cama_err e = from->fds ? filemap_open_fd(from->fds[0], from->path, &f->maps[0], err)
                           : filemap_open(from->path, &f->maps[0], err);
    if (e)
        return e;
    f->n_map = 1;
    e = read_file(f, from, f->maps[0].bytes, f->maps[0].n_bytes, err);
    return e ? err_wrap(err, e, "'%s'", from->path) : CAMA_OK;
}

static cama_err open_from(const gguf_source *from, gguf_file **out, err_info *err)
{
    gguf_file *f = new_file();
    if (!f)
        return err_set(err, CAMA_ERR_NOMEM, "gguf: no memory to open '%s'", from->path);
    const cama_err e = open_first(f, from, err);
    if (e) {
        gguf_close(f);
        return e;
    }
    *out = f;
    return CAMA_OK;
}

cama_err gguf_open(const char *path, gguf_file **out, err_info *err)
{
    const gguf_source from = {.path = path};
    return open_from(&from, out, err);
}

cama_err gguf_open_head(const char *path, gguf_file **out, err_info *err)
{
    gguf_file *f = new_file();
    if (!f)
        return err_set(err, CAMA_ERR_NOMEM, "gguf: no memory to open '%s'", path);
    f->is_head = true;
    cama_err e = filehead_open(path, GGUF_MAX_META_BYTES, &f->front, err);
    if (!e) {
        f->n_bytes = f->front.n_file;
        e = gguf_read_head(&f->front, &f->file_arena, &f->head, err);
        if (!e)
            e = index_names(f, err);
        if (e)
            e = err_wrap(err, e, "'%s'", path);
    }
    if (e) {
        gguf_close(f);
        return e;
    }
    filehead_seal(&f->front);
    *out = f;
    return CAMA_OK;
}

cama_err gguf_open_fds(const int *fds, size_t n_fd, const char *name, gguf_file **out,
                       err_info *err)
{
    if (!n_fd)
        return err_set(err, CAMA_ERR_ARG, "gguf: no file to open for '%s'", name);
    const gguf_source from = {.path = name, .fds = fds, .n_fd = n_fd};
    return open_from(&from, out, err);
}

cama_err gguf_open_bytes(const void *bytes, size_t n, gguf_file **out, err_info *err)
{
    if ((uintptr_t)bytes % 8)
        return err_set(err, CAMA_ERR_ARG, "gguf: the bytes of a file must be aligned to 8");
    gguf_file *f = new_file();
    if (!f)
        return err_set(err, CAMA_ERR_NOMEM, "gguf: no memory to open %zu bytes", n);
    const cama_err e = read_file(f, &(gguf_source){0}, bytes, n, err);
    if (e) {
        gguf_close(f);
        return e;
    }
    *out = f;
    return CAMA_OK;
}

void gguf_close(gguf_file *f)
{
    if (!f)
        return;
    strmap_done(&f->names);
    strmap_done(&f->head.keys);
    for (size_t i = 0; i < f->n_map; i++)
        filemap_close(&f->maps[i]);
    filehead_close(&f->front);
    arena_done(&f->file_arena);
    free(f);
}

/* Where the first tensor of a map begins. */
static size_t first_data(const gguf_file *f, const filemap *m)
{
    size_t first = m->n_bytes;
    for (size_t i = 0; i < f->head.n_tensor; i++) {
        const uint8_t *data = f->head.tensors[i].data;
        if (data >= m->bytes && (size_t)(data - m->bytes) < first)
            first = (size_t)(data - m->bytes);
    }
    return first;
}

cama_err gguf_load(gguf_file *f, const filemap_watch *watch, err_info *err)
{
    if (f->is_head)
        return err_set(err, CAMA_ERR_ARG, "%s", no_data);
    cama_err e = CAMA_OK;
    for (size_t i = 0; i < f->n_map && !e; i++)
        e = filemap_load(&f->maps[i], first_data(f, &f->maps[i]), watch, err);
    f->is_loaded = !e;
    return e;
}

bool gguf_in_memory(const gguf_file *f)
{
    return f->is_loaded || (f->n_map == 0 && !f->is_head);
}

cama_err gguf_check_data(const gguf_file *f, err_info *err)
{
    if (f->is_head)
        return err_set(err, CAMA_ERR_ARG, "%s", no_data);
    for (size_t i = 0; i < f->head.n_tensor; i++) {
        const gguf_tensor *t = &f->head.tensors[i];
        const quant_info *info = &quant_table[t->type];
        const size_t n = (size_t)(t->n_bytes / info->block_bytes) * info->block_n;
        size_t bad;
        if (!quant_all_finite(t->type, t->data, n, &bad))
            return err_set(
                err, CAMA_ERR_FORMAT,
                "tensor '%s' (%s) has a value that is not finite in its block of %u from "
                "element %zu of %zu on",
                gguf_show(t->name).text, info->name, info->block_n, bad, n);
    }
    return CAMA_OK;
}

uint32_t gguf_version(const gguf_file *f)
{
    return f->head.version;
}

uint64_t gguf_file_bytes(const gguf_file *f)
{
    return f->n_bytes;
}

size_t gguf_n_kv(const gguf_file *f)
{
    return f->head.n_kv;
}

const gguf_kv *gguf_kv_at(const gguf_file *f, size_t i)
{
    return &f->head.kvs[i];
}

size_t gguf_n_tensor(const gguf_file *f)
{
    return f->head.n_tensor;
}

const gguf_tensor *gguf_tensor_at(const gguf_file *f, size_t i)
{
    return &f->head.tensors[i];
}

const gguf_tensor *gguf_find_tensor(const gguf_file *f, const char *name)
{
    uint32_t i;
    return strmap_get(&f->names, name, strlen(name), &i) ? &f->head.tensors[i] : NULL;
}
