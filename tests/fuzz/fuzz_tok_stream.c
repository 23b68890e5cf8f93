/* Any run of ids: what streams out is valid UTF-8 at every step, and in sum the text of the whole.
 * The first byte chooses the vocabulary and the flags; two bytes make an id. */
#include "tok_small.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static tok_vocab *vocab[2];

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void open_all(void)
{
    static small_vocab s;
    small_init(&s, SMALL_BPE);
    s.def.clean_spaces = 0;
    check(tok_open(&s.def, &vocab[0], NULL) == CAMA_OK);
    small_init(&s, SMALL_SPM);
    check(tok_open(&s.def, &vocab[1], NULL) == CAMA_OK);
}

/* Each run of bytes that is no character as one U+FFFD. */
static void put_valid(const char *text, size_t n, buf *out)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        char bytes[4];
        i += utf8_decode(text + i, n - i, &cp);
        (void)buf_append(out, bytes, utf8_encode(cp, bytes));
    }
}

static void check_stream(const tok_vocab *v, const int32_t *ids, size_t n, bool special)
{
    tok_stream s;
    buf out;
    buf whole;
    buf want;
    buf_init(&out, SIZE_MAX);
    buf_init(&whole, SIZE_MAX);
    buf_init(&want, SIZE_MAX);
    tok_stream_init(&s, v, special, false);
    for (size_t i = 0; i < n; i++) {
        const size_t from = out.n;
        check(tok_stream_push(&s, ids[i], &out, NULL) == CAMA_OK);
        check(s.n_held <= 3);
        check(out.n == from || utf8_valid(out.data + from, out.n - from));
    }
    check(tok_stream_end(&s, &out, NULL) == CAMA_OK);
    check(tok_decode(v, ids, n, special, &whole, NULL) == CAMA_OK);
    put_valid(whole.data, whole.n, &want);
    check(out.n == want.n && (out.n == 0 || memcmp(out.data, want.data, out.n) == 0));
    buf_done(&out);
    buf_done(&whole);
    buf_done(&want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!vocab[0])
        open_all();
    if (n < 1)
        return 0;
    const tok_vocab *v = vocab[data[0] & 1];
    const size_t n_id = (n - 1) / 2;
    int32_t *ids = malloc((n_id + 1) * sizeof *ids);
    check(ids != NULL);
    for (size_t i = 0; i < n_id; i++)
        ids[i] = (data[1 + 2 * i] | data[2 + 2 * i] << 8) % (int32_t)tok_n_token(v);
    check_stream(v, ids, n_id, data[0] & 2);
    free(ids);
    return 0;
}
