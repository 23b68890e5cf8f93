/* Any bytes as a safetensors file: what opens has its tensors inside the file. */
#include "safet/safet.h"

#include <stdlib.h>
#include <unistd.h>

static void must(bool fact)
{
    if (!fact)
        abort();
}

static int file_of(const uint8_t *data, size_t size)
{
    char path[] = "/tmp/fuzz_safet_XXXXXX";
    const int fd = mkstemp(path);
    must(fd >= 0);
    (void)unlink(path);
    must(write(fd, data, size) == (ssize_t)size);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    safet_file *f = NULL;
    err_info err;
    const int fd = file_of(data, size);
    if (safet_open(&(safet_source){fd, "fuzz"}, 1, &f, &err)) {
        must(err.code != CAMA_OK && err.text[0]);
    } else {
        for (size_t i = 0; i < safet_n_tensor(f); i++) {
            const safet_tensor *t = safet_tensor_at(f, i);
            uint8_t last;
            must(t->at + t->n_bytes <= size && safet_find(f, t->name) == t);
            must(!t->n_bytes || !safet_read(f, t, t->n_bytes - 1, &last, 1, &err));
            must(safet_read(f, t, t->n_bytes, &last, 1, &err) == CAMA_ERR_ARG);
        }
    }
    safet_close(f);
    (void)close(fd); /* read */
    return 0;
}
