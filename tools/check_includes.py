"""Checks the one rule of the tree, that a room includes only rooms below it, and the order of includes.

src/rooms.txt lists the rooms from top to bottom, and behind each the rooms it is linked with. A file of
a room may include its own room and those that these links reach; src/main.c and src/cama.c see all.
A .c file includes its own header first (or, where several files share one, a header of its room), then
the system's headers, then the project's. Base names are unique in the tree. The server's own rooms map no
model: whoever cuts a mapped file short ends the process. Prints each breach; exit
status 1 if there is one.
"""
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVER = {"cli", "http", "api", "pool", "store", "net"}
MAPS = re.compile(r"\b(gguf_open|gguf_open_fds|filemap_open|filemap_open_fd|mmap)(?=\()")
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def read_rooms():
    """{room: set of rooms that its files may include}, the order, and what is wrong with the list."""
    order, links, wrong = [], {}, []
    for line in (ROOT / "src/rooms.txt").read_text(encoding="utf-8").splitlines():
        if m := re.match(r"^([a-z0-9]+):(.*)$", line):
            order.append(m[1])
            links[m[1]] = m[2].split()
    allowed = {}
    for room in reversed(order):  # bottom first: what a link reaches is known
        allowed[room] = {room}
        for dep in links[room]:
            if dep not in allowed or dep == room:
                wrong.append(f"src/rooms.txt: {room} is linked with {dep}, which is not below it")
            else:
                allowed[room] |= allowed[dep]
    return allowed, order, wrong


def leading_includes(text):
    """The (kind, path) of the includes before the first line of code, outside of any #if."""
    depth = 0
    for line in re.sub(r"/\*.*?\*/", "", text, flags=re.S).splitlines():
        line = line.strip()
        if m := INCLUDE.match(line):
            if depth == 0:
                yield m[1], m[2]
        elif re.match(r"#\s*if", line):
            depth += 1
        elif re.match(r"#\s*endif", line):
            depth -= 1
        elif line and not line.startswith("#"):
            return


def check_room(path, room, text, allowed, order):
    for n, line in enumerate(text.splitlines(), 1):
        m = INCLUDE.match(line)
        if not m or m[1] == "<" or "/" not in m[2]:
            continue
        other = m[2].split("/")[0]
        if room is None or other in allowed[room]:
            continue
        why = "is not linked with it"
        if other not in order:
            why = "which is no room"
        elif order.index(other) < order.index(room):
            why = "climbs: it lies above"
        yield f"{path}:{n}: {room} includes {m[2]}: {why}"


def check_maps(path, room, text):
    if room not in SERVER:
        return
    for n, line in enumerate(text.splitlines(), 1):
        if m := MAPS.search(line):
            yield f"{path}:{n}: {room} calls {m[0]}: the server maps no model (gguf_open_head)"


def check_order(path, text):
    includes = list(leading_includes(text))
    has_own = path.with_suffix(".h").exists()
    first = includes[0][1] if includes and includes[0][0] == '"' else ""
    first_is_of_room = first.split("/")[0] == path.parts[1] or (bool(first) and len(path.parts) == 2)
    if has_own and not first_is_of_room:
        yield f"{path}: does not include its own header first"
        return
    project = False
    for kind, name in includes[1 if first_is_of_room else 0:]:
        if kind == '"' and not name.endswith((".inc.h", ".def")):
            project = True
        elif kind == "<" and project:
            yield f"{path}: <{name}> comes after a header of the project"
            return


def main():
    allowed, order, wrong = read_rooms()
    seen = {}
    n_file = 0
    for full in sorted((ROOT / "src").rglob("*")):
        if full.suffix not in (".c", ".h", ".def", ".S"):
            continue
        path = full.relative_to(ROOT)
        n_file += 1
        if path.name in seen:
            wrong.append(f"{path}: the name is taken by {seen[path.name]}")
        seen[path.name] = path
        room = path.parts[1] if len(path.parts) > 2 else None
        if room is not None and room not in allowed:
            wrong.append(f"{path}: src/rooms.txt knows no room {room}")
            continue
        text = full.read_text(encoding="utf-8")
        wrong += check_room(path, room, text, allowed, order)
        wrong += check_maps(path, room, text)
        if path.suffix == ".c":
            wrong += check_order(path, text)
    for line in wrong:
        print(line)
    print(f"{n_file} files, {len(wrong)} breaches")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
