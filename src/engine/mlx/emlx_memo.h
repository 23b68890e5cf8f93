/* emlx_memo.h - a file that remembers results of self-tests, a line of JSON each.
 *
 *     {"kernel":"q4_k f32","hash":"9b2c...","build":"cama 0.1.0, MLX 0.32.4","device":"NVIDIA
 * H100", "os":"nvidia 580.95.05","ok":true,"error":1.2e-07,"limit":4.9e-06,"why":""}
 *
 * A line is found by its beginning, up to and with the os: so nobody has to read JSON. The file is
 * replaced as a whole by a rename; two processes that write at once lose one of two results, which
 * costs a test run. A file that is damaged, too large or not to be had is the same as none.
 */
#ifndef ENGINE_MLX_EMLX_MEMO_H
#define ENGINE_MLX_EMLX_MEMO_H

#include "base/buf.h"

#define EMLX_MEMO_FILE "mlx-selftest.jsonl"
#define EMLX_MEMO_MAX_BYTES ((size_t)1 << 16) /* of the file; the oldest lines go first */
#define EMLX_MEMO_MAX_WHY 200

/* What a result holds for: another of any of these is another test. */
typedef struct emlx_memo_key {
    const char *kernel, *build, *device, *os;
    uint64_t hash; /* of the kernel's text */
} emlx_memo_key;

typedef struct emlx_memo_result {
    bool ok;
    double error, limit;
    char why[EMLX_MEMO_MAX_WHY]; /* not ok */
} emlx_memo_result;

/* $CAMA_DATA_DIR, else $XDG_DATA_HOME/cama, else ~/.local/share/cama (on macOS
 * ~/Library/Application Support/cama), and the file's name. False: there is no home, or it does not
 * fit. */
bool emlx_memo_path(char *out, size_t n);

/* Whether text, n bytes of such a file, has the key; the last line that has it counts. */
bool emlx_memo_find(const char *text, size_t n, const emlx_memo_key *key, emlx_memo_result *out);
/* The line of a key and its result, with its newline. */
cama_err emlx_memo_line(const emlx_memo_key *key, const emlx_memo_result *r, buf *out);

/* The file's whole lines into out, an empty buffer; nothing where there is no file. CAMA_ERR_NOMEM.
 */
cama_err emlx_memo_read(const char *path, buf *out);
/* text, and after it lines, becomes the file, for its owner alone; folders on the way are made.
 * CAMA_ERR_IO: it cannot be written, and is as it was. */
cama_err emlx_memo_write(const char *path, const buf *text, const buf *lines, err_info *err);

#endif
