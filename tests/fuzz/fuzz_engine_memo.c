/* A file of remembered self-tests: whatever it holds, what is found of it ends within its field. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/mlx/emlx_memo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const emlx_memo_key key = {"k", "b", "d", "o", 1};
    emlx_memo_result r;
    char *text = malloc(n ? n : 1); /* of exact size: a read past the end is seen */
    if (!text)
        return 0;
    memcpy(text, data, n);
    if (emlx_memo_find(text, n, &key, &r))
        assert(memchr(r.why, 0, sizeof r.why));
    free(text);
    return 0;
}
