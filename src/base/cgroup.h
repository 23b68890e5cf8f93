/* cgroup.h - what Linux control groups leave to this process. Only files are read, so it compiles
 * everywhere; plat_linux.c is the user.
 *
 * A process sits in a group below a path, and every group on the way up to the root may set a
 * limit: the tightest counts. Version 2 has one tree for all controllers, version 1 a tree for
 * each, and both may be mounted side by side. In a container the path may name directories that
 * only the host can see; the walk to the root then ends at the container's own group. Source:
 * Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
 */
#ifndef BASE_CGROUP_H
#define BASE_CGROUP_H

#include <stdint.h>

typedef struct cgroup_limits {
    int n_cpu;             /* the CPU quota, rounded up; 0: no quota */
    uint64_t memory_bytes; /* the memory limit; UINT64_MAX: none */
    uint64_t memory_room; /* what may still be taken, file cache counted as free; UINT64_MAX: any */
} cgroup_limits;

/* self: "/proc/self/cgroup"; root: "/sys/fs/cgroup". Never fails: what cannot be read sets no
 * limit. Costs a few file reads. */
void cgroup_read(const char *self, const char *root, cgroup_limits *out);

#endif
