/* Blobs: written, checked, imported, linked, read. */
#include "store_rig.h"

#include <sys/file.h>

static const char hello[] =
    "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
static const char empty[] =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

static void test_digests(void **state)
{
    (void)state;
    char out[STORE_DIGEST_BYTES];
    char text[STORE_DIGEST_BYTES];
    memcpy(text, hello, sizeof text);
    text[6] = '-';
    for (char *c = text + 7; *c; c++)
        if (*c >= 'a')
            *c = (char)(*c - 32);
    assert_int_equal(digest_parse(text, out, NULL), CAMA_OK);
    assert_string_equal(out, hello);
    static const char *const bad[] = {"", "sha256:", "sha256:xyz", "md5:00", "sha256"};
    for (size_t i = 0; i < TEST_COUNT(bad); i++) {
        err_info err = {0};
        assert_int_equal(digest_parse(bad[i], out, &err), CAMA_ERR_ARG);
        assert_string_equal(err.text, "invalid digest format");
    }
    text[10] = 'G';
    assert_int_equal(digest_parse(text, out, NULL), CAMA_ERR_ARG);
    text[10] = 'A';
    text[6] = '/';
    assert_int_equal(digest_parse(text, out, NULL), CAMA_ERR_ARG);
}

static void test_write(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    char digest[STORE_DIGEST_BYTES];
    const char *text;
    size_t n;
    uint64_t size;
    assert_int_equal(store_blob_put(r.s, "hello", 5, digest, NULL), CAMA_OK);
    assert_string_equal(digest, hello);
    assert_int_equal(store_blob_put(r.s, "", 0, digest, NULL), CAMA_OK);
    assert_string_equal(digest, empty);
    assert_int_equal(store_blob_size(r.s, hello, &size, NULL), CAMA_OK);
    assert_int_equal(size, 5);
    assert_int_equal(store_blob_read(r.s, hello, 5, &r.rig_arena, &text, &n, NULL), CAMA_OK);
    assert_int_equal(n, 5);
    assert_string_equal(text, "hello");
    assert_int_equal(store_blob_read(r.s, hello, 4, &r.rig_arena, &text, &n, NULL), CAMA_ERR_LIMIT);
    assert_int_equal(rig_count_temps(&r), 0);
    assert_int_equal(rig_count_blobs(&r), 2);
    struct stat st;
    char path[STORE_PATH_BYTES];
    assert_int_equal(store_blob_path(r.s, hello, path, sizeof path, NULL), CAMA_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777 & ~022, 0644 & ~022); /* less what the umask takes */
    assert_int_equal(store_blob_path(r.s, hello, path, 20, NULL), CAMA_ERR_LIMIT);
    rig_close(&r);
}

static void test_missing(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    err_info err = {0};
    uint64_t size;
    const char *text;
    size_t n;
    assert_int_equal(store_blob_size(r.s, hello, &size, &err), CAMA_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "blob \"sha256:2cf24"));
    assert_int_equal(store_blob_read(r.s, hello, 9, &r.rig_arena, &text, &n, &err),
                     CAMA_ERR_NOT_FOUND);
    assert_int_equal(store_blob_read(r.s, "sha256:xyz", 9, &r.rig_arena, &text, &n, &err),
                     CAMA_ERR_ARG);
    rig_close(&r);
}

static void test_mismatch(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    err_info err = {0};
    blob_writer *b;
    assert_int_equal(blob_writer_open(r.s, &b, NULL), CAMA_OK);
    assert_int_equal(blob_writer_append(b, "hel", 3, NULL), CAMA_OK);
    assert_int_equal(rig_count_temps(&r), 1);
    assert_int_equal(blob_writer_append(b, "lo", 2, NULL), CAMA_OK);
    assert_int_equal(blob_writer_commit(b, empty, NULL, &err), CAMA_ERR_FORMAT);
    char want[256];
    (void)snprintf(want, sizeof want, "digest mismatch, expected \"%s\", got \"%s\"", empty, hello);
    assert_string_equal(err.text, want);
    assert_int_equal(rig_count(rig_path(&r, "blobs"), ""), 0);

    assert_int_equal(blob_writer_open(r.s, &b, NULL), CAMA_OK);
    assert_int_equal(blob_writer_commit(b, "sha256:no", NULL, &err), CAMA_ERR_ARG);
    assert_int_equal(blob_writer_open(r.s, &b, NULL), CAMA_OK);
    assert_int_equal(blob_writer_append(b, "hello", 5, NULL), CAMA_OK);
    blob_writer_abort(b);
    blob_writer_abort(NULL);
    assert_int_equal(rig_count(rig_path(&r, "blobs"), ""), 0);
    rig_close(&r);
}

/* Bytes that went bad on the disk are good again after the same blob was written once more. */
static void test_heals(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    const char *digest = rig_blob(&r, "hello");
    char path[STORE_PATH_BYTES];
    const char *text;
    size_t n;
    assert_int_equal(store_blob_path(r.s, digest, path, sizeof path, NULL), CAMA_OK);
    rig_write_file(path, "jello");
    assert_string_equal(rig_blob(&r, "hello"), digest);
    assert_int_equal(store_blob_read(r.s, digest, 99, &r.rig_arena, &text, &n, NULL), CAMA_OK);
    assert_string_equal(text, "hello");
    rig_close(&r);
}

/* ---- files ---- */

typedef struct watch {
    uint64_t last, all;
    size_t n, cancel_at;
} watch;

static bool on_progress(void *user, uint64_t done, uint64_t all)
{
    watch *w = user;
    assert_true(done >= w->last && done <= all);
    w->last = done;
    w->all = all;
    return ++w->n != w->cancel_at;
}

#define BIG ((size_t)5 << 20)

static void write_big(const char *path)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < BIG / 4; i++)
        assert_int_equal(fprintf(f, "%04x", (unsigned)(i & 0xFFFF)), 4);
    assert_int_equal(fclose(f), 0);
}

static void check_import(bool link)
{
    store_rig r;
    rig_open(&r);
    const char *file = rig_path(&r, "big.bin");
    char digest[STORE_DIGEST_BYTES];
    char path[STORE_PATH_BYTES];
    err_info err = {0};
    uint64_t size;
    struct stat st;
    write_big(file);
    watch w = {.cancel_at = 3};
    assert_int_equal(store_blob_import(r.s, file, link, on_progress, &w, digest, &err),
                     CAMA_ERR_CANCELED);
    assert_int_equal(rig_count(rig_path(&r, "blobs"), ""), 0);
    w = (watch){0};
    if (store_blob_import(r.s, file, link, on_progress, &w, digest, &err))
        fail_msg("%s", err.text);
    assert_int_equal(w.all, BIG);
    assert_int_equal(w.last, BIG);
    assert_int_equal(store_blob_size(r.s, digest, &size, NULL), CAMA_OK);
    assert_int_equal(size, BIG);
    assert_int_equal(store_blob_path(r.s, digest, path, sizeof path, NULL), CAMA_OK);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(S_ISLNK(st.st_mode), link);
    assert_int_equal(rig_count_temps(&r), 0);

    const char *text;
    size_t n;
    char again[STORE_DIGEST_BYTES];
    assert_int_equal(store_blob_read(r.s, digest, BIG, &r.rig_arena, &text, &n, NULL), CAMA_OK);
    assert_int_equal(store_hash_bytes(text, n, again, NULL), CAMA_OK);
    assert_string_equal(again, digest);

    /* the file goes: a copy does not mind, a link is no blob any more and can be replaced */
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rig_has_blob(&r, digest), !link);
    assert_int_equal(store_blob_put(r.s, text, n, again, NULL), CAMA_OK);
    assert_true(rig_has_blob(&r, digest));
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    rig_close(&r);
}

static bool until(void *user, uint64_t done, uint64_t all)
{
    return done < *(const uint64_t *)user && done <= all;
}

/* Another process writes the file, through a descriptor of its own. */
static void test_adopt(void **state)
{
    (void)state;
    store_rig r;
    blob_writer *b;
    char digest[STORE_DIGEST_BYTES];
    uint64_t most = 100;
    rig_open(&r);
    assert_int_equal(blob_writer_open(r.s, &b, NULL), CAMA_OK);
    const int fd = dup(blob_writer_fd(b));
    assert_int_equal(write(fd, "hello", 5), 5);
    (void)close(fd); /* the writer's own stays */
    assert_int_equal(blob_writer_adopt(b, until, &most, NULL), CAMA_OK);
    assert_int_equal(blob_writer_commit(b, NULL, digest, NULL), CAMA_OK);
    assert_string_equal(digest, hello);
    assert_int_equal(rig_count_blobs(&r), 1);
    most = 3; /* who asked has enough */
    assert_int_equal(blob_writer_open(r.s, &b, NULL), CAMA_OK);
    assert_int_equal(write(blob_writer_fd(b), "hello", 5), 5);
    assert_int_equal(blob_writer_adopt(b, until, &most, NULL), CAMA_ERR_CANCELED);
    blob_writer_abort(b);
    assert_int_equal(rig_count_temps(&r), 0);
    rig_close(&r);
}

static void test_import_copy(void **state)
{
    (void)state;
    check_import(false);
}

static void test_import_link(void **state)
{
    (void)state;
    check_import(true);
}

/* A link that is whole stays when the same bytes come again: they would take the space twice. */
static void test_link_stays(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    char digest[STORE_DIGEST_BYTES];
    char path[STORE_PATH_BYTES];
    struct stat st;
    const char *file = rig_path(&r, "m.gguf");
    rig_write_file(file, "hello");
    assert_int_equal(store_blob_import(r.s, file, true, NULL, NULL, digest, NULL), CAMA_OK);
    assert_string_equal(digest, hello);
    assert_int_equal(store_blob_path(r.s, digest, path, sizeof path, NULL), CAMA_OK);
    rig_make_old(path, 7200);
    assert_string_equal(rig_blob(&r, "hello"), hello);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_true(time(NULL) - st.st_mtime < 3600);

    /* and a copy that is there is not replaced by a link */
    assert_int_equal(unlink(path), 0);
    (void)rig_blob(&r, "hello");
    assert_int_equal(store_blob_import(r.s, file, true, NULL, NULL, digest, NULL), CAMA_OK);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    rig_close(&r);
}

static bool on_append(void *user, uint64_t done, uint64_t all)
{
    (void)all;
    if (done > 0 && done < BIG) {
        FILE *f = fopen(user, "a");
        assert_non_null(f);
        assert_int_equal(fputc('x', f), 'x');
        assert_int_equal(fclose(f), 0);
    }
    return true;
}

static void test_import_refused(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    char digest[STORE_DIGEST_BYTES] = "before";
    err_info err = {0};
    assert_int_equal(store_blob_import(r.s, rig_path(&r, "none"), false, NULL, NULL, digest, &err),
                     CAMA_ERR_NOT_FOUND);
    assert_int_equal(store_blob_import(r.s, r.root, true, NULL, NULL, digest, &err), CAMA_ERR_IO);
    assert_non_null(strstr(err.text, "not a regular file"));
    const char *pipe = rig_path(&r, "pipe");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_int_equal(store_blob_import(r.s, pipe, false, NULL, NULL, digest, &err), CAMA_ERR_IO);
    char *file = arena_copy(&r.rig_arena, rig_path(&r, "big.bin"), 40);
    write_big(file);
    assert_int_equal(store_blob_import(r.s, file, true, on_append, file, digest, &err),
                     CAMA_ERR_IO);
    assert_non_null(strstr(err.text, "was changed while it was read"));
    assert_string_equal(digest, "before");
    rig_close(&r);
}

/* ---- the folder of the store ---- */

static void test_root(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    store *s;
    err_info err = {0};
    const char *deep = rig_path(&r, "a/b/c//");
    assert_int_equal(store_open(deep, &s, &err), CAMA_OK);
    assert_true(rig_exists(rig_path(&r, "a/b/c")));
    store_close(s);
    store_close(NULL);
    rig_write_file(rig_path(&r, "file"), "x");
    assert_int_equal(store_open(rig_path(&r, "file"), &s, &err), CAMA_ERR_IO);
    assert_int_equal(store_open(rig_path(&r, "file/below"), &s, &err), CAMA_ERR_IO);
    assert_non_null(strstr(err.text, "file"));
    char *longest = malloc(STORE_MAX_ROOT + 1);
    assert_non_null(longest);
    memset(longest, 'a', STORE_MAX_ROOT);
    longest[0] = '/';
    longest[STORE_MAX_ROOT] = '\0';
    assert_int_equal(store_open(longest, &s, &err), CAMA_ERR_LIMIT);
    free(longest);
    rig_close(&r);
}

static void check_default(const char *want)
{
    store *s;
    err_info err = {0};
    if (store_open(NULL, &s, &err))
        fail_msg("%s", err.text);
    assert_string_equal(store_root(s), want);
    store_close(s);
}

static void test_default_root(void **state)
{
    (void)state;
    store_rig r;
    rig_open(&r);
    assert_int_equal(unsetenv("CAMA_MODELS") + unsetenv("OLLAMA_MODELS"), 0);
    assert_int_equal(setenv("HOME", r.root, 1), 0);
    check_default(rig_path(&r, ".ollama/models"));
    assert_int_equal(setenv("OLLAMA_MODELS", rig_path(&r, "theirs"), 1), 0);
    check_default(rig_path(&r, "theirs"));
    assert_int_equal(setenv("CAMA_MODELS", rig_path(&r, "ours"), 1), 0);
    check_default(rig_path(&r, "ours"));
    assert_int_equal(setenv("CAMA_MODELS", "", 1), 0); /* as if it were not set */
    check_default(rig_path(&r, "theirs"));
    assert_int_equal(chdir(r.root), 0);
    assert_int_equal(setenv("CAMA_MODELS", "relative", 1), 0);
    check_default(rig_path(&r, "relative"));
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(unsetenv("CAMA_MODELS") + unsetenv("OLLAMA_MODELS"), 0);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digests),    cmocka_unit_test(test_write),
        cmocka_unit_test(test_missing),    cmocka_unit_test(test_mismatch),
        cmocka_unit_test(test_heals),      cmocka_unit_test(test_import_copy),
        cmocka_unit_test(test_adopt),      cmocka_unit_test(test_import_link),
        cmocka_unit_test(test_link_stays), cmocka_unit_test(test_import_refused),
        cmocka_unit_test(test_root),       cmocka_unit_test(test_default_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
