/* The table of routes, and the endpoints that need nothing. */
#include "api/api_int.h"

#include <string.h>

const api_route api_routes[] = {
#define X(method, path, fn, flags, summary) {method, path, fn, flags, summary},
#include "api/routes.def"
#undef X
};
const size_t api_n_route = sizeof api_routes / sizeof *api_routes;

/* Each is named in docs/api.md too, which a test compares with this list. */
const char *const api_our_fields[] = {
    "cama",     "engine", "engine_version", "device",   "exact", "why", "note",
    "fallback", "forms",  "memory",         "warnings", "state", NULL};

void api_root(api_call *c)
{
    buf body;
    buf_init(&body, 64);
    (void)buf_puts(&body, "Ollama is running"); /* programs look for these words */
    api_reply(c, 200, "text/plain; charset=utf-8", &body);
    buf_done(&body);
}

void api_version(api_call *c)
{
    buf body;
    buf_init(&body, 256);
    api_writer w = {.out = &body};
    api_open(&w, NULL, '{');
    api_put_str(&w, "version", API_OLLAMA_VERSION);
    api_put_str(&w, "cama", CAMA_VERSION);
    api_close(&w, '}');
    api_reply(c, 200, API_JSON_UTF8, &body);
    buf_done(&body);
}
