"""Random strings that tokenizers disagree about, the same for a seed on every Python."""
import random

MIXED = ["'s", "'S", "'Re", "'LL", "'d", "'ſ", "don't", "I'M", "we'Ve", "x=1", "foo_bar", "\r\n", "\n", "\n\n",
         "\t", " ", "  ", "   ", " " * 7, " " * 40, "\n" * 9, " \n ", "\u00a0", "\u2003", "\u3000", "\u0085", "\u180e",
         "\u200b", "\u200d", "\ufeff", "\ufffd", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "e\u0301", "a\u0300\u0323", "ÉCOLE", "École", "HTTPServer",
         "straße", "Ǆ", "ǅ", "ʰ", "İ", "ﬁ", "한국어", "가각", "日本語", "中文字", "カタカナ", "ひらがな", "ไทย", "ພາສາ", "ខ្មែរ",
         "العربية", "،", "।", "हिन्दी", "עברית", "1", "12", "123", "1234", "12345678", "١٢٣", "४५६", "½", "²", "Ⅷ", "3.14",
         "1,000,000", "1st", "0x1F", "…", "。", "，", "！？", "“q”", "—", "«", "€", "$", "+", "<", ">", "=", "^", "~", "|", "`",
         "!", "?", ".", ",", "...", "!!!", "(a)", "[b]", "{c}", "/", "\\", "//", "#", "@", "&", "*", "%", "-", "--", "_",
         "the", "Hello", "World", "hello world", "camelCase", "UPPER", "lower", "a", "B", "é", "Ω", "Я", "привет", "ΑΒΓ",
         "\x00", "\x01", "\x1b", "\x7f", "\u0600", "\ue000", "\U000e0001", "\U0002b820", "\U00020000", "\U0002ebf0", "\u2ffc"]
SPECIAL = ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<mask>", "[CLS]", "[MASK]", "<0x41>",
           "<|end|>", "<|user|>", "<|", "|>", "<pad>", "▁", "▁▁"]
BROKEN = [b"\x80", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xff", b"\xfe", b"\xc3(", b"\xe2(\xa1"]


def code_point(r):
    """Any assigned or unassigned code point but the surrogates, the lower planes more often."""
    limit = r.choice((0x80, 0x100, 0x600, 0x3000, 0x10000, 0x20000, 0x110000))
    while True:
        cp = r.randrange(limit)
        if not 0xD800 <= cp <= 0xDFFF:
            return chr(cp)


def run(r):
    return r.choice((" ", "\n", "a", "A", "1", "!", "é", "中", "\u3000", "aA", " 1", "\r\n")) * r.randrange(1, 60)


def one(r, special):
    parts = []
    for _ in range(r.choice((1, 2, 3, 5, 8, 13))):
        kind = r.random()
        if kind < 0.55:
            parts.append(r.choice(MIXED).encode())
        elif kind < 0.85:
            parts.append("".join(code_point(r) for _ in range(r.randrange(1, 6))).encode())
        elif kind < 0.90:
            parts.append(run(r).encode())
        elif kind < 0.95:
            parts.append(r.choice(special).encode())
        else:
            parts.append(r.choice(BROKEN))
        if r.random() < 0.3:
            parts.append(b" ")
    return b"".join(parts)


def strings(seed, n, special=()):
    r = random.Random(seed)
    return [one(r, SPECIAL + list(special)) for _ in range(n)]
