/* A conversation as the JSON that templates read. */
#include "cli/cli_int.h"

#include <string.h>

#include "json/json.h"

#define MAX_CHAT ((size_t)256 << 20)

void cli_chat_init(cli_chat *c)
{
    *c = (cli_chat){0};
    buf_init(&c->json, MAX_CHAT);
}

void cli_chat_done(cli_chat *c)
{
    buf_done(&c->json);
}

cama_err cli_chat_add(cli_chat *c, const char *role, const char *text, cama_error *err)
{
    const size_t before = c->json.n;
    (void)buf_puts(&c->json, c->n_message ? "," : "[");
    (void)buf_puts(&c->json, "{\"role\":");
    (void)json_write_string(role, strlen(role), &c->json);
    (void)buf_puts(&c->json, ",\"content\":");
    (void)json_write_string(text, strlen(text), &c->json);
    (void)buf_putc(&c->json, '}');
    const cama_err e = buf_error(&c->json, "the conversation", err);
    if (e) { /* the message is not there at all */
        c->json.n = before;
        c->json.fail = CAMA_OK;
        return e;
    }
    c->n_message++;
    return CAMA_OK;
}

const char *cli_chat_messages(cli_chat *c)
{
    /* The bracket is written behind the end and not counted, so that messages may follow. */
    char *end = buf_reserve(&c->json, 3);
    if (!end) {
        c->json.fail = CAMA_OK;
        return NULL;
    }
    memcpy(end, c->n_message ? "]" : "[]", c->n_message ? 2 : 3);
    return c->json.data;
}
