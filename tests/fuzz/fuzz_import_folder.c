/* Any texts and weights as a folder: what is converted is a GGUF that opens, and a whole one.
 *
 * An input is files behind each other: a byte for the role, u16 the length, the bytes; the last one
 * takes what is left. */
#include "import/import.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gguf/gguf.h"

#define MAX_FILE 8

static void must(bool fact)
{
    if (!fact)
        abort();
}

static int file_of(const uint8_t *data, size_t size)
{
    char path[] = "/tmp/fuzz_import_XXXXXX";
    const int fd = mkstemp(path);
    must(fd >= 0);
    (void)unlink(path);
    must(write(fd, data, size) == (ssize_t)size);
    return fd;
}

static size_t open_files(const uint8_t *data, size_t size, import_file files[MAX_FILE])
{
    static const char *const names[] = {"config.json",           "tokenizer.json",
                                        "tokenizer_config.json", "generation_config.json",
                                        "chat_template.jinja",   "model.safetensors",
                                        "model-2.safetensors",   "notes.txt"};
    size_t n = 0;
    while (size >= 3 && n < MAX_FILE) {
        size_t bytes = (size_t)data[1] | (size_t)data[2] << 8;
        if (bytes > size - 3)
            bytes = size - 3;
        files[n++] = (import_file){names[data[0] % 8], file_of(data + 3, bytes)};
        data += 3 + bytes;
        size -= 3 + bytes;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    import_file files[MAX_FILE];
    import_facts facts;
    err_info err = {.code = CAMA_OK};
    gguf_file *g = NULL;
    const size_t n = open_files(data, size, files);
    const int out = file_of(data, 0);
    if (import_run(files, n, out, NULL, &facts, &err)) {
        must(err.code != CAMA_OK && err.text[0]);
    } else {
        must(!gguf_open_fds(&out, 1, "fuzz", &g, &err));
        must(gguf_n_tensor(g) == facts.n_tensor);
    }
    gguf_close(g);
    for (size_t i = 0; i < n; i++)
        (void)close(files[i].fd); /* read */
    (void)close(out);             /* not looked at */
    return 0;
}
