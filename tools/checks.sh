# checks.sh - what `./dev test`, `lint` and `fuzz` do; read by ./dev.
# Each ends with one line of counts, "N passed, N failed[, N skipped]", which .ci/run adds up.

# names FOLDER PATTERN...: the test programs of a folder whose names match, as ninja targets.
names() {
    folder=$1
    shift
    for pattern; do
        for file in "tests/$folder/test_${pattern}_"*.c; do
            if [ -f "$file" ]; then basename "$file" .c; fi
        done
    done
}

# suite BUILD [PROGRAM...]: builds and runs the tests of build/BUILD, all or those named, and leaves
# build/BUILD/junit.xml. A build that fails leaves none, which count_tests.py counts as a failure.
suite() {
    preset=$1
    shift
    say "--- tests, $preset build"
    reports="$reports $preset=build/$preset/junit.xml"
    rm -f "build/$preset/junit.xml"
    build "$preset" "$@" || return 0
    only=.
    if [ $# -gt 0 ]; then only="^($(echo "$@" | tr ' ' '|'))\$"; fi
    ctest --test-dir "build/$preset" -j "$(getconf _NPROCESSORS_ONLN)" --output-junit junit.xml \
        --test-output-size-passed 100000 --test-output-size-failed 1000000 \
        --output-on-failure -R "$only" >&2 || true
}

# end_to_end BUILD PATH...: tests from outside, against the program of build/BUILD.
end_to_end() {
    preset=$1
    shift
    on=${CAMA_E2E_ENGINE:+-$CAMA_E2E_ENGINE}
    say "--- end to end, $preset build${on:+, engine $CAMA_E2E_ENGINE}"
    reports="$reports e2e-$preset$on=build/$preset/e2e$on.xml"
    rm -f "build/$preset/e2e$on.xml"
    CAMA_BIN=$PWD/build/$preset/cama CAMA_MODEL=$PWD/$model CAMA_LIB_DIR=$PWD/build/release \
        CAMA_JS=$PWD/build/clients CAMA_TINY_MODEL=$PWD/build/models/tiny.gguf \
        build/venv/bin/python -m pytest -q -p no:cacheprovider \
        --junitxml="build/$preset/e2e$on.xml" "$@" >&2 || true
}

# The API as a whole, and where threads and processes meet.
api_tests() {
    echo tests/e2e/test_clients.py tests/e2e/test_wire.py tests/e2e/test_concurrency.py \
        tests/e2e/test_faults.py
}
thread_tests() {
    echo tests/e2e/test_clients.py tests/e2e/test_concurrency.py tests/e2e/test_faults.py
}

# Every test in the release build, with the MLX library, and the API once more on that engine; the
# same tests under ASan and UBSan; the rooms where threads meet under TSan; and what has instruction
# sets of its own on arm64, emulated where the machine is another.
run_tests() {
    reports=
    suite release
    if [ "$system" = Linux ]; then
        suite asan
        suite tsan cama $(names unit base wire sched engine cama runner pool http api store) \
            $(names golden engine)
        if [ "$machine" != aarch64 ]; then
            suite cross-arm64 $(names unit base quant kern) $(names kern kern) $(names golden quant)
        fi
    else
        reports="$reports asan=skipped tsan=skipped"
    fi

    less=--deselect=tests/e2e/test_faults.py::test_a_thousand_loads_and_unloads
    build/release/cama_synth tiny build/models/tiny.gguf >&2
    end_to_end release tests/e2e tests/tools
    # The whole API once more, on the other engine, where there is one.
    if [ -e build/release/libcama_mlx.so ] || [ -e build/release/libcama_mlx.dylib ]; then
        export CAMA_E2E_ENGINE=mlx
        end_to_end release $(api_tests) tests/e2e/test_cli_server.py tests/e2e/test_cli_captures.py "$less"
        unset CAMA_E2E_ENGINE
    else
        reports="$reports e2e-release-mlx=skipped"
    fi
    if [ "$system" = Linux ]; then # the server as a whole; a thousand loads say nothing more here
        end_to_end asan $(api_tests) "$less"
        end_to_end tsan $(thread_tests) "$less"
    fi
    $python tools/count_tests.py $reports
}

# check NAME CMD...: one item of lint.
check() {
    item=$1
    shift
    say "--- $item"
    if "$@" >&2; then
        n_passed=$((n_passed + 1))
    else
        n_failed=$((n_failed + 1))
        say "FAILED: $item"
    fi
}

c_files() {
    find src include bench tests tools -name '*.c' -o -name '*.cc' -o -name '*.h' -o -name '*.def' | sort
}

lint_format() {
    c_files | grep -v '\.def$' | xargs "$clang_bin"clang-format$suffix --dry-run -Werror
}

lint_tidy() {
    "$clang_bin"run-clang-tidy$suffix -p "build/$tidy_build" -quiet -j "$(getconf _NPROCESSORS_ONLN)" \
        -clang-tidy-binary "$clang_bin"clang-tidy$suffix "$PWD/src/.*[.]c\$" >build/tidy.log 2>&1 && return 0
    grep -v '^\[\|^clang-tidy\|warnings generated' build/tidy.log
    return 1
}

lint_cppcheck() {
    cppcheck --enable=warning,portability,performance --std=c11 --language=c --inline-suppr --quiet \
        --error-exitcode=1 --suppressions-list=tools/cppcheck.txt -j 2 -I src -I include \
        -i src/engine/mlx/bridge src # C++: it was told to read C
}

# zig brings macOS's C library headers and no others: those of the portable libraries are staged in a
# folder of their own. -I/usr/include would let Linux's in, and this check would find nothing.
lint_macos() {
    [ -x build/venv/bin/python ] && build/venv/bin/python -c 'import ziglang' 2>/dev/null ||
        build/venv/bin/pip install --quiet --disable-pip-version-check ziglang==0.15.2 || return 1
    stage=build/macos/include
    rm -rf build/macos
    mkdir -p $stage
    for header in pcre2.h utf8proc.h json-c histedit.h editline microhttpd.h openssl curl sqlite3.h; do
        for folder in /usr/include "/usr/include/$(gcc -print-multiarch)"; do # both for openssl
            if [ -e "$folder/$header" ]; then cp -R "$folder/$header" $stage/ || return 1; fi
        done
        [ -e "$stage/$header" ] || return 1
    done
    ZIG_LOCAL_CACHE_DIR=$PWD/build/zig-cache ZIG_GLOBAL_CACHE_DIR=$PWD/build/zig-cache
    export ZIG_LOCAL_CACHE_DIR ZIG_GLOBAL_CACHE_DIR
    # one compiler a file: zig's own cache makes the second time short
    find src -name '*.c' ! -name '*_linux.c' ! -path '*/x86/*' | sort |
        xargs -P "$(getconf _NPROCESSORS_ONLN)" -n 1 sh -c '
            build/venv/bin/python -m ziglang cc -target aarch64-macos -mcpu=apple_m1 -std=c17 \
                -O1 -Wall -Wextra -Werror -Wshadow -Wundef -Wvla -Wstrict-prototypes \
                -Wmissing-prototypes -ffp-contract=off -fno-math-errno \
                -D_POSIX_C_SOURCE=200809L -D_DARWIN_C_SOURCE "-DCAMA_VERSION=\"lint\"" \
                -Isrc -Iinclude -isystem build/macos/include \
                -c "$1" -o "build/macos/$(basename "$1" .c).o"' compile
}

# Kernel text as MLX would hand it to a GPU's compiler, with headers that stand for the language's own.
lint_gpu_text() { # metal|cuda, the flags of the language
    text=build/gpu_text.$1
    build release mlx_gpu_bench && build/release/mlx_gpu_bench --print "$1" >"$text" || return 1
    header=tools/gpu/$1.h
    shift
    "$clang_bin"clang++$suffix "$@" -fsyntax-only -Wall -Wextra -Werror -Wshadow -Wconversion \
        -Wdouble-promotion -Wno-sign-conversion -Wno-unused-function -Wno-unknown-attributes \
        -include "$header" "$text"
}

# The plugin against Apple's headers and library: that it compiles and that no symbol is missing. It
# says nothing of a run, which needs a Mac.
lint_macos_mlx() {
    bring_mlx_macos || return 1
    ZIG_LOCAL_CACHE_DIR=$PWD/build/zig-cache ZIG_GLOBAL_CACHE_DIR=$PWD/build/zig-cache
    export ZIG_LOCAL_CACHE_DIR ZIG_GLOBAL_CACHE_DIR
    mkdir -p build/macos
    build/venv/bin/python -m ziglang c++ -target aarch64-macos.15.0 -mcpu=apple_m1 -std=c++20 -O1 \
        -fPIC -fvisibility=hidden -Wall -Wextra -Wshadow -Wundef -Werror -shared -Isrc \
        -isystem "$mlx_root/include" src/engine/mlx/bridge/*.cc -L "$mlx_root/lib" -lmlx \
        -o build/macos/libcama_mlx.dylib || return 1
    # Mach-O, 64 bit, arm64
    [ "$(od -A n -t x4 -N 8 build/macos/libcama_mlx.dylib | tr -d ' ')" = feedfacf0100000c ]
}

run_lint() {
    n_passed=0
    n_failed=0
    suffix=-19
    clang_bin=
    tidy_build=lint
    if [ "$system" = Darwin ]; then
        suffix=
        clang_bin=$(brew --prefix llvm@19)/bin/
        tidy_build=release # the system's cc is clang
    fi
    check 'include order' $python tools/check_includes.py
    check 'docs/api.md is made of the routes' $python tools/make_api_doc.py --check
    check 'clang-format' lint_format
    check 'release build, warnings as errors' build release
    if [ "$system" = Linux ]; then
        check 'clang build, warnings as errors' build lint
    fi
    check 'clang-tidy' lint_tidy
    check 'cppcheck' lint_cppcheck
    check 'Metal text type-checks' lint_gpu_text metal -x c++ -std=c++14
    check 'CUDA text type-checks' lint_gpu_text cuda -x cuda -std=c++17 -nocudainc -nocudalib \
        --cuda-device-only --cuda-gpu-arch=sm_75
    if [ "$system" = Linux ]; then
        check 'every portable file compiled for macOS' lint_macos
        check 'the MLX plugin compiled and linked for macOS' lint_macos_mlx
    fi
    printf '%d passed, %d failed\n' "$n_passed" "$n_failed"
    [ "$n_failed" -eq 0 ]
}

# fuzz_one TARGET SECONDS: what it finds goes to build/fuzz/corpus; the corpus in the tree is only read.
fuzz_one() {
    corpus=${1#fuzz_}
    mkdir -p "build/fuzz/corpus/$corpus" build/fuzz/crashes
    if "build/fuzz/$1" "-max_total_time=$2" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        "-artifact_prefix=build/fuzz/crashes/$1-" "build/fuzz/corpus/$corpus" \
        "tests/fuzz/corpus/$corpus" >"build/fuzz/$1.log" 2>&1; then
        grep 'executed_units\|new_units\|peak_rss' "build/fuzz/$1.log"
    else
        tail -n 60 "build/fuzz/$1.log"
        return 1
    fi
}

run_fuzz() {
    n_passed=0
    n_failed=0
    targets=
    for file in tests/fuzz/fuzz_*.c; do targets="$targets $(basename "$file" .c)"; done
    build fuzz $targets
    for target in $targets; do
        check "$target" fuzz_one "$target" "$1"
    done
    printf '%d passed, %d failed\n' "$n_passed" "$n_failed"
    [ "$n_failed" -eq 0 ]
}
