/* tok_small.h - vocabularies small enough to write down, for tests and fuzz targets.
 *
 * SMALL_BPE: 256 bytes, the pairs and words of small_merges, then special tokens.
 * SMALL_SPM: <unk> <s> </s>, 256 byte tokens, then small_pieces with falling scores.
 * SMALL_WPM: the special tokens of BERT, then words with U+2581 in front and parts without.
 * SMALL_UGM: <pad> </s> <unk>, then pieces with falling scores and one user-defined token.
 */
#ifndef TESTS_TOK_SMALL_H
#define TESTS_TOK_SMALL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "tok/tok.h"

typedef enum small_kind { SMALL_BPE, SMALL_SPM, SMALL_WPM, SMALL_UGM } small_kind;

enum { SMALL_MAX = 400 };

typedef struct small_vocab {
    tok_vocab_def def;
    tok_str tokens[SMALL_MAX];
    tok_str merges[64];
    int32_t types[SMALL_MAX];
    float scores[SMALL_MAX];
    char text[8192];
    size_t n_text;
} small_vocab;

static inline int32_t small_add(small_vocab *s, const char *text, size_t n, tok_attr type)
{
    const uint32_t i = s->def.n_token++;
    if (i >= SMALL_MAX || s->n_text + n > sizeof s->text)
        abort();
    memcpy(s->text + s->n_text, text, n);
    s->tokens[i] = (tok_str){s->text + s->n_text, n};
    s->types[i] = type;
    s->scores[i] = -(float)i;
    s->n_text += n;
    return (int32_t)i;
}

static inline int32_t small_put(small_vocab *s, const char *text, tok_attr type)
{
    return small_add(s, text, strlen(text), type);
}

/* GPT-2's character for a byte, written down anew rather than taken from the room. */
static inline size_t small_byte_char(int byte, char out[4])
{
    uint32_t moved = 256;
    for (int b = 0; b < 256; b++) {
        const bool kept = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        if (b == byte)
            return utf8_encode(kept ? (uint32_t)b : moved, out);
        moved += !kept;
    }
    return 0;
}

static const char *const small_merges[] = {
    "h e",   "l l",     "he ll", "hell o", "Ġ w",   "o r",   "Ġw or", "l d", "Ġwor ld", "a a",
    "aa aa", "aaaa aa", "1 2",   "12 3",   "Ġ Ġ",   "ĠĠ ĠĠ", "Ċ Ċ",   "ð Ł", "ðŁ ĺ",    "ðŁĺ Ģ",
    "Ã ©",   "e r",     "n t",   "' s",    "Ġ the", "t he",  "< |",   "| >", "r e",     "i n",
};

static inline void small_bpe(small_vocab *s)
{
    for (int byte = 0; byte < 256; byte++) {
        char text[4];
        const size_t n = small_byte_char(byte, text);
        (void)small_add(s, text, n, TOK_NORMAL);
    }
    for (size_t i = 0; i < sizeof small_merges / sizeof small_merges[0]; i++) {
        char both[64];
        const char *space = strchr(small_merges[i], ' ');
        (void)snprintf(both, sizeof both, "%.*s%s", (int)(space - small_merges[i]), small_merges[i],
                       space + 1);
        (void)small_put(s, both, TOK_NORMAL);
        s->merges[s->def.n_merge++] = (tok_str){small_merges[i], strlen(small_merges[i])};
    }
    s->def.eos = small_put(s, "<|endoftext|>", TOK_CONTROL);
    s->def.bos = small_put(s, "<|start|>x", TOK_CONTROL);
    (void)small_put(s, "<|im_end|>", TOK_CONTROL);
    (void)small_put(s, "<tool>", TOK_USER);
    (void)small_put(s, "<tool>ab", TOK_USER);
    (void)small_put(s, "abc", TOK_USER);
    s->def.model = (tok_str){"gpt2", 4};
}

static inline void small_spm(small_vocab *s)
{
    static const char *const pieces[] = {
        "▁",      "h",  "e",  "l",  "o",    "w",    "r",     "d",      "he",
        "ll",     "▁w", "or", "ld", "ell",  "hell", "hello", "▁hello", "▁wor",
        "▁world", "▁▁", "é",  "日", "日本", "a",    "aa",    "aaaa",
    };
    s->def.unk = small_put(s, "<unk>", TOK_UNKNOWN);
    s->def.bos = small_put(s, "<s>", TOK_CONTROL);
    s->def.eos = small_put(s, "</s>", TOK_CONTROL);
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        (void)snprintf(text, sizeof text, "<0x%02X>", byte);
        (void)small_put(s, text, TOK_BYTE);
    }
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        (void)small_put(s, pieces[i], TOK_NORMAL);
    (void)small_put(s, "<|user|>", TOK_CONTROL);
    (void)small_put(s, "<|end|>", TOK_CONTROL);
    s->def.model = (tok_str){"llama", 5};
}

static inline void small_wpm(small_vocab *s)
{
    static const char *const words[] = {"▁hello", "▁world", "▁un", "able", "▁a",    "b", "c",
                                        "▁!",     "▁'",     "▁s",  "▁日",  "▁cafe", "s"};
    s->def.pad = small_put(s, "[PAD]", TOK_CONTROL);
    s->def.unk = small_put(s, "[UNK]", TOK_CONTROL);
    s->def.cls = small_put(s, "[CLS]", TOK_CONTROL);
    s->def.sep = small_put(s, "[SEP]", TOK_CONTROL);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        (void)small_put(s, words[i], TOK_NORMAL);
    s->def.model = (tok_str){"bert", 4};
}

static inline void small_ugm(small_vocab *s)
{
    static const char *const pieces[] = {"▁hello", "▁",    "h",  "e", "l",    "o",
                                         "w",      "▁wor", "ld", "é", "hell", "日本"};
    s->def.pad = small_put(s, "<pad>", TOK_CONTROL);
    s->def.eos = small_put(s, "</s>", TOK_CONTROL);
    s->def.unk = small_put(s, "<unk>", TOK_UNKNOWN);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        (void)small_put(s, pieces[i], TOK_NORMAL);
    (void)small_put(s, "tool", TOK_USER);
    s->def.add_space_prefix = 1;
    s->def.model = (tok_str){"t5", 2};
}

/* The caller may change s->def and add tokens before tok_open. s may not move afterwards. */
static inline void small_init(small_vocab *s, small_kind kind)
{
    memset(s, 0, sizeof *s);
    s->def = tok_vocab_def_init();
    if (kind == SMALL_BPE)
        small_bpe(s);
    else if (kind == SMALL_SPM)
        small_spm(s);
    else if (kind == SMALL_WPM)
        small_wpm(s);
    else
        small_ugm(s);
    s->def.tokens = s->tokens;
    s->def.types = s->types;
    s->def.scores = s->scores;
    s->def.merges = s->merges;
}

#endif
