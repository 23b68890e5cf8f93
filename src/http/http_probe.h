/* http_probe.h - who answers at an address that is taken. */
#ifndef HTTP_HTTP_PROBE_H
#define HTTP_HTTP_PROBE_H

#include "net/host.h"

typedef enum http_probe_result {
    HTTP_PROBE_NOBODY, /* or what does not speak HTTP */
    HTTP_PROBE_OTHER,
    HTTP_PROBE_OLLAMA,
    HTTP_PROBE_CAMA
} http_probe_result;

/* Asks GET /api/version; waits at most half a second. */
http_probe_result http_probe(const net_host *h);

#endif
