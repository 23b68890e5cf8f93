/* Any text as the answer of a model, at once and in pieces: the joined events are the same. The
 * first byte chooses the tags, the second the pieces. */
#include "chat/answer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char tools_text[] =
    "[{\"function\":{\"name\":\"get\"}},{\"function\":{\"name\":\"get_weather\"}},"
    "{\"function\":{\"name\":\"}{\"}}]";

typedef struct heard {
    buf of[3];
} heard;

/* Ids are random: of a call what is behind its id. */
static void hear(void *user, answer_kind kind, const char *text, size_t n)
{
    heard *h = user;
    const size_t skip = kind == ANSWER_CALLS ? strlen("[{'id':'call_12345678',") : 0;
    if (n <= skip || buf_append(&h->of[kind], text + skip, n - skip))
        abort();
}

static void run(const uint8_t *data, size_t size, size_t piece, uint8_t how, heard *h)
{
    static const char *const tags[] = {NULL, "<tool_call>", "{", "["};
    arena a;
    json_value *tools = NULL;
    answer *x = NULL;
    arena_init(&a, 1 << 20);
    if (json_parse(tools_text, sizeof tools_text - 1, &a, &tools, NULL))
        abort();
    for (int i = 0; i < 3; i++)
        buf_init(&h->of[i], 64u << 20);
    const answer_opts o = {.think_open = how & 4 ? "<think>" : NULL,
                           .think_close = "</think>",
                           .in_think = how & 8,
                           .call_tag = tags[how & 3],
                           .tools = tools,
                           .event = hear,
                           .user = h};
    if (answer_open(&o, &x, NULL))
        abort();
    for (size_t i = 0; i < size; i += piece)
        if (answer_feed(x, (const char *)data + i, size - i < piece ? size - i : piece, NULL))
            abort();
    if (answer_end(x, NULL))
        abort();
    answer_close(x);
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    heard whole;
    heard cut;
    if (size < 2)
        return 0;
    run(data + 2, size - 2, size, data[0], &whole);
    run(data + 2, size - 2, 1 + data[1] % 16, data[0], &cut);
    for (int i = 0; i < 3; i++) {
        if (whole.of[i].n != cut.of[i].n ||
            (cut.of[i].n && memcmp(whole.of[i].data, cut.of[i].data, cut.of[i].n) != 0))
            abort();
        buf_done(&whole.of[i]);
        buf_done(&cut.of[i]);
    }
    return 0;
}
