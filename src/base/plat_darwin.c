#include "base/plat.h"

#include <malloc/malloc.h>
#include <mach-o/dyld.h>
#include <mach/mach.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysctl.h>
#include <sys/types.h>
#include <unistd.h>

void plat_random(void *out, size_t n)
{
    arc4random_buf(out, n); /* never fails */
}

static bool sysctl_int(const char *name, int *out)
{
    size_t n = sizeof *out;
    return sysctlbyname(name, out, &n, NULL, 0) == 0 && n == sizeof *out;
}

/* Performance cores only: threads that meet at barriers run at the speed of the slowest. */
int plat_n_cpu(void)
{
    int n = 0;
    if (!sysctl_int("hw.perflevel0.logicalcpu", &n) && !sysctl_int("hw.activecpu", &n))
        n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? n : 1;
}

/* Free, and what the system takes back without swapping: inactive and purgeable pages. */
uint64_t plat_memory_available(void)
{
    vm_statistics64_data_t vm = {0};
    mach_msg_type_number_t n = HOST_VM_INFO64_COUNT;
    const mach_port_t host = mach_host_self();
    const kern_return_t e = host_statistics64(host, HOST_VM_INFO64, (host_info64_t)&vm, &n);
    (void)mach_port_deallocate(mach_task_self(), host); /* a reference taken just above */
    if (e != KERN_SUCCESS)
        return 0;
    const uint64_t n_page = (uint64_t)vm.free_count + vm.inactive_count + vm.purgeable_count;
    return n_page * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t plat_memory_total(void)
{
    uint64_t total = 0;
    size_t n = sizeof total;
    return sysctlbyname("hw.memsize", &total, &n, NULL, 0) == 0 ? total : 0;
}

static bool task_memory(mach_task_basic_info_data_t *out)
{
    mach_msg_type_number_t n = MACH_TASK_BASIC_INFO_COUNT;
    return task_info(mach_task_self(), MACH_TASK_BASIC_INFO, (task_info_t)out, &n) == KERN_SUCCESS;
}

uint64_t plat_memory_resident(void)
{
    mach_task_basic_info_data_t info;
    return task_memory(&info) ? info.resident_size : 0;
}

uint64_t plat_memory_peak(void)
{
    mach_task_basic_info_data_t info;
    return task_memory(&info) ? info.resident_size_max : 0;
}

void plat_trim_memory(void)
{
    (void)malloc_zone_pressure_relief(NULL, 0); /* of all zones; how much there was */
}

void plat_hint_huge(void *p, size_t n)
{
    (void)p; /* the system has no such hint for arm64: its pages are 16 KB already */
    (void)n;
}

/* Threads cannot be bound to a core; the class keeps this one on the fast kind. */
void plat_pin_thread(int index)
{
    (void)index;
    (void)pthread_set_qos_class_self_np(QOS_CLASS_USER_INTERACTIVE, 0); /* a hint */
}

#define MANY_FDS 10240 /* the system's own limit for a process */

void plat_close_range(int first, int last)
{
    for (int fd = first; fd <= last && fd < MANY_FDS; fd++)
        (void)close(fd); /* most are not open */
}

void plat_die_with_parent(void)
{
    /* there is no such thing here: the end of the wire is what ends a child */
}

bool plat_own_path(char *out, size_t n)
{
    uint32_t size = (uint32_t)n;
    return _NSGetExecutablePath(out, &size) == 0;
}

void plat_cpu_name(char *out, size_t n)
{
    size_t got = n;
    if (n && sysctlbyname("machdep.cpu.brand_string", out, &got, NULL, 0) == 0)
        out[n - 1] = '\0';
    else
        (void)snprintf(out, n, "unknown CPU");
}

bool plat_has_dotprod(void)
{
    return true; /* since the first of Apple's processors for computers */
}
