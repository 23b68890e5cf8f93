# setup.sh - what each command needs of the machine; read by ./dev.
# One list a purpose and a system, so that `run` never installs what only `lint` needs.

apt_build='cmake ninja-build gcc libc6-dev pkgconf libpcre2-dev libutf8proc-dev libjson-c-dev libedit-dev libmicrohttpd-dev libcurl4-openssl-dev libssl-dev libsqlite3-dev'
apt_venv='python3 python3-venv ca-certificates'
apt_test='libcmocka-dev python3 python3-venv ca-certificates clang-19 libclang-rt-19-dev llvm-19'
# kernels for arm64 run under emulation where the machine itself is something else
apt_cross='gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user'
apt_lint='libcmocka-dev clang-19 clang-format-19 clang-tidy-19 cppcheck python3'
apt_fuzz='clang-19 libclang-rt-19-dev llvm-19'
apt_bench='nodejs npm'
apt_clients='nodejs npm'

brew_build='cmake ninja pkgconf pcre2 utf8proc json-c libmicrohttpd curl openssl@3'
brew_venv='python3'
brew_test='cmocka python3'
brew_lint='cmocka llvm@19 cppcheck'
brew_fuzz='llvm@19'
brew_bench='node'
brew_clients='node'

# The Python that the packages above belong to: another one may come first in PATH.
python=python3
if has apt-get; then python=/usr/bin/python3; fi

system=$(uname -s)
machine=$(uname -m)

# as_root CMD...: directly, or by sudo where there is one.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif has sudo; then
        if [ -t 0 ] && [ "${CI:-}" != true ]; then sudo "$@"; else sudo -n "$@"; fi
    else
        die "not root and no sudo; please run as root: $*"
    fi
}

# need_apt PACKAGE...: installs those that dpkg does not list as installed. A check costs 20 ms.
need_apt() {
    missing=
    for package; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=
        [ "$state" = installed ] || missing="$missing $package"
    done
    [ -z "$missing" ] && return 0
    say "installing (apt-get):$missing"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
    # $missing is a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends $missing >&2 ||
        die "apt-get could not install:$missing"
}

# need_brew FORMULA...: brew list takes a second, so what was found is noted in build/.
need_brew() {
    mkdir -p build/setup
    missing=
    for formula; do
        [ -f "build/setup/$formula" ] && continue
        brew list --formula "$formula" >/dev/null 2>&1 || missing="$missing $formula"
    done
    if [ -n "$missing" ]; then
        say "installing (brew):$missing"
        brew install --quiet $missing >&2 || die "brew could not install:$missing"
    fi
    for formula; do : >"build/setup/$formula"; done
}

# need PURPOSE...: build, test, clients, lint, fuzz, bench, venv.
need() {
    packages=
    for purpose; do
        if has apt-get; then
            eval "packages=\"\$packages \$apt_$purpose\""
            if [ "$purpose" = test ] && [ "$machine" != aarch64 ]; then
                packages="$packages $apt_cross"
            fi
        elif has brew; then
            eval "packages=\"\$packages \$brew_$purpose\""
        fi
    done
    if has apt-get; then
        need_apt $packages
    elif has brew; then
        need_brew $packages
    else
        for tool in cmake ninja cc pkg-config; do
            has $tool || die "neither apt-get nor brew here, and no $tool; README.md lists what to install"
        done
    fi
}

# What the end-to-end tests import, in environments of our own: the official clients, pinned.
need_clients() {
    need_venv
    wanted=tests/e2e/requirements.txt
    if ! cmp -s $wanted build/venv/requirements.txt; then
        say "installing the clients of $wanted"
        build/venv/bin/python -m pip install --quiet --disable-pip-version-check -r $wanted >&2
        cp $wanted build/venv/requirements.txt
    fi
    has node && has npm || need clients
    if [ ! -d build/clients/node_modules/ollama ]; then
        say "bringing ollama 0.6.4 for JavaScript"
        npm install --ignore-scripts --no-save --silent --prefix build/clients ollama@0.6.4 >&2
    fi
}

# A Python environment of our own: pip may not write into the system's.
need_venv() {
    [ -x build/venv/bin/pip ] && return 0
    need venv
    say "making build/venv"
    rm -rf build/venv
    $python -m venv build/venv || die "$python -m venv failed"
}
