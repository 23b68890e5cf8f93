#include "tok/tok_int.h"

#include <string.h>

/* ---- ids that the file or the algorithm names --------------------------------------------------
 */

static tok_special defaults(tok_kind kind, const tok_pre *pre, bool gemma4)
{
    tok_special s = {TOK_NONE, TOK_NONE, TOK_NONE, TOK_NONE, TOK_NONE, TOK_NONE,
                     TOK_NONE, TOK_NONE, TOK_NONE, false,    false,    false,
                     TOK_NONE, TOK_NONE, TOK_NONE, TOK_NONE, TOK_NONE, TOK_NONE};
    switch (kind) {
    case TOK_KIND_SPM:
        s.bos = 1;
        s.eos = 2;
        s.unk = 0;
        s.add_bos = true;
        break;
    case TOK_KIND_BPE:
        s.add_bos = gemma4 || pre->effects & TOK_PRE_ADD_BOS;
        if (gemma4)
            break;
        s.bos = pre->effects & TOK_PRE_NO_BOS ? TOK_NONE : 11;
        s.eos = 11;
        s.add_sep = pre->effects & TOK_PRE_ADD_SEP;
        break;
    case TOK_KIND_WPM:
        s.bos = 101;
        s.unk = 100;
        s.sep = 102;
        s.pad = 0;
        s.mask = 103;
        s.add_bos = true;
        break;
    case TOK_KIND_UGM:
        s.eos = 1;
        s.unk = 2;
        s.pad = 0;
        s.add_eos = true;
        break;
    case TOK_KIND_NONE:
        break;
    }
    return s;
}

/* An id past the end of the vocabulary says nothing; the default holds, if that one is inside. */
static void take_id(const tok_vocab *v, int32_t given, int32_t *id)
{
    if (given == TOK_NONE || (given >= 0 && (uint32_t)given < v->n_token))
        *id = given;
    if (*id >= 0 && (uint32_t)*id >= v->n_token)
        *id = TOK_NONE;
}

static void take_flag(int8_t given, bool *flag)
{
    if (given >= 0)
        *flag = given;
}

static void take_given(tok_vocab *v, const tok_vocab_def *def, const tok_pre *pre)
{
    tok_special *s = &v->special;
    const bool gemma4 = def->model.n == 6 && memcmp(def->model.text, "gemma4", 6) == 0;
    *s = defaults(v->kind, pre, gemma4);
    if (def->bos == TOK_UNSET)
        take_id(v, def->cls, &s->bos); /* BERT's name for it */
    take_id(v, def->bos, &s->bos);
    take_id(v, def->eos, &s->eos);
    take_id(v, def->eot, &s->eot);
    take_id(v, def->eom, &s->eom);
    take_id(v, def->unk, &s->unk);
    take_id(v, def->sep, &s->sep);
    take_id(v, def->pad, &s->pad);
    take_id(v, def->mask, &s->mask);
    s->cls = v->kind == TOK_KIND_WPM ? s->bos : TOK_NONE;
    take_id(v, def->cls, &s->cls);
    take_id(v, def->fim_pre, &s->fim_pre);
    take_id(v, def->fim_suf, &s->fim_suf);
    take_id(v, def->fim_mid, &s->fim_mid);
    take_id(v, def->fim_pad, &s->fim_pad);
    take_id(v, def->fim_rep, &s->fim_rep);
    take_id(v, def->fim_sep, &s->fim_sep);
    take_flag(def->add_bos, &s->add_bos);
    take_flag(def->add_eos, &s->add_eos);
    take_flag(def->add_sep, &s->add_sep);
    if (gemma4)
        s->add_bos = true; /* some files say no and are wrong */
    v->add_space_prefix = v->kind == TOK_KIND_SPM;
    take_flag(def->add_space_prefix, &v->add_space_prefix);
    v->clean_spaces = v->kind == TOK_KIND_WPM ||
                      (v->kind == TOK_KIND_BPE && !(pre->effects & TOK_PRE_KEEP_SPACES));
    take_flag(def->clean_spaces, &v->clean_spaces);
    v->lowercase = true;
    take_flag(def->lowercase, &v->lowercase);
    v->strip_accents = v->lowercase;
    take_flag(def->strip_accents, &v->strip_accents);
}

/* ---- ids that are known by their texts ---------------------------------------------------------
 */

static int32_t find_text(const tok_vocab *v, const char *text)
{
    return tok_find(v, text, strlen(text));
}

/* The first of a list of texts, NULL at its end, that is a token; it becomes a control token. */
static void detect(tok_vocab *v, const char *const *texts, int32_t *id)
{
    for (size_t i = 0; *id == TOK_NONE && texts[i]; i++) {
        *id = find_text(v, texts[i]);
        if (*id >= 0)
            v->attr[*id] = TOK_CONTROL;
    }
}

static void detect_turn_and_fim(tok_vocab *v)
{
    static const char *const eot[] = {
        "<|eot_id|>",         "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>",
        "<|end_of_text|>",    "<EOT>",      "_<EOT>",  "[EOT]",         "<｜end▁of▁sentence｜>",
        "<end_of_utterance>", NULL};
    static const char *const eom[] = {"<|eom_id|>", NULL};
    static const char *const pre[] = {"<|fim_prefix|>",  "<fim-prefix>", "<fim_prefix>",
                                      "<｜fim▁begin｜>", "<PRE>",        "▁<PRE>",
                                      "<|code_prefix|>", "<|prefix|>",   NULL};
    static const char *const suf[] = {"<|fim_suffix|>",  "<fim-suffix>", "<fim_suffix>",
                                      "<｜fim▁hole｜>",  "<SUF>",        "▁<SUF>",
                                      "<|code_suffix|>", "<|suffix|>",   NULL};
    static const char *const mid[] = {"<|fim_middle|>",  "<fim-middle>", "<fim_middle>",
                                      "<｜fim▁end｜>",   "<MID>",        "▁<MID>",
                                      "<|code_middle|>", "<|middle|>",   NULL};
    static const char *const pad[] = {"<|fim_pad|>", "<fim-pad>", "<fim_pad>",
                                      "<PAD>",       "[PAD]",     NULL};
    static const char *const rep[] = {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>",
                                      "<REPO>",       "<reponame>",    NULL};
    static const char *const sep[] = {"<|file_sep|>", NULL};
    tok_special *s = &v->special;
    detect(v, eot, &s->eot);
    detect(v, eom, &s->eom);
    detect(v, pre, &s->fim_pre);
    detect(v, suf, &s->fim_suf);
    detect(v, mid, &s->fim_mid);
    detect(v, pad, &s->fim_pad);
    detect(v, rep, &s->fim_rep);
    detect(v, sep, &s->fim_sep);
}

static void mark_eog(tok_vocab *v, int32_t id)
{
    if (id >= 0)
        v->eog[id] = true;
}

/* gpt-oss and solar end a turn with other tokens and use this one inside of it. */
static bool end_is_inside_turn(const tok_vocab *v)
{
    const bool call = find_text(v, "<|call|>") >= 0;
    const bool calls = find_text(v, "<|calls|>") >= 0;
    return (find_text(v, "<|return|>") >= 0 && call) ||
           (find_text(v, "<|flush|>") >= 0 && (call || calls));
}

static void find_eog(tok_vocab *v)
{
    static const char *const texts[] = {"<|eot_id|>",
                                        "<|im_end|>",
                                        "<|end|>",
                                        "<|return|>",
                                        "<|call|>",
                                        "<|flush|>",
                                        "<|calls|>",
                                        "<end_of_turn>",
                                        "<|endoftext|>",
                                        "</s>",
                                        "<|eom_id|>",
                                        "<EOT>",
                                        "_<EOT>",
                                        "[EOT]",
                                        "[EOS]",
                                        "<|end_of_text|>",
                                        "<end_of_utterance>",
                                        "<eos>",
                                        "<turn|>",
                                        "<|tool_response>",
                                        "<｜end▁of▁sentence｜>",
                                        "[e~["};
    const tok_special *s = &v->special;
    mark_eog(v, s->fim_pad);
    mark_eog(v, s->fim_rep);
    mark_eog(v, s->fim_sep);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const int32_t id = find_text(v, texts[i]);
        mark_eog(v, id);
        if (id >= 0)
            v->attr[id] = TOK_CONTROL;
    }
    mark_eog(v, s->eos);
    mark_eog(v, s->eot);
    mark_eog(v, s->eom);
    const int32_t end = find_text(v, "<|end|>");
    if (end >= 0 && end_is_inside_turn(v)) {
        v->eog[end] = false;
        v->attr[end] = TOK_USER;
    }
    const int32_t close = find_text(v, "</s>");
    if (close >= 0 && find_text(v, "<|tool_response>") >= 0) { /* gemma4: a tag of HTML */
        v->eog[close] = false;
        v->attr[close] = TOK_NORMAL;
    }
}

/* Tokens whose type in common files is not what their use needs. */
static void mend_types(tok_vocab *v)
{
    static const char *const shown[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        const int32_t id = find_text(v, shown[i]);
        if (id >= 0)
            v->attr[id] = TOK_USER;
    }
}

/* ---- white space that belongs to special tokens ------------------------------------------------
 */

/* Whether needle is in s, capitals of s taken for small letters. */
static bool contains(tok_str s, const char *needle)
{
    const size_t n = strlen(needle);
    for (size_t i = 0; i + n <= s.n; i++) {
        size_t k = 0;
        while (k < n) {
            const char c = s.text[i + k];
            if ((c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c) != needle[k])
                break;
            k++;
        }
        if (k == n)
            return true;
    }
    return false;
}

static bool is_special(const tok_vocab *v, uint32_t id)
{
    return v->attr[id] == TOK_CONTROL || v->attr[id] == TOK_USER || v->attr[id] == TOK_UNKNOWN;
}

/* What a tokenizer.json says about its added tokens and GGUF has no place for. */
static void find_strips(tok_vocab *v, const tok_vocab_def *def)
{
    const int32_t mask = find_text(v, "<mask>");
    if (contains(def->pre, "jina-v2-de") || contains(def->pre, "jina-v2-es") ||
        contains(def->pre, "jina-v2-code") || contains(def->pre, "modern-bert") ||
        contains(def->arch, "nomic-bert-moe") || contains(def->arch, "jina-bert-v3")) {
        if (mask >= 0)
            v->strip[mask] = TOK_LSTRIP;
    } else if (contains(def->name, "phi-3") || contains(def->name, "phi3")) {
        static const char *const none[] = {"<unk>", "<s>", "<|endoftext|>"};
        for (uint32_t i = 0; i < v->n_token; i++)
            if (is_special(v, i))
                v->strip[i] = TOK_RSTRIP;
        const int32_t end = find_text(v, "</s>");
        if (end >= 0)
            v->strip[end] = TOK_RSTRIP;
        for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
            if (find_text(v, none[i]) >= 0)
                v->strip[find_text(v, none[i])] = 0;
    }
}

void tok_special_open(tok_vocab *v, const tok_vocab_def *def, const tok_pre *pre)
{
    take_given(v, def, pre);
    if (v->kind == TOK_KIND_NONE)
        return;
    detect_turn_and_fim(v);
    find_eog(v);
    mend_types(v);
    find_strips(v, def);
}

/* ---- the list to cut texts at ------------------------------------------------------------------
 */

static void set_bit(uint32_t set[8], unsigned char byte)
{
    set[byte >> 5] |= 1u << (byte & 31);
}

static tok_cut_class *class_of(tok_vocab *v, size_t n_byte)
{
    for (uint32_t i = 0; i < v->n_cut; i++)
        if (v->cut[i].n_byte == n_byte)
            return &v->cut[i];
    return NULL;
}

/* Longest first. */
static void sort_classes(tok_vocab *v)
{
    for (uint32_t i = 1; i < v->n_cut; i++) {
        const tok_cut_class c = v->cut[i];
        uint32_t k = i;
        for (; k > 0 && v->cut[k - 1].n_byte < c.n_byte; k--)
            v->cut[k] = v->cut[k - 1];
        v->cut[k] = c;
    }
}

cama_err tok_cut_open(tok_vocab *v, err_info *err)
{
    uint32_t n_special = 0;
    bool seen[TOK_MAX_CUT_TEXT + 1] = {false};
    uint32_t n_class = 0;
    for (uint32_t i = 0; i < v->n_token; i++) {
        const size_t n = v->text[i].n;
        if (!is_special(v, i) || n > TOK_MAX_CUT_TEXT)
            continue;
        n_special++;
        n_class += !seen[n];
        seen[n] = true;
    }
    v->cut = arena_take_array(&v->vocab_arena, n_class, sizeof *v->cut);
    if (!v->cut || strmap_init(&v->cut_ids, n_special))
        return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for %u special tokens", n_special);
    for (uint32_t i = 0; i < v->n_token; i++) {
        const tok_str text = v->text[i];
        if (!is_special(v, i) || text.n > TOK_MAX_CUT_TEXT)
            continue;
        tok_cut_class *c = class_of(v, text.n);
        if (!c) {
            c = &v->cut[v->n_cut++];
            c->n_byte = (uint32_t)text.n;
        }
        set_bit(c->first, (unsigned char)text.text[0]);
        set_bit(c->last, (unsigned char)text.text[text.n - 1]);
        if (strmap_set(&v->cut_ids, text.text, text.n, i))
            return err_set(err, CAMA_ERR_NOMEM, "tok: no memory for special tokens");
    }
    sort_classes(v);
    return CAMA_OK;
}
