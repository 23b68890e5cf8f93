#include "fault.h"
#include "tok_small.h"
#include "test.h"

typedef struct work {
    small_vocab small;
    const char *text;
} work;

static cama_err use(const tok_vocab *v, const char *text, err_info *err)
{
    tok_ids ids;
    buf out;
    tok_stream s;
    tok_ids_init(&ids, 100000);
    buf_init(&out, 100000);
    const tok_flags flags = {true, true};
    cama_err e = tok_encode(v, text, strlen(text), flags, &ids, err);
    if (!e)
        e = tok_decode(v, ids.id, ids.n, true, &out, err);
    tok_stream_init(&s, v, false, false);
    for (size_t i = 0; !e && i < ids.n; i++)
        e = tok_stream_push(&s, ids.id[i], &out, err);
    if (!e)
        e = tok_stream_end(&s, &out, err);
    tok_ids_done(&ids);
    buf_done(&out);
    return e;
}

static cama_err open_and_use(void *arg, err_info *err)
{
    work *w = arg;
    tok_vocab *v = NULL;
    cama_err e = tok_open(&w->small.def, &v, err);
    if (!e)
        e = use(v, w->text, err);
    tok_close(v);
    return e;
}

/* Every allocation of opening, encoding, decoding and streaming fails once. */
static void sweep(void **state)
{
    (void)state;
    static work w;
    w.text = "hello <|im_end|><s> world 12345 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
             " \xFF caf\xC3\xA9 <tool>abc";
    fault_allow_ok(true); /* an expression that could not be compiled to code is interpreted */
    for (int kind = SMALL_BPE; kind <= SMALL_UGM; kind++) {
        small_init(&w.small, (small_kind)kind);
        assert_true(fault_sweep(FAULT_HEAP, open_and_use, &w) > 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sweep)};
    return cmocka_run_group_tests_name("tok_open_fault", tests, NULL, NULL);
}
