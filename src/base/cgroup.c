#include "base/cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 1024
/* Version 1 writes "none" as a huge, page-rounded number. */
#define V1_NO_LIMIT (UINT64_C(1) << 60)

typedef struct group {
    char dir[PATH_BYTES]; /* of the group that is being looked at */
    size_t n_root;        /* length of the part that the walk up does not leave */
} group;

/* The first line of dir/name, or false. */
static bool read_line(const group *g, const char *name, char *out, int n)
{
    char path[PATH_BYTES + 64];
    (void)snprintf(path, sizeof path, "%s/%s", g->dir, name); /* cut: not found, no limit */
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    const bool ok = fgets(out, n, f) != NULL;
    (void)fclose(f); /* read only */
    return ok;
}

/* A number, or false ("max" and -1 are no numbers here). */
static bool read_u64(const group *g, const char *name, uint64_t *out)
{
    char line[64];
    unsigned long long v;
    if (!read_line(g, name, line, sizeof line) || line[0] == '-' || sscanf(line, "%llu", &v) != 1)
        return false;
    *out = v;
    return true;
}

/* Bytes of file cache in memory.stat: reclaimed before anything is refused. */
static uint64_t file_cache(const group *g, const char *prefix)
{
    char path[PATH_BYTES + 64];
    char line[128];
    uint64_t sum = 0;
    (void)snprintf(path, sizeof path, "%s/memory.stat", g->dir);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        char name[64];
        unsigned long long v;
        if (sscanf(line, "%63s %llu", name, &v) != 2 || strncmp(name, prefix, strlen(prefix)) != 0)
            continue;
        const char *tail = name + strlen(prefix);
        if (!strcmp(tail, "inactive_file") || !strcmp(tail, "active_file"))
            sum += v;
    }
    if (f)
        (void)fclose(f); /* read only */
    return sum;
}

static void take_cpu(cgroup_limits *out, long long quota, long long period)
{
    if (quota <= 0 || period <= 0 || quota / period > 1000000)
        return;
    const int n = (int)((quota + period - 1) / period);
    if (out->n_cpu == 0 || n < out->n_cpu)
        out->n_cpu = n;
}

static void take_memory(cgroup_limits *out, uint64_t max, uint64_t used, uint64_t cache)
{
    if (max < out->memory_bytes)
        out->memory_bytes = max;
    used -= cache < used ? cache : used;
    const uint64_t room = used < max ? max - used : 0;
    if (room < out->memory_room)
        out->memory_room = room;
}

static void look_v2(const group *g, cgroup_limits *out)
{
    char line[64];
    long long quota;
    long long period;
    if (read_line(g, "cpu.max", line, sizeof line) &&
        sscanf(line, "%lld %lld", &quota, &period) == 2)
        take_cpu(out, quota, period);
    uint64_t max;
    uint64_t used = 0;
    if (read_u64(g, "memory.max", &max)) {
        /* absent: 0, and the limit itself still counts */
        (void)read_u64(g, "memory.current", &used);
        take_memory(out, max, used, file_cache(g, ""));
    }
}

static void look_v1_cpu(const group *g, cgroup_limits *out)
{
    uint64_t quota;
    uint64_t period;
    if (read_u64(g, "cpu.cfs_quota_us", &quota) && read_u64(g, "cpu.cfs_period_us", &period) &&
        quota < INT64_MAX && period < INT64_MAX)
        take_cpu(out, (long long)quota, (long long)period);
}

static void look_v1_memory(const group *g, cgroup_limits *out)
{
    uint64_t max;
    uint64_t used = 0;
    if (!read_u64(g, "memory.limit_in_bytes", &max) || max >= V1_NO_LIMIT)
        return;
    (void)read_u64(g, "memory.usage_in_bytes", &used); /* absent: 0 */
    take_memory(out, max, used, file_cache(g, "total_"));
}

/* Looks at root/tree/path and at each group above it, down to root/tree. */
static void walk_up(const char *root, const char *tree, const char *path,
                    void (*look)(const group *, cgroup_limits *), cgroup_limits *out)
{
    group g;
    g.n_root = (size_t)snprintf(g.dir, sizeof g.dir, "%s%s", root, tree);
    if (g.n_root >= sizeof g.dir)
        return;
    (void)snprintf(g.dir + g.n_root, sizeof g.dir - g.n_root, "%s", path); /* cut: not found */
    for (;;) {
        look(&g, out);
        char *slash = strrchr(g.dir + g.n_root, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

/* True if the comma-separated list holds name. */
static bool has_word(const char *list, const char *name)
{
    const size_t n = strlen(name);
    for (const char *p = strstr(list, name); p; p = strstr(p + 1, name))
        if ((p == list || p[-1] == ',') && (p[n] == '\0' || p[n] == ','))
            return true;
    return false;
}

/* A line is "number:controllers:path"; version 2 has no controllers. */
static void read_membership(char *line, const char *root, cgroup_limits *out)
{
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
        return;
    controllers++;
    *path++ = '\0';
    if (!strcmp(path, "/"))
        path++;
    if (!*controllers) {
        walk_up(root, "", path, look_v2, out);
        walk_up(root, "/unified", path, look_v2, out); /* where version 1 has the root */
    }
    if (has_word(controllers, "cpu"))
        walk_up(root, "/cpu", path, look_v1_cpu, out);
    if (has_word(controllers, "memory"))
        walk_up(root, "/memory", path, look_v1_memory, out);
}

void cgroup_read(const char *self, const char *root, cgroup_limits *out)
{
    *out = (cgroup_limits){.memory_bytes = UINT64_MAX, .memory_room = UINT64_MAX};
    FILE *f = fopen(self, "r");
    char line[PATH_BYTES];
    while (f && fgets(line, sizeof line, f))
        read_membership(line, root, out);
    if (f)
        (void)fclose(f); /* read only */
}
