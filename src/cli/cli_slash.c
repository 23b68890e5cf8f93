/* The commands of the REPL, with the names and the words that Ollama's users know. */
#include "cli/cli_repl.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- help ---- */

static const char help_begin[] = "Available Commands:\n"
                                 "  /set            Set session variables\n"
                                 "  /show           Show model information\n";
static const char help_save[] = "  /load <model>   Load a session or model\n"
                                "  /save <model>   Save your current session\n";
static const char help_load[] = "  /load <file>    Load a model\n";
static const char help_end[] = "  /clear          Clear session context\n"
                               "  /bye            Exit\n"
                               "  /?, /help       Help for a command\n"
                               "  /? shortcuts    Help for keyboard shortcuts\n"
                               "\n"
                               "Use \"\"\" to begin a multi-line message.\n\n";

static const char help_set[] = "Available Commands:\n"
                               "  /set parameter ...     Set a parameter\n"
                               "  /set system <string>   Set system message\n"
                               "  /set history           Enable history\n"
                               "  /set nohistory         Disable history\n"
                               "  /set wordwrap          Enable wordwrap\n"
                               "  /set nowordwrap        Disable wordwrap\n";
static const char help_set_format[] = "  /set format json       Enable JSON mode\n"
                                      "  /set noformat          Disable formatting\n";
static const char help_set_verbose[] = "  /set verbose           Show LLM stats\n"
                                       "  /set quiet             Disable LLM stats\n";
static const char help_set_think[] = "  /set think             Enable thinking\n"
                                     "  /set nothink           Disable thinking\n";

static const char help_show[] = "Available Commands:\n"
                                "  /show info         Show details for this model\n"
                                "  /show license      Show model license\n"
                                "  /show modelfile    Show Modelfile for this model\n"
                                "  /show parameters   Show parameters for this model\n"
                                "  /show system       Show system message\n"
                                "  /show template     Show prompt template\n\n";

static const char help_shortcuts[] =
    "Available keyboard shortcuts:\n"
    "  Ctrl + a            Move to the beginning of the line (Home)\n"
    "  Ctrl + e            Move to the end of the line (End)\n"
    "   Alt + b            Move back (left) one word\n"
    "   Alt + f            Move forward (right) one word\n"
    "  Ctrl + k            Delete the sentence after the cursor\n"
    "  Ctrl + u            Delete the sentence before the cursor\n"
    "  Ctrl + w            Delete the word before the cursor\n"
    "\n"
    "  Ctrl + l            Clear the screen\n"
    "  Ctrl + c            Stop the model from responding\n"
    "  Ctrl + d            Exit cama (/bye)\n\n";

static void help(const session *s, const char *about)
{
    const repl_vt *vt = s->vt;
    if (!strcmp(about, "set") || !strcmp(about, "/set"))
        printf("%s%s%s%s\n", help_set, vt->set_format ? help_set_format : "", help_set_verbose,
               vt->set_think ? help_set_think : "");
    else if (!strcmp(about, "show") || !strcmp(about, "/show"))
        (void)fputs(help_show, stdout);
    else if (!strcmp(about, "shortcuts") || !strcmp(about, "shortcut"))
        (void)fputs(help_shortcuts, stdout);
    else
        printf("%s%s%s", help_begin, vt->save ? help_save : help_load, help_end);
}

static void unknown(const char *command, const char *rest)
{
    fprintf(stderr, "Unknown command '%s%s%.*s'. Type /? for help\n", command, *rest ? " " : "",
            (int)strcspn(rest, " \t\n"), rest);
}

static void refuse(const char *what)
{
    fprintf(stderr, "%s is not supported\n", what);
}

/* ---- words ---- */

/* Cuts the first word off *at: up to a space, or all between two ". NULL: there is none. */
char *repl_take_word(char **at)
{
    char *word = *at + strspn(*at, " \t\n");
    if (!*word)
        return NULL;
    const char *ends = " \t\n";
    if (*word == '"' && strchr(word + 1, '"')) {
        word++;
        ends = "\"";
    }
    char *end = word + strcspn(word, ends);
    *at = *end ? end + 1 : end;
    *end = '\0';
    return word;
}

/* What follows the word at the front of text; NULL: that is another word. */
static char *after_word(char *text, const char *word)
{
    const size_t n = strlen(word);
    if (strncmp(text, word, n) != 0 || (text[n] && !isspace((unsigned char)text[n])))
        return NULL;
    return text + n + strspn(text + n, " \t\n");
}

/* """text""" or "text" without its quotes. */
static char *unquote(char *text)
{
    static const char *const quotes[] = {"\"\"\"", "\""};
    const size_t n = strlen(text);
    for (size_t i = 0; i < sizeof quotes / sizeof quotes[0]; i++) {
        const size_t n_quote = strlen(quotes[i]);
        if (n >= 2 * n_quote && !strncmp(text, quotes[i], n_quote) &&
            !strcmp(text + n - n_quote, quotes[i])) {
            text[n - n_quote] = '\0';
            return text + n_quote;
        }
    }
    return text;
}

/* ---- /show, /set ---- */

static void show(session *s, const char *what)
{
    static const char *const known[] = {"info",       "license", "modelfile",
                                        "parameters", "system",  "template"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!strcmp(what, known[i])) {
            s->vt->show(s, what);
            return;
        }
    }
    if (*what)
        unknown("/show", what);
    else
        help(s, "show");
}

static void set_parameter(session *s, char *words)
{
    const char *name = repl_take_word(&words);
    words += strspn(words, " \t\n");
    if (!name || !*words)
        s->vt->set_parameter(s, NULL, NULL);
    else
        s->vt->set_parameter(s, name, words);
}

static void set_format(session *s, const char *format)
{
    if (!s->vt->set_format)
        refuse("/set format");
    else if (strcmp(format, "json") != 0)
        printf("Invalid or missing format. For 'json' mode use '/set format json'\n");
    else
        s->vt->set_format(s, format);
}

static void set_think(session *s, const char *how)
{
    if (!s->vt->set_think)
        refuse("/set think");
    else
        s->vt->set_think(s, how);
}

static void set_mode(session *s, const char *mode)
{
    if (!strcmp(mode, "history") || !strcmp(mode, "nohistory")) {
        line_keep_history(s->line, *mode == 'h');
    } else if (!strcmp(mode, "verbose") || !strcmp(mode, "quiet")) {
        s->vt->set_verbose(s, *mode == 'v');
        printf("Set '%s' mode.\n", mode);
    } else if (!strcmp(mode, "wordwrap") || !strcmp(mode, "nowordwrap")) {
        s->vt->set_wordwrap(s, *mode == 'w');
        printf("Set '%s' mode.\n", mode);
    } else if (!strcmp(mode, "noformat")) {
        if (s->vt->set_format)
            s->vt->set_format(s, "");
        printf("Disabled format.\n");
    } else if (!strcmp(mode, "nothink")) {
        set_think(s, "false");
    } else {
        unknown("/set", mode);
    }
}

static void set(session *s, char *rest)
{
    char *words;
    if (!*rest || after_word(rest, "system") == rest + strlen(rest))
        help(s, "set");
    else if ((words = after_word(rest, "parameter")))
        set_parameter(s, words);
    else if ((words = after_word(rest, "system")))
        s->vt->set_system(s, unquote(words));
    else if ((words = after_word(rest, "format")))
        set_format(s, words);
    else if ((words = after_word(rest, "think")))
        set_think(s, *words ? words : "true");
    else
        set_mode(s, rest);
}

/* ---- /load, /save ---- */

static void load(session *s, const char *name)
{
    if (!*name) {
        fprintf(stderr, "Usage:\n  /load <%s>\n", s->vt->what);
        return;
    }
    printf("Loading model '%s'\n", name);
    (void)fflush(stdout); /* a lost one ends the next read */
    s->vt->load(s, name);
}

static void save(session *s, const char *name)
{
    if (!s->vt->save)
        refuse("/save");
    else if (!*name || strpbrk(name, " \t"))
        fprintf(stderr, "Usage:\n  /save <%s>\n", s->vt->what);
    else
        s->vt->save(s, name);
}

/* ---- the line ---- */

static void cut_end(char *text)
{
    size_t n = strlen(text);
    while (n && isspace((unsigned char)text[n - 1]))
        text[--n] = '\0';
}

void repl_command(session *s, char *text)
{
    char *rest;
    cut_end(text);
    if (after_word(text, "/bye") || after_word(text, "/exit")) {
        s->over = true;
    } else if (after_word(text, "/clear")) {
        s->vt->forget(s);
        printf("Cleared session context\n");
    } else if ((rest = after_word(text, "/help")) || (rest = after_word(text, "/?"))) {
        help(s, rest);
    } else if ((rest = after_word(text, "/set"))) {
        set(s, rest);
    } else if ((rest = after_word(text, "/show"))) {
        show(s, rest);
    } else if ((rest = after_word(text, "/load"))) {
        load(s, rest);
    } else if ((rest = after_word(text, "/save"))) {
        save(s, rest);
    } else if (after_word(text, "/list") || after_word(text, "/ls")) {
        if (s->vt->list)
            s->vt->list(s);
        else
            refuse("/list");
    } else {
        text[strcspn(text, " \t\n")] = '\0';
        unknown(text, "");
    }
    (void)fflush(stdout); /* before what the terminal shows next; a lost one ends the next read */
}
