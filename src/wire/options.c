/* The table of model options. */
#include "wire/options.h"

#include <string.h>

const option_row option_table[] = {
#define X(name, type, fallback) {#name, OPTION_##type, fallback},
#include "wire/options.def"
#undef X
};
const size_t option_n = sizeof option_table / sizeof *option_table;

static bool is_name(const char *want, const char *name, size_t n_name)
{
    return strlen(want) == n_name && memcmp(want, name, n_name) == 0;
}

const option_row *option_find(const char *name, size_t n_name)
{
    for (size_t i = 0; i < option_n; i++) {
        if (is_name(option_table[i].name, name, n_name))
            return &option_table[i];
    }
    return NULL;
}

bool option_is_retired(const char *name, size_t n_name)
{
    static const char *const retired[] = {
        "mirostat", "mirostat_tau", "mirostat_eta", "tfs_z",      "penalize_newline", "numa",
        "low_vram", "f16_kv",       "logits_all",   "vocab_only", "use_mlock"};
    for (size_t i = 0; i < sizeof retired / sizeof *retired; i++) {
        if (is_name(retired[i], name, n_name))
            return true;
    }
    return false;
}

const char *option_words(const option_row *row)
{
    static const struct {
        const char *name, *words;
    } all[] = {{"engine", "auto, native, mlx"}, {"device", "auto, cpu, gpu"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(row->name, all[i].name) == 0)
            return all[i].words;
    }
    return NULL;
}

bool option_is_word(const option_row *row, const char *text, size_t n)
{
    const char *at = option_words(row);
    while (at && *at) {
        const size_t n_word = strcspn(at, ",");
        if (n == n_word && memcmp(text, at, n) == 0)
            return true;
        at += n_word;
        at += strspn(at, ", ");
    }
    return false;
}

const char *option_type_name(option_type t)
{
    static const char *const names[] = {[OPTION_INT] = "integer",
                                        [OPTION_FLOAT] = "float32",
                                        [OPTION_BOOL] = "boolean",
                                        [OPTION_STRINGS] = "array",
                                        [OPTION_WORD] = "string"};
    return (size_t)t < sizeof names / sizeof *names ? names[t] : "unknown";
}
