#include "tok/tok_class.h"

#include <stddef.h>

static const uint32_t runs[] = {
#include "tok/tok_class.inc.h"
};

enum { N_RUN = sizeof runs / sizeof runs[0] };

tok_class tok_class_of(uint32_t cp)
{
    if (cp > 0x10FFFF)
        return TOK_CLASS_OTHER;
    size_t lo = 0; /* runs[lo] starts at or before cp, runs[hi] after it */
    size_t hi = N_RUN;
    while (hi - lo > 1) {
        const size_t mid = lo + (hi - lo) / 2;
        if (runs[mid] >> 8 <= cp)
            lo = mid;
        else
            hi = mid;
    }
    return (tok_class)(runs[lo] & 0xFF);
}

void tok_class_fill(uint8_t out_bmp[65536])
{
    size_t run = 0;
    for (uint32_t cp = 0; cp < 65536; cp++) {
        if (run + 1 < N_RUN && runs[run + 1] >> 8 <= cp)
            run++;
        out_bmp[cp] = runs[run] & 0xFF;
    }
}
