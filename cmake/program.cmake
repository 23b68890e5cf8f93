# The public library (libcama.so, libcama.a), the program `cama`, and how they are installed.
include(GNUInstallDirs)

# Everything under the public API, as one more room: programs and tests link it like the others.
set(library_rooms ${CAMA_ROOMS})
# What only the server and the command line need stays out of the library.
list(REMOVE_ITEM library_rooms room_cli room_bench room_http room_api room_pool room_store room_hist
    room_net)
if(EXISTS ${CMAKE_SOURCE_DIR}/src/cama.c AND NOT CAMA_ROOMS_LEFT_OUT)
    file(GLOB cama_files CONFIGURE_DEPENDS src/cama*.c)
    add_library(room_cama STATIC ${cama_files})
    target_link_libraries(room_cama PUBLIC ${library_rooms})

    foreach(kind STATIC SHARED)
        string(TOLOWER cama_${kind} lib)
        add_library(${lib} ${kind} $<TARGET_OBJECTS:room_cama>)
        foreach(room IN LISTS library_rooms)
            target_sources(${lib} PRIVATE $<TARGET_OBJECTS:${room}>)
        endforeach()
        set_target_properties(${lib} PROPERTIES OUTPUT_NAME cama LINKER_LANGUAGE C)
        # The rooms are in the library; what they need of the system is linked to it.
        target_link_libraries(${lib} PRIVATE cama_flags PkgConfig::PCRE2 PkgConfig::UTF8PROC
            PkgConfig::JSONC)
        install(TARGETS ${lib})
    endforeach()
    # No soname version before 1.0 promises anything: each minor version is its own.
    set_target_properties(cama_shared PROPERTIES VERSION ${PROJECT_VERSION}
        SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})

    # cama.pc finds the rest from where it lies itself: the prefix is chosen when installing.
    file(RELATIVE_PATH CAMA_PC_UP /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
    configure_file(cmake/cama.pc.in cama.pc @ONLY)
    install(FILES include/cama.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
    install(FILES ${CMAKE_BINARY_DIR}/cama.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()

if(EXISTS ${CMAKE_SOURCE_DIR}/src/main.c AND TARGET room_cama)
    add_executable(cama src/main.c)
    foreach(room room_cli room_bench room_http room_cama)
        if(TARGET ${room})
            target_link_libraries(cama PRIVATE ${room})
        endif()
    endforeach()
    install(TARGETS cama)
    if(NOT CMAKE_CROSSCOMPILING) # the program writes its own manual pages and completion
        install(CODE "
            set(prefix \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}\")
            set(man \"\${prefix}/${CMAKE_INSTALL_MANDIR}/man1\")
            set(bash \"\${prefix}/${CMAKE_INSTALL_DATADIR}/bash-completion/completions\")
            file(MAKE_DIRECTORY \"\${man}\" \"\${bash}\")
            execute_process(COMMAND \"$<TARGET_FILE:cama>\" man --out \"\${man}\"
                COMMAND_ERROR_IS_FATAL ANY)
            execute_process(COMMAND \"$<TARGET_FILE:cama>\" completion
                OUTPUT_FILE \"\${bash}/cama\" COMMAND_ERROR_IS_FATAL ANY)")
    endif()
endif()
