/* Every file operation of every change fails, or is the last one of the process: the store is then
 * as before or as after, and what is left over goes with the next prune. */
#include "store_rig.h"

#include <errno.h>
#include <sys/wait.h>

#include "iofault.h"

#define MAX_STEPS 2000
#define MAX_PRINT 8192

typedef struct scenario {
    const char *name;
    void (*prepare)(store_rig *r);
    cama_err (*act)(store_rig *r, err_info *err);
    const char *blob; /* the text of a blob whose presence is part of the outcome, or NULL */
} scenario;

static char big_text[2500001]; /* three chunks of a reader */
static char imported[64];      /* a file outside of the store */

/* ---- what is done ---- */

static void prepare_none(store_rig *r)
{
    (void)r;
}

static void prepare_two(store_rig *r)
{
    rig_write(r, "me/x", rig_blob(r, "weights"), rig_blob(r, "template"));
    rig_write(r, "y", rig_blob(r, "weights"), NULL);
}

/* As a newer Ollama leaves a model: its manifest is a blob, with a link under manifests-v2. */
static void prepare_v2(store_rig *r)
{
    prepare_two(r);
    char target[STORE_PATH_BYTES];
    char folder[STORE_PATH_BYTES];
    const char *text = "{\"schemaVersion\":2,\"layers\":null}\n";
    const char *digest = rig_blob(r, text);
    (void)snprintf(folder, sizeof folder, "%s",
                   rig_path(r, "manifests-v2/registry.ollama.ai/me/x"));
    assert_int_equal(store_file_make_folder(folder, NULL), CAMA_OK);
    (void)snprintf(target, sizeof target, "../../../../blobs/sha256-%s", digest + 7);
    assert_int_equal(symlink(target, rig_path(r, "manifests-v2/registry.ollama.ai/me/x/latest")),
                     0);
}

static cama_err put(store_rig *r, err_info *err)
{
    char digest[STORE_DIGEST_BYTES];
    blob_writer *b;
    cama_err e = blob_writer_open(r->s, &b, err);
    if (e)
        return e;
    for (int i = 0; i < 3 && !e; i++)
        e = blob_writer_append(b, "abc", 3, err);
    if (!e)
        return blob_writer_commit(b, NULL, digest, err);
    blob_writer_abort(b);
    return e;
}

static cama_err import_copy(store_rig *r, err_info *err)
{
    char digest[STORE_DIGEST_BYTES];
    return store_blob_import(r->s, imported, false, NULL, NULL, digest, err);
}

static cama_err import_clone(store_rig *r, err_info *err)
{
    iofault_can_clone(true);
    const cama_err e = import_copy(r, err);
    iofault_can_clone(false);
    return e;
}

static cama_err import_link(store_rig *r, err_info *err)
{
    char digest[STORE_DIGEST_BYTES];
    return store_blob_import(r->s, imported, true, NULL, NULL, digest, err);
}

/* As `create` from a file does it. */
static cama_err create(store_rig *r, const char *name, err_info *err)
{
    char weights[STORE_DIGEST_BYTES];
    char template[STORE_DIGEST_BYTES];
    cama_err e = store_blob_import(r->s, imported, false, NULL, NULL, weights, err);
    if (!e)
        e = store_blob_put(r->s, "new template", 12, template, err);
    return e ? e : rig_try_write(r, name, weights, template, err);
}

static cama_err create_new(store_rig *r, err_info *err)
{
    return create(r, "some.host/ns/new:v1", err);
}

static cama_err create_over(store_rig *r, err_info *err)
{
    return create(r, "ME/X", err);
}

static cama_err copy_new(store_rig *r, err_info *err)
{
    const model_name from = rig_name("me/x");
    const model_name to = rig_name("other/z:v2");
    return store_copy(r->s, &from, &to, err);
}

static cama_err copy_over(store_rig *r, err_info *err)
{
    const model_name from = rig_name("y");
    const model_name to = rig_name("me/x");
    return store_copy(r->s, &from, &to, err);
}

static cama_err remove_shared(store_rig *r, err_info *err)
{
    const model_name n = rig_name("me/x");
    return store_remove(r->s, &n, err);
}

static void prepare_garbage(store_rig *r)
{
    prepare_two(r);
    rig_make_old(rig_path(r, "blobs"), 0);
    rig_blob(r, "nobody's");
    rig_write_file(rig_path(r, "blobs/" STORE_BLOB_TEMP "00112233445566778899aabbccddeeff"), "x");
    rig_write_file(rig_path(r, "manifests/" STORE_MANIFEST_TEMP "00"), "x");
    assert_int_equal(mkdir(rig_path(r, "manifests/empty"), 0755), 0);
}

static cama_err prune(store_rig *r, err_info *err)
{
    const cama_err e = store_prune(r->s, 0, NULL, err);
    return e == CAMA_ERR_FORMAT ? CAMA_ERR_IO : e; /* "nothing was pruned": a manifest was unread */
}

static const scenario scenarios[] = {
    {"put a blob", prepare_none, put, "abcabcabc"},
    {"put a blob that is there", prepare_none, put, "abcabcabc"},
    {"copy a file in", prepare_none, import_copy, big_text},
    {"clone a file", prepare_none, import_clone, big_text},
    {"link a file", prepare_none, import_link, big_text},
    {"create a model", prepare_two, create_new, NULL},
    {"create over a model", prepare_two, create_over, NULL},
    {"copy a model", prepare_two, copy_new, NULL},
    {"copy over a model", prepare_two, copy_over, NULL},
    {"remove a model", prepare_two, remove_shared, NULL},
    {"create over a linked model", prepare_v2, create_over, NULL},
    {"remove a linked model", prepare_v2, remove_shared, NULL},
    {"prune", prepare_garbage, prune, NULL},
};

/* ---- what is there ---- */

static const char *shm(void)
{
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* a flush costs nothing there */
}

static int by_name(const void *a, const void *b)
{
    const store_model *x = a;
    const store_model *y = b;
    return name_compare(&x->name, &y->name);
}

/* A blob holds what its name says. */
static void check_blob(store_rig *r, const char *digest)
{
    arena a;
    const char *text;
    size_t n;
    char got[STORE_DIGEST_BYTES];
    err_info err = {0};
    arena_init(&a, sizeof big_text * 2);
    if (store_blob_read(r->s, digest, sizeof big_text, &a, &text, &n, &err))
        fail_msg("%s", err.text);
    assert_int_equal(store_hash_bytes(text, n, got, NULL), CAMA_OK);
    assert_string_equal(got, digest);
    arena_done(&a);
}

static void check_all_blobs(store_rig *r)
{
    DIR *d = opendir(rig_path(r, "blobs"));
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] != '.' &&
            strncmp(e->d_name, STORE_BLOB_TEMP, strlen(STORE_BLOB_TEMP)) != 0) {
            char digest[STORE_DIGEST_BYTES];
            assert_int_equal(digest_parse(e->d_name, digest, NULL), CAMA_OK);
            check_blob(r, digest);
        }
    }
    if (d)
        closedir(d);
}

static void on_bad(void *user, const char *text)
{
    (void)user;
    fail_msg("%s", text);
}

/* The models by name and digest, with all that they name, and whether the scenario's blob is there.
 * Everything that is there is checked to be whole. */
static void print_store(store_rig *r, const scenario *sc, char out[MAX_PRINT])
{
    store_model *models;
    size_t n_model;
    size_t n = 0;
    err_info err = {0};
    arena a;
    arena_init(&a, 1 << 22);
    if (store_list(r->s, &a, &models, &n_model, on_bad, NULL, &err))
        fail_msg("%s", err.text);
    qsort(models, n_model, sizeof *models, by_name);
    out[0] = '\0';
    for (size_t i = 0; i < n_model; i++) {
        char name[NAME_BYTES];
        name_format_full(&models[i].name, name);
        n += (size_t)snprintf(out + n, MAX_PRINT - n, "%s %s\n", name, models[i].digest);
        assert_true(n < MAX_PRINT);
        for (size_t k = 0; k < models[i].n_layer; k++)
            assert_true(rig_has_blob(r, models[i].layers[k].digest));
    }
    check_all_blobs(r);
    if (sc->blob) {
        char digest[STORE_DIGEST_BYTES];
        assert_int_equal(store_hash_bytes(sc->blob, strlen(sc->blob), digest, NULL), CAMA_OK);
        (void)snprintf(out + n, MAX_PRINT - n, "blob: %d\n", rig_has_blob(r, digest));
    }
    arena_done(&a);
}

typedef struct outcome {
    char before[MAX_PRINT], after[MAX_PRINT];
} outcome;

static void check_outcome(store_rig *r, const scenario *sc, const outcome *want, bool must_be_after)
{
    char now[MAX_PRINT];
    char later[MAX_PRINT];
    err_info err = {0};
    print_store(r, sc, now);
    if (must_be_after || strcmp(now, want->before) != 0)
        assert_string_equal(now, want->after);
    if (store_prune(r->s, 3600, NULL, &err))
        fail_msg("%s", err.text);
    assert_int_equal(rig_count_temps(r), 0);
    print_store(r, sc, later);
    assert_string_equal(now, later);
    /* and what nobody names goes, if it is left long enough */
    store_model *models;
    size_t n;
    assert_int_equal(store_prune(r->s, 0, NULL, NULL), CAMA_OK);
    assert_int_equal(store_list(r->s, &r->rig_arena, &models, &n, on_bad, NULL, NULL), CAMA_OK);
    if (n == 0)
        assert_int_equal(rig_count_blobs(r), 0);
}

static size_t count_fds(void)
{
    return rig_count("/proc/self/fd", "");
}

/* ---- the sweeps ---- */

/* The process that prepares runs on; the faults meet only what follows. */
static void start(store_rig *r, const scenario *sc)
{
    rig_open_in(r, shm());
    sc->prepare(r);
    if (strstr(sc->name, "that is there"))
        assert_int_equal(put(r, NULL), CAMA_OK);
}

static void learn_outcome(const scenario *sc, outcome *out)
{
    store_rig r;
    err_info err = {0};
    start(&r, sc);
    print_store(&r, sc, out->before);
    iofault_arm(IOFAULT_ONCE, SIZE_MAX, 0);
    const cama_err e = sc->act(&r, &err);
    (void)iofault_disarm();
    if (e)
        fail_msg("%s: %s", sc->name, err.text);
    assert_int_equal(iofault_unflushed(), 0);
    assert_false(iofault_folder_unflushed());
    print_store(&r, sc, out->after);
    check_outcome(&r, sc, out, true);
    rig_close(&r);
}

static bool fail_at(const scenario *sc, const outcome *want, iofault_mode mode, size_t k, int error)
{
    store_rig r;
    err_info err = {0};
    start(&r, sc);
    const size_t n_fd = count_fds();
    iofault_arm(mode, k, error);
    const cama_err e = sc->act(&r, &err);
    const bool met = iofault_disarm();
    if (e && e != CAMA_ERR_IO)
        fail_msg("%s, step %zu: code %d: %s", sc->name, k, (int)e, err.text);
    assert_int_equal(count_fds(), n_fd);
    assert_int_equal(iofault_unflushed(), 0);
    check_outcome(&r, sc, want, e == CAMA_OK && sc->act != prune);
    rig_close(&r);
    return met;
}

static void sweep(iofault_mode mode, int error)
{
    for (size_t i = 0; i < TEST_COUNT(scenarios); i++) {
        outcome want;
        size_t k = 0;
        learn_outcome(&scenarios[i], &want);
        while (k < MAX_STEPS && fail_at(&scenarios[i], &want, mode, k, error))
            k++;
        print_message("%s: %zu steps\n", scenarios[i].name, k);
        assert_true(k >= 5 && k < MAX_STEPS);
    }
}

static void test_eio_once(void **state)
{
    (void)state;
    sweep(IOFAULT_ONCE, EIO);
}

static void test_disk_full(void **state)
{
    (void)state;
    sweep(IOFAULT_ONWARD, ENOSPC);
}

/* kill -9 at every step: the child ends there, and we look at what it left. */
static bool end_at(const scenario *sc, const outcome *want, size_t k)
{
    store_rig r;
    start(&r, sc);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        iofault_arm(IOFAULT_EXIT, k, 0);
        _exit(sc->act(&r, NULL) == CAMA_OK ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    const int code = WEXITSTATUS(status);
    if (code != IOFAULT_STATUS)
        assert_int_equal(code, 0);
    check_outcome(&r, sc, want, code == 0);
    rig_close(&r);
    return code == IOFAULT_STATUS;
}

static void test_killed(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(scenarios); i++) {
        outcome want;
        size_t k = 0;
        learn_outcome(&scenarios[i], &want);
        while (k < MAX_STEPS && end_at(&scenarios[i], &want, k))
            k++;
        assert_true(k >= 5 && k < MAX_STEPS);
    }
}

static int make_files(void **state)
{
    (void)state;
    for (size_t i = 0; i + 1 < sizeof big_text; i++)
        big_text[i] = (char)('a' + (i * 7 + i / 1000) % 26);
    (void)snprintf(imported, sizeof imported, "%s/cama-import-XXXXXX", shm());
    const int fd = mkstemp(imported);
    if (fd < 0 || close(fd) != 0)
        return 1;
    rig_write_file(imported, big_text);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    return unlink(imported);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eio_once),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_killed),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
