# tests/unit/test_<room>_<topic>.c, likewise in kern/ and golden/: one cmocka program a file, linked
# with that room and what it is linked with; the room `cama` is src/cama.c and all below it.
# A name that ends in _fault gets tests/fault.c too: allocations that fail on demand (tests/fault.h);
# one that ends in _iofault tests/iofault.c: file operations that do (tests/iofault.h).
# tests/fuzz/fuzz_<room>_<topic>.c: a libFuzzer target with -DCAMA_FUZZ=ON, and in every other build
# a program that replays tests/fuzz/corpus/<room>_<topic>/.
# Each test has the label of its folder: ctest -L kern.
if(NOT CAMA_TESTS)
    return()
endif()
enable_testing()
pkg_check_modules(CMOCKA QUIET IMPORTED_TARGET cmocka)
add_library(test_base INTERFACE)
file(GLOB support_files CONFIGURE_DEPENDS tests/*.c) # what any test may use beside test.h
list(FILTER support_files EXCLUDE REGEX "/(io)?fault\\.c$")
if(support_files)
    add_library(test_support STATIC ${support_files})
    target_include_directories(test_support PUBLIC tests)
    target_link_libraries(test_support PUBLIC room_base)
    target_link_libraries(test_base INTERFACE test_support)
endif()
target_include_directories(test_base INTERFACE tests)
target_compile_definitions(test_base INTERFACE TEST_DATA_DIR="${CMAKE_SOURCE_DIR}/tests/data")
if(TARGET PkgConfig::CMOCKA)
    target_link_libraries(test_base INTERFACE PkgConfig::CMOCKA)
elseif(CMAKE_CROSSCOMPILING) # our own cmocka.h with the few things that the tests use
    target_include_directories(test_base INTERFACE tests/cross)
endif()

set(fault_wrapped malloc calloc realloc posix_memalign aligned_alloc strdup strndup mmap
    pthread_create)
set(iofault_wrapped open read write fsync rename mkdir rmdir unlink symlink stat lstat fstat flock
    ioctl opendir readdir)
list(TRANSFORM fault_wrapped PREPEND "-Wl,--wrap=")
list(TRANSFORM iofault_wrapped PREPEND "-Wl,--wrap=")

# Which rooms a file may use is decided by its name: test_tok_bpe.c links room_tok.
function(cama_room_of file prefix out)
    get_filename_component(base ${file} NAME_WE)
    string(REGEX MATCH "^${prefix}_([a-z0-9]+)_" _ ${base})
    set(${out} room_${CMAKE_MATCH_1} PARENT_SCOPE)
    if(CMAKE_MATCH_1 STREQUAL cli) # it reaches the rest through cama.h
        set(${out} room_cli room_cama PARENT_SCOPE)
    endif()
endfunction()

function(cama_has_targets targets out)
    set(${out} TRUE PARENT_SCOPE)
    foreach(target IN LISTS targets)
        if(NOT TARGET ${target})
            set(${out} FALSE PARENT_SCOPE)
        endif()
    endforeach()
endfunction()

file(GLOB test_files CONFIGURE_DEPENDS tests/unit/test_*.c tests/kern/test_*.c tests/golden/test_*.c)
if(NOT CMOCKA_FOUND AND NOT CMAKE_CROSSCOMPILING) # ./dev run needs no tests
    message(STATUS "tests left out: cmocka is not installed")
    set(test_files "")
endif()
foreach(file IN LISTS test_files)
    get_filename_component(name ${file} NAME_WE)
    cama_room_of(${file} test room)
    cama_has_targets("${room}" found)
    if(NOT found)
        continue()
    endif()
    add_executable(${name} ${file})
    target_link_libraries(${name} PRIVATE ${room} test_base)
    if(name MATCHES "_((io)?fault)$")
        set(kind ${CMAKE_MATCH_1})
        if(APPLE) # its linker cannot wrap symbols
            set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
            continue()
        endif()
        target_sources(${name} PRIVATE tests/${kind}.c)
        target_link_options(${name} PRIVATE ${${kind}_wrapped})
    endif()
    get_filename_component(label ${file} DIRECTORY)
    get_filename_component(label ${label} NAME)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT 600 LABELS ${label})
endforeach()

# The pool with real runners: the program beside the test, and what writes it a model.
if(TARGET test_pool_real AND TARGET cama)
    add_dependencies(test_pool_real cama)
    target_link_libraries(test_pool_real PRIVATE room_tok room_quant)
    target_compile_definitions(test_pool_real PRIVATE TEST_CAMA="$<TARGET_FILE:cama>")
endif()

file(GLOB fuzz_files CONFIGURE_DEPENDS tests/fuzz/fuzz_*.c)
foreach(file IN LISTS fuzz_files)
    get_filename_component(name ${file} NAME_WE)
    cama_room_of(${file} fuzz room)
    cama_has_targets("${room}" found)
    if(NOT found)
        continue()
    endif()
    string(REGEX REPLACE "^fuzz_" "" corpus ${name})
    add_executable(${name} ${file})
    target_include_directories(${name} PRIVATE tests)
    target_link_libraries(${name} PRIVATE ${room})
    if(CAMA_FUZZ)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    else()
        target_sources(${name} PRIVATE tests/fuzz/replay.c)
        add_test(NAME ${name} COMMAND ${name} ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${corpus})
        set_tests_properties(${name} PROPERTIES TIMEOUT 600 LABELS fuzz)
    endif()
endforeach()
