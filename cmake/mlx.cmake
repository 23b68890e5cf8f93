# The second engine's plugin, libcama_mlx: C++ around the MLX library that CAMA_MLX_ROOT holds, a
# folder with include/mlx and lib/ (./dev engine-mlx finds or brings one). The program looks for the
# plugin beside itself, then in ../lib/cama, so that a build without MLX is a whole program.
set(CAMA_MLX_ROOT "" CACHE PATH "Folder with include/mlx and lib/libmlx of the MLX library")
if(NOT CAMA_MLX_ROOT)
    message(STATUS "engine mlx left out: CAMA_MLX_ROOT is not set (./dev engine-mlx sets it)")
    return()
endif()
if(NOT EXISTS ${CAMA_MLX_ROOT}/include/mlx/mlx.h)
    message(FATAL_ERROR "CAMA_MLX_ROOT: no ${CAMA_MLX_ROOT}/include/mlx/mlx.h")
endif()
find_library(CAMA_MLX_LIBRARY mlx PATHS ${CAMA_MLX_ROOT}/lib NO_DEFAULT_PATH NO_CACHE)
if(NOT CAMA_MLX_LIBRARY)
    message(FATAL_ERROR "CAMA_MLX_ROOT: no libmlx in ${CAMA_MLX_ROOT}/lib")
endif()
enable_language(CXX)
set(CAMA_MLX ON)

# cama_mlx_plugin NAME: as built for users; a test builds one that lies about its headers.
function(cama_mlx_plugin name)
    file(GLOB files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/engine/mlx/bridge/*.cc)
    add_library(${name} MODULE ${files})
    set_target_properties(${name} PROPERTIES CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON
        CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
        OUTPUT_NAME ${name} PREFIX lib SUFFIX ${CMAKE_SHARED_LIBRARY_SUFFIX}
        BUILD_RPATH ${CAMA_MLX_ROOT}/lib INSTALL_RPATH ${CAMA_MLX_ROOT}/lib)
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src)
    target_include_directories(${name} SYSTEM PRIVATE ${CAMA_MLX_ROOT}/include)
    target_compile_options(${name} PRIVATE -O2 -Wall -Wextra -Wshadow -Wundef
        $<$<BOOL:${CAMA_WERROR}>:-Werror>)
    target_link_libraries(${name} PRIVATE ${CAMA_MLX_LIBRARY})
    if(NOT APPLE)
        target_link_options(${name} PRIVATE -Wl,--no-undefined)
    endif()
endfunction()

# A sanitizer looks for the function that throws when the program starts, and without it ends the
# process at the plugin's first exception: so the program of C gets C++'s library from the start.
if(CAMA_SANITIZE AND NOT APPLE)
    target_link_options(cama_flags INTERFACE
        -Wl,--push-state,--no-as-needed,-l:libstdc++.so.6,--pop-state)
endif()

cama_mlx_plugin(cama_mlx)
install(TARGETS cama_mlx DESTINATION lib/cama)
message(STATUS "engine mlx: ${CAMA_MLX_LIBRARY}")

add_executable(mlx_probe bench/mlx_probe.c) # what docs/engines.md says of in-place writes and of nodes
target_link_libraries(mlx_probe PRIVATE cama_flags ${CMAKE_DL_LIBS})

# tests/mlx/test_mlx_<topic>.c: against the real library, through the plugin of this build.
if(NOT CAMA_TESTS OR NOT CMOCKA_FOUND)
    return()
endif()
cama_mlx_plugin(cama_mlx_wrong) # says that it was built with another version
target_compile_definitions(cama_mlx_wrong PRIVATE MB_BUILT="0.1.2")
file(GLOB test_files CONFIGURE_DEPENDS tests/mlx/test_mlx_*.c)
foreach(file IN LISTS test_files)
    get_filename_component(name ${file} NAME_WE)
    add_executable(${name} ${file})
    target_include_directories(${name} PRIVATE tests/mlx)
    target_compile_definitions(${name} PRIVATE TEST_MLX_PLUGIN="$<TARGET_FILE:cama_mlx>"
        TEST_MLX_WRONG="$<TARGET_FILE:cama_mlx_wrong>")
    target_link_libraries(${name} PRIVATE room_engine test_base ${CMAKE_DL_LIBS})
    add_dependencies(${name} cama_mlx cama_mlx_wrong)
    if(name MATCHES "_fault$") # allocations that fail on demand: cmake/tests.cmake
        if(APPLE)
            set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
            continue()
        endif()
        target_sources(${name} PRIVATE tests/fault.c)
        target_link_options(${name} PRIVATE ${fault_wrapped})
    endif()
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT 600 LABELS mlx
        ENVIRONMENT "TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/mlx/tsan.supp")
endforeach()
