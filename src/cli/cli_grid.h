/* cli_grid.h - tables as Ollama prints them: no borders, four spaces behind every cell.
 *
 *     NAME            ID              SIZE     MODIFIED
 *     smollm2:135m    fd5f44c0b5af    98 MB    2 seconds ago
 *
 * A header's last cell has one space behind it instead of four: scripts compare these bytes.
 */
#ifndef CLI_CLI_GRID_H
#define CLI_CLI_GRID_H

#include "base/arena.h"
#include "base/buf.h"

#define GRID_MAX_COLUMN 24

typedef struct grid {
    arena *arena;
    const char *title;  /* a section: "  Model", rows four spaces in, an empty line at the end */
    const char **cells; /* [n_row * GRID_MAX_COLUMN], NULL: none */
    size_t n_row, cap;
    bool header; /* the first row is one */
    bool failed; /* no memory: sticky, told by grid_write */
} grid;

/* title NULL: a table whose first row is the header. */
void grid_init(grid *g, arena *a, const char *title);
/* n cells; their texts are copied, and what could steer a terminal becomes '?'. Cells past
 * GRID_MAX_COLUMN are left out. */
void grid_row(grid *g, const char *const *cells, size_t n);
/* A section without rows is left out whole. CAMA_ERR_NOMEM. */
cama_err grid_write(const grid *g, buf *out);

/* Columns that a text takes on a terminal. */
size_t grid_width(const char *text);

#endif
