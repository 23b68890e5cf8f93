#define _GNU_SOURCE /* sched_getaffinity, MADV_HUGEPAGE: this file is the one that may */
#include "base/plat.h"

#include <sched.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

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

/* First line of a small file, or false. */
static bool read_line(const char *path, char *out, int n)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    const bool ok = fgets(out, n, f) != NULL;
    (void)fclose(f); /* read only */
    return ok;
}

/* "quota period" in microseconds; "max" means none (cgroup v2, Documentation/cgroup-v2). */
static int cgroup_cpus(void)
{
    char line[64];
    long long quota = 0;
    long long period = 0;
    if (!read_line("/sys/fs/cgroup/cpu.max", line, sizeof line) ||
        sscanf(line, "%lld %lld", &quota, &period) != 2 || quota <= 0 || period <= 0)
        return 0;
    return (int)((quota + period - 1) / period);
}

int plat_n_cpu(void)
{
    cpu_set_t set;
    int n = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    const int quota = cgroup_cpus();
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

static uint64_t number_file(const char *path)
{
    char line[64];
    unsigned long long v = 0;
    if (!read_line(path, line, sizeof line) || sscanf(line, "%llu", &v) != 1)
        return 0;
    return v;
}

uint64_t plat_memory_available(void)
{
    uint64_t avail = kb_field("/proc/meminfo", "MemAvailable");
    const uint64_t max = number_file("/sys/fs/cgroup/memory.max");
    const uint64_t now = number_file("/sys/fs/cgroup/memory.current");
    if (max && now <= max && max - now < avail)
        avail = max - now;
    return avail;
}

uint64_t plat_memory_total(void)
{
    uint64_t total = kb_field("/proc/meminfo", "MemTotal");
    const uint64_t max = number_file("/sys/fs/cgroup/memory.max");
    if (max && max < total)
        total = max;
    return total;
}

uint64_t plat_memory_resident(void)
{
    return kb_field("/proc/self/status", "VmRSS");
}

uint64_t plat_memory_peak(void)
{
    return kb_field("/proc/self/status", "VmHWM");
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

void plat_cpu_name(char *out, size_t n)
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[256];
    (void)snprintf(out, n, "unknown CPU");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        (void)snprintf(out, n, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f)
        (void)fclose(f); /* read only */
}
