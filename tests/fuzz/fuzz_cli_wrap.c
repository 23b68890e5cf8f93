/* What a model may say on a terminal: two bytes give the width and where the text is cut. The
 * pieces make what the whole makes, and no control characters come out but our own. */
#include <assert.h>
#include <string.h>

#include "cli/cli_wrap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void write_pieces(size_t width, size_t most, const char *text, size_t n, buf *out)
{
    cli_wrap w = {.terminal = true, .words = true, .columns = width};
    buf_init(out, 64 << 20);
    for (size_t at = 0; at < n; at += most)
        wrap_piece(&w, WRAP_PLAIN, text + at, n - at < most ? n - at : most, out);
}

static void look_at_controls(const buf *out)
{
    for (size_t i = 0; i < out->n; i++) {
        const unsigned char c = (unsigned char)out->data[i];
        if (c == 0x1b) {
            assert(out->data[++i] == '[');
            i += 1 + strspn(out->data + i + 1, "0123456789");
            assert(out->data[i] == 'D' || out->data[i] == 'K');
        } else {
            assert((c >= ' ' && c != 0x7f) || c == '\n' || c == '\t');
            assert(c != 0xc2 || (unsigned char)out->data[i + 1] >= 0xa0);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    buf whole;
    buf pieces;
    if (n < 3)
        return 0;
    const char *text = (const char *)data + 2;
    const size_t width = data[0] + 1u;
    write_pieces(width, n, text, n - 2, &whole);
    write_pieces(width, data[1] % 16 + 1u, text, n - 2, &pieces);
    assert(whole.n == pieces.n);
    if (whole.n)
        assert(!memcmp(whole.data, pieces.data, whole.n));
    look_at_controls(&whole);
    buf_done(&whole);
    buf_done(&pieces);
    return 0;
}
