#define _XOPEN_SOURCE 700 /* wcwidth */ /* NOLINT(bugprone-reserved-identifier) */

#include "cli/cli_grid.h"

#include <string.h>
#include <wchar.h>

#include "base/utf8.h"

size_t grid_width(const char *text)
{
    size_t n = strlen(text);
    size_t width = 0;
    while (n) {
        uint32_t c;
        const size_t used = utf8_decode(text, n, &c);
        const int columns = wcwidth((wchar_t)c);
        width += columns < 0 ? 1 : (size_t)columns;
        text += used;
        n -= used;
    }
    return width;
}

void grid_init(grid *g, arena *a, const char *title)
{
    *g = (grid){.arena = a, .title = title, .header = title == NULL};
}

/* Names and metadata come from files: no byte of them may move the cursor. */
static const char *clean_copy(arena *a, const char *text)
{
    char *copy = arena_copy(a, text, strlen(text));
    for (char *c = copy; c && *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
        if ((unsigned char)c[0] == 0xc2 && (unsigned char)c[1] >= 0x80 &&
            (unsigned char)c[1] < 0xa0)
            c[0] = c[1] = '?'; /* controls of the second kind */
    }
    return copy;
}

static bool make_room(grid *g)
{
    if (g->n_row < g->cap)
        return true;
    const size_t cap = g->cap ? 2 * g->cap : 16;
    const char **cells = arena_take_array(g->arena, cap, GRID_MAX_COLUMN * sizeof *cells);
    if (!cells)
        return false;
    if (g->n_row)
        memcpy(cells, g->cells, g->n_row * GRID_MAX_COLUMN * sizeof *cells);
    g->cells = cells;
    g->cap = cap;
    return true;
}

void grid_row(grid *g, const char *const *cells, size_t n)
{
    if (!make_room(g)) {
        g->failed = true;
        return;
    }
    const char **row = g->cells + g->n_row++ * GRID_MAX_COLUMN;
    for (size_t i = 0; i < n && i < GRID_MAX_COLUMN; i++) {
        row[i] = clean_copy(g->arena, cells[i]);
        g->failed = g->failed || !row[i];
    }
}

static void write_spaces(buf *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)buf_putc(out, ' '); /* sticky */
}

/* The rows' widest cells; gives how many columns there are. */
static size_t measure(const grid *g, size_t width[GRID_MAX_COLUMN])
{
    size_t n_column = 0;
    for (size_t i = 0; i < g->n_row; i++) {
        const char *const *row = g->cells + i * GRID_MAX_COLUMN;
        for (size_t j = 0; j < GRID_MAX_COLUMN && row[j]; j++) {
            const size_t n = grid_width(row[j]);
            width[j] = n > width[j] ? n : width[j];
            n_column = j + 1 > n_column ? j + 1 : n_column;
        }
    }
    return n_column;
}

cama_err grid_write(const grid *g, buf *out)
{
    size_t width[GRID_MAX_COLUMN] = {0};
    const size_t n_column = measure(g, width);
    if (g->failed)
        return out->fail = CAMA_ERR_NOMEM;
    if (g->title && !g->n_row)
        return CAMA_OK;
    if (g->title)
        (void)buf_printf(out, "  %s\n", g->title);
    for (size_t i = 0; i < g->n_row; i++) {
        const char *const *row = g->cells + i * GRID_MAX_COLUMN;
        write_spaces(out, g->title ? 4 : 0);
        for (size_t j = 0; j < n_column; j++) {
            const bool end_of_header = g->header && i == 0 && j + 1 == n_column;
            const char *cell = row[j] ? row[j] : "";
            (void)buf_puts(out, cell);
            write_spaces(out, width[j] - grid_width(cell) + (end_of_header ? 1 : 4));
        }
        (void)buf_putc(out, '\n');
    }
    if (g->title)
        (void)buf_putc(out, '\n');
    return out->fail;
}
