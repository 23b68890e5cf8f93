/* host.h - where a server is: the text of OLLAMA_HOST, and sockets that listen. */
#ifndef NET_HOST_H
#define NET_HOST_H

#include "base/err.h"

#define NET_HOST_BYTES 256
#define NET_DEFAULT_PORT 11434

typedef struct net_host {
    bool tls;
    char name[NET_HOST_BYTES]; /* host or address, without brackets */
    uint16_t port;
    char path[NET_HOST_BYTES]; /* behind the port, without the last slash; usually "" */
} net_host;

/* As Ollama reads it: scheme, host, port and path are each optional; spaces and quotes at the ends
 * are cut; http means port 80, https 443, none 11434; a bad port is the default one. NULL or "":
 * 127.0.0.1:11434. CAMA_ERR_ARG for what is no host. */
cama_err net_host_parse(const char *text, net_host *out, err_info *err);
/* "http://127.0.0.1:11434" */
void net_host_url(const net_host *h, char out[2 * NET_HOST_BYTES + 32]);

/* A listening socket, close-on-exec and non-blocking. CAMA_ERR_IO; *out_in_use tells EADDRINUSE. */
cama_err net_listen_tcp(const net_host *h, int *out_fd, bool *out_in_use, err_info *err);
/* Mode 0600; a file that is a dead socket is replaced. */
cama_err net_listen_unix(const char *path, int *out_fd, err_info *err);
/* Whether it is bound to a loopback address only. */
bool net_is_loopback(int fd);
uint16_t net_port(int fd);

#endif
