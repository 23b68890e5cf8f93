/* duration.h - lengths of time as Go writes them: "1h30m", "300ms", "-1.5s".
 *
 * Users of Ollama write them in keep_alive and in the environment, and read them in tables. The
 * texts of errors are those of Go's time.ParseDuration, which clients know.
 */
#ifndef BASE_DURATION_H
#define BASE_DURATION_H

#include "base/err.h"

#define DURATION_BYTES 32

/* n bytes, which need not be terminated -> nanoseconds. "0" needs no unit, everything else does.
 * CAMA_ERR_ARG: `time: missing unit in duration "30"`, `time: invalid duration ""`, ... */
cama_err go_duration_parse(const char *text, size_t n, int64_t *out_ns, err_info *err);

/* As Go's Duration.String(): "1h30m0s", "1.5s", "300ms", "0s". Gives the length. */
size_t go_duration_format(int64_t ns, char out[DURATION_BYTES]);

#endif
