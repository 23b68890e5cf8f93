"""What of an HTTP exchange is compared with the recorded one of an Ollama: everything a program can lean on,
nothing that changes from run to run.

A view is a flat dict of text: status, content type, framing, some headers; for JSON every path with the types
found there (with the value too, where it means something to a program); for streams the same of the first, the
last and all pieces between; error texts with digests, dates, ids and ports masked.
"""
import json
import re

HEADERS = ("allow", "location", "access-control-allow-origin", "access-control-allow-methods",
           "access-control-allow-headers", "access-control-max-age", "vary")
# Fields whose value is compared, not only its type.
MEANING = {"done", "done_reason", "role", "object", "finish_reason", "type", "status", "family", "format", "families",
           "quantization_level", "parameter_size", "owned_by", "system_fingerprint", "capabilities", "parent_model", "index"}
MASKS = [(re.compile(p), r) for p, r in (
    (r"\bsha256[:-][0-9a-fA-F]{6,64}", "<digest>"),
    (r"\b[0-9a-f]{12}(?:[0-9a-f]{52})?\b", "<hex>"),
    (r"\b(chatcmpl|call)[_-][A-Za-z0-9]+", r"\1_<id>"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)", "<date>"),
    (r"(127\.0\.0\.1|\[::1\]):\d{4,5}", r"\1:<port>"))]


def mask(text):
    for pattern, to in MASKS:
        text = pattern.sub(to, text)
    return text


def kind(value):
    for types, name in ((type(None), "null"), (bool, "bool"), ((int, float), "number"), (str, "string"), (list, "array")):
        if isinstance(value, types):
            return name
    return "object"


def shape(value, path="", key="", out=None):
    """{path: set of types}."""
    out = {} if out is None else out
    name = kind(value)
    if key in MEANING and name in ("string", "bool", "number"):
        name += "=" + (mask(value) if isinstance(value, str) else json.dumps(value))
    out.setdefault(path or ".", set()).add(name)
    if isinstance(value, dict):
        for k, v in value.items():
            shape(v, f"{path}.{k}", k, out)
    elif isinstance(value, list):
        for v in value:
            shape(v, path + "[]", key, out)
    return out


def errors(value, path=""):
    if isinstance(value, dict):
        for k, v in value.items():
            if isinstance(v, str) and (k == "error" or (k == "message" and path.endswith("error"))):
                yield f"{path}.{k}", mask(v)
            else:
                yield from errors(v, f"{path}.{k}")


def put(out, prefix, shapes):
    for path, types in shapes.items():
        out[f"{prefix} {path}"] = "|".join(sorted(types))


def put_pieces(out, pieces):
    out["pieces"] = str(len(pieces)) if len(pieces) < 2 else "2+"
    if not pieces:
        return
    put(out, "first", shape(pieces[0]))
    put(out, "last", shape(pieces[-1]))
    between = {}
    for p in pieces[1:-1]:
        for path, types in shape(p).items():
            between.setdefault(path, set()).update(types)
    put(out, "between", between)
    for p in pieces:
        for path, text in errors(p):
            out["error" + path] = text


def put_lines(out, text):
    pieces = [json.loads(line) for line in text.split("\n") if line]
    said = [mask(p["status"]) for p in pieces if isinstance(p, dict) and isinstance(p.get("status"), str)]
    if said:
        out["said"] = " / ".join(dict.fromkeys(said))
    put_pieces(out, pieces)


def put_events(out, text):
    pieces, order = [], []
    for block in filter(str.strip, text.split("\n\n")):
        name, _, data = block.partition(":")
        data = data.strip()
        if data == "[DONE]":
            name = data
        else:
            pieces.append(json.loads(data))
        if not order or order[-1] != name:
            order.append(name)
    out["events"] = " ".join(order)
    put_pieces(out, pieces)


def view(status, headers, framing, text):
    """headers: (name, value) pairs; framing: chunked, content-length, no-body; text: the whole body."""
    first = {}
    for name, value in headers:
        first.setdefault(name.lower(), value)
    content = first.get("content-type", "").lower()
    out = {"status": str(status), "content-type": content, "framing": framing}
    for name in HEADERS:
        if name in first:
            out["header " + name] = mask(first[name])
    try:
        if "event-stream" in content:
            put_events(out, text)
        elif "ndjson" in content:
            put_lines(out, text)
        else:
            value = json.loads(text)
            put(out, "body", shape(value))
            for path, error in errors(value):
                out["error" + path] = error
            if text.endswith("\n"):
                out["newline"] = "at the end"
    except ValueError:
        out["text"] = mask(text)
    return out


def differences(want, got, ours=()):
    """Lines `facet: wanted <> got`; fields named in `ours` may be there in addition."""
    extra = set(ours)
    for facet in sorted(want.keys() | got.keys()):
        w, g = want.get(facet), got.get(facet)
        if w != g and not (w is None and extra & set(re.split(r"[ .\[\]]+", facet))):
            yield f"{facet}: {w if w is not None else '-'} <> {g if g is not None else '-'}"
