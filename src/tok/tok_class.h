/* tok_class.h - what kind of character a code point is, in Unicode 15.1.
 *
 * The table is our own, so that a prompt gives the same ids on every system, whatever Unicode its
 * libraries know. The values fit four bits: tok_split.c packs them into bytes.
 */
#ifndef TOK_TOK_CLASS_H
#define TOK_TOK_CLASS_H

#include <stdint.h>

typedef enum tok_class {
    TOK_CLASS_OTHER,    /* not assigned */
    TOK_CLASS_UPPER,    /* Lu */
    TOK_CLASS_LOWER,    /* Ll */
    TOK_CLASS_TITLE,    /* Lt */
    TOK_CLASS_MODIFIER, /* Lm */
    TOK_CLASS_LETTER,   /* Lo */
    TOK_CLASS_MARK,     /* M */
    TOK_CLASS_NUMBER,   /* N */
    TOK_CLASS_PUNCT,    /* P */
    TOK_CLASS_SYMBOL,   /* S */
    TOK_CLASS_CONTROL,  /* C, but for those with the property White_Space */
    TOK_CLASS_SPACE     /* White_Space, which is all of Z and six controls */
} tok_class;

/* O(log of the number of runs); TOK_CLASS_OTHER past U+10FFFF. */
tok_class tok_class_of(uint32_t cp);
/* The same for U+0000 to U+FFFF at once. */
void tok_class_fill(uint8_t out_bmp[65536]);

#endif
