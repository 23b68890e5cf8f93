/* Any bytes as a manifest and, behind the first zero, as the config that it names: what parses is
 * written as Ollama would write it, and reads as the same again. */
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "store/store_manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_manifest(const char *text, size_t n, arena *a)
{
    store_model m = {0};
    store_model again = {0};
    err_info err;
    buf out;
    if (store_manifest_parse(text, n, a, &m, &err) || !m.config.digest)
        return;
    (void)store_layer_of(&m, "model");
    buf_init(&out, (size_t)1 << 24);
    if (store_manifest_encode(&m.config, m.layers, m.n_layer, &out, &err))
        abort();
    if (store_manifest_parse(out.data, out.n, a, &again, &err) || again.size != m.size ||
        again.n_layer != m.n_layer)
        abort();
    for (size_t i = 0; i < m.n_layer; i++)
        if (strcmp(m.layers[i].digest, again.layers[i].digest) != 0 ||
            strcmp(m.layers[i].kind, again.layers[i].kind) != 0)
            abort();
    buf_done(&out);
}

static void fuzz_config(const char *text, size_t n, arena *a)
{
    const json_value *config;
    err_info err;
    buf first;
    buf second;
    if (store_config_parse(text, n, a, &config, &err))
        return;
    buf_init(&first, (size_t)1 << 24);
    buf_init(&second, (size_t)1 << 24);
    if (store_config_encode(config, &first, &err) ||
        store_config_parse(first.data, first.n, a, &config, &err) ||
        store_config_encode(config, &second, &err) || first.n != second.n ||
        memcmp(first.data, second.data, first.n) != 0)
        abort();
    buf_done(&first);
    buf_done(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *zero = size ? memchr(text, '\0', size) : NULL;
    const size_t n = zero ? (size_t)(zero - text) : size;
    arena a;
    arena_init(&a, (size_t)1 << 26);
    fuzz_manifest(text, n, &a);
    if (zero)
        fuzz_config(zero + 1, size - n - 1, &a);
    arena_done(&a);
    return 0;
}
