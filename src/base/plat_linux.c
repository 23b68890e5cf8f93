#define _GNU_SOURCE /* sched_getaffinity, MADV_HUGEPAGE: this file is the one that may */
#include "base/plat.h"

#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#include <unistd.h>

#include "base/cgroup.h"

void plat_random(void *out, size_t n)
{
    uint8_t *p = out;
    while (n) {
        const ssize_t got = getrandom(p, n, 0);
        if (got <= 0)
            abort();
        p += got;
        n -= (size_t)got;
    }
}

static cgroup_limits own_limits(void)
{
    cgroup_limits limits;
    cgroup_read("/proc/self/cgroup", "/sys/fs/cgroup", &limits);
    return limits;
}

int plat_n_cpu(void)
{
    cpu_set_t set;
    int n = (int)sysconf(_SC_NPROCESSORS_ONLN); /* the mask does not fit a machine of > 1024 CPUs */
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    const int quota = own_limits().n_cpu;
    if (quota > 0 && quota < n)
        n = quota;
    return n > 0 ? n : 1;
}

/* Value in bytes of a "Name:   123 kB" line; 0 when it is not there. */
static uint64_t kb_field(const char *path, const char *name)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    char line[256];
    unsigned long long kb = 0;
    const size_t n_name = strlen(name);
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, name, n_name) && sscanf(line + n_name, ": %llu", &kb) == 1)
            break;
    (void)fclose(f); /* read only */
    return (uint64_t)kb * 1024;
}

uint64_t plat_memory_available(void)
{
    const uint64_t avail = kb_field("/proc/meminfo", "MemAvailable");
    const uint64_t room = own_limits().memory_room;
    return room < avail ? room : avail;
}

uint64_t plat_memory_total(void)
{
    const uint64_t total = kb_field("/proc/meminfo", "MemTotal");
    const uint64_t limit = own_limits().memory_bytes;
    return limit < total ? limit : total;
}

uint64_t plat_memory_resident(void)
{
    return kb_field("/proc/self/status", "VmRSS");
}

uint64_t plat_memory_peak(void)
{
    return kb_field("/proc/self/status", "VmHWM");
}

void plat_trim_memory(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0); /* whether there was any */
#endif
}

void plat_hint_huge(void *p, size_t n)
{
    (void)madvise(p, n, MADV_HUGEPAGE); /* a hint */
}

void plat_pin_thread(int index)
{
    cpu_set_t all;
    if (sched_getaffinity(0, sizeof all, &all) != 0)
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all) || index-- > 0)
            continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        (void)pthread_setaffinity_np(pthread_self(), sizeof one, &one); /* a hint */
        return;
    }
}

#define MANY_FDS 65536 /* as far as a system without close_range is looked through */

void plat_close_range(int first, int last)
{
    if (close_range((unsigned)first, (unsigned)last, 0) == 0)
        return;
    for (int fd = first; fd <= last && fd < MANY_FDS; fd++)
        (void)close(fd); /* most are not open */
}

void plat_die_with_parent(void)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* an extra */
}

/* The file's name, so that process lists show it; where another file has that name by now, the way
 * to the one that runs. */
bool plat_own_path(char *out, size_t n)
{
    static const char link[] = "/proc/self/exe";
    struct stat named;
    struct stat running;
    const ssize_t got = readlink(link, out, n);
    if (got > 0 && (size_t)got < n && stat(link, &running) == 0) {
        out[got] = '\0';
        if (stat(out, &named) == 0 && named.st_dev == running.st_dev &&
            named.st_ino == running.st_ino)
            return true;
    }
    return snprintf(out, n, "%s", link) < (int)n;
}

/* The text after "name : " on its first line in /proc/cpuinfo, or false. */
static bool cpuinfo_field(const char *name, char *out, size_t n)
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[256];
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, name, strlen(name)) != 0 || !colon)
            continue;
        colon += strspn(colon, ": \t");
        (void)snprintf(out, n, "%.*s", (int)strcspn(colon, "\n"), colon);
        found = true;
    }
    if (f)
        (void)fclose(f); /* read only */
    return found;
}

void plat_cpu_name(char *out, size_t n)
{
    char maker[32];
    char part[32];
    if (cpuinfo_field("model name", out, n))
        return;
    /* arm64 gives numbers only (Arm's MIDR register) */
    if (cpuinfo_field("CPU implementer", maker, sizeof maker) &&
        cpuinfo_field("CPU part", part, sizeof part))
        (void)snprintf(out, n, "CPU of maker %s, part %s", maker, part);
    else
        (void)snprintf(out, n, "unknown CPU");
}

#if defined(__aarch64__)
bool plat_has_dotprod(void)
{
    const unsigned long need = HWCAP_ASIMDDP | HWCAP_FPHP | HWCAP_ASIMDHP;
    return (getauxval(AT_HWCAP) & need) == need;
}
#else
bool plat_has_dotprod(void)
{
    return false;
}
#endif
