/* What the system says of itself, against bounds that hold on any machine; control groups against
 * trees written here. */
#include "test.h"

#include "base/cgroup.h"
#include "base/plat.h"

#include <sys/stat.h>
#include <unistd.h>

static void figures_are_plausible(void **state)
{
    (void)state;
    char name[128];
    memset(name, '!', sizeof name);
    plat_cpu_name(name, sizeof name);
    assert_true(strlen(name) > 2 && strlen(name) < sizeof name);
    plat_cpu_name(name, 5);
    assert_true(strlen(name) <= 4);
    assert_in_range(plat_n_cpu(), 1, 100000);
    assert_true(plat_memory_total() > (UINT64_C(64) << 20));
    assert_true(plat_memory_available() <= plat_memory_total());
    assert_true(plat_memory_resident() > 100000);
    assert_true(plat_memory_peak() >=
                plat_memory_resident() / 2); /* both in whole pages, sampled */
    plat_pin_thread(0);
    plat_pin_thread(100000); /* no such CPU: nothing happens */
}

static void random_bytes_differ(void **state)
{
    (void)state;
    uint8_t a[600] = {0}; /* past 256 bytes the system may give less at once */
    uint8_t b[600] = {0};
    plat_random(a, sizeof a);
    plat_random(b, sizeof b);
    assert_memory_not_equal(a, b, 32);
    assert_memory_not_equal(a + 568, b + 568, 32);
    plat_random(a, 0);
}

static void resident_memory_follows_use(void **state)
{
    (void)state;
    const size_t n = 32u << 20;
    const uint64_t before = plat_memory_resident();
    char *p = malloc(n);
    assert_non_null(p);
    plat_hint_huge(p, n);
    memset(p, 1, n);
    const uint64_t after = plat_memory_resident();
    assert_true(after >= before + n / 2);
    assert_true(p[n - 1] == 1);
    free(p);
}

/* A folder for a made-up /sys/fs/cgroup. */
static char root[64];

static int make_root(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/cama-cgroup-XXXXXX");
    return mkdtemp(root) ? 0 : 1;
}

static int drop_root(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

/* Writes root/path, making the folders on the way. */
static void put(const char *path, const char *text)
{
    char full[256];
    (void)snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        (void)mkdir(full, 0700); /* may be there */
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static cgroup_limits look(const char *membership)
{
    char self[128];
    cgroup_limits got;
    put("self", membership);
    (void)snprintf(self, sizeof self, "%s/self", root);
    cgroup_read(self, root, &got);
    return got;
}

static void version_2_takes_the_tightest_of_the_path(void **state)
{
    (void)state;
    put("a/cpu.max", "250000 100000\n");
    put("a/memory.max", "1000000\n");
    put("a/memory.current", "900000\n");
    put("a/memory.stat", "anon 500000\ninactive_file 300000\nactive_file 100000\nfile 400000\n");
    put("a/b/cpu.max", "max 100000\n");
    put("a/b/memory.max", "max\n");
    cgroup_limits l = look("0::/a/b\n");
    assert_int_equal(l.n_cpu, 3); /* 2.5, rounded up */
    assert_int_equal(l.memory_bytes, 1000000);
    assert_int_equal(l.memory_room, 500000); /* 900,000 used, of that 400,000 cache */

    put("a/b/cpu.max", "50000 100000\n");
    put("a/b/memory.max", "600000\n");
    put("a/b/memory.current", "700000\n");
    l = look("0::/a/b\n");
    assert_int_equal(l.n_cpu, 1);
    assert_int_equal(l.memory_bytes, 600000);
    assert_int_equal(l.memory_room, 0);
}

static void a_container_sees_its_group_at_the_root(void **state)
{
    (void)state;
    put("cpu.max", "400000 100000\n");
    put("memory.max", "2000000\n");
    assert_int_equal(look("0::/\n").n_cpu, 4);
    const cgroup_limits l = look("0::/not/visible/here\n");
    assert_int_equal(l.n_cpu, 4);
    assert_int_equal(l.memory_bytes, 2000000);
    assert_int_equal(l.memory_room, 2000000);
}

static void version_1_has_a_tree_for_each_controller(void **state)
{
    (void)state;
    put("cpu/box/cpu.cfs_quota_us", "150000\n");
    put("cpu/box/cpu.cfs_period_us", "100000\n");
    put("cpu/cpu.cfs_quota_us", "-1\n");
    put("cpu/cpu.cfs_period_us", "100000\n");
    put("memory/box/memory.limit_in_bytes", "5000000\n");
    put("memory/box/memory.usage_in_bytes", "4000000\n");
    put("memory/box/memory.stat", "cache 9\ninactive_file 9\ntotal_inactive_file 1500000\n");
    put("memory/memory.limit_in_bytes", "9223372036854771712\n");
    const cgroup_limits l = look("9:name=systemd:/\n4:memory:/box\n2:cpu,cpuacct:/box\n0::/\n");
    assert_int_equal(l.n_cpu, 2);
    assert_int_equal(l.memory_bytes, 5000000);
    assert_int_equal(l.memory_room, 2500000);
    assert_int_equal(look("2:cpuset,cpuacct:/box\n").n_cpu, 0);
}

static void nothing_or_nonsense_sets_no_limit(void **state)
{
    (void)state;
    put("cpu.max", "what\n");
    put("memory.max", "");
    static const char *const member[] = {"", "0::/\n", "garbage\n", "::::\n", ":\n", "0::/a:b\n"};
    for (size_t i = 0; i < TEST_COUNT(member); i++) {
        const cgroup_limits l = look(member[i]);
        assert_int_equal(l.n_cpu, 0);
        assert_true(l.memory_bytes == UINT64_MAX && l.memory_room == UINT64_MAX);
    }
    put("cpu.max", "9223372036854775807 1\n");
    assert_int_equal(look("0::/\n").n_cpu, 0);
    cgroup_limits l;
    cgroup_read("/no/such/file", root, &l);
    assert_int_equal(l.n_cpu, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_plausible),
        cmocka_unit_test(random_bytes_differ),
        cmocka_unit_test(resident_memory_follows_use),
        cmocka_unit_test_setup_teardown(version_2_takes_the_tightest_of_the_path, make_root,
                                        drop_root),
        cmocka_unit_test_setup_teardown(a_container_sees_its_group_at_the_root, make_root,
                                        drop_root),
        cmocka_unit_test_setup_teardown(version_1_has_a_tree_for_each_controller, make_root,
                                        drop_root),
        cmocka_unit_test_setup_teardown(nothing_or_nonsense_sets_no_limit, make_root, drop_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
