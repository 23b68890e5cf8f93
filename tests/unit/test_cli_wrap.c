/* Answers on a terminal: what a small terminal shows of them, however they come in pieces. */
#include "test.h"

#include "base/utf8.h"
#include "cli/cli_wrap.h"

#define MAX_ROW 4096
#define MAX_COLUMN 200
#define WIDE_REST 1u /* in the second cell of a wide character */

/* ---- a terminal: printing, line ends, tabs, ESC[nD, ESC[K, colors; what else comes is an error */

typedef struct screen {
    uint32_t cell[MAX_ROW][MAX_COLUMN]; /* 0: nothing was printed there */
    bool soft[MAX_ROW];                 /* the row goes on with the one before it */
    size_t width, row, col;             /* col == width: the next character goes to the next row */
    bool colored;                       /* not the default style */
} screen;

static screen shown;

/* Apart from the program's own table: what the texts of this test hold. */
static size_t columns_of(uint32_t c)
{
    if ((c >= 0x300 && c < 0x370) || c == 0x200d || c == 0xfe0f)
        return 0;
    return (c >= 0x3000 && c < 0xa000) || (c >= 0xff00 && c < 0xff60) || c >= 0x1f000 ? 2 : 1;
}

static void next_row(bool soft)
{
    assert_true(++shown.row < MAX_ROW);
    shown.soft[shown.row] = soft;
    shown.col = 0;
}

static void show_char(uint32_t c)
{
    const size_t n = columns_of(c);
    if (!n)
        return;
    if (shown.col + n > shown.width)
        next_row(true);
    shown.cell[shown.row][shown.col] = c;
    if (n == 2)
        shown.cell[shown.row][shown.col + 1] = WIDE_REST;
    shown.col += n;
}

static const char *show_escape(const char *at)
{
    assert_int_equal(*at++, '[');
    char *end;
    const unsigned long n = strtoul(at, &end, 10);
    if (*end == 'D') {
        assert_true(shown.col < shown.width); /* else terminals differ */
        assert_true(n >= 1 && n <= shown.col);
        shown.col -= n;
    } else if (*end == 'K') {
        for (size_t i = shown.col; i < shown.width; i++)
            shown.cell[shown.row][i] = 0;
    } else {
        end += strspn(end, "0123456789;");
        assert_int_equal(*end, 'm');
        shown.colored = !(end - at == 1 && n == 0);
    }
    return end + 1;
}

static void show(size_t width, const char *text, size_t n)
{
    memset(&shown, 0, sizeof shown);
    shown.width = width;
    for (const char *at = text, *end = text + n; at < end;) {
        uint32_t c;
        at += utf8_decode(at, (size_t)(end - at), &c);
        if (c == 0x1b)
            at = show_escape(at);
        else if (c == '\n')
            next_row(false);
        else if (c == '\t')
            shown.col =
                shown.col / 8 * 8 + 8 < shown.width ? shown.col / 8 * 8 + 8 : shown.width - 1;
        else
            show_char(c);
        assert_true(c >= ' ' || c == 0x1b || c == '\n' || c == '\t');
        assert_false(c >= 0x7f && c < 0xa0);
    }
}

/* ---- writing ---- */

static uint32_t seed = 1;

static uint32_t draw(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static cli_wrap terminal_of(size_t width)
{
    return (cli_wrap){.terminal = true, .words = true, .columns = width};
}

static void write_whole(size_t width, const char *text, size_t n, buf *out)
{
    cli_wrap w = terminal_of(width);
    buf_clear(out);
    wrap_piece(&w, WRAP_PLAIN, text, n, out);
    assert_int_equal(out->fail, CAMA_OK);
}

static void write_pieces(size_t width, const char *text, size_t n, buf *out)
{
    cli_wrap w = terminal_of(width);
    buf_clear(out);
    for (size_t at = 0; at < n;) {
        const size_t most = n - at;
        size_t piece = 1 + draw(7);
        piece = piece < most ? piece : most;
        wrap_piece(&w, WRAP_PLAIN, text + at, piece, out);
        at += piece;
    }
    assert_int_equal(out->fail, CAMA_OK);
}

static void expect(size_t width, const char *text, const char *want)
{
    buf out;
    buf_init(&out, 1 << 20);
    write_whole(width, text, strlen(text), &out);
    assert_string_equal(out.data ? out.data : "", want);
    buf_done(&out);
}

/* ---- texts ---- */

enum { NARROW = 1, WIDE = 2, LONG = 4, ODD = 8 };

static void add(buf *text, uint32_t c)
{
    char bytes[4];
    assert_int_equal(buf_append(text, bytes, utf8_encode(c, bytes)), CAMA_OK);
}

static void add_word(buf *text, unsigned kinds)
{
    static const uint32_t odd[] = {0x301, 0x200d, 0xfe0f, 0x1f600, 0x1f469, 0x1b,
                                   0x9b,  0x7f,   7,      '\r',    0};
    const uint32_t n = kinds & LONG && !draw(8) ? 100 + draw(300) : 1 + draw(9);
    const bool wide = kinds & WIDE && !draw(2);
    for (uint32_t i = 0; i < n; i++) {
        if (wide)
            add(text, draw(6) ? 0x4e00 + draw(2000) : 0x3002);
        else
            add(text, draw(9) ? 'a' + draw(26) : draw(2) ? 0xe9 : '.');
        if (kinds & ODD && !draw(5))
            add(text, odd[draw(TEST_COUNT(odd))]);
    }
}

static void make_text(buf *text, unsigned kinds, uint32_t n_word)
{
    static const char *const between[] = {" ",  " ",  " ",    " ",      " ",
                                          "\n", "  ", "\n\n", "\n    ", "\t"};
    buf_clear(text);
    for (uint32_t i = 0; i < n_word; i++) {
        add_word(text, kinds);
        assert_int_equal(buf_puts(text, between[draw(TEST_COUNT(between))]), CAMA_OK);
    }
}

static bool is_blank(uint32_t c)
{
    return !c || c == ' ' || c == '\t' || c == '\n';
}

static void cut_end(buf *words)
{
    if (words->n && words->data[words->n - 1] == ' ')
        words->data[--words->n] = '\0';
}

/* The words on the screen, one space between them, and of the text; a row that is no soft one ends
 * a word. */
static void words_shown(buf *out)
{
    buf_clear(out);
    for (size_t row = 0; row <= shown.row; row++) {
        if (out->n && !shown.soft[row] && out->data[out->n - 1] != ' ')
            add(out, ' ');
        for (size_t i = 0; i < shown.width; i++) {
            const uint32_t c = shown.cell[row][i];
            const bool more = i + 1 < shown.width && !is_blank(shown.cell[row][i + 1]);
            if (!is_blank(c) && c != WIDE_REST)
                add(out, c);
            else if (c != WIDE_REST && more && out->n && out->data[out->n - 1] != ' ')
                add(out, ' ');
        }
    }
    cut_end(out);
}

static void words_of(const buf *text, buf *out)
{
    buf_clear(out);
    for (size_t at = 0; at < text->n;) {
        uint32_t c;
        at += utf8_decode(text->data + at, text->n - at, &c);
        if (!is_blank(c))
            add(out, c);
        else if (out->n && out->data[out->n - 1] != ' ')
            add(out, ' ');
    }
    cut_end(out);
}

static size_t row_width(size_t row)
{
    size_t n = shown.width;
    while (n && is_blank(shown.cell[row][n - 1]))
        n--;
    return n;
}

/* ---- tests ---- */

static void as_ollama_wraps(void **state)
{
    (void)state;
    /* 75 columns are in use when the "a" of Ollama's recorded answer begins. */
    expect(80,
           "The sky is blue because of the Earth's own atmosphere scattering light in a specific",
           "The sky is blue because of the Earth's own atmosphere scattering light in a\nspecific");
    expect(20, "aaaa bbbb cccc dddd", "aaaa bbbb cccc \ndddd");
    expect(20, "aaaa bbbb cccccc dddd", "aaaa bbbb ccccc\033[5D\033[K\ncccccc dddd");
    expect(20, "aaaa bbbb ccccc   \ndddd",
           "aaaa bbbb ccccc\ndddd"); /* one end of a line, not two */
    expect(20, "aaaa bbbb ccccc\n\ndddd", "aaaa bbbb ccccc\n\ndddd");
    expect(20, "abcdefghijklmnopqrstuvwxyz ab",
           "abcdefghijklmnopqrstuvwxyz ab"); /* the terminal's */
    expect(20, "an abcdefghijklmnopqrstuvwxyz",
           "an abcdefghijkl\033[12D\033[K\nabcdefghijklmnopqrstuvwxyz");
    expect(9, "aaaa bbbb cccc", "aaaa bbbb cccc"); /* too narrow for any margin */
}

static void wide_characters(void **state)
{
    (void)state;
    expect(20, "日本語日本語日本語", "日本語日本語日\n本語");
    expect(20, "日本語日本語日。本語", "日本語日本語日。\n本語"); /* no line begins with its end */
    expect(20, "日本語日本語日.abc", "日本語日本語日.\nabc");
    expect(20, "日本語 abcdefghijk", "日本語 abcdefgh\033[8D\033[K\nabcdefghijk");
    expect(20,
           "abcdefghij e\xcc\x81"
           "e\xcc\x81"
           "eeex",
           "abcdefghij e\xcc\x81"
           "e\xcc\x81"
           "ee\033[4D\033[K\ne\xcc\x81"
           "e\xcc\x81"
           "eeex");
    expect(20, "abcdefghijklm👍🏽 a", "abcdefghijklm👍🏽\na"); /* one visible character */
    expect(20, "abcdefghijklmn👩‍👩‍👦", "abcdefghijklmn\n👩‍👩‍👦");
}

static void pieces_change_nothing(void **state)
{
    (void)state;
    buf text;
    buf whole;
    buf pieces;
    buf_init(&text, 1 << 20);
    buf_init(&whole, 1 << 22);
    buf_init(&pieces, 1 << 22);
    for (size_t width = 1; width <= MAX_COLUMN; width++) {
        make_text(&text, NARROW | WIDE | LONG | ODD, 60);
        if (width % 3 == 0) { /* bytes that are no UTF-8, and an end within a character */
            for (size_t i = 0; i < 20; i++)
                text.data[draw((uint32_t)text.n)] = (char)draw(256);
        }
        write_whole(width, text.data, text.n, &whole);
        for (int i = 0; i < 4; i++) {
            write_pieces(width, text.data, text.n, &pieces);
            assert_int_equal(pieces.n, whole.n);
            assert_memory_equal(pieces.data, whole.data, whole.n);
        }
        if (width >= 2)
            show(width, whole.data, whole.n);
    }
    buf_done(&text);
    buf_done(&whole);
    buf_done(&pieces);
}

/* Every word of the text is on the screen, in order, uncut but where it is longer than a line. */
static void words_stay_whole(void **state)
{
    (void)state;
    buf text;
    buf out;
    buf want;
    buf got;
    buf_init(&text, 1 << 20);
    buf_init(&out, 1 << 22);
    buf_init(&want, 1 << 20);
    buf_init(&got, 1 << 20);
    for (size_t width = 10; width <= MAX_COLUMN; width++) {
        const bool with_long = width % 2;
        make_text(&text, with_long ? NARROW | LONG : NARROW, 150);
        write_pieces(width, text.data, text.n, &out);
        show(width, out.data, out.n);
        words_of(&text, &want);
        words_shown(&got);
        if (width >= 16 || with_long) /* a word of 9 fits, or may be cut by the terminal */
            assert_string_equal(got.data, want.data);
        for (size_t row = 0; !with_long && width >= 16 && row <= shown.row; row++) {
            assert_false(shown.soft[row]);
            assert_true(row_width(row) <= width - 5);
        }
    }
    buf_done(&text);
    buf_done(&out);
    buf_done(&want);
    buf_done(&got);
}

static void wide_text_keeps_the_margin(void **state)
{
    (void)state;
    buf text;
    buf out;
    buf_init(&text, 1 << 20);
    buf_init(&out, 1 << 22);
    for (size_t width = 16; width <= MAX_COLUMN; width++) {
        make_text(&text, NARROW | WIDE, 150);
        write_pieces(width, text.data, text.n, &out);
        show(width, out.data, out.n);
        for (size_t row = 0; row <= shown.row; row++) {
            assert_false(shown.soft[row]);
            assert_true(row_width(row) < width); /* what hangs stays off the edge */
        }
    }
    buf_done(&text);
    buf_done(&out);
}

static void nothing_steers_the_terminal(void **state)
{
    (void)state;
    static const char evil[] = "a\033[2Jb\033]52;c;eA==\007c\rd\be\xc2\x9b"
                               "2Jf\x9bg\177\n\th\0i";
    buf out;
    buf_init(&out, 1 << 20);
    for (int words = 0; words < 2; words++) {
        cli_wrap w = terminal_of(80);
        w.words = words;
        buf_clear(&out);
        wrap_piece(&w, WRAP_PLAIN, evil, sizeof evil - 1, &out);
        assert_string_equal(out.data, "a[2Jb]52;c;eA==cde2Jf\xef\xbf\xbdg\n\thi");
    }
    cli_wrap pipe = {.words = true, .colors = true, .columns = 20};
    buf_clear(&out);
    wrap_piece(&pipe, WRAP_GREY, evil, sizeof evil - 1, &out);
    assert_int_equal(out.n, sizeof evil - 1);
    assert_memory_equal(out.data, evil, out.n);
    buf_done(&out);
}

static void a_style_ends_with_its_piece(void **state)
{
    (void)state;
    buf out;
    buf_init(&out, 1 << 20);
    cli_wrap w = terminal_of(20);
    w.colors = true;
    wrap_piece(&w, WRAP_GREY_BOLD, "Thinking...\n", 12, &out);
    wrap_piece(&w, WRAP_GREY, "aaaa bbbb ccc", 13, &out);
    wrap_piece(&w, WRAP_GREY, "ccc", 3, &out);
    wrap_piece(&w, WRAP_PLAIN, "d", 1, &out);
    wrap_piece(&w, WRAP_GREY, "", 0, &out);
    assert_string_equal(out.data, "\033[38;5;245m\033[1mThinking...\n\033[0m"
                                  "\033[38;5;245maaaa bbbb ccc\033[0m"
                                  "\033[38;5;245mcc\033[5D\033[K\ncccccc\033[0md");
    show(20, out.data, out.n);
    assert_false(shown.colored);
    buf_done(&out);
}

/* Marks on a letter are without end: the word is not kept beyond its room. */
static void a_word_of_many_bytes(void **state)
{
    (void)state;
    buf text;
    buf out;
    buf_init(&text, 1 << 20);
    buf_init(&out, 1 << 20);
    assert_int_equal(buf_puts(&text, "aaaa bbbb ccc"), CAMA_OK);
    for (int i = 0; i < 5000; i++)
        add(&text, 0x301);
    assert_int_equal(buf_puts(&text, "ccccc dddd"), CAMA_OK);
    write_pieces(20, text.data, text.n, &out);
    show(20, out.data, out.n);
    assert_true(out.n >= text.n);
    assert_int_equal(shown.row, 1);
    buf_done(&text);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_ollama_wraps),
        cmocka_unit_test(wide_characters),
        cmocka_unit_test(pieces_change_nothing),
        cmocka_unit_test(words_stay_whole),
        cmocka_unit_test(wide_text_keeps_the_margin),
        cmocka_unit_test(nothing_steers_the_terminal),
        cmocka_unit_test(a_style_ends_with_its_piece),
        cmocka_unit_test(a_word_of_many_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
