/* What engines there are: of a runner that gets no model. */
#include "runner/runner_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_SKIP_BYTES ((size_t)64 << 10)

void runner_looks_at(void *r, const char *name)
{
    char head[64];
    const int n = snprintf(head, sizeof head, "{\"engine\":\"%.32s\"}", name);
    const wire_out f = {.type = WIRE_PROGRESS, .head = head, .n_head = (size_t)n};
    runner_send(r, &f);
    (void)wire_flush(((runner *)r)->w, 1000); /* late is better than never */
}

static bool is_named(const json_value *list, const char *name)
{
    for (size_t i = 0; list && list->kind == JSON_ARRAY && i < list->n; i++)
        if (list->items[i]->kind == JSON_STRING && !strcmp(list->items[i]->text, name))
            return true;
    return false;
}

static void put_about(const engine_vt *vt, buf *out)
{
    engine_about a = {.available = false};
    vt->about(&a);
    (void)buf_printf(out, "{\"name\":\"%s\",\"available\":%s", vt->name, /* failures stick */
                     a.available ? "true" : "false");
    runner_put_text(out, "why", a.why);
    runner_put_text(out, "version", a.version);
    runner_put_text(out, "device", a.device);
    runner_put_text(out, "backend", a.backend);
    (void)buf_printf(out, ",\"is_gpu\":%s,\"memory\":%" PRIu64 "}", a.is_gpu ? "true" : "false",
                     a.memory_bytes);
}

void runner_tell_engines(runner *r, const char *skip)
{
    arena tree;
    json_value *said = NULL;
    arena_init(&tree, MAX_SKIP_BYTES);
    if (json_parse(skip, strlen(skip), &tree, &said, NULL))
        said = NULL; /* nothing is left out */
    const json_value *names = json_get(said, "skip");
    bool first = true;
    buf head;
    buf_init(&head, WIRE_MAX_HEAD_UP);
    (void)buf_puts(&head, "{\"engines\":["); /* failures stick */
    for (size_t i = 0; engine_at(i); i++) {
        const engine_vt *vt = engine_at(i);
        if (is_named(names, vt->name))
            continue;
        runner_looks_at(r, vt->name);
        if (!first)
            (void)buf_putc(&head, ',');
        put_about(vt, &head);
        first = false;
    }
    (void)buf_puts(&head, "]}");
    runner_send_head(r, WIRE_ABOUT, 0, &head);
    arena_done(&tree);
}
