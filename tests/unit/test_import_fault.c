/* An import with each allocation failing in turn: CAMA_ERR_NOMEM, and nothing is kept. */
#include "import/import.h"

#include "fault.h"
#include "hf_folder.h"

typedef struct folder {
    import_file files[HF_MAX_FILE];
    size_t n;
    int out;
} folder;

static cama_err run(void *arg, err_info *err)
{
    folder *f = arg;
    import_facts facts;
    assert_int_equal(lseek(f->out, 0, SEEK_SET), 0);
    return import_run(f->files, f->n, f->out, NULL, &facts, err);
}

static void sweep(void **state)
{
    (void)state;
    static const quant_type types[] = {QUANT_BF16, QUANT_A4G64_F16};
    for (size_t i = 0; i < TEST_COUNT(types); i++) {
        hf_folder hf;
        folder f;
        hf_make(&hf, "Qwen2ForCausalLM", types[i], false);
        f.n = hf_open(&hf, 2, f.files);
        f.out = hf_file("", 0);
        assert_true(fault_sweep(FAULT_HEAP, run, &f) > 50);
        (void)close(f.out); /* not looked at */
        hf_close(f.files, f.n);
        hf_done(&hf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sweep)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
