/* A hostile vocabulary: any texts, types, scores, merges, ids and table of characters. Opening
 * gives an error or something that encodes and decodes without a fault.
 *
 * Bytes are read from the front: model, pre, flags, ids, then tokens and merges, each with a byte
 * for its length; what is left is the table of characters, and the text to encode. */
#include "tok_small.h"

#include <stdint.h>

#include "tok/tok_pre.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

typedef struct input {
    const uint8_t *data;
    size_t n, at;
} input;

static uint8_t take(input *in)
{
    return in->at < in->n ? in->data[in->at++] : 0;
}

static tok_str take_text(input *in, size_t n)
{
    const size_t left = in->n - in->at;
    const size_t k = n < left ? n : left;
    in->at += k;
    return (tok_str){(const char *)in->data + in->at - k, k};
}

static int32_t take_id(input *in)
{
    return (int8_t)take(in);
}

static void use(const tok_vocab *v, tok_str text)
{
    tok_ids ids;
    buf out;
    tok_ids_init(&ids, 10000);
    buf_init(&out, 100000);
    const tok_flags flags = {true, true};
    if (tok_encode(v, text.text, text.n, flags, &ids, NULL) == CAMA_OK) {
        for (size_t i = 0; i < ids.n; i++)
            if (ids.id[i] < 0 || (uint32_t)ids.id[i] >= tok_n_token(v))
                abort();
        if (tok_decode(v, ids.id, ids.n, true, &out, NULL) != CAMA_OK)
            abort();
    }
    tok_ids_done(&ids);
    buf_done(&out);
}

static void read_ids(input *in, tok_vocab_def *d)
{
    int32_t *const ids[] = {&d->bos, &d->eos, &d->eot, &d->unk, &d->sep, &d->pad, &d->fim_pad};
    int8_t *const flags[] = {&d->add_bos,
                             &d->add_eos,
                             &d->add_sep,
                             &d->add_space_prefix,
                             &d->remove_extra_whitespaces,
                             &d->lowercase,
                             &d->strip_accents,
                             &d->clean_spaces};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        *ids[i] = take_id(in);
    const uint8_t bits = take(in);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        *flags[i] = bits >> i & 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const models[] = {"gpt2", "llama", "bert", "t5", "gemma4", "no_vocab"};
    static tok_str tokens[256];
    static tok_str merges[256];
    static int32_t types[256];
    static float scores[256];
    input in = {data, n, 0};
    tok_vocab_def d = tok_vocab_def_init();
    const char *model = models[take(&in) % 6];
    const tok_pre *pre = tok_pre_at(take(&in));
    d.model = (tok_str){model, strlen(model)};
    d.pre = pre ? (tok_str){pre->name, strlen(pre->name)} : (tok_str){"", 0};
    read_ids(&in, &d);
    d.n_token = take(&in);
    d.n_merge = take(&in);
    for (uint32_t i = 0; i < d.n_token; i++) {
        const uint8_t head = take(&in);
        types[i] = head >> 5;
        scores[i] = (float)take_id(&in);
        tokens[i] = take_text(&in, head & 31);
    }
    for (size_t i = 0; i < d.n_merge; i++)
        merges[i] = take_text(&in, take(&in) & 31);
    const tok_str charsmap = take_text(&in, take(&in));
    d.charsmap = (const uint8_t *)charsmap.text;
    d.n_charsmap = charsmap.n;
    d.tokens = tokens;
    d.types = types;
    d.scores = scores;
    d.merges = merges;
    tok_vocab *v = NULL;
    if (tok_open(&d, &v, NULL) == CAMA_OK)
        use(v, take_text(&in, in.n));
    tok_close(v);
    return 0;
}
