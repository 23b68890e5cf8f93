/* Which pre-tokenizer a tokenizer.json describes. GGUF has a name for each; here it is found by
 * what the description says, step by step, and by nothing else: a guess would cut words wrongly
 * without a word. */
#include <string.h>

#include "import/import_int.h"
#include "tok/tok_pre.h"

#define MAX_STEPS 8
#define MAX_DESCRIPTION 4096

#define LLAMA3_WORDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define LLAMA3_REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CASED_HEAD "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED_TAIL "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED_REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* Steps as describe writes them, one a line. */
static const struct {
    const char *steps, *name;
} known[] = {
    {"bytes regex\n", "gpt-2"},
    {"digits one\nbytes regex\n", "smollm"},
    {"split " LLAMA3_WORDS "\\p{N}{1,3}" LLAMA3_REST "\nbytes\n", "llama-bpe"},
    {"split " LLAMA3_WORDS "\\p{N}" LLAMA3_REST "\nbytes\n", "qwen2"},
    {"split " CASED_HEAD "*" CASED_TAIL "+|" CASED_HEAD "+" CASED_TAIL "*|\\p{N}" CASED_REST
     "\nbytes\n",
     "tekken"},
};

static bool is_type(const json_value *v, const char *type)
{
    const char *text = import_text(v, "type");
    return text && !strcmp(text, type);
}

/* Each match is a piece, and so is what lies between two. Where a regex matches everything, as
 * those of the table do, dropping what it does not match is the same. */
static bool is_isolated(const json_value *split)
{
    const char *behavior = import_text(split, "behavior");
    const bool invert = import_bool(split, "invert", false);
    return behavior && !strcmp(behavior, invert ? "Removed" : "Isolated");
}

/* One step as a line; what has no word here makes a line that no row of the table has. */
static void describe(const json_value *step, buf *out)
{
    const char *regex = import_text(json_get(step, "pattern"), "Regex");
    if (is_type(step, "ByteLevel") && !import_bool(step, "add_prefix_space", true)) {
        (void)buf_puts(out, import_bool(step, "use_regex", true) ? "bytes regex" : "bytes");
    } else if (is_type(step, "Digits")) {
        (void)buf_puts(out,
                       import_bool(step, "individual_digits", false) ? "digits one" : "digits");
    } else if (is_type(step, "Split") && regex && is_isolated(step)) {
        (void)buf_printf(out, "split %s", regex);
    } else {
        const char *type = import_text(step, "type");
        (void)buf_printf(out, "%.60s of another kind", type ? type : "?");
    }
    (void)buf_putc(out, '\n'); /* a description past the limit is none that is known */
}

const char *import_pre(importer *m, const json_value *pre_tokenizer)
{
    buf steps;
    const char *found = NULL;
    const json_value *list = json_get(pre_tokenizer, "pretokenizers");
    buf_init(&steps, MAX_DESCRIPTION);
    if (is_type(pre_tokenizer, "Sequence") && list && list->kind == JSON_ARRAY) {
        for (size_t i = 0; i < list->n && i < MAX_STEPS; i++)
            describe(list->items[i], &steps);
    } else {
        describe(pre_tokenizer, &steps);
    }
    if (steps.fail == CAMA_ERR_NOMEM)
        (void)import_fail(m, CAMA_ERR_NOMEM, "no memory to look at a pre_tokenizer");
    for (size_t i = 0; !steps.fail && i < sizeof known / sizeof *known; i++) {
        if (!strcmp(steps.data, known[i].steps))
            found = known[i].name;
    }
    if (!found)
        (void)import_fail(m, CAMA_ERR_UNSUPPORTED,
                          "tokenizer.json: its pre_tokenizer is none that is known; its steps: "
                          "%.300s",
                          steps.fail || !steps.data ? "too long" : steps.data);
    buf_done(&steps);
    const json_value *model = json_get(m->tokenizer, "model");
    const tok_pre *pre = found ? tok_pre_find(found, strlen(found)) : NULL;
    if (pre && import_bool(model, "ignore_merges", false) &&
        !(pre->effects & TOK_PRE_IGNORE_MERGES))
        (void)import_fail(m, CAMA_ERR_UNSUPPORTED,
                          "tokenizer.json: ignore_merges is set, which '%s' does not know", found);
    return found;
}
