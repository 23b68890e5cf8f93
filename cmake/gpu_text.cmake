# The text of our GPU kernels, src/engine/mlx/gpu/*.inc, as strings in room_engine: a GPU's driver
# compiles it at run time.
file(GLOB gpu_parts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/engine/mlx/gpu/*.inc)
set(gpu_text ${CMAKE_BINARY_DIR}/emlx_gpu_text.c)
set(gpu_embed ${CMAKE_SOURCE_DIR}/cmake/embed_text.cmake)
add_custom_command(OUTPUT ${gpu_text}
    COMMAND ${CMAKE_COMMAND} -DFOLDER=${CMAKE_SOURCE_DIR}/src/engine/mlx/gpu -DOUT=${gpu_text}
            -P ${gpu_embed}
    DEPENDS ${gpu_parts} ${gpu_embed})
if(TARGET room_engine)
    target_sources(room_engine PRIVATE ${gpu_text})
endif()
