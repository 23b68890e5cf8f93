/* What a server may say of a model: any JSON must come out as text without control characters. */
#include <assert.h>
#include <string.h>

#include "base/human.h"
#include "cli/cli_card.h"
#include "cli/cli_grid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void look_at_times(const char *text)
{
    char out[HUMAN_BYTES];
    int64_t ms;
    if (human_parse_time(text, &ms))
        assert(human_time(ms, out) < HUMAN_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    arena a;
    buf out;
    json_value *v;
    arena_init(&a, 64 << 20);
    buf_init(&out, 64 << 20);
    if (!json_parse((const char *)data, n, &a, &v, NULL)) {
        (void)card_write(v, true, &a, &out); /* too large a card is an error like any other */
        for (size_t i = 0; i < out.n; i++)
            assert((unsigned char)out.data[i] >= ' ' || out.data[i] == '\n');
        if (v->kind == JSON_STRING)
            look_at_times(v->text);
    }
    buf_done(&out);
    arena_done(&a);
    return 0;
}
