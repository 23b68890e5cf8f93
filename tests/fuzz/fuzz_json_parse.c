/* Any bytes as JSON: what parses must be written and parsed again to the same text. */
#include "json/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena a;
    arena_init(&a, 1 << 22);
    buf first;
    buf second;
    buf_init(&first, 1 << 20);
    buf_init(&second, 1 << 20);
    json_value *v = NULL;
    err_info err;
    if (json_parse((const char *)data, size, &a, &v, &err) == CAMA_OK &&
        json_write(v, &first) == CAMA_OK) {
        json_value *again = NULL;
        const cama_err e = json_parse(first.data, first.n, &a, &again, &err);
        if (e == CAMA_OK) {
            if (json_write(again, &second) || first.n != second.n ||
                memcmp(first.data, second.data, first.n) != 0)
                abort();
        } else if (e != CAMA_ERR_NOMEM) {
            abort();
        }
    }
    buf_done(&first);
    buf_done(&second);
    arena_done(&a);
    return 0;
}
