/* What outlives a server: what is written is read by the next one, and no file keeps one from
 * starting. */
#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hist/hist.h"

enum { N_SEEN = 8, N_THREAD = 4, N_EACH = 40 };

static char dir[64];
static char path[128];

static int make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/cama_hist_XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/%s", dir, HIST_FILE);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    (void)chmod(dir, 0700);
    for (size_t i = 0; i < TEST_COUNT(ends); i++) {
        char file[160];
        (void)snprintf(file, sizeof file, "%s%s", path, ends[i]);
        (void)unlink(file);
    }
    (void)rmdir(dir);
    return 0;
}

static hist *open_well(void)
{
    hist *h = NULL;
    err_info err = {0};
    assert_int_equal(hist_open(dir, &h, &err), CAMA_OK);
    if (err.code)
        print_error("%s\n", err.text);
    assert_int_equal(err.code, CAMA_OK);
    return h;
}

static hist_failure failure(const char *digest, int64_t time_s)
{
    return (hist_failure){.engine = "mlx",
                          .build = "MLX 0.32.4, cama 0.1.0",
                          .digest = digest,
                          .model = "tiny:latest",
                          .reason = "killed by signal 9 (Killed)",
                          .time_s = time_s};
}

/* What a listing gave. */
typedef struct list {
    size_t n;
    char text[N_SEEN][256];
} list;

static void note(void *user, const hist_failure *f)
{
    list *l = user;
    assert_true(l->n < N_SEEN);
    (void)snprintf(l->text[l->n++], sizeof l->text[0], "%s|%s|%s|%s|%s|%lld", f->engine, f->build,
                   f->digest, f->model, f->reason, (long long)f->time_s);
}

static list listed(hist *h, const char *digest)
{
    list l = {0};
    assert_int_equal(hist_engine_each(h, digest, note, &l, NULL), CAMA_OK);
    return l;
}

static void test_failures_are_there_after_closing(void **state)
{
    (void)state;
    hist *h = open_well();
    hist_failure f = failure("aa", 100);
    assert_int_equal(hist_engine_failed(h, &f, NULL), CAMA_OK);
    f = failure("bb", 200);
    assert_int_equal(hist_engine_failed(h, &f, NULL), CAMA_OK);
    f = failure("aa", 300); /* the same pair again: the newer reason */
    f.reason = "it's \"quoted\"; DROP TABLE engine_failure";
    assert_int_equal(hist_engine_failed(h, &f, NULL), CAMA_OK);
    hist_close(h);

    h = open_well();
    list l = listed(h, NULL);
    assert_int_equal(l.n, 2);
    assert_string_equal(l.text[0], "mlx|MLX 0.32.4, cama 0.1.0|aa|tiny:latest|it's \"quoted\"; DROP"
                                   " TABLE engine_failure|300");
    assert_string_equal(l.text[1], "mlx|MLX 0.32.4, cama 0.1.0|bb|tiny:latest|killed by signal 9"
                                   " (Killed)|200");
    l = listed(h, "bb");
    assert_int_equal(l.n, 1);
    assert_int_equal(listed(h, "cc").n, 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    hist_close(h);
}

static void test_builds_and_engines_are_apart(void **state)
{
    (void)state;
    hist *h = open_well();
    hist_failure f = failure("aa", 1);
    assert_int_equal(hist_engine_failed(h, &f, NULL), CAMA_OK);
    f.build = "MLX 0.33.0, cama 0.1.0";
    assert_int_equal(hist_engine_failed(h, &f, NULL), CAMA_OK);
    f.engine = "native";
    assert_int_equal(hist_engine_failed(h, &f, NULL), CAMA_OK);
    assert_int_equal(listed(h, "aa").n, 3);
    hist_close(h);
}

static void test_reset_forgets_one_or_all(void **state)
{
    (void)state;
    hist *h = open_well();
    const char *const digests[] = {"aa", "bb", "cc"};
    for (int i = 0; i < 3; i++) {
        const hist_failure f = failure(digests[i], i);
        assert_int_equal(hist_engine_failed(h, &f, NULL), CAMA_OK);
    }
    size_t n = 99;
    assert_int_equal(hist_engine_reset(h, "bb", &n, NULL), CAMA_OK);
    assert_int_equal(n, 1);
    assert_int_equal(listed(h, NULL).n, 2);
    assert_int_equal(hist_engine_reset(h, "bb", &n, NULL), CAMA_OK);
    assert_int_equal(n, 0);
    assert_int_equal(hist_engine_reset(h, NULL, &n, NULL), CAMA_OK);
    assert_int_equal(n, 2);
    assert_int_equal(listed(h, NULL).n, 0);
    hist_close(h);
}

static void test_the_list_is_bounded_and_texts_are_cut(void **state)
{
    (void)state;
    hist *h = NULL;
    assert_int_equal(hist_open(NULL, &h, NULL), CAMA_OK);
    for (int i = 0; i < HIST_MAX_FAILURES + 5; i++) {
        char digest[16];
        (void)snprintf(digest, sizeof digest, "%08d", i);
        const hist_failure f = failure(digest, i);
        assert_int_equal(hist_engine_failed(h, &f, NULL), CAMA_OK);
    }
    size_t n = 0;
    assert_int_equal(listed(h, "00000004").n, 0); /* the oldest five are gone */
    assert_int_equal(listed(h, "00000005").n, 1);
    assert_int_equal(hist_engine_reset(h, NULL, &n, NULL), CAMA_OK);
    assert_int_equal(n, HIST_MAX_FAILURES);

    char text[HIST_TEXT_BYTES + 10];
    memset(text, 'x', sizeof text);
    memcpy(text + HIST_TEXT_BYTES - 1, "\xc3\xa9", 2); /* a character across the limit */
    text[sizeof text - 1] = '\0';
    hist_failure f = failure("aa", 1);
    f.model = "";
    f.build = f.engine = "x";
    f.reason = text;
    assert_int_equal(hist_engine_failed(h, &f, NULL), CAMA_OK);
    const list l = listed(h, "aa");
    assert_int_equal(l.n, 1);
    assert_int_equal(strncmp(l.text[0], "x|x|aa||xxx", 11), 0);
    hist_close(h);
}

/* A file that cannot be used: memory instead, and the reason. */
static void opens_in_memory(const char *folder, const char *part)
{
    hist *h = NULL;
    err_info err = {0};
    assert_int_equal(hist_open(folder, &h, &err), CAMA_OK);
    if (!err.code || !strstr(err.text, part))
        print_error("code %d: '%s' has no '%s'\n", (int)err.code, err.text, part);
    assert_int_not_equal(err.code, CAMA_OK);
    assert_non_null(strstr(err.text, part));
    const hist_failure f = failure("aa", 1);
    assert_int_equal(hist_engine_failed(h, &f, NULL), CAMA_OK);
    assert_int_equal(listed(h, "aa").n, 1);
    hist_close(h);
}

static void write_file(const char *bytes, size_t n)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    assert_int_equal(close(fd), 0);
}

static void test_a_file_that_is_no_database(void **state)
{
    (void)state;
    char garbage[4096];
    memset(garbage, 'g', sizeof garbage);
    write_file(garbage, sizeof garbage);
    opens_in_memory(dir, "not a database");
    struct stat st;
    assert_int_equal(stat(path, &st), 0); /* left as it was: it may be somebody's */
    assert_int_equal(st.st_size, sizeof garbage);
}

/* Each page in turn overwritten: either it is noticed at the start, or everything still works. */
static void test_damaged_pages(void **state)
{
    (void)state;
    hist *h = open_well();
    for (int i = 0; i < 200; i++) {
        char digest[16];
        (void)snprintf(digest, sizeof digest, "%08d", i);
        const hist_failure f = failure(digest, i);
        assert_int_equal(hist_engine_failed(h, &f, NULL), CAMA_OK);
    }
    hist_close(h); /* the log is folded into the file */
    static char bytes[1 << 20];
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    const ssize_t n = read(fd, bytes, sizeof bytes);
    assert_true(n > 8192);
    assert_int_equal(close(fd), 0);
    size_t n_noticed = 0;
    for (ssize_t at = 0; at + 4096 <= n; at += 4096) {
        static char bad[1 << 20];
        memcpy(bad, bytes, (size_t)n);
        memset(bad + at, 0xa5, 4096);
        write_file(bad, (size_t)n);
        err_info err = {0};
        assert_int_equal(hist_open(dir, &h, &err), CAMA_OK);
        n_noticed += err.code != CAMA_OK;
        const hist_failure f = failure("zz", 1000);
        assert_int_equal(hist_engine_failed(h, &f, NULL), CAMA_OK);
        assert_int_equal(listed(h, "zz").n, 1);
        hist_close(h);
    }
    assert_true(n_noticed >= 2); /* the head and the table at least */
}

static void test_a_folder_that_cannot_be(void **state)
{
    (void)state;
    char folder[160];
    write_file("x", 1);
    (void)snprintf(folder, sizeof folder, "%s/below", path); /* below a file */
    opens_in_memory(folder, "cannot be made");
    static char longest[8192];
    memset(longest, 'a', sizeof longest - 1);
    opens_in_memory(longest, "a folder's name of");
    if (geteuid() != 0) { /* root may write anywhere */
        (void)unlink(path);
        assert_int_equal(chmod(dir, 0500), 0);
        opens_in_memory(dir, "cannot be opened");
    }
}

static void test_a_newer_version_is_left_alone(void **state)
{
    (void)state;
    hist_close(open_well());
    const int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    const unsigned char version[4] = {0, 0, 0, 77}; /* where SQLite keeps user_version */
    assert_int_equal(pwrite(fd, version, 4, 60), 4);
    assert_int_equal(close(fd), 0);
    opens_in_memory(dir, "it is of version 77, this cama knows 0 to 1");
}

static void test_folders_are_made(void **state)
{
    (void)state;
    char deep[128];
    (void)snprintf(deep, sizeof deep, "%s/a/b", dir);
    hist *h = NULL;
    err_info err = {0};
    assert_int_equal(hist_open(deep, &h, &err), CAMA_OK);
    assert_int_equal(err.code, CAMA_OK);
    hist_close(h);
    struct stat st;
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    (void)snprintf(deep, sizeof deep, "%s/a/b/%s", dir, HIST_FILE);
    assert_int_equal(unlink(deep), 0);
    (void)snprintf(deep, sizeof deep, "%s/a/b", dir);
    assert_int_equal(rmdir(deep), 0);
    (void)snprintf(deep, sizeof deep, "%s/a", dir);
    assert_int_equal(rmdir(deep), 0);
}

/* Each with a connection of its own, as servers have. */
static void *writer(void *arg)
{
    const int k = *(const int *)arg;
    hist *h = NULL;
    err_info err = {0};
    if (hist_open(dir, &h, &err) || err.code)
        return arg;
    for (int i = 0; i < N_EACH; i++) {
        char digest[16];
        (void)snprintf(digest, sizeof digest, "%d-%d", k, i);
        const hist_failure f = failure(digest, i);
        if (hist_engine_failed(h, &f, &err)) {
            hist_close(h);
            return arg;
        }
    }
    hist_close(h);
    return NULL;
}

static void test_several_servers_write(void **state)
{
    (void)state;
    pthread_t threads[N_THREAD];
    int k[N_THREAD];
    for (int i = 0; i < N_THREAD; i++) {
        k[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, writer, &k[i]), 0);
    }
    for (int i = 0; i < N_THREAD; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    hist *h = open_well();
    size_t n = 0;
    assert_int_equal(hist_engine_reset(h, NULL, &n, NULL), CAMA_OK);
    assert_int_equal(n, N_THREAD * N_EACH);
    hist_close(h);
}

static void test_where_it_lies(void **state)
{
    (void)state;
    char out[128];
    assert_int_equal(setenv("HOME", "/home/x", 1), 0);
    assert_int_equal(unsetenv("XDG_DATA_HOME"), 0);
    assert_true(hist_default_dir(out, sizeof out));
    assert_non_null(strstr(out, "/home/x/"));
    assert_string_equal(out + strlen(out) - 5, "/cama");
    assert_false(hist_default_dir(out, 8));
    assert_int_equal(setenv("HOME", "", 1), 0);
    assert_false(hist_default_dir(out, sizeof out));
#ifdef __linux__
    assert_int_equal(setenv("XDG_DATA_HOME", "/data", 1), 0);
    assert_true(hist_default_dir(out, sizeof out));
    assert_string_equal(out, "/data/cama");
#endif
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_failures_are_there_after_closing),
        TEST(test_builds_and_engines_are_apart),
        TEST(test_reset_forgets_one_or_all),
        TEST(test_the_list_is_bounded_and_texts_are_cut),
        TEST(test_a_file_that_is_no_database),
        TEST(test_damaged_pages),
        TEST(test_a_folder_that_cannot_be),
        TEST(test_a_newer_version_is_left_alone),
        TEST(test_folders_are_made),
        TEST(test_several_servers_write),
        TEST(test_where_it_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
