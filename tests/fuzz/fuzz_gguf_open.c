/* Any bytes as a GGUF file: what opens must keep its promises when everything in it is touched. */
#include "gguf/gguf.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink; /* what is read must not be thought unused */

static void touch(const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sink += ((const uint8_t *)bytes)[i];
}

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* All look-ups of one key, as text and by element. */
static void ask(const gguf_file *f, const gguf_kv *kv)
{
    char key[256];
    if (kv->key.n >= sizeof key || memchr(kv->key.text, '\0', kv->key.n))
        return;
    memcpy(key, kv->key.text, kv->key.n);
    key[kv->key.n] = '\0';
    must(gguf_find(f, key) == kv);

    err_info err;
    uint64_t u = 0;
    int64_t i = 0;
    double d = 0;
    bool b = false;
    gguf_str s = {0};
    const cama_err got_u = gguf_get_u64(f, key, &u, &err);
    const cama_err got_i = gguf_get_i64(f, key, &i, &err);
    must(got_u || got_i || (uint64_t)i == u);
    (void)gguf_get_f64(f, key, &d, &err); /* the errors of these are only asked not to crash */
    (void)gguf_get_bool(f, key, &b, &err);
    (void)gguf_get_f64_at(f, key, kv->n, &d, &err);
    for (uint64_t k = 0; k < kv->n && k < 64; k++)
        (void)gguf_get_u64_at(f, key, k, &u, &err);
    must((gguf_get_str(f, key, &s, &err) == CAMA_OK) == (kv->type == GGUF_STRING));
}

static void walk(const gguf_file *f, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < gguf_n_kv(f); i++) {
        const gguf_kv *kv = gguf_kv_at(f, i);
        touch(kv->key.text, kv->key.n);
        for (uint64_t k = 0; kv->strings && k < kv->n; k++)
            touch(kv->strings[k].text, kv->strings[k].n);
        ask(f, kv);
    }
    for (size_t i = 0; i < gguf_n_tensor(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        must(t->data >= data && t->n_bytes <= size && t->data + t->n_bytes <= data + size);
        must((uintptr_t)t->data % 8 == 0 && t->ne[0] % quant_table[t->type].block_n == 0);
        touch(t->name.text, t->name.n);
        touch(t->data, (size_t)t->n_bytes);
    }
    err_info err;
    (void)gguf_check_data(f, &err); /* either answer is right */
}

static char path[] = "/tmp/cama-fuzz-gguf-XXXXXX";
static int file = -1;

static void drop_file(void)
{
    (void)unlink(path); /* in the folder of things that may be lost */
}

/* The same bytes as a file of which only the head is read: it must come to the same end. */
static void read_head(const uint8_t *data, size_t size, const gguf_file *all)
{
    if (file < 0) {
        file = mkstemp(path);
        must(file >= 0 && atexit(drop_file) == 0);
    }
    must(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size);
    gguf_file *f = NULL;
    err_info err = {0};
    const cama_err e = gguf_open_head(path, &f, &err);
    must(e ? !f && err.code == e && err.text[0] : f != NULL);
    must(!all || f);
    if (all)
        must(gguf_n_kv(f) == gguf_n_kv(all) && gguf_n_tensor(f) == gguf_n_tensor(all));
    for (size_t i = 0; f && i < gguf_n_kv(f); i++) {
        const gguf_kv *kv = gguf_kv_at(f, i);
        touch(kv->key.text, kv->key.n);
        if (!kv->strings)
            touch(kv->data, (size_t)kv->n * gguf_type_bytes(kv->elem));
        for (uint64_t k = 0; kv->strings && k < kv->n; k++)
            touch(kv->strings[k].text, kv->strings[k].n);
    }
    for (size_t i = 0; f && i < gguf_n_tensor(f); i++)
        must(!gguf_tensor_at(f, i)->data);
    gguf_close(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gguf_file *f = NULL;
    err_info err = {0};
    const cama_err e = gguf_open_bytes(data, size, &f, &err);
    if (e) {
        must(!f && err.code == e && err.text[0]);
        read_head(data, size, NULL);
        return 0;
    }
    walk(f, data, size);
    read_head(data, size, f);
    gguf_close(f);
    return 0;
}
