#!/usr/bin/env python3
"""Makes docs/api.md of the route table, the field tables of src/api and docs/api-notes.md.

  make_api_doc.py            writes docs/api.md
  make_api_doc.py --check    exit 1 when docs/api.md is not what would be written
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
API = ROOT / "src" / "api"
NOTES = ROOT / "docs" / "api-notes.md"
PAGE = ROOT / "docs" / "api.md"

TYPES = {"STRING": "string", "BOOL": "bool", "INT": "integer", "FLOAT": "number",
         "INTS": "list of integers", "MAP": "object", "STRMAP": "object of strings",
         "MESSAGES": "list of messages", "TOOLS": "list of tools", "IMAGES": "list of base64 texts",
         "ANY": "any", "KEEP": "number or duration", "THINK": "bool or level", "STRUCT": "object"}


def routes():
    """[(methods, path, function, summary)] in the order of the table."""
    text = (API / "routes.def").read_text()
    rows = re.findall(r'X\("(\w+)", "([^"]+)", (\w+), ([^,]+), "([^"]*)"\)',
                      re.sub(r"\n\s+", " ", text))
    return [(m + (", HEAD" if "API_HEAD" in flags else ""), path, fn, summary)
            for m, path, fn, flags, summary in rows]


def structs():
    """Go's name of a request -> [(field, type)], from the tables in src/api."""
    out = {}
    for file in sorted(API.glob("*.c")):
        text = file.read_text()
        tables = {name: re.findall(r'\{"([^"]+)",\s*API_(\w+),', body) for name, body in re.findall(
            r"static const api_field (\w+)\[\] = \{(.*?)\};", text, re.S)}
        for go_name, table in re.findall(
                r'const api_struct \w+ = \{"\w+",\s*"(\w+)",\s*(\w+),', text):
            out[go_name] = tables[table]
    return out


def our_fields():
    text = (API / "api_routes.c").read_text()
    return re.findall(r'"(\w+)"', re.search(r"api_our_fields\[\] = \{(.*?)\}", text, re.S).group(1))


def notes():
    """Text before the first section, and the sections: heading -> text."""
    parts = re.split(r"^## (.+)\n", NOTES.read_text(), flags=re.M)
    return parts[0], dict(zip(parts[1::2], parts[2::2]))


def fill(text, known):
    """A line `fields: Name` becomes the table of that request."""
    def table(m):
        rows = "".join("| `%s` | %s |\n" % (name, TYPES[kind]) for name, kind in known[m.group(1)])
        return "| request field | type |\n|---|---|\n" + rows.rstrip("\n")
    return re.sub(r"^fields: (\w+)$", table, text, flags=re.M)


def page():
    intro, sections = notes()
    known = structs()
    rows = routes()
    out = ["<!-- Made by tools/make_api_doc.py of src/api/routes.def and docs/api-notes.md: edit those. "
           "-->\n", fill(intro.strip(), known), "\n\n| | | |\n|---|---|---|\n"]
    out += ["| %s | `%s` | %s |\n" % (m, path, summary) for m, path, _, summary in rows]
    ours = ", ".join("`%s`" % f for f in our_fields())
    out += ["\nFields of replies that Ollama does not have: %s.\n" % ours]
    for method, path, _, summary in rows:
        head = "%s %s" % (method.split(",")[0], path)
        if head not in sections:
            sys.exit("docs/api-notes.md has no section '## %s'" % head)
        out += ["\n## %s\n\n%s.\n\n%s\n" % (head, summary[0].upper() + summary[1:],
                                           fill(sections.pop(head).strip(), known))]
    if sections:
        sys.exit("docs/api-notes.md has sections without a route: %s" % ", ".join(sections))
    return "".join(out)


def main():
    text = page()
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text() != text:
            sys.exit("docs/api.md is out of date: run tools/make_api_doc.py")
    else:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
