/* A conversation as the JSON that templates read. */
#include "cli/cli_int.h"

#include <string.h>

#include "json/json.h"

#define MAX_CHAT ((size_t)256 << 20)

/* One message: its place in cli_chat.json, and what decides whether it may be left out. */
typedef struct part {
    size_t at, n;
    bool system, user;
} part;

static const part *parts_of(const cli_chat *c)
{
    return (const void *)c->parts.data; /* a buf's memory is malloc's: aligned for everything */
}

void cli_chat_init(cli_chat *c)
{
    *c = (cli_chat){0};
    buf_init(&c->json, MAX_CHAT);
    buf_init(&c->parts, MAX_CHAT);
    buf_init(&c->out, 2 * MAX_CHAT);
}

void cli_chat_done(cli_chat *c)
{
    buf_done(&c->json);
    buf_done(&c->parts);
    buf_done(&c->out);
}

cama_err cli_chat_add(cli_chat *c, const char *role, const char *text, cama_error *err)
{
    part p = {
        .at = c->json.n,
        .system = !strcmp(role, "system"),
        .user = !strcmp(role, "user"),
    };
    (void)buf_puts(&c->json, "{\"role\":");
    (void)json_write_string(role, strlen(role), &c->json);
    (void)buf_puts(&c->json, ",\"content\":");
    (void)json_write_string(text, strlen(text), &c->json);
    (void)buf_putc(&c->json, '}');
    p.n = c->json.n - p.at;
    cama_err e = buf_error(&c->json, "the conversation", err);
    if (!e && buf_append(&c->parts, &p, sizeof p))
        e = buf_error(&c->parts, "the conversation", err);
    if (e) { /* the message is not there at all */
        c->json.n = p.at;
        c->json.fail = CAMA_OK;
        c->parts.fail = CAMA_OK;
        return e;
    }
    c->n_message++;
    c->n_turn += p.user;
    return CAMA_OK;
}

void cli_chat_cut(cli_chat *c, size_t n_message)
{
    while (c->n_message > n_message) {
        const part *last = &parts_of(c)[--c->n_message];
        c->json.n = last->at;
        c->n_turn -= last->user;
    }
    c->parts.n = n_message * sizeof(part);
}

const char *cli_chat_messages(cli_chat *c, size_t n_drop, size_t *out_n_dropped)
{
    size_t turn = 0; /* that a message belongs to; 0 before the first question */
    size_t n_dropped = 0;
    buf_clear(&c->out);
    for (size_t i = 0; i < c->n_message; i++) {
        const part *p = &parts_of(c)[i];
        turn += p->user;
        if (!p->system && turn <= n_drop) {
            n_dropped++;
            continue;
        }
        (void)buf_putc(&c->out, c->out.n ? ',' : '['); /* failures are sticky */
        (void)buf_append(&c->out, c->json.data + p->at, p->n);
    }
    (void)buf_puts(&c->out, c->out.n ? "]" : "[]");
    if (c->out.fail)
        return NULL;
    *out_n_dropped = n_dropped;
    return c->out.data;
}
