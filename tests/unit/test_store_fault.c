/* With each allocation failing in turn: CAMA_ERR_NOMEM, nothing kept, and the models that were
 * there are there. */
#include "store_rig.h"

#include "fault.h"
#include "store/modelfile.h"

typedef struct fixture {
    store_rig rig;
    model_name x, other;
    const json_value *config;
    store_layer_def layers[2];
    char file[STORE_PATH_BYTES];
} fixture;

static void fixture_open(fixture *f)
{
    rig_open(&f->rig);
    f->x = rig_name("me/x");
    f->other = rig_name("other:v1");
    f->config = rig_config(&f->rig, "llama");
    f->layers[0] = (store_layer_def){"model", rig_blob(&f->rig, "weights"), "base", NULL};
    f->layers[1] = (store_layer_def){"system", rig_blob(&f->rig, "be brief"), NULL, NULL};
    (void)snprintf(f->file, sizeof f->file, "%s", rig_path(&f->rig, "m.gguf"));
    rig_write_file(f->file, "a file");
    rig_write(&f->rig, "me/x", f->layers[0].digest, f->layers[1].digest);
}

static cama_err list_all(void *arg, err_info *err)
{
    fixture *f = arg;
    arena a;
    store_model *models;
    size_t n = 0;
    arena_init(&a, 1 << 22);
    const cama_err e = store_list(f->rig.s, &a, &models, &n, NULL, NULL, err);
    if (!e)
        assert_true(n >= 1);
    arena_done(&a);
    return e;
}

static cama_err find_one(void *arg, err_info *err)
{
    fixture *f = arg;
    arena a;
    store_model m;
    arena_init(&a, 1 << 22);
    const cama_err e = store_find(f->rig.s, &f->x, &a, &m, err);
    arena_done(&a);
    return e;
}

static cama_err put_blob(void *arg, err_info *err)
{
    fixture *f = arg;
    char digest[STORE_DIGEST_BYTES];
    return store_blob_put(f->rig.s, "text", 4, digest, err);
}

static cama_err import(void *arg, err_info *err)
{
    fixture *f = arg;
    char digest[STORE_DIGEST_BYTES];
    const cama_err e = store_blob_import(f->rig.s, f->file, false, NULL, NULL, digest, err);
    return e ? e : store_blob_import(f->rig.s, f->file, true, NULL, NULL, digest, err);
}

static cama_err write_model(void *arg, err_info *err)
{
    fixture *f = arg;
    return store_write(f->rig.s, &f->x, f->config, f->layers, 2, false, err);
}

static cama_err copy_model(void *arg, err_info *err)
{
    fixture *f = arg;
    return store_copy(f->rig.s, &f->x, &f->other, err);
}

static cama_err prune(void *arg, err_info *err)
{
    fixture *f = arg;
    return store_prune(f->rig.s, 3600, NULL, err);
}

static cama_err open_close(void *arg, err_info *err)
{
    fixture *f = arg;
    store *s;
    const cama_err e = store_open(f->rig.root, &s, err);
    if (!e)
        store_close(s);
    return e;
}

static cama_err parse_modelfile(void *arg, err_info *err)
{
    static const char text[] = "FROM x\nSYSTEM \"\"\"a\nb\"\"\"\nPARAMETER stop \"<x>\"\n";
    arena a;
    modelfile m;
    buf b;
    (void)arg;
    arena_init(&a, 1 << 16);
    buf_init(&b, 1 << 16);
    cama_err e = modelfile_parse(text, sizeof text - 1, &a, &m, err);
    for (size_t i = 0; !e && i < m.n; i++)
        e = modelfile_write_command(&m.commands[i], &b);
    buf_done(&b);
    arena_done(&a);
    return e;
}

static void test_sweeps(void **state)
{
    (void)state;
    static const struct {
        cama_err (*attempt)(void *arg, err_info *err);
        size_t least;
        bool ok_allowed; /* cleaning up behind a change that is done may fail */
    } sweeps[] = {
        {open_close, 1, false},      {list_all, 2, false},  {find_one, 1, false},
        {put_blob, 1, false},        {import, 3, false},    {write_model, 4, true},
        {copy_model, 1, true},       {copy_model, 2, true}, {prune, 2, false},
        {parse_modelfile, 3, false},
    };
    fixture f;
    fixture_open(&f);
    for (size_t i = 0; i < TEST_COUNT(sweeps); i++) {
        err_info err = {0};
        fault_allow_ok(sweeps[i].ok_allowed);
        const size_t n = fault_sweep(FAULT_HEAP, sweeps[i].attempt, &f);
        if (n < sweeps[i].least)
            fail_msg("sweep %zu met %zu allocations", i, n);
        assert_int_equal(find_one(&f, &err), CAMA_OK);
        assert_int_equal(rig_count_temps(&f.rig), 0);
    }
    rig_close(&f.rig);
}

/* Once only: the model is there before each failure and may be gone after it. */
static void test_remove(void **state)
{
    (void)state;
    for (size_t k = 0;; k++) {
        fixture f;
        err_info err = {0};
        fixture_open(&f);
        fault_arm(FAULT_HEAP, k);
        const cama_err e = store_remove(f.rig.s, &f.x, &err);
        const bool met = fault_disarm();
        assert_true(e == CAMA_OK || (met && e == CAMA_ERR_NOMEM));
        if (find_one(&f, &err) == CAMA_OK)
            assert_true(e == CAMA_ERR_NOMEM && rig_has_blob(&f.rig, f.layers[0].digest));
        rig_close(&f.rig);
        if (!met) {
            assert_true(k >= 2);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sweeps),
        cmocka_unit_test(test_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
