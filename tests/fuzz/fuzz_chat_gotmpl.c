/* Any text as a Go template, rendered with a fixed conversation and as a legacy template under
 * tight limits: it may fail, but it must end, and what it gives must be within them. */
#include "chat/gotmpl.h"

#include <stdlib.h>
#include <string.h>

#define OUT_BYTES 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char vars_text[] =
    "{\"Messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":"
    "\"H\xC3\xA9\\n<x>\",\"images\":1},{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"t\","
    "\"tool_calls\":[{\"id\":\"1\",\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[1,2.5,null,"
    "true]}}}]},{\"role\":\"tool\",\"content\":\"r\",\"tool_name\":\"f\"}],\"Tools\":[{\"type\":"
    "\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":"
    "\"object\",\"required\":[\"a\"],\"properties\":{\"a\":{\"type\":[\"string\",\"null\"],"
    "\"anyOf\":[{\"type\":\"integer\"}],\"enum\":[1]}}}}}],\"s\":\"text\",\"n\":3,\"f\":2.5,"
    "\"l\":[1,\"b\",null],\"b\":true,\"z\":null}";

static void render(const gotmpl *t, const json_value *vars)
{
    static const tmpl_limits limits = {.max_steps = 20000, .max_depth = 50, .max_bytes = 1 << 22};
    buf out;
    err_info err;
    buf_init(&out, OUT_BYTES);
    cama_err e = gotmpl_render(t, vars, 1753000000, &limits, &out, &err);
    if (out.n > OUT_BYTES || (e && out.n))
        abort();
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena a;
    json_value *vars = NULL;
    gotmpl *t = NULL;
    err_info err;
    arena_init(&a, 1 << 20);
    if (json_parse(vars_text, sizeof vars_text - 1, &a, &vars, &err))
        abort();
    if (gotmpl_open((const char *)data, size, &t, &err) == CAMA_OK) {
        gochat_tags tags;
        gotmpl_tags(t, &tags);
        (void)gotmpl_uses(t, "tools"); /* only that it ends */
        render(t, vars);
        gochat_request q = {.messages = json_get(vars, "Messages"),
                            .tools = json_get(vars, "Tools"),
                            .think = 1,
                            .limits = &(tmpl_limits){.max_steps = 20000, .max_bytes = 1 << 22}};
        buf out;
        buf_init(&out, OUT_BYTES);
        const cama_err e = gochat_render(t, &q, &out, &err);
        if (out.n > OUT_BYTES || (e && out.n))
            abort();
        buf_done(&out);
    }
    gotmpl_close(t);
    arena_done(&a);
    return 0;
}
