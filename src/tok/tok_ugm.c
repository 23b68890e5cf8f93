#include "tok/tok_int.h"

cama_err tok_ugm_open(tok_vocab *v, const tok_vocab_def *def, err_info *err)
{
    (void)v;
    (void)def;
    return err_set(err, CAMA_ERR_UNSUPPORTED, "tokenizer model 't5' is not supported");
}

cama_err tok_ugm_encode(const tok_vocab *v, const char *text, size_t n, tok_scratch *s,
                        tok_ids *ids, err_info *err)
{
    (void)v;
    (void)text;
    (void)n;
    (void)s;
    (void)ids;
    return err_set(err, CAMA_ERR_UNSUPPORTED, "tokenizer model 't5' is not supported");
}
