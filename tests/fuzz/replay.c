/* replay.c - runs a fuzz target over files and folders given as arguments, so that every build
 * checks the corpus. A missing folder is an error: a target without a corpus checks nothing. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int n_run;

static void run_file(const char *path, size_t n)
{
    FILE *f = fopen(path, "rb");
    /* exactly n bytes on the heap, so that the sanitizer sees a read past the end */
    uint8_t *data = malloc(n ? n : 1);
    if (!f || !data || fread(data, 1, n, f) != n) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    fclose(f);
    LLVMFuzzerTestOneInput(data, n);
    free(data);
    n_run++;
}

static void run_path(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        fprintf(stderr, "no corpus at %s\n", path);
        exit(1);
    }
    if (!S_ISDIR(st.st_mode)) {
        run_file(path, (size_t)st.st_size);
        return;
    }
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        char sub[4096];
        (void)snprintf(sub, sizeof sub, "%s/%s", path, e->d_name); /* repository paths are short */
        run_path(sub);
    }
    if (d)
        closedir(d);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_path(argv[i]);
    printf("replayed %d inputs\n", n_run);
    return n_run ? 0 : 1;
}
