"""What of a terminal session is compared with the recorded one of an Ollama: exit status, streams, lines.

A view is {"exit": text, "parts": [[label, lines], ..]}: stdout and stderr of a program on pipes, the terminal of one
on a pseudo terminal, or what each step of a conversation put there. Terminal output is interpreted first, so that a
spinner that was wiped away leaves nothing. Left out is what changes from run to run (ids, digests, times, sizes in
memory), what a model says and where its lines break; the order of a table's rows and of parameters, which Ollama
draws by lot, and of tensors, which it moves; the last line's end, which the recordings do not keep; our name. Of a
help only what there is to type is compared: commands, flags, variables of the environment.

What we show in addition where nothing else looks (a last column, a last section) is a part of its own, "ours"; so is
the grey hint in a prompt.
"""
import difflib
import re

ESCAPE = re.compile(r"\x1b(?:\]([^\x07\x1b]*)(?:\x07|\x1b\\)|\[([?>=]?[0-9;]*)([ -/]*[@-~])|[()][0-9A-B]|[=>78cM])")
PIPE = 1 << 30  # columns
PROMPTS = (">>> ", "... ")
HINTS = ("Send a message (/? for help)", "Press Enter to send")


class Screen:
    """A terminal that never scrolls: rows of characters and a cursor."""

    def __init__(self, width):
        self.width, self.rows, self.row, self.col = width, [[]], 0, 0
        self.rest, self.escapes = "", False
        self.joined = set()  # rows that go on with the line above, which was too long

    def line(self, row=None):
        return "".join(self.rows[self.row if row is None else row])

    def lines(self, first=0):
        out = []
        for i in range(first, len(self.rows)):
            if out and i in self.joined:
                out[-1] += self.line(i)
            else:
                out.append(self.line(i))
        return out

    def at_prompt(self):
        before = self.line()[:self.col]
        return before in PROMPTS or before.endswith("^C" + PROMPTS[0])

    def down(self):
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])

    def put(self, c):
        if self.col == self.width:
            self.down()
            self.joined.add(self.row)
            self.col = 0
        line = self.rows[self.row]
        line.extend(" " * (self.col + 1 - len(line)))
        line[self.col] = c
        self.col += 1

    def control(self, arguments, final):
        n = int(arguments) if arguments.isdigit() else 1
        line = self.rows[self.row]
        if final == "A":
            self.row = max(0, self.row - n)
        elif final == "B":
            for _ in range(n):
                self.down()
        elif final == "C":
            self.col = min(self.col + n, self.width - 1)
        elif final == "D":
            self.col = max(0, min(self.col, self.width - 1) - n)
        elif final == "G":
            self.col = n - 1
        elif final == "K" and arguments in ("", "0"):
            del line[self.col:]
        elif final == "K":
            line[:] = [] if arguments == "2" else [" "] * self.col + line[self.col:]
        elif final == "J" and arguments in ("", "0"):
            del line[self.col:], self.rows[self.row + 1:]
        elif final == "P":
            del line[self.col:self.col + n]
        elif final == "@":
            line[self.col:self.col] = [" "] * n

    def feed(self, text):
        text, self.rest, at = self.rest + text, "", 0
        while at < len(text):
            c = text[at]
            if c == "\x1b":
                m = ESCAPE.match(text, at)
                if not m:  # its end is yet to come
                    self.rest = text[at:]
                    return
                self.escapes, at = True, m.end()
                if m[3]:
                    self.control(m[2], m[3])
                continue
            at += 1
            if c == "\n":  # the terminal's driver put a return before it
                self.down()
                self.col = 0
            elif c == "\r":
                self.col = 0
            elif c == "\b":
                self.col = max(0, min(self.col, self.width - 1) - 1)
            elif c == "\t":
                self.col = min((self.col | 7) + 1, self.width - 1)
            elif c >= " ":
                self.put(c)


# ---- what is left out ----

MASKS = [(re.compile(p), r) for p, r in (
    (r"\bsha256([:-])[0-9a-f]{64}", r"sha256\1<digest>"),
    (r"\b[0-9a-f]{12}\b", "x" * 12),
    (r"(127\.0\.0\.1):\d{4,5}", r"\1:<port>"),
    (r"(<gguf-folder>/)[\w.-]+", r"\1<file>"),
    (r"^((?:total|load|prompt eval|eval) duration: +)[\d.]+(?:[mµn]?s|m[\d.]+s)$", r"\1<time>"),
    (r"^((?:prompt )?eval (?:count|rate): +)[\d.]+", r"\1<n>"))]
TIME = re.compile(r"(?:Less than a second|About a minute|About an hour|\d+ (?:second|minute|hour)s?) (?:ago|from now)$")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
FIGURE = re.compile(r"(?:total|load|prompt eval|eval) (?:duration|count|rate): ")
IN_NO_ORDER = (re.compile(r" *(?:num_predict|num_ctx|seed|stop|temperature) {2}"),
               re.compile(r" {4}(?:blk\.|output|token_embd)\S+  .*\]$"))
OUR_COLUMN, OUR_SECTIONS = "ENGINE", ("  Engine", "  Weights")


def mask(line):
    for pattern, to in MASKS:
        line = pattern.sub(to, line)
    return NUMBER.sub("<x>", line) if re.fullmatch(r"\[[-\d.,e ]+\]", line) else line


def settle_table(head, rows, ours):
    """Header and rows without the ends' padding, which must be as wide as the longest cell asks for."""
    width = {len(r) for r in rows}
    if width != {len(head) + 3}:
        return [head] + rows
    at = head.find(OUR_COLUMN)
    if at > 0:
        ours.append("column " + OUR_COLUMN)
        head, rows = head[:at], [r[:at] for r in rows]
    if "PROCESSOR" in head:
        rows = [re.sub(r"[\d.]+(?= [KMG]?B {4})", lambda m: "9" * len(m[0]), r) for r in rows]
    return [head.rstrip()] + sorted(TIME.sub("<time>", r.rstrip()) for r in rows)


def settle(lines):
    """Lines with what is left out masked, and what is ours taken out."""
    out, ours, at = [], [], 0
    while at < len(lines):
        end = at + 1
        line = lines[at]
        if line.startswith("NAME  "):
            while end < len(lines) and lines[end].endswith("    "):
                end += 1
            out += settle_table(line, lines[at + 1:end], ours) if end > at + 1 else [line]
        elif re.match(r" {4}\S.* {4}$", line):
            while end < len(lines) and re.match(r" {4}\S.* {4}$", lines[end]):
                end += 1
            even = len({len(x) for x in lines[at:end]}) == 1
            out += [x.rstrip() for x in lines[at:end]] if even else lines[at:end]
        else:
            out.append(line)
        at = end
    for section in OUR_SECTIONS:
        if section in out:
            at = out.index(section)
            end = out.index("", at) if "" in out[at:] else len(out)
            ours.append("section" + section[1:])
            del out[at:end + 1]
    for kind in IN_NO_ORDER:
        at = 0
        while at < len(out):
            end = at
            while end < len(out) and kind.match(out[end]):
                end += 1
            out[at:end] = sorted(out[at:end])
            at = max(end, at + 1)
    return [mask(x) for x in out], ours


def typed_words(lines):
    """Of a help: what one can type; of all else: the lines."""
    if not any(re.match("usage:", x, re.I) for x in lines[:4]):
        return lines
    words = set()
    for line in lines:
        if m := re.match(r" {2,}(?:-(\w), )?(?:    )?--([\w-]+)", line):
            words.add("flag " + (f"-{m[1]}, " if m[1] else "") + "--" + m[2])
        elif m := re.match(r" {6}([A-Z_]+) {2,}", line):
            words.add("variable " + m[1])
        elif m := re.match(r"  ([a-z]+) {2,}", line):
            words.add("command " + m[1])
        elif line.startswith("Unknown"):
            words.add(line)
    return sorted(words)


def take_hint(lines, hints):
    """The last line without the hint behind a prompt."""
    for hint in HINTS:
        if lines and lines[-1].endswith(hint) and any(lines[-1].endswith(p + hint) for p in PROMPTS):
            hints.add(hint)
            lines = lines[:-1] + [lines[-1].removesuffix(hint)]
    return lines


def hide_answer(lines):
    """What a model said becomes one line; that it thought, the figures, the end and the prompt stay."""
    end = len(lines)
    if end and lines[-1].startswith(PROMPTS):
        end -= 1
    while end and FIGURE.match(lines[end - 1]):
        end -= 1
    while end and not lines[end - 1]:
        end -= 1
    said, rest = lines[:end], lines[end:]
    if not said:
        return rest
    if "^C" in said[-1]:  # what comes after stands in the same line
        return ["<answer>" + re.sub(r"^.*(?=\^C)", "", said[-1])] + rest
    first = said[:1] if said[0] == "Thinking..." else []
    if "...done thinking." in said:
        return first + ["<thinking>", "...done thinking.", "", "<answer>"] + rest
    return first + ["<answer>"] + rest


# ---- views ----

def trim(lines):
    """Without what nobody sees: ends of lines, empty lines at both ends."""
    lines = [x.rstrip() for x in lines]
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return lines


def done(status, parts, ours):
    return {"exit": str(status), "parts": parts + ([["ours", ours]] if ours else [])}


def view_pipes(status, out, err, answer):
    parts, all_ours = [], []
    for label, text in (("stdout", out), ("stderr", err)):
        screen = Screen(PIPE)
        screen.feed(text.removesuffix("\n"))
        lines = screen.lines() if text else []
        if answer and label == "stdout":
            lines = hide_answer(lines)
        lines, ours = settle(typed_words(lines))
        all_ours += ours
        parts.append([label, trim(lines) if label == "stderr" else lines])
        if screen.escapes:
            parts.append([label + " escapes", ["yes"]])
    return done(status, parts, all_ours)


def view_terminal(status, steps, answer):
    """steps: what was typed and the text that came then, in order; the first is ("start", text)."""
    screen, parts, all_ours, command = Screen(80 if len(steps) > 1 else PIPE), [], [], False
    hints, last = set(), ""
    for typed, text in steps:
        start, at_prompt = screen.row, last in PROMPTS or last.endswith("^C" + PROMPTS[0])
        if last != PROMPTS[1]:
            command = typed.startswith("/")
        if typed == "start":
            hidden = answer
        elif typed == "\x03":
            hidden = not at_prompt
        else:
            hidden = at_prompt and typed != "\x04" and not command
        screen.feed(text)
        lines = take_hint(screen.lines(start), hints)
        last = lines[-1]
        if typed > " " and lines[0].rstrip().endswith(typed.rstrip()):  # the echo: what was before it is of the last step
            lines[0] = typed
        if hidden:
            n_echo = 1 if at_prompt else 0
            lines = lines[:n_echo] + hide_answer(lines[n_echo:])
        lines, ours = settle(lines)
        all_ours += ours
        parts.append([typed if typed == "start" else repr(typed), trim(lines)])
    if hints:
        parts.append(["hints", sorted(hints)])
    return done(status, parts, all_ours)


def name_ours(view):
    """The recorded view with our name in the place of Ollama's."""
    for part in view["parts"]:
        part[1] = [x if x.startswith("# Modelfile") else re.sub(r"(?<!\.)\b[Oo]llama\b(?!\.(com|ai))", "cama", x)
                   for x in part[1]]
    return view


def differences(want, got):
    """Lines `label - line` that is missing here, `label + line` that is not there."""
    if want["exit"] != got["exit"]:
        yield f"exit - {want['exit']}"
        yield f"exit + {got['exit']}"
    rest = list(got["parts"])
    pairs = []
    for label, lines in want["parts"]:
        at = next((i for i, p in enumerate(rest) if p[0] == label), None)
        pairs.append((label, lines, rest.pop(at)[1] if at is not None else []))
    pairs += [(label, [], lines) for label, lines in rest]
    for label, theirs, ours in pairs:
        for kind, a, b, c, d in difflib.SequenceMatcher(None, theirs, ours, False).get_opcodes():
            if kind != "equal":
                yield from (f"{label} - {x}" for x in theirs[a:b])
                yield from (f"{label} + {x}" for x in ours[c:d])
