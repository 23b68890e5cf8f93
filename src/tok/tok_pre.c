#include "tok/tok_pre.h"

#include <string.h>

/* ---- pieces of expressions that several sets share ---------------------------------------------
 */

#define CONTRACTION "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
#define LLAMA3_HEAD CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define LLAMA3_OTHER "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
/* Words of gpt-4o: capitals, then small letters. llama.cpp knows case in ASCII only: each letter
 * outside of it may stand in both places, and we cut as it does (docs/tokenizers.md). */
#define CASED(tail)                                                                                \
    "[^\\r\\n\\p{L}\\p{N}]?[A-Z\\p{H}]*[a-z\\p{H}]+" tail                                          \
    "|[^\\r\\n\\p{L}\\p{N}]?[A-Z\\p{H}]+[a-z\\p{H}]*" tail
#define CASED_MARK(tail)                                                                           \
    "[^\\r\\n\\p{L}\\p{N}]?[A-Z\\p{M}\\p{H}]*[a-z\\p{M}\\p{H}]+" tail                              \
    "|[^\\r\\n\\p{L}\\p{N}]?[A-Z\\p{M}\\p{H}]+[a-z\\p{M}\\p{H}]*" tail
/* The same where it is written with \p{Lu} and its like, which llama.cpp takes for any letter. */
#define LETTER_MARK(tail) "[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+" tail
/* Letters outside of group 1. */
#define OTHER_LETTER                                                                               \
    "A-Za-z\\x81-\\x85\\xA1-\\xA5\\xB1-\\xB5\\xC1-\\xC5\\xD1-\\xD5\\xE1-\\xE5\\xF1-\\xF5"
#define GPT4O_REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define DEEPSEEK3_WORDS                                                                            \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"                                       \
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
#define DEEPSEEK3 DEEPSEEK3_WORDS "| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES

#define RE(text) {TOK_STEP_REGEX, (text)}
#define SET(n, ...)                                                                                \
    {                                                                                              \
        .n_step = (n), .step = { __VA_ARGS__ }                                                     \
    }
#define SET_GROUPS(n, groups, ...)                                                                 \
    {.n_step = (n),                                                                                \
     .step = {__VA_ARGS__},                                                                        \
     .n_group = sizeof(groups) / sizeof(groups)[0],                                                \
     .group = (groups)}

/* ---- code points outside of ASCII that expressions name ----------------------------------------
 */

/* deepseek-llm. 1: its letters, 2: its CJK, 3: both, 4: its punctuation, 5: punctuation and CJK,
 * 6: punctuation and letters. */
static const tok_group deepseek_llm_groups[] = {
#include "tok/tok_groups_deepseek.inc.h"
};
static const tok_group deepseek_coder_groups[] = {
    {0x0800, 0x4E00, 1}, {0x4E01, 0x9FA5, 1}, {0xAC00, 0xD7FF, 1}};
static const tok_group deepseek3_groups[] = {
    {0x3040, 0x309F, 1}, {0x30A0, 0x30FF, 1}, {0x4E00, 0x9FA5, 1}};
/* 1: Hangul, 2: wide punctuation, 3: Bopomofo, 4: Han and Kana. */
static const tok_group youtu_groups[] = {
    {0x2014, 0x2014, 2}, {0x2018, 0x2019, 2}, {0x201C, 0x201D, 2}, {0x2026, 0x2026, 2},
    {0x3001, 0x303F, 2}, {0x3040, 0x309F, 4}, {0x30A0, 0x30FF, 4}, {0x3105, 0x312F, 3},
    {0x3131, 0x318E, 1}, {0x4E00, 0x9FA5, 4}, {0xAC00, 0xD7A3, 1}, {0xFE30, 0xFE4F, 2},
    {0xFF01, 0xFF01, 2}, {0xFF0C, 0xFF0C, 2}, {0xFF1A, 0xFF1B, 2}};
static const tok_group bloom_groups[] = {{0x060C, 0x060C, 1}, {0x06D4, 0x06D4, 1},
                                         {0x0964, 0x0964, 1}, {0x2026, 0x2026, 1},
                                         {0x3001, 0x3002, 1}, {0xFF0C, 0xFF0C, 1}};
static const tok_group han_groups[] = {
    {0x3400, 0x4DBF, 1},   {0x4E00, 0x9FFF, 1},   {0xF900, 0xFAFF, 1},
    {0x20000, 0x2A6DF, 1}, {0x2A700, 0x2B73F, 1}, {0x2B740, 0x2B81F, 1},
    {0x2B820, 0x2CEAF, 1}, {0x2CEB0, 0x2EBEF, 1}, {0x2F800, 0x2FA1F, 1}};
/* From U+4E00 on llama.cpp's list has no gap: where the original starts at U+F900, it has U+8C48.
 */
static const tok_group afmoe_groups[] = {
    {0x0E40, 0x0E7F, 1}, {0x0E80, 0x0EFF, 1}, {0x1000, 0x109F, 1}, {0x1100, 0x11FF, 1},
    {0x1780, 0x17FF, 1}, {0x2F00, 0x2FDF, 1}, {0x3040, 0x309F, 1}, {0x30A0, 0x30FF, 1},
    {0x3400, 0x4DBF, 1}, {0x4E00, 0xFAFF, 1}, {0xFF65, 0xFF9F, 1}};

/* ---- the sets ----------------------------------------------------------------------------------
 */

static const tok_set set_default =
    SET(4, RE("[\\p{P}\\$\\+<=>\\^~\\|]+"), RE(GPT2), RE("\\p{N}+"), RE("[0-9][0-9][0-9]"));
static const tok_set set_llama3 = SET(1, RE(LLAMA3_HEAD "\\p{N}{1,3}" LLAMA3_OTHER SPACES));
/* A run of spaces is looked at from its start only: from each of them it would be quadratic. */
static const tok_set set_deepseek_llm =
    SET_GROUPS(6, deepseek_llm_groups, RE("[\\r\\n]"), RE("\\s?[A-Za-z\\p{1}\\p{3}\\p{6}]+"),
               RE("\\s?[!-/:-~\\p{4}\\p{5}\\p{6}]+"), RE("(?<!\\s)\\s+$"),
               RE("[\\p{2}\\p{3}\\p{5}]+"), RE("\\p{N}+"));
static const tok_set set_deepseek_coder =
    SET_GROUPS(5, deepseek_coder_groups, RE("[\\r\\n]"), RE("\\s?\\p{L}+"), RE("\\s?\\p{P}+"),
               RE("\\p{1}+"), RE("\\p{N}"));
static const tok_set set_deepseek3 =
    SET_GROUPS(3, deepseek3_groups, RE("\\p{N}{1,3}"), RE("\\p{1}+"), RE(DEEPSEEK3));
static const tok_set set_youtu = SET_GROUPS(2, youtu_groups, RE("\\p{1}+|\\p{2}+|\\p{3}+|\\p{4}+"),
                                            RE(LETTER_MARK(CONTRACTION "?") "|\\p{N}" GPT4O_REST));
static const tok_set set_falcon =
    SET(3, RE("[\\p{P}\\$\\+<=>\\^~\\|`]+"), RE(GPT2), RE("[0-9][0-9][0-9]"));
static const tok_set set_gpt2 = SET(1, RE(GPT2));
static const tok_set set_starcoder = SET(2, RE("\\p{N}"), RE(GPT2));
static const tok_set set_jais2 =
    SET(1, RE(LLAMA3_HEAD "\\p{N}{1,3}" LLAMA3_OTHER
                          "\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|"
                          "\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|"
                          "\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"));
static const tok_set set_lines = SET(1, RE("[^\\n]+|[\\n]+"));
static const tok_set set_qwen2 = SET(1, RE(LLAMA3_HEAD "\\p{N}" LLAMA3_OTHER SPACES));
static const tok_set set_qwen35 =
    SET(1, RE(CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|"
                          " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES));
static const tok_set set_bloom = SET_GROUPS(1, bloom_groups, RE(" ?[^(\\s|.,!?)\\p{1}]+"));
static const tok_set set_viking =
    SET_GROUPS(2, bloom_groups, RE(" ?[^(\\s|.,!?)\\p{1}]+"), RE("\\p{N}"));
static const tok_set set_tekken = SET(1, RE(CASED("") "|\\p{N}" GPT4O_REST));
static const tok_set set_exaone_moe =
    SET(1, RE(CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}|"
                          " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"));
static const tok_set set_chameleon =
    SET(6, RE("<sentinel:[0-9]+>"), RE("(?:IMGIMG)(?:A|B|C|D|E|F|G|H|I){1,4}Z"),
        RE("[\\t\\n]|    |  "), RE("\\p{N}"), RE("[\\p{P}!-/:-@\\[-`{-~]"), RE(GPT2));
static const tok_set set_gpt4o = SET(1, RE(CASED(CONTRACTION "?") "|\\p{N}{1,3}" GPT4O_REST));
static const tok_set set_tiny_aya =
    SET(2, {TOK_STEP_THREES_N, NULL}, RE(LETTER_MARK(CONTRACTION "?") "|\\p{N}{1,3}" GPT4O_REST));
static const tok_set set_superbpe = SET(2, RE("\\p{N}+"), {TOK_STEP_THREES_D, NULL});
static const tok_set set_bailing =
    SET(1, RE("'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
              "\\p{N}" LLAMA3_OTHER "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"));
static const tok_set set_seed_coder =
    SET(1, RE(LLAMA3_HEAD "\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACES));
static const tok_set set_kimi =
    SET_GROUPS(1, han_groups,
               RE("\\p{1}+|"
                  "[^\\r\\n\\p{L}\\p{N}]?[" OTHER_LETTER "]+" CONTRACTION
                  "?|\\p{N}{1,3}" LLAMA3_OTHER SPACES));
static const tok_set set_afmoe =
    SET_GROUPS(3, afmoe_groups, {TOK_STEP_THREES_N, NULL}, RE("\\p{1}+"), RE(DEEPSEEK3));

static const tok_set set_minicpm5 =
    SET(2, RE("\\p{N}{1,3}"), RE(LLAMA3_HEAD "\\p{N}{1,3}" LLAMA3_OTHER SPACES));
static const tok_set set_spark =
    SET_GROUPS(3, deepseek3_groups, RE("\\p{N}"), RE("\\p{1}+"),
               RE(DEEPSEEK3_WORDS "| ?[\\p{P}\\p{S}]+|[\\r\\n]|\\s+(?!\\S)|\\s+"));
static const tok_set set_granite_embed =
    SET(1, RE(CASED_MARK(CONTRACTION "?") "|\\p{N}{1,3}" GPT4O_REST));
static const tok_set set_ufakzeka =
    SET(1, RE("[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" LLAMA3_OTHER SPACES));
static const tok_set set_laguna =
    SET(2, RE("[^\\n]+|[\\n]+"), RE(LLAMA3_HEAD "\\p{N}" LLAMA3_OTHER SPACES));

/* ---- the names ---------------------------------------------------------------------------------
 */

enum {
    WHOLE = TOK_PRE_IGNORE_MERGES,
    BOS = TOK_PRE_ADD_BOS,
    SEP = TOK_PRE_ADD_SEP,
    KEEP = TOK_PRE_KEEP_SPACES,
    NO_BOS = TOK_PRE_NO_BOS,
    CHARS = TOK_PRE_CHARS
};

static const tok_pre table[] = {
    {"default", &set_default, 0},
    {"llama3", &set_llama3, WHOLE | BOS},
    {"llama-v3", &set_llama3, WHOLE | BOS},
    {"llama-bpe", &set_llama3, WHOLE | BOS},
    {"falcon3", &set_llama3, WHOLE | BOS},
    {"falcon-h1", &set_llama3, WHOLE | BOS},
    {"pixtral", &set_llama3, WHOLE | BOS},
    {"midm-2.0", &set_llama3, WHOLE | BOS},
    {"lfm2", &set_llama3, WHOLE | BOS},
    {"jina-v5-nano", &set_llama3, WHOLE | BOS},
    {"dbrx", &set_llama3, 0},
    {"smaug-bpe", &set_llama3, 0},
    {"glm4", &set_llama3, NO_BOS},
    {"chatglm-bpe", &set_llama3, NO_BOS},
    {"deepseek-llm", &set_deepseek_llm, KEEP},
    {"deepseek-coder", &set_deepseek_coder, KEEP},
    {"deepseek-v3", &set_deepseek3, KEEP},
    {"hunyuan-dense", &set_deepseek3, KEEP},
    {"joyai-llm", &set_deepseek3, KEEP},
    {"hy_v4", &set_deepseek3, KEEP},
    {"youtu", &set_youtu, WHOLE | KEEP},
    {"falcon", &set_falcon, 0},
    {"gpt-2", &set_gpt2, 0},
    {"mpt", &set_gpt2, 0},
    {"phi-2", &set_gpt2, 0},
    {"jina-es", &set_gpt2, 0},
    {"jina-de", &set_gpt2, 0},
    {"jina-v2-es", &set_gpt2, 0},
    {"jina-v2-de", &set_gpt2, 0},
    {"gigachat", &set_gpt2, 0},
    {"a.x-4.0", &set_gpt2, 0},
    {"mellum", &set_gpt2, 0},
    {"modern-bert", &set_gpt2, 0},
    {"jina-v1-en", &set_gpt2, SEP},
    {"jina-v2-code", &set_gpt2, SEP},
    {"roberta-bpe", &set_gpt2, SEP},
    {"olmo", &set_gpt2, 0},
    {"jais", &set_gpt2, 0},
    {"exaone4", &set_gpt2, 0},
    {"trillion", &set_gpt2, KEEP},
    {"granite-docling", &set_gpt2, KEEP},
    {"starcoder", &set_starcoder, 0},
    {"refact", &set_starcoder, 0},
    {"mellum2", &set_starcoder, 0},
    {"codeshell", &set_starcoder, 0},
    {"exaone", &set_starcoder, 0},
    {"minerva-7b", &set_starcoder, 0},
    {"command-r", &set_starcoder, KEEP},
    {"cohere2_moe", &set_starcoder, KEEP}, /* a fork's name */
    {"smollm", &set_starcoder, KEEP},
    {"jais-2", &set_jais2, 0},
    {"gemma4", &set_lines, CHARS | BOS},
    {"sarvam-moe", &set_lines, CHARS},
    {"granite-embed-multi-311m", &set_lines, CHARS | BOS},
    {"qwen2", &set_qwen2, KEEP},
    {"deepseek-r1-qwen", &set_qwen2, KEEP},
    {"kormo", &set_qwen2, KEEP},
    {"openpangu", &set_qwen2, KEEP}, /* a fork's name */
    {"f2llmv2", &set_qwen2, KEEP},
    {"hunyuan", &set_qwen2, KEEP},
    {"grok-2", &set_qwen2, KEEP},
    {"solar-open", &set_qwen2, KEEP},
    {"stablelm2", &set_qwen2, 0},
    {"megrez", &set_qwen2, 0},
    {"qwen35", &set_qwen35, KEEP},
    {"poro-chat", &set_bloom, KEEP},
    {"bloom", &set_bloom, 0},
    {"gpt3-finnish", &set_bloom, 0},
    {"viking", &set_viking, KEEP},
    {"tekken", &set_tekken, WHOLE | BOS | KEEP},
    {"exaone-moe", &set_exaone_moe, 0},
    {"chameleon", &set_chameleon, BOS | KEEP},
    {"gpt-4o", &set_gpt4o, KEEP},
    {"llama4", &set_gpt4o, KEEP},
    {"kanana2", &set_gpt4o, KEEP},
    {"minimax-m2", &set_gpt4o, KEEP},
    {"talkie", &set_gpt4o, KEEP},
    {"tiny_aya", &set_tiny_aya, KEEP},
    {"cohere2moe", &set_tiny_aya, KEEP},
    {"superbpe", &set_superbpe, KEEP},
    {"bailingmoe", &set_bailing, KEEP},
    {"bailingmoe2", &set_bailing, KEEP},
    {"llada-moe", &set_bailing, KEEP},
    {"seed-coder", &set_seed_coder, KEEP},
    {"kimi-k2", &set_kimi, KEEP},
    {"afmoe", &set_afmoe, KEEP},
    {"minicpm5", &set_minicpm5, WHOLE},
    {"spark2_5", &set_spark, KEEP},
    {"granite-embed-multi-97m", &set_granite_embed, WHOLE | KEEP},
    {"ufakzeka", &set_ufakzeka, KEEP},
    {"laguna", &set_laguna, KEEP},
};

const tok_pre *tok_pre_at(size_t i)
{
    return i < sizeof table / sizeof table[0] ? &table[i] : NULL;
}

const tok_pre *tok_pre_find(const char *name, size_t n)
{
    if (n == 0)
        return &table[0];
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strlen(table[i].name) == n && memcmp(table[i].name, name, n) == 0)
            return &table[i];
    return NULL;
}
