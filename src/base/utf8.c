#include "base/utf8.h"

#include <string.h>

/* Length of the sequence that lead starts, 0 if it starts none; *lo and *hi bound the second byte.
 */
static size_t sequence_bytes(unsigned char lead, unsigned char *lo, unsigned char *hi)
{
    *lo = 0x80;
    *hi = 0xBF;
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    if (lead < 0xE0)
        return 2;
    if (lead < 0xF0) {
        if (lead == 0xE0)
            *lo = 0xA0;
        if (lead == 0xED)
            *hi = 0x9F;
        return 3;
    }
    if (lead == 0xF0)
        *lo = 0x90;
    if (lead == 0xF4)
        *hi = 0x8F;
    return 4;
}

/* How many of the want bytes are there and well formed; want itself when the character is whole. */
static size_t good_bytes(const unsigned char *p, size_t n, size_t want, unsigned char lo,
                         unsigned char hi)
{
    size_t i = 1;
    while (i < want && i < n && p[i] >= lo && p[i] <= hi) {
        lo = 0x80;
        hi = 0xBF;
        i++;
    }
    return i;
}

size_t utf8_decode(const char *text, size_t n, uint32_t *out_cp)
{
    const unsigned char *p = (const unsigned char *)text;
    unsigned char lo;
    unsigned char hi;
    const size_t want = sequence_bytes(p[0], &lo, &hi);
    if (want == 1) {
        *out_cp = p[0];
        return 1;
    }
    const size_t got = want ? good_bytes(p, n, want, lo, hi) : 1;
    if (want == 0 || got < want) {
        *out_cp = UTF8_REPLACEMENT;
        return got;
    }
    uint32_t cp = p[0] & (0x7Fu >> want);
    for (size_t i = 1; i < want; i++)
        cp = cp << 6 | (p[i] & 0x3Fu);
    *out_cp = cp;
    return want;
}

bool utf8_valid(const char *text, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint64_t eight;
        if (n - i >= 8) { /* most text is ASCII: eight bytes a turn */
            memcpy(&eight, text + i, 8);
            if (!(eight & 0x8080808080808080u)) {
                i += 8;
                continue;
            }
        }
        unsigned char lo;
        unsigned char hi;
        const unsigned char *p = (const unsigned char *)text + i;
        const size_t want = sequence_bytes(*p, &lo, &hi);
        if (want == 0 || good_bytes(p, n - i, want, lo, hi) < want)
            return false;
        i += want;
    }
    return true;
}

size_t utf8_encode(uint32_t cp, char out[4])
{
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF))
        cp = UTF8_REPLACEMENT;
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (cp & 0x3F));
        cp >>= 6;
    }
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    out[0] = (char)(lead[n] | cp);
    return n;
}

size_t utf8_whole(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    const size_t back = n < 3 ? n : 3;
    for (size_t k = 1; k <= back; k++) {
        unsigned char lo;
        unsigned char hi;
        const size_t want = sequence_bytes(p[n - k], &lo, &hi);
        if (want > k)
            return good_bytes(p + n - k, k, want, lo, hi) == k ? n - k : n;
        if (want)
            return n;
    }
    return n;
}
