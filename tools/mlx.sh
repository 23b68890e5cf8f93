# mlx.sh - where the second engine's library comes from; read by ./dev.
# An "MLX root" is a folder with include/mlx and lib/libmlx: what CMake's CAMA_MLX_ROOT names.

apt_mlx='g++'

# is_mlx_root DIR
is_mlx_root() {
    [ -f "$1/include/mlx/mlx.h" ] && { [ -e "$1/lib/libmlx.so" ] || [ -e "$1/lib/libmlx.dylib" ]; }
}

# mlx_line BACKEND: its requirement, by which pip checks the hash.
mlx_line() {
    grep "^mlx-$1==" tools/mlx.txt || die "no MLX backend '$1': cpu, metal, cuda-12 or cuda-13"
}

# bring_mlx BACKEND: PyPI's wheel into build/mlx/BACKEND, whole or not at all; sets mlx_root. Done
# once: the requirement it came from lies beside it. CUDA's finds NVIDIA's libraries beside itself.
bring_mlx() {
    line=$(mlx_line "$1") || exit 1
    mlx_root=$PWD/build/mlx/$1/mlx
    if is_mlx_root "$mlx_root" && [ "$(cat "build/mlx/$1/requirement" 2>/dev/null)" = "$line" ]; then
        return 0
    fi
    need_venv
    say "bringing ${line%% *}"
    part=build/mlx/$1.part
    rm -rf "$part"
    mkdir -p "$part"
    printf '%s\n' "$line" >"$part/requirement"
    build/venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
        --no-deps --only-binary=:all: --target "$part" -r "$part/requirement" >&2 ||
        die "pip found no ${line%% *} for this machine (glibc 2.35 or macOS 14 is the least)"
    case $1 in
    cuda-*)
        wanted=$(sed -n 's/^Requires-Dist: *\(nvidia[^;]*\).*/\1/p' "$part"/*.dist-info/METADATA | tr -d ' ')
        # $wanted is a list of words
        build/venv/bin/python -m pip install --quiet --disable-pip-version-check \
            --only-binary=:all: --target "$part" $wanted >&2 || die "pip could not bring: $wanted"
        ;;
    esac
    rm -rf "build/mlx/$1"
    mv "$part" "build/mlx/$1"
}

# bring_mlx_macos: Apple's wheel on another system, into build/mlx/macos, for the linker only.
bring_mlx_macos() {
    mlx_root=$PWD/build/mlx/macos/mlx
    line=$(mlx_line metal) || exit 1
    if is_mlx_root "$mlx_root" && [ "$(cat build/mlx/macos/requirement 2>/dev/null)" = "$line" ]; then
        return 0
    fi
    say "bringing ${line%% *} for macOS 15"
    part=build/mlx/macos.part
    rm -rf "$part" build/mlx/macos
    mkdir -p "$part"
    printf '%s\n' "$line" >"$part/requirement"
    build/venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
        --no-deps --only-binary=:all: --platform macosx_15_0_arm64 --target "$part" \
        -r "$part/requirement" >&2 && mv "$part" build/mlx/macos
}

# find_mlx: one that is installed here, in mlx_root: CAMA_MLX_ROOT, Homebrew's, or a Python's.
find_mlx() {
    mlx_root=${CAMA_MLX_ROOT:-}
    if [ -n "$mlx_root" ]; then
        is_mlx_root "$mlx_root" || die "CAMA_MLX_ROOT: '$mlx_root' has no include/mlx/mlx.h and lib/libmlx"
        return 0
    fi
    if has brew; then
        mlx_root=$(brew --prefix mlx 2>/dev/null) || mlx_root=
        if [ -n "$mlx_root" ] && is_mlx_root "$mlx_root"; then return 0; fi
    fi
    has python3 || return 1
    for mlx_root in $(python3 -c 'import importlib.util as u
s = u.find_spec("mlx")
print(*(s.submodule_search_locations if s else []))' 2>/dev/null); do
        if is_mlx_root "$mlx_root"; then return 0; fi
    done
    return 1
}

# What the tests are built with: CAMA_MLX_ROOT where it is set, else always the pinned wheel.
need_mlx() {
    if has apt-get; then need_apt $apt_mlx; fi
    if [ -n "${CAMA_MLX_ROOT:-}" ]; then
        find_mlx
    elif [ "$system" = Darwin ]; then
        bring_mlx metal
    else
        bring_mlx cpu
    fi
}

# configure_mlx PRESET: tells its build of mlx_root; nothing to do the second time.
configure_mlx() {
    cache=build/$1/CMakeCache.txt
    grep -qxF "CAMA_MLX_ROOT:PATH=$mlx_root" "$cache" 2>/dev/null && return 0
    cmake --preset "$1" "-DCAMA_MLX_ROOT=$mlx_root" >&2
}

# engine_mlx [BACKEND]: the plugin beside the program of build/release.
engine_mlx() {
    if has apt-get; then need_apt $apt_mlx; fi
    if [ $# -gt 0 ]; then
        bring_mlx "$1"
    elif ! find_mlx; then
        need_mlx
    fi
    say "MLX: $mlx_root"
    configure_mlx release
    build release cama cama_mlx
    say "the plugin is beside build/release/cama"
}
