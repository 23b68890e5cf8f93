# Compiler, warnings, sanitizers and the libraries that the rooms use.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

option(CAMA_WERROR "Warnings are errors" ON)
option(CAMA_FUZZ "Build the libFuzzer targets (clang only)" OFF)
option(CAMA_TESTS "Build the tests" ON)
set(CAMA_SANITIZE "" CACHE STRING "address,undefined or thread")

add_library(cama_flags INTERFACE)
target_include_directories(cama_flags INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_compile_definitions(cama_flags INTERFACE _POSIX_C_SOURCE=200809L
    $<$<PLATFORM_ID:Linux>:_DEFAULT_SOURCE> $<$<PLATFORM_ID:Darwin>:_DARWIN_C_SOURCE>
    CAMA_VERSION="${PROJECT_VERSION}")
# -ffp-contract=off: under -std=c17 clang fuses a*b+c where gcc does not.
target_compile_options(cama_flags INTERFACE -Wall -Wextra -Wshadow -Wundef -Wvla
    -Wstrict-prototypes -Wmissing-prototypes -ffp-contract=off -fno-math-errno
    $<$<BOOL:${CAMA_WERROR}>:-Werror>)

if(CAMA_SANITIZE)
    target_compile_options(cama_flags INTERFACE -fsanitize=${CAMA_SANITIZE} -fno-omit-frame-pointer
        -fno-sanitize-recover=all)
    target_link_options(cama_flags INTERFACE -fsanitize=${CAMA_SANITIZE})
endif()
if(CAMA_FUZZ)
    target_compile_options(cama_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
target_link_libraries(cama_flags INTERFACE Threads::Threads m)

# Libraries of the system. A native build needs them all; a cross build does without those that are
# not installed for the other machine, and leaves out the rooms that use them (cmake/rooms.cmake).
set(required REQUIRED)
if(CMAKE_CROSSCOMPILING)
    set(required QUIET)
endif()
pkg_check_modules(PCRE2 ${required} IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC ${required} IMPORTED_TARGET libutf8proc)
pkg_check_modules(JSONC ${required} IMPORTED_TARGET json-c)
pkg_check_modules(CURL ${required} IMPORTED_TARGET libcurl)
pkg_check_modules(CRYPTO ${required} IMPORTED_TARGET libcrypto)
pkg_check_modules(MHD ${required} IMPORTED_TARGET libmicrohttpd)
if(APPLE) # part of the system, without a .pc file
    add_library(PkgConfig::EDIT INTERFACE IMPORTED)
    target_link_libraries(PkgConfig::EDIT INTERFACE edit)
    add_library(PkgConfig::SQLITE INTERFACE IMPORTED)
    target_link_libraries(PkgConfig::SQLITE INTERFACE sqlite3)
else()
    pkg_check_modules(EDIT ${required} IMPORTED_TARGET libedit)
    pkg_check_modules(SQLITE ${required} IMPORTED_TARGET sqlite3)
endif()
