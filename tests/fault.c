#include "test.h"

#include "fault.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/types.h>

#define SWEEP_MAX 100000

/* The linker's names: __wrap_x is called for x, __real_x is x itself. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
int __real_posix_memalign(void **out, size_t align, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
int __real_pthread_create(pthread_t *out, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *arg);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
int __wrap_posix_memalign(void **out, size_t align, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *arg);

/* Counters with no data behind them; the default order is stronger than they need. */
static atomic_uint armed_kinds;
static atomic_size_t n_seen;
static atomic_size_t fail_at;
static atomic_bool failed;
static bool ok_is_allowed;

static bool must_fail(unsigned kind)
{
    if (!(atomic_load(&armed_kinds) & kind) ||
        atomic_fetch_add(&n_seen, 1) != atomic_load(&fail_at))
        return false;
    atomic_store(&failed, true);
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t n)
{
    return must_fail(FAULT_HEAP) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return must_fail(FAULT_HEAP) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return must_fail(FAULT_HEAP) ? NULL : __real_realloc(p, n);
}

int __wrap_posix_memalign(void **out, size_t align, size_t n)
{
    return must_fail(FAULT_HEAP) ? ENOMEM : __real_posix_memalign(out, align, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    return must_fail(FAULT_HEAP) ? NULL : __real_aligned_alloc(align, n);
}

char *__wrap_strdup(const char *s)
{
    return must_fail(FAULT_HEAP) ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
    return must_fail(FAULT_HEAP) ? NULL : __real_strndup(s, n);
}

void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    return must_fail(FAULT_MMAP) ? MAP_FAILED : __real_mmap(at, n, prot, flags, fd, offset);
}

int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *arg)
{
    return must_fail(FAULT_THREAD) ? EAGAIN : __real_pthread_create(out, attr, fn, arg);
}

void fault_arm(unsigned kinds, size_t k)
{
    atomic_store(&n_seen, 0);
    atomic_store(&failed, false);
    atomic_store(&fail_at, k);
    atomic_store(&armed_kinds, kinds);
}

bool fault_disarm(void)
{
    atomic_store(&armed_kinds, 0);
    return atomic_load(&failed);
}

size_t fault_seen(void)
{
    return atomic_load(&n_seen);
}

void fault_allow_ok(bool allow)
{
    ok_is_allowed = allow;
}

size_t fault_sweep(unsigned kinds, cama_err (*attempt)(void *arg, err_info *err), void *arg)
{
    for (size_t k = 0; k < SWEEP_MAX; k++) {
        err_info err = {0};
        fault_arm(kinds, k);
        const cama_err e = attempt(arg, &err);
        const bool met = fault_disarm();
        if (!met) {
            if (e)
                print_error("no failure met, yet: %s\n", err.text);
            assert_int_equal(e, CAMA_OK);
            return k;
        }
        if (e == CAMA_OK && ok_is_allowed)
            continue;
        if (e != CAMA_ERR_NOMEM)
            print_error("event %zu failed and gave code %d: %s\n", k, (int)e, err.text);
        assert_int_equal(e, CAMA_ERR_NOMEM);
    }
    print_error("the sweep saw %d events and no end\n", SWEEP_MAX);
    fail();
    return SWEEP_MAX;
}
