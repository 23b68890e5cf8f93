/* http_poll.h - what differs between systems: how to hear that a peer left, and who goes first. */
#ifndef HTTP_HTTP_POLL_H
#define HTTP_HTTP_POLL_H

#include "base/err.h"

cama_err http_poll_open(int *out_poll, err_info *err);

/* Tells once that the peer of a socket has closed its side or reset the connection, also when that
 * was before; what arrives for reading is none of its business. */
bool http_poll_add(int poll, int fd, uint64_t id);
/* Tells, as long as it is so, that there is something to read. */
bool http_poll_add_reader(int poll, int fd, uint64_t id);
void http_poll_remove(int poll, int fd);

/* The ids of at most max descriptors; 0 after timeout_ms. */
size_t http_poll_wait(int poll, int timeout_ms, uint64_t *out_ids, size_t max);

/* The calling thread goes before others where the system allows it; a hint, nothing fails. */
void http_poll_hurry(void);

#endif
