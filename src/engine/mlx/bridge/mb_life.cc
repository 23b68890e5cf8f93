/* mb_life.cc - opening a device, what is said of it, errors, memory, and the table itself. */
#include "engine/mlx/bridge/mb_int.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <variant>

#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

void mb_copy_text(char *out, size_t size, const char *text)
{
    const size_t n = std::min(std::strlen(text), size - 1);
    std::memcpy(out, text, n);
    out[n] = 0;
}

void mb_fail(mb *m, const char *verb, const char *text) noexcept
{
    if (m->has_failed)
        return;
    m->has_failed = true;
    std::snprintf(m->text, sizeof m->text, "%s: %s", verb, text);
}

namespace
{

/* A development build says "0.32.4.dev20260101+abc" of itself; its headers say the numbers only. */
bool version_fits(const char *loaded)
{
    const size_t n = std::strlen(MB_BUILT);
    return std::strncmp(loaded, MB_BUILT, n) == 0 && (loaded[n] == 0 || loaded[n] == '.');
}

bool is_private_folder(const std::string &path)
{
    struct stat st;
    if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
        return false;
    return lstat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           (st.st_mode & 0077) == 0;
}

/* MLX keeps kernels that were compiled at run time in a folder of /tmp whose name anyone can guess,
 * and loads what it finds there; so they get one that only this user can write. */
void set_kernel_cache()
{
    if (std::getenv("MLX_PTX_CACHE_DIR"))
        return;
    const char *cache = std::getenv("XDG_CACHE_HOME");
    const char *home = std::getenv("HOME");
    std::string base = cache && cache[0] == '/' ? cache : "";
    if (base.empty() && home && home[0] == '/')
        base = std::string(home) + "/.cache";
    if (!base.empty()) {
        (void)mkdir(base.c_str(), 0700); /* where it fails the next line finds out */
        const std::string folder = base + "/cama-mlx-" MB_BUILT;
        if (is_private_folder(folder)) {
            setenv("MLX_PTX_CACHE_DIR", folder.c_str(), 0);
            return;
        }
    }
    char own[] = "/tmp/cama-mlx-XXXXXX";
    if (!mkdtemp(own))
        throw std::runtime_error("no private folder for compiled kernels: neither below "
                                 "$XDG_CACHE_HOME or $HOME/.cache nor in /tmp");
    setenv("MLX_PTX_CACHE_DIR", own, 0);
}

mx::Device choose_device(const char *name)
{
    const bool has_gpu = mx::is_available(mx::Device::gpu);
    if (std::strcmp(name, "cpu") == 0)
        return mx::Device::cpu;
    if (std::strcmp(name, "gpu") == 0) {
        if (!has_gpu)
            throw std::runtime_error("this MLX " MB_BUILT " has no GPU to work on");
        return mx::Device::gpu;
    }
    if (name[0])
        throw std::invalid_argument("device '" + std::string(name).substr(0, 40) +
                                    "' is none of cpu, gpu");
    return has_gpu ? mx::Device::gpu : mx::Device::cpu;
}

mb *open_device(const char *name)
{
    /* Matrix products of f32 that are rounded to 10 bits could be compared with nothing. Read by
     * MLX when the first one runs. */
    setenv("MLX_ENABLE_TF32", "0", 0);
    const mx::Device device = choose_device(name ? name : "");
    const bool is_gpu = device == mx::Device::gpu;
    if (is_gpu && mx::cu::is_available())
        set_kernel_cache();
    if (!is_gpu) /* else MLX runs the g++ it finds, and loads what lies in a folder of /tmp */
        mx::set_compile_mode(mx::CompileMode::disabled);
    mx::set_default_device(device); /* what eval falls back to when nothing is left to compute */
    mb *m = new mb(mx::default_stream(device));
    m->is_gpu = is_gpu;
    m->is_metal = is_gpu && mx::metal::is_available();
    return m;
}

mb *life_open(const char *device, mb_opened *out) noexcept
{
    char text[MB_MAX_TEXT];
    try {
        const char *loaded = mx::version();
        if (version_fits(loaded))
            return open_device(device);
        std::snprintf(text, sizeof text,
                      "the MLX library that is loaded is version %s, and this plugin was built "
                      "with the headers of " MB_BUILT,
                      loaded);
    } catch (const std::exception &e) {
        mb_copy_text(text, sizeof text, e.what());
    } catch (...) {
        mb_copy_text(text, sizeof text, "MLX threw something that is no std::exception");
    }
    if (out)
        mb_copy_text(out->error, sizeof out->error, text);
    return nullptr;
}

void life_close(mb *m) noexcept
{
    if (!m)
        return;
    try {
        mx::synchronize(m->stream);
    } catch (...) { /* what failed is going away with the rest */
    }
    delete m;
}

using info_map = std::unordered_map<std::string, std::variant<std::string, size_t>>;

size_t info_number(const info_map &map, const char *key)
{
    const auto it = map.find(key);
    if (it == map.end() || !std::holds_alternative<size_t>(it->second))
        return 0;
    return std::get<size_t>(it->second);
}

/* What the library itself would take, as it was before anybody set a limit. */
uint64_t library_limit()
{
    static const uint64_t limit = mx::get_memory_limit();
    return limit;
}

void info_device(const mb *m, mb_info *out)
{
    const info_map &map = mx::device_info(m->stream.device);
    const auto name = map.find("device_name");
    const bool named = name != map.end() && std::holds_alternative<std::string>(name->second);
    mb_copy_text(out->device, sizeof out->device,
                 m->is_gpu && named ? std::get<std::string>(name->second).c_str() : "cpu");
    out->total_bytes = info_number(map, "total_memory"); /* CUDA's word; Metal's is the other */
    if (out->total_bytes == 0)
        out->total_bytes = info_number(map, "memory_size");
    if (out->total_bytes == 0)
        out->total_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    out->limit_bytes = info_number(map, "max_recommended_working_set_size");
    if (out->limit_bytes == 0)
        out->limit_bytes = library_limit();
    out->buffer_bytes = info_number(map, "max_buffer_length");
}

/* "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  ..." */
std::string cuda_driver()
{
    std::ifstream file("/proc/driver/nvidia/version");
    std::string line;
    std::getline(file, line);
    const size_t at = line.find("Module");
    const size_t from = at == std::string::npos ? at : line.find_first_of("0123456789", at);
    if (from == std::string::npos)
        return "";
    return "nvidia " + line.substr(from, line.find_first_not_of("0123456789.", from) - from);
}

void info_system(const mb *m, mb_info *out)
{
    std::string text = m->is_gpu && !m->is_metal ? cuda_driver() : "";
    struct utsname u;
    if (text.empty() && uname(&u) == 0)
        text = std::string(u.sysname) + " " + u.release;
    mb_copy_text(out->os, sizeof out->os, text.c_str());
}

void life_info(mb *m, mb_info *out) noexcept
{
    *out = mb_info{};
    mb_copy_text(out->built, sizeof out->built, MB_BUILT);
    mb_copy_text(out->backend, sizeof out->backend,
                 !m->is_gpu    ? "cpu"
                 : m->is_metal ? "metal"
                               : "cuda");
    out->is_gpu = m->is_gpu;
    mb_guard(m, "info", 0, [&] {
        mb_copy_text(out->version, sizeof out->version, mx::version());
        info_device(m, out);
        info_system(m, out);
        return 0;
    });
}

const char *life_error(mb *m) noexcept
{
    return m->has_failed ? m->text : nullptr;
}

void life_clear(mb *m) noexcept
{
    m->has_failed = false;
    m->text[0] = 0;
}

void life_memory(mb *m, mb_memory *out) noexcept
{
    *out = mb_memory{};
    mb_guard(m, "memory", 0, [&] {
        out->active = mx::get_active_memory();
        out->peak = mx::get_peak_memory();
        out->cache = mx::get_cache_memory();
        return 0;
    });
}

void life_memory_limits(mb *m, uint64_t memory, uint64_t cache, uint64_t wired) noexcept
{
    mb_guard(m, "memory_limits", 0, [&] {
        library_limit();
        if (memory)
            mx::set_memory_limit(memory);
        if (cache)
            mx::set_cache_limit(cache);
        if (wired)
            mx::set_wired_limit(wired);
        return 0;
    });
}

void life_cache_clear(mb *m) noexcept
{
    mb_guard(m, "cache_clear", 0, [&] {
        mx::clear_cache();
        return 0;
    });
}

mb_api make_table()
{
    mb_api t{};
    t.abi = MB_ABI;
    mb_copy_text(t.built, sizeof t.built, MB_BUILT);
    mb_table_life(&t);
    mb_table_arrays(&t);
    mb_table_ops(&t);
    mb_table_weights(&t);
    mb_table_nodes(&t);
    return t;
}

} // namespace

void mb_table_life(mb_api *t)
{
    t->open = life_open;
    t->close = life_close;
    t->info = life_info;
    t->error = life_error;
    t->clear = life_clear;
    t->memory = life_memory;
    t->memory_limits = life_memory_limits;
    t->cache_clear = life_cache_clear;
}

extern "C" __attribute__((visibility("default"))) const mb_api *mb_get(uint32_t abi)
{
    static const mb_api table = make_table();
    return abi == MB_ABI ? &table : nullptr;
}
