/* Any text as a chat template, rendered with a fixed conversation under tight limits: it may fail,
 * but it must end, and what it gives must be within them. */
#include "chat/tmpl.h"

#include <stdlib.h>
#include <string.h>

#define OUT_BYTES 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char vars_text[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":"
    "\"Hé\\nx\"},"
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\",\"function\":{\"name\":"
    "\"f\","
    "\"arguments\":{\"a\":[1,2.5,null,true]}}}]},{\"role\":\"tool\",\"content\":[{\"type\":"
    "\"text\","
    "\"text\":\"r\"}]}],\"tools\":[{\"function\":{\"name\":\"f\"}}],\"bos_token\":\"<s>\","
    "\"eos_token\":\"</s>\",\"s\":\"Hello, World\",\"u\":\"Straße 日本 "
    "😀\",\"n\":7,\"f\":2.5,\"l\":[3,1,2],"
    "\"words\":[\"pear\",\"Apple\"],\"d\":{\"b\":2,\"a\":1},\"nested\":[{\"name\":\"x\",\"v\":2,"
    "\"in\":{\"k\":[10,20]}}],\"big\":123456789012345678901234567890,\"add_generation_prompt\":"
    "true}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const tmpl_limits limits = {.max_steps = 50000, .max_depth = 50, .max_bytes = 1 << 22};
    arena a;
    arena_init(&a, 1 << 20);
    json_value *vars = NULL;
    tmpl *t = NULL;
    buf out;
    buf_init(&out, OUT_BYTES);
    err_info err;
    if (json_parse(vars_text, sizeof vars_text - 1, &a, &vars, &err))
        abort();
    if (tmpl_open((const char *)data, size, &t, &err) == CAMA_OK) {
        const cama_err e = tmpl_render(t, vars, 1753000000, &limits, &out, &err);
        if (out.n > OUT_BYTES || (e && out.n))
            abort();
    }
    tmpl_close(t);
    buf_done(&out);
    arena_done(&a);
    return 0;
}
