#include "cli/cli_progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

#define REFRESH_NS 100000000u

void progress_init(cli_progress *p)
{
    const char *term = getenv("TERM");
    *p = (cli_progress){.terminal =
                            isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb") != 0};
}

/* Bytes of text that stay within a line: only one line can be written over. */
static int room(size_t n_share)
{
    struct winsize size = {0};
    const bool known = !ioctl(STDERR_FILENO, TIOCGWINSZ, &size) && size.ws_col > 20;
    return (int)((known ? size.ws_col : 80u) - 1 - n_share);
}

static void write_line(const cli_progress *p, const char *end)
{
    char share[16] = "";
    if (p->percent >= 0)
        (void)snprintf(share, sizeof share, " %d%%", p->percent);
    if (p->terminal)
        fprintf(stderr, "\r%.*s%s\033[K%s", *end ? (int)sizeof p->text : room(strlen(share)),
                p->text, share, end);
    else if (*end)
        fprintf(stderr, "%s%s%s", p->text, share, end);
}

void progress_end(cli_progress *p)
{
    if (*p->text)
        write_line(p, "\n");
    p->text[0] = '\0';
}

void progress_step(cli_progress *p, const char *text)
{
    progress_end(p);
    (void)snprintf(p->text, sizeof p->text, "%s", text);
    for (char *c = p->text; *c; c++) { /* what comes from a server may not steer the terminal */
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    }
    p->percent = -1;
    p->seen_ns = clock_now_ns();
    write_line(p, "");
}

void progress_share(cli_progress *p, uint64_t done, uint64_t all)
{
    const double share = all ? (double)done / (double)all : 1;
    p->percent = (int)(100 * (share < 1 ? share : 1));
    const uint64_t now = clock_now_ns();
    if (now - p->seen_ns < REFRESH_NS)
        return;
    p->seen_ns = now;
    write_line(p, "");
}
