/* cli_wrap.h - what a model says, on its way to a terminal.
 *
 * Words are printed as they come. One that crosses the margin is wiped out again and begins the
 * next line, as Ollama does it, so that a reader never sees a word cut in two:
 *
 *     The sky is bl          "ue" crosses the margin:   ESC[2D ESC[K \n blue
 *
 * Lines end 5 columns before the terminal's edge; a word that is longer than a line is left to the
 * terminal. How the text is cut into pieces changes nothing. No control character of it but a
 * line's end and a tab gets through, so that no model moves the cursor, names the window or fills
 * the clipboard. Files and pipes get the text as it is.
 */
#ifndef CLI_CLI_WRAP_H
#define CLI_CLI_WRAP_H

#include <stdint.h>

#include "base/buf.h"

#define WRAP_MAX_WORD 1024 /* bytes; a longer word is left to the terminal */
#define WRAP_MIN_WIDTH 10  /* columns; in less nothing is wrapped */

typedef enum wrap_style { WRAP_PLAIN, WRAP_GREY, WRAP_GREY_BOLD } wrap_style;

typedef struct cli_wrap {
    bool terminal;  /* false: the text goes through as it is */
    bool words;     /* lines end between words */
    bool colors;    /* styles are shown */
    size_t columns; /* of the terminal; 0: it is asked at the begin of each line */
    /* The line in work. */
    size_t width;             /* of the terminal, since the line began; 0: not asked yet */
    size_t at;                /* columns in use */
    size_t word_width;        /* columns of word */
    size_t n_word, n_part;    /* bytes of the next two */
    char word[WRAP_MAX_WORD]; /* can still move to the next line */
    char part[4];             /* a character whose end is yet to come */
    bool full;                /* a space fell on the margin: what comes next begins a line */
    bool wide;                /* the last character took two columns */
    uint32_t last;            /* character of the line; 0: none */
    int32_t cluster;          /* of utf8proc: what may follow last within one visible character */
    bool rest;                /* of a word that is left to the terminal */
} cli_wrap;

/* For standard output; words: as in the struct, where the terminal can move a cursor. */
void wrap_init(cli_wrap *w, bool words);
/* A piece of text: what is to be written is appended to *out, whose failure is sticky. */
void wrap_piece(cli_wrap *w, wrap_style style, const char *text, size_t n, buf *out);
/* The same, written to standard output. */
cama_err wrap_print(cli_wrap *w, wrap_style style, const char *text, size_t n, cama_error *err);
/* A whole text of a model or its file to standard output: nothing is wrapped, and no byte of it
 * steers a terminal. */
cama_err wrap_print_clean(const char *text, size_t n, cama_error *err);
/* The same in a conversation, where a lost output ends the next read. */
void wrap_say(const char *text, size_t n);

#endif
