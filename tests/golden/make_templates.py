"""Renders chat templates and feature snippets with Python's jinja2, as Hugging Face does.

    make_templates.py SOURCE_DIR   the templates of SOURCE_DIR (*.jinja) and the cases below
    make_templates.py              the feature snippets only (snippets.txt -> snippets.golden)

Writes into tests/data/templates:
    NAME.jinja        the template, a copy: text of the model's author, kept as test data
    cases.json        [{"name": .., "vars": {..}}, ..]: the matrix of messages, tools and flags
    NAME.golden       a line for each case: its number, then "!" and the class of what jinja2 raised,
                      or "@" n: equal to case n, or "=" k n text: the first n characters of the
                      prompt of case k, then text (a JSON string)
    snippets.golden   for each snippet: its source and what it gives, both as JSON strings

The environment is that of transformers' apply_chat_template: an immutable sandbox, trim_blocks,
lstrip_blocks, loop controls, {% generation %}, tojson without HTML escapes, raise_exception and
strftime_now (here at a fixed time). Two differences, both named:
  - where the immutable sandbox refuses list.append and its like, the mutable one renders (marked
    "+" instead of "="): some models' templates need it and other engines allow it;
  - from_json, which two templates of DeepSeek use and Hugging Face lacks, is json.loads.
"""
import datetime
import json
import os
import sys
import time

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment

os.environ["TZ"] = "UTC"
time.tzset()
NOW = 1753000000  # 2025-07-20 08:26:40 UTC
HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "data", "templates")


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_support")
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _support(self, caller):
        return caller()


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def environment(base):
    env = base(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
    env.filters["tojson"] = tojson
    env.filters["from_json"] = json.loads
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime.fromtimestamp(NOW).strftime(f)
    return env


STRICT = environment(ImmutableSandboxedEnvironment)
LOOSE = environment(SandboxedEnvironment)


def render(source, variables):
    """("=" or "+", text) or ("!", class of the error)."""
    for env, mark in ((STRICT, "="), (LOOSE, "+")):
        try:
            return mark, env.from_string(source).render(**json.loads(json.dumps(variables)))
        except jinja2.exceptions.SecurityError:
            continue
        except Exception as e:  # whatever Python raises is one error to us
            return "!", type(e).__name__
    return "!", "SecurityError"


# ---- the matrix ----

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather at a place, today <or> later & in \"quotes\"",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "Name of the city, e.g. Zürich"},
        "days": {"type": "integer", "default": 1, "minimum": 0},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "tags": {"type": "array", "items": {"type": "string"}}},
        "required": ["city"]}}}
CLOCK = {"type": "function", "function": {
    "name": "clock", "description": "The time", "parameters": {"type": "object", "properties": {}}}}


def call(name, arguments, ident="call00001"):
    return {"type": "function", "id": ident, "function": {"name": name, "arguments": arguments}}


def message(role, content, **more):
    return {"role": role, "content": content, **more}


USER = message("user", "Hello, how are you?")
OBJ = {"city": "Zürich", "days": 3, "ratio": 0.5, "deep": {"a": [1, None, True], "b": "x\ny"}}
ANSWER = message("tool", "{\"temp\": 21.5}", name="get_weather", tool_call_id="call00001")

CONVERSATIONS = {
    "user": [USER],
    "empty_content": [message("user", "")],
    "system": [message("system", "You are terse."), USER],
    "turns": [USER, message("assistant", "Fine.  "), message("user", "  Good\n\nto hear. ")],
    "system_turns": [message("system", "Be kind.\nAlways."), USER, message("assistant", "Fine."),
                     message("user", "And you?"), message("assistant", "Also."), message("user", "Bye")],
    "ends_with_assistant": [USER, message("assistant", "I am")],
    "unicode": [message("system", "Ünïcödé"), message("user", "日本語 😀 e\u0301 \u00a0\u2028 <|im_start|> </s> 'q' \"d\" \\n {{ x }}")],
    "typed": [message("user", [{"type": "text", "text": "Look: "}, {"type": "text", "text": "two parts"}])],
    "typed_system": [message("system", [{"type": "text", "text": "Sys"}]), message("user", [{"type": "text", "text": "U"}]),
                     message("assistant", [{"type": "text", "text": "A"}]), message("user", [{"type": "text", "text": "V"}])],
    "image": [message("user", [{"type": "image"}, {"type": "text", "text": "What is this?"}])],
    "two_users": [USER, message("user", "Again")],
    "assistant_first": [message("assistant", "Hi"), USER],
    "empty": [],
    "reasoning": [USER, message("assistant", "Fine.", reasoning_content="They ask.\nI answer."), message("user", "Why?")],
    "think_tags": [USER, message("assistant", "<think>\nhmm\n</think>\n\nFine."), message("user", "Why?")],
    "thinking_field": [USER, message("assistant", "Fine.", thinking="They ask."), message("user", "Why?")],
    "call_object": [USER, message("assistant", None, tool_calls=[call("get_weather", OBJ)]), ANSWER],
    "call_string": [USER, message("assistant", "", tool_calls=[call("get_weather", json.dumps(OBJ, ensure_ascii=False))]), ANSWER],
    "call_with_text": [message("system", "S"), USER, message("assistant", "Let me look.", tool_calls=[call("clock", {})]),
                       message("tool", "12:00", name="clock", tool_call_id="call00001"), message("assistant", "Noon."), message("user", "Thanks")],
    "call_parallel": [USER, message("assistant", None, tool_calls=[call("get_weather", {"city": "A"}), call("clock", {}, "call00002")]),
                      ANSWER, message("tool", "12:00", name="clock", tool_call_id="call00002"), message("assistant", "Done.")],
    "call_reasoning": [USER, message("assistant", "", reasoning_content="I need it.", tool_calls=[call("get_weather", {"city": "A"})]), ANSWER],
    "call_only": [USER, message("assistant", None, tool_calls=[call("get_weather", OBJ)])],
    "call_no_content": [USER, {"role": "assistant", "tool_calls": [call("get_weather", OBJ)]}, ANSWER],
    "tool_typed": [USER, message("assistant", None, tool_calls=[call("clock", {})]),
                   message("tool", [{"type": "text", "text": "12:00"}], name="clock", tool_call_id="call00001")],
    "tool_object": [USER, message("assistant", None, tool_calls=[call("clock", {})]), message("tool", {"time": 12}, name="clock")],
    "developer": [message("developer", "Dev rules"), USER],
    "null_user": [message("user", None)],
    "no_content": [{"role": "user"}],
    "other_role": [USER, message("critic", "Hm")],
}

TOOLS = {"none": {}, "null": {"tools": None}, "one": {"tools": [WEATHER]}, "two": {"tools": [WEATHER, CLOCK]}, "no": {"tools": []}}
FLAGS = {
    "plain": {},
    "gen": {"add_generation_prompt": True},
    "nogen": {"add_generation_prompt": False},
    "think": {"add_generation_prompt": True, "enable_thinking": True, "thinking": True},
    "nothink": {"add_generation_prompt": True, "enable_thinking": False, "thinking": False},
    "custom": {"add_generation_prompt": True, "reasoning_effort": "high", "thinking_budget": 512, "date_string": "1 Jan 2025",
               "builtin_tools": ["brave_search", "code_interpreter"], "custom_tools": [CLOCK], "xml_tools": ["x"], "python_tools": ["p"],
               "documents": [{"title": "T", "text": "Body", "content": "C"}], "preserve_thinking": True, "clear_thinking": False,
               "tools_in_user_message": False, "functions": [CLOCK], "datetime": "2025-01-01", "model_identity": "You are cama.", "keep_past_thinking": True, "add_vision_id": True},
}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def cases():
    out = []
    def add(conversation, tools, flags):
        variables = {"messages": CONVERSATIONS[conversation], **TOKENS, **TOOLS[tools], **FLAGS[flags]}
        out.append({"name": f"{conversation}/{tools}/{flags}", "vars": variables})
    for conversation in CONVERSATIONS:
        with_calls = "call" in conversation or "tool" in conversation
        add(conversation, "none", "gen")
        add(conversation, "one" if with_calls else "null", "nogen")
        add(conversation, "two" if with_calls else "none", "think")
    for conversation in ("user", "system_turns", "reasoning", "call_with_text", "call_parallel"):
        add(conversation, "two", "gen")
        add(conversation, "one", "nothink")
        add(conversation, "none", "nothink")
        add(conversation, "no", "plain")
        add(conversation, "two", "custom")
        add(conversation, "none", "custom")
    return out


def longest_prefix(text, seen):
    """The earlier prompt that shares the most characters with text: (its case, how many)."""
    best = (0, 0)
    for other, i in seen.items():
        n = len(os.path.commonprefix([text, other]))
        if n > best[1]:
            best = (i, n)
    return best


def write_templates(source):
    matrix = cases()
    with open(os.path.join(DATA, "cases.json"), "w", encoding="utf-8") as f:
        json.dump([], f) if not matrix else f.write(
            "[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in matrix) + "\n]\n")
    names = sorted(n for n in os.listdir(source) if n.endswith(".jinja"))
    total = errors = loose = 0
    for name in names:
        with open(os.path.join(source, name), encoding="utf-8", newline="") as f:
            text = f.read()
        with open(os.path.join(DATA, name), "w", encoding="utf-8", newline="") as f:
            f.write(text)
        seen = {}
        with open(os.path.join(DATA, name[:-6] + ".golden"), "w", encoding="utf-8") as f:
            for i, c in enumerate(matrix):
                mark, out = render(text, c["vars"])
                total += 1
                errors += mark == "!"
                loose += mark == "+"
                if mark == "!":
                    f.write(f"{i} !{out}\n")
                elif out in seen:
                    f.write(f"{i} @{seen[out]}\n")
                else:
                    base, n = longest_prefix(out, seen)
                    seen[out] = i
                    f.write(f"{i} {mark}{base} {n} {json.dumps(out[n:], ensure_ascii=False)}\n")
    print(f"{len(names)} templates x {len(matrix)} cases: {total} renders, {errors} errors, {loose} by the mutable sandbox")


SNIPPET_VARS = {
    "s": "Hello, World", "u": "Straße ÉÀ 日本 😀", "n": 7, "neg": -3, "f": 2.5, "t": True, "none_v": None, "empty": "",
    "l": [3, 1, 2], "words": ["pear", "Apple", "fig", "apple"], "d": {"b": 2, "a": 1, "C": 3},
    "nested": [{"name": "x", "v": 2, "in": {"k": [10, 20]}}, {"name": "Y", "v": 1, "in": {"k": [30]}}, {"name": "z", "v": 2, "in": {"k": []}}],
    "html": "<a href=\"x\">&'</a>", "big": 123456789012345678901234567890, "lines": "one\ntwo\n\nthree\n",
}


def write_snippets():
    with open(os.path.join(DATA, "snippets.txt"), encoding="utf-8") as f:
        snippets = [s for s in f.read().split("\n") if s and not s.startswith("##")]
    errors = 0
    with open(os.path.join(DATA, "snippets.json"), "w", encoding="utf-8") as f:
        json.dump(SNIPPET_VARS, f, ensure_ascii=False)
        f.write("\n")
    with open(os.path.join(DATA, "snippets.golden"), "w", encoding="utf-8") as f:
        for s in snippets:
            source = s.replace("\\n", "\n") if s.startswith("\\") else s
            source = source[1:] if s.startswith("\\") else source
            mark, out = render(source, SNIPPET_VARS)
            errors += mark == "!"
            if " object at 0x" in out or "object>" in out:
                print("not reproducible:", s)
                continue
            f.write(mark + json.dumps(source, ensure_ascii=False) + "\t" + json.dumps(out, ensure_ascii=False) + "\n")
    print(f"{len(snippets)} snippets, {errors} errors")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write_templates(sys.argv[1])
    if os.path.exists(os.path.join(DATA, "snippets.txt")):
        write_snippets()
