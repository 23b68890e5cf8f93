"""Condenses recorded exchanges of a real Ollama into tests/data/wire/cases.json.gz.

    make_wire.py RECORDINGS CASES.py

RECORDINGS: a folder of JSON files, an exchange each. CASES.py: a module with the list CASES, the requests in the
order in which they were sent. Kept are the requests to the endpoints that we have, and of each reply its view
(tests/e2e/wire_view.py): no text of a model, no ids, no times.
"""
import gzip
import importlib.util
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
from wire_view import view  # noqa: E402

OUT = HERE.parent / "data" / "wire" / "cases.json.gz"
OURS = re.compile(r"^/*(api/(version|tags|ps|generate|chat|show|create|copy|blobs|embed|embeddings|delete)\b|v1/(models/?$|chat/)|$)"
                  r"|^/(nope|metrics|health|api/nope|v1/nope|api/rerank)$", re.I)
LEFT_OUT = re.compile(r"_cloud|^create_remote|^show_remote|remote")


def load_cases(path):
    spec = importlib.util.spec_from_file_location("cases", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_marks(value):
    """A long list was recorded as its first elements and the text "...N in all"."""
    if isinstance(value, list):
        return [without_marks(v) for v in value if not (isinstance(v, str) and re.fullmatch(r"\.\.\.\d+ in all", v))]
    if isinstance(value, dict):
        return {k: without_marks(v) for k, v in value.items()}
    return value


def main():
    recordings, module = Path(sys.argv[1]), load_cases(sys.argv[2])
    kept = []
    for case in module.CASES:
        path = case["path"].split("?")[0]
        if not OURS.search(path) or LEFT_OUT.search(case["name"]):
            continue
        with open(recordings / (case["name"] + ".json"), encoding="utf-8") as f:
            reply = json.load(f)["response"]
        text = "".join(reply["chunks"]) if "chunks" in reply else reply.get("body", "")
        if "body_cut" in reply:
            text = json.dumps(without_marks(json.loads(reply["body_cut"])))
        row = {k: case[k] for k in ("name", "method", "path", "headers", "body", "raw", "file", "before", "settle") if case.get(k) is not None}
        if isinstance(row.get("raw"), bytes):
            row["raw"] = {"hex": row["raw"].hex()}
        row["want"] = view(reply["status"], reply["headers"], reply["framing"], text)
        kept.append(row)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps({"variants": module.VARIANTS, "cases": kept}, ensure_ascii=False, separators=(",", ":"))
    with gzip.GzipFile(OUT, "wb", 9, mtime=0) as f:
        f.write(data.encode())
    print(f"{len(kept)} cases, {OUT.stat().st_size} bytes")


main()
