"""The store through a whole server: full disks and kill -9 at every write, damage, stores that another program made.

tests/e2e/preload_fault.c is put under the server: it makes the n-th write below the store fail, or kills the process
there. The test says which through a mapped file, so that a sweep of failures needs one server; each kill needs its own.
"""
import contextlib
import hashlib
import http.client
import json
import mmap
import os
import platform
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest
from gguf_copy import with_vocabulary
from server import GREEDY

TEMP_BLOB = "sha256-63616d612074656d706f726172792e2e"
OFF, ONCE, ONWARD, KILL_BEFORE, KILL_HALF = range(5)
ENOSPC, EIO, EROFS = 28, 5, 30
TEXTS = {ENOSPC: "No space left on device", EIO: "Input/output error", EROFS: "Read-only file system"}

linux = pytest.mark.skipif(platform.system() != "Linux", reason="needs LD_PRELOAD and /proc")


@pytest.fixture(scope="session")
def tiny():
    """Bytes of a small model that talks."""
    return with_vocabulary(Path(os.environ["CAMA_TINY_MODEL"]).read_bytes())


@pytest.fixture(scope="session")
def preload(tmp_path_factory):
    out = tmp_path_factory.mktemp("preload") / "preload_fault.so"
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", str(out),
                    str(Path(__file__).with_name("preload_fault.c"))], check=True)
    return str(out)


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Faults:
    """What preload_fault.c reads: mode, at, error, and what it writes: seen, met, the call."""

    def __init__(self, path):
        path.write_bytes(bytes(4096))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 4096)

    def arm(self, mode, at=0, error=ENOSPC):
        self.map[:] = struct.pack("<5i4076x", OFF, at, error, 0, 0)
        self.map[0:4] = struct.pack("<i", mode)

    def disarm(self):
        """The kinds of calls there were, a letter each; the n-th one, "" if there were fewer."""
        self.map[0:4] = struct.pack("<i", OFF)
        seen, _, what, kinds = struct.unpack("<12x2i44s4032s", self.map[:])
        assert seen < len(kinds)
        return kinds[:seen].decode(), what.rstrip(b"\0").decode()


class Store:
    """The folder of a server's store, looked at from outside."""

    def __init__(self, root):
        self.root = Path(root)
        self.blobs, self.manifests = self.root / "blobs", self.root / "manifests"

    def files(self):
        return {str(p.relative_to(self.root)): p for p in self.root.rglob("*") if p.is_file()}

    def temps(self):
        return [p for p in self.files() if TEMP_BLOB in p or "/.cama-" in p]

    def models(self):
        return {p: f.read_bytes() for p, f in self.files().items() if p.startswith("manifests/") and "/.cama-" not in p}

    def check(self):
        """Every blob is what its name says; every manifest's layers are there."""
        have = {}
        for p in self.blobs.iterdir():
            if not p.name.startswith(TEMP_BLOB):
                data = p.read_bytes()
                have[digest_of(data)] = len(data)
                assert p.name == digest_of(data).replace(":", "-")
        for text in self.models().values():
            manifest = json.loads(text)
            for layer in [manifest["config"], *manifest["layers"]]:
                assert have.get(layer["digest"]) == layer["size"], layer

    def put_blob(self, data, age_s=0):
        path = self.blobs / digest_of(data).replace(":", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (time.time() - age_s,) * 2)
        return path

    def put_model(self, name, config, layers):
        """As Ollama lays it out: config and (kind, bytes) layers."""
        def entry(media, data):
            self.put_blob(data)
            return {"mediaType": media, "digest": digest_of(data), "size": len(data)}

        model, tag = name.split(":")
        path = self.manifests / "registry.ollama.ai" / "library" / model / tag
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": entry("application/vnd.docker.container.image.v1+json", json.dumps(config).encode()),
            "layers": [entry("application/vnd.ollama.image." + kind, data) for kind, data in layers]}))
        return path


def runs(server, model="other"):
    status, reply = server.request("POST", "/api/generate", {
        "model": model, "prompt": "ab", "stream": False, "options": {**GREEDY, "num_predict": 2, "num_ctx": 64}})
    assert status == 200 and reply["done"], (model, reply)
    return reply


# ---- what is done while the disk fails ----

def create(server, data, name, **fields):
    digest = digest_of(data)
    status, reply = server.request("POST", f"/api/blobs/{digest}", data)
    if status in (200, 201):  # 200: it was there
        status, reply = server.request("POST", "/api/create", {
            "model": name, "files": {"m.gguf": digest}, "stream": False, **fields})
    return status, reply


def fresh(server, data):
    """A blob that is not there yet, a model of it with every kind of layer."""
    return create(server, data[:-8] + b"01234567", "space/fresh:v1", template="{{ .Prompt }}", system="Be brief.",
                  parameters={"stop": ["x"], "top_k": 7}, license=["Free."],
                  messages=[{"role": "user", "content": "hi"}])


def replace(server, data):
    """A model that is there: its old system layer is nobody's afterwards."""
    return create(server, data, "old", system="Now another one.", template="{{ .Prompt }}!")


def copy(server, data):
    return server.request("POST", "/api/copy", {"source": "old", "destination": "team/copied:v2"})


def copy_over(server, data):
    return server.request("POST", "/api/copy", {"source": "other", "destination": "old"})


def delete(server, data):
    return server.request("DELETE", "/api/delete", {"model": "old"})


OPERATIONS = [fresh, replace, copy, copy_over, delete]


def places(kinds):
    """Every call; of many writes one after the other (a blob that comes in pieces) the first and last two, and each 16th."""
    some = [i for i in range(len(kinds)) if i % 16 == 0 or kinds[max(i - 2, 0):i + 3] != "wwwww"]
    return some + list(range(len(kinds), len(kinds) + 4))  # an upload may come in more pieces next time, or in fewer


class Rig:
    """A server over failing writes, and the store as it shall be before each of them."""

    def __init__(self, make_server, preload, tmp_path, tiny):
        self.data = tiny
        control = tmp_path / "control"
        self.faults = Faults(control)
        root = tmp_path / "serve0" / "models"
        self.server = make_server(LD_PRELOAD=preload, FAULT_ROOT=str(root), FAULT_CONTROL=str(control),
                                  ASAN_OPTIONS="verify_asan_link_order=0")
        self.store = Store(root)
        self.server.add_data(self.data, "other")
        self.server.add_data(self.data, "old", system="An old one.")
        self.pristine = tmp_path / "pristine"
        shutil.copytree(root, self.pristine)
        self.before = self.store.models()

    def reset(self):
        """The store as it was; temporary files of whoever failed stay."""
        keep = Store(self.pristine).files()
        for name, path in self.store.files().items():
            if name not in keep and name not in self.store.temps():
                path.unlink()
        for name, path in keep.items():
            to = self.store.root / name
            if not to.exists() or to.read_bytes() != path.read_bytes():
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, to)
        for folder, _, _ in os.walk(self.store.root, topdown=False):
            with contextlib.suppress(OSError):
                if Path(folder).relative_to(self.store.root).parts:
                    os.rmdir(folder)
        self.store.blobs.mkdir(exist_ok=True)

    def measure(self, operation):
        """The store after the operation, and the calls that it takes, as letters."""
        self.reset()
        self.faults.arm(ONCE, 1 << 30)
        status, reply = operation(self.server, self.data)
        kinds, _ = self.faults.disarm()
        assert status == 200, reply
        self.store.check()
        return self.store.models(), kinds

    def settle(self, operation, after, where):
        """The store is as before or as after; whoever tries again succeeds."""
        self.store.check()
        models = self.store.models()
        assert models in (self.before, after), where
        listed = self.server.request("GET", "/api/tags")[1]["models"]
        assert len(listed) == len(models), where
        for m in listed:
            assert self.server.request("POST", "/api/show", {"model": m["name"]})[0] == 200, where
        runs(self.server)
        status, reply = operation(self.server, self.data)
        assert status == 200 or (operation is delete and status == 404 and models == after), (where, reply)
        self.store.check()
        assert self.store.models() == after, where
        return models == after


@pytest.fixture
def rig(make_server, preload, tmp_path, tiny):
    return Rig(make_server, preload, tmp_path, tiny)


@linux
@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_write_fails(rig, operation):
    """Once (ENOSPC; EIO at each third call), and from there on (ENOSPC: full). The one server lives through all of it."""
    after, kinds = rig.measure(operation)
    n = len(kinds)
    assert n >= 2
    for mode, error in [(ONCE, ENOSPC), (ONCE, EIO), (ONWARD, ENOSPC)]:
        for at in places(kinds)[::3 if error == EIO else 1]:
            rig.reset()
            rig.faults.arm(mode, at, error)
            status, reply = operation(rig.server, rig.data)
            _, what = rig.faults.disarm()
            where = f"{what} {at + 1} of {n}, mode {mode}, errno {error}: {status} {reply}"
            if not what:  # there were fewer this time
                assert status == 200, where
                continue
            if status != 200:  # what only tidies up may fail unseen
                assert status in (500, 507) and TEXTS[error] in reply["error"], where
            elif mode == ONCE:
                assert rig.store.models() == after, where
            changed = rig.settle(operation, after, where)
            assert changed or status != 200, where
            if mode == ONCE and what != "unlink":
                assert rig.store.temps() == [], where
    assert rig.server.stop() == 0
    rig.server.start()
    assert rig.store.temps() == []
    runs(rig.server)


@linux
@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_each_write(rig, operation):
    """Before each write, and where it has bytes: in its middle too."""
    after, kinds = rig.measure(operation)
    for at in places(kinds):
        for mode in (KILL_BEFORE, KILL_HALF) if kinds[at:at + 1] == "w" else (KILL_BEFORE,):
            rig.reset()
            rig.faults.arm(mode, at)
            status = None
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, _ = operation(rig.server, rig.data)
            _, what = rig.faults.disarm()
            where = f"{what} {at + 1} of {len(kinds)}, mode {mode}"
            if not what:  # there were fewer this time
                assert status == 200, where
                continue
            assert status is None and rig.server.process.wait(5) == -9, where
            rig.server.start()
            assert rig.store.temps() == [], where
            rig.settle(operation, after, where)
    assert rig.server.stop() == 0


@linux
def test_full_in_the_middle_of_a_large_upload(rig):
    """The client is told, though it is still sending; nothing stays."""
    data = os.urandom(1 << 20) * 48
    rig.faults.arm(ONWARD, 5)
    status, reply = rig.server.request("POST", f"/api/blobs/{digest_of(data)}", data)
    rig.faults.disarm()
    assert status in (500, 507) and TEXTS[ENOSPC] in reply["error"]
    assert rig.server.request("HEAD", f"/api/blobs/{digest_of(data)}")[0] == 404
    rig.store.check()
    runs(rig.server)


@linux
def test_full_in_a_create_that_streams(rig):
    assert rig.server.request("POST", f"/api/blobs/{digest_of(rig.data)}", rig.data)[0] == 200
    rig.faults.arm(ONWARD, 0)
    *_, last = rig.server.stream("/api/create", model="new", files={"m.gguf": digest_of(rig.data)}, system="x")
    rig.faults.disarm()
    assert TEXTS[ENOSPC] in last["error"]
    assert rig.store.models() == rig.before


@linux
def test_read_only_store(rig):
    """Also while the server starts. What only reads goes on."""
    assert rig.server.stop() == 0
    rig.faults.arm(ONWARD, 0, EROFS)
    rig.server.start()
    for operation in OPERATIONS:
        status, reply = operation(rig.server, rig.data)
        assert status == 500 and TEXTS[EROFS] in reply["error"], (operation, reply)
    assert rig.store.models() == rig.before
    assert len(rig.server.request("GET", "/api/tags")[1]["models"]) == 2
    runs(rig.server)
    rig.faults.disarm()
    assert fresh(rig.server, rig.data)[0] == 200


# ---- stores that are no good ----

@pytest.mark.skipif(os.geteuid() == 0, reason="modes of folders do not bind root")
def test_store_without_the_right_to_write(make_server, tiny):
    server = make_server()
    server.add_data(tiny, "other")
    store = Store(server.root + "/models")
    folders = [store.root, *[p for p in store.root.rglob("*") if p.is_dir()]]
    for folder in folders:
        folder.chmod(0o555)
    try:
        for operation in (fresh, copy, delete):
            status, reply = operation(server, tiny)
            assert status >= 400, reply
        status, reply = server.request("DELETE", "/api/delete", {"model": "other"})
        assert status == 500 and "Permission denied" in reply["error"]
        runs(server)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert fresh(server, tiny)[0] == 200


@pytest.mark.parametrize("place", ["/proc/cama/models", "/dev/null/models", "/dev/null", "FILE", "FILE/models"])
def test_store_that_cannot_be_one(cama_bin, tmp_path, place):
    """serve says the path and the reason, and leaves."""
    (tmp_path / "FILE").write_text("not a folder")
    path = place.replace("FILE", str(tmp_path / "FILE"))
    p = subprocess.run([cama_bin, "serve"], env={"HOME": str(tmp_path), "OLLAMA_HOST": "127.0.0.1:0", "OLLAMA_MODELS": path},
                       capture_output=True, text=True, timeout=20)
    assert p.returncode == 1 and path in p.stderr, p.stderr
    assert any(t in p.stderr for t in ("Not a directory", "File exists", "its parent is gone")), p.stderr


@pytest.mark.parametrize("folder", ["blobs", "manifests"])
def test_a_file_where_a_folder_of_the_store_should_be(make_server, tiny, folder):
    server = make_server()
    root = Path(server.root, "models")
    shutil.rmtree(root / folder, ignore_errors=True)
    (root / folder).write_text("not a folder")
    status, reply = fresh(server, tiny)
    assert status == 500 and str(root / folder) in reply["error"], reply
    assert server.request("GET", "/api/version")[0] == 200
    (root / folder).unlink()
    assert fresh(server, tiny)[0] == 200
    runs(server, "space/fresh:v1")


# ---- damage ----

CONFIG = {"model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "model_type": "1M",
          "file_type": "Q4_K_M", "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
GOOD = "0" * 64


def manifests_of_damage():
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + GOOD, "size": 5}
    whole = {"schemaVersion": 2, "config": layer, "layers": [layer]}

    def with_layer(**fields):
        return json.dumps({**whole, "layers": [{**layer, **fields}]}).encode()

    return {
        "empty": b"", "cut": b'{"schemaVersion": 2, "layers": [', "binary": bytes(range(256)), "list": b"[1, 2]", "null": b"null",
        "number": b"12", "nothing-in-it": b"{}", "no-layers": json.dumps({**whole, "layers": None}).encode(),
        "layers-no-list": json.dumps({**whole, "layers": {"a": 1}}).encode(),
        "layer-no-object": json.dumps({**whole, "layers": [7]}).encode(),
        "no-config": json.dumps({**whole, "config": None}).encode(),
        "no-digest": with_layer(digest=None), "digest-number": with_layer(digest=17), "digest-short": with_layer(digest="sha256:12"),
        "digest-path": with_layer(digest="sha256:../../../../../../etc/passwd"),
        "digest-no-hex": with_layer(digest="sha256:" + "z" * 64), "digest-md5": with_layer(digest="md5:" + GOOD),
        "size-negative": with_layer(size=-1), "size-huge": with_layer(size=1e300), "size-text": with_layer(size="5"),
        "blobs-gone": json.dumps(whole).encode(), "deep": b"[" * 200000, "zeros": bytes(1 << 20),
        "large": b'{"schemaVersion": 2, "x": "' + b"x" * (17 << 20) + b'"}',
    }


def refused(server, model):
    """Everything that needs the model is a typed error, or works."""
    for path, body in [("/api/generate", {"prompt": "ab"}), ("/api/chat", {"messages": [{"role": "user", "content": "x"}]}),
                       ("/api/embed", {"input": "x"})]:
        status, reply = server.request("POST", path, {"model": model, "stream": False, **body})
        assert 400 <= status <= 507 and reply["error"], (model, path, reply)
        assert len(reply["error"]) > 10, reply
    for path, body in [("/api/show", {"model": model}), ("/api/copy", {"source": model, "destination": model + "-copy"}),
                       ("/api/create", {"model": model + "-new", "from": model, "stream": False})]:
        status, reply = server.request("POST", path, body)
        assert status == 200 or (400 <= status <= 507 and reply["error"]), (model, path, reply)


def test_corrupt_manifests(make_server, tiny):
    server = make_server()
    server.add_data(tiny, "other")
    store = Store(server.root + "/models")
    good = store.put_model("kept:latest", CONFIG, [("model", tiny)])
    for name, text in manifests_of_damage().items():
        path = good.parent.parent / name / "latest"
        path.parent.mkdir()
        path.write_bytes(text)
    (good.parent.parent / "pipe").mkdir()
    os.mkfifo(good.parent.parent / "pipe" / "latest")
    (good.parent.parent / "folder" / "latest").mkdir(parents=True)
    (good.parent.parent / "a\nforged line").mkdir()
    (good.parent.parent / "a\nforged line" / "latest").write_text("x")
    (good.parent.parent / "loop").mkdir()
    os.symlink("latest", good.parent.parent / "loop" / "latest")
    bad = [*manifests_of_damage(), "pipe", "folder", "loop"]
    for name in bad:
        refused(server, name)
        status, reply = server.request("DELETE", "/api/delete", {"model": name})
        assert status == 200 or reply["error"], (name, reply)
    names = [m["name"] for m in server.request("GET", "/api/tags")[1]["models"]]
    assert {"other:latest", "kept:latest"} <= set(names)
    runs(server)
    runs(server, "kept")
    assert server.stop() == 0
    server.start()  # nothing is pruned from such a store, and it serves
    runs(server)
    assert server.log().count("warn  nothing was pruned: store: '") == 1 and "\nforged line" not in server.log()


def test_corrupt_blobs(make_server, tiny):
    server = make_server()
    server.add_data(tiny, "other")
    store = Store(server.root + "/models")
    config = json.dumps(CONFIG).encode()

    def damage(name, layers=(), change=None, kind=None):
        path = store.put_model(name + ":latest", {**CONFIG, "name": name}, [("model", tiny + name.encode()), *layers])
        manifest = json.loads(path.read_text())
        for layer in [manifest["config"], *manifest["layers"]]:
            if kind and (layer["mediaType"].endswith("image." + kind) or (kind == "config" and "container" in layer["mediaType"])):
                change(store.blobs / layer["digest"].replace(":", "-"))

    damage("model-gone", kind="model", change=lambda p: p.unlink())
    damage("model-empty", kind="model", change=lambda p: p.write_bytes(b""))
    damage("model-cut", kind="model", change=lambda p: p.write_bytes(tiny[:len(tiny) // 2]))
    damage("model-noise", kind="model", change=lambda p: p.write_bytes(os.urandom(len(tiny))))
    damage("model-folder", kind="model", change=lambda p: (p.unlink(), p.mkdir()))
    damage("model-pipe", kind="model", change=lambda p: (p.unlink(), os.mkfifo(p)))
    damage("model-loop", kind="model", change=lambda p: (p.unlink(), os.symlink(p.name, p)))
    damage("config-gone", kind="config", change=lambda p: p.unlink())
    damage("config-cut", kind="config", change=lambda p: p.write_bytes(config[:40]))
    damage("config-list", kind="config", change=lambda p: p.write_bytes(b"[]"))
    damage("config-large", kind="config", change=lambda p: p.write_bytes(b'{"a": "' + b"x" * (5 << 20) + b'"}'))
    damage("template-wrong", [("template", b"{{ if }}")])
    damage("template-gone", [("template", b"{{ .Prompt }} of its own")], kind="template", change=lambda p: p.unlink())
    damage("params-cut", [("params", b'{"stop": [')])
    damage("params-list", [("params", b"[1]")])
    damage("messages-cut", [("messages", b'[{"role":')])
    damage("messages-text", [("messages", b'"hi"')])
    bad = [m for p in store.models() for m in [p.split("/")[-2]] if m not in ("other", "latest")]
    assert len(bad) == 17
    for name in bad:
        refused(server, name)
    runs(server)
    for name in bad:
        status, reply = server.request("DELETE", "/api/delete", {"model": name})
        assert status == 200 or reply["error"], (name, reply)
    runs(server)
    assert "other:latest" in [m["name"] for m in server.request("GET", "/api/tags")[1]["models"]]


# ---- stores of others ----

def test_a_store_that_ollama_made(make_server, tiny):
    server = make_server()
    store = Store(server.root + "/models")
    layers = [("model", tiny), ("template", b"{{ .System }}|{{ .Prompt }}"), ("system", b"Be brief."),
              ("license", b"First license."), ("license", b"Second license."),
              ("params", b'{"num_ctx":96,"stop":["ZZZ"],"temperature":0}\n'),
              ("messages", b'[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"}]\n')]
    manifest = store.put_model("made:8b", CONFIG, layers)
    store.put_model("sister:latest", CONFIG, layers[:2])
    models = {m["name"]: m for m in server.request("GET", "/api/tags")[1]["models"]}
    assert set(models) == {"made:8b", "sister:latest"}
    assert models["made:8b"]["digest"] == digest_of(manifest.read_bytes())[7:]
    assert models["made:8b"]["size"] == sum(len(d) for _, d in layers) + len(json.dumps(CONFIG))
    assert models["made:8b"]["details"]["quantization_level"] == "Q4_K_M"
    show = server.post("/api/show", model="made:8b")
    assert show["template"] == layers[1][1].decode() and show["system"] == "Be brief."
    assert "First license." in show["license"] and "Second license." in show["license"]
    assert "num_ctx" in show["parameters"] and "ZZZ" in show["parameters"]
    assert [m["content"] for m in show["messages"]] == ["hi", "ho"]
    runs(server, "made:8b")
    runs(server, "MADE:8B")
    runs(server, "sister")

    assert server.request("DELETE", "/api/delete", {"model": "made:8b"})[0] == 200
    left = {p.name for p in store.blobs.iterdir()}
    kept = {digest_of(d).replace(":", "-") for d in (tiny, layers[1][1], json.dumps(CONFIG).encode())}
    assert left == kept
    runs(server, "sister")
    assert server.request("DELETE", "/api/delete", {"model": "sister"})[0] == 200
    assert list(store.blobs.iterdir()) == []


def test_prune_at_the_start(make_server, tiny):
    server = make_server()
    server.add_data(tiny, "other")
    store = Store(server.root + "/models")
    used = {p.name for p in store.blobs.iterdir()}
    assert server.stop() == 0
    for p in store.blobs.iterdir():
        os.utime(p, (time.time() - 90000,) * 2)
    young = {store.put_blob(b"young", 3000).name, store.put_blob(b"new").name}
    junk = store.blobs / "notes.txt"
    junk.write_text("somebody is at work on this")
    for data in (b"old", b"older"):
        store.put_blob(data, 4000)
    for name in ("old-notes.txt", TEMP_BLOB + "0" * 32, "sha256-12"):
        (store.blobs / name).write_bytes(b"x")
        os.utime(store.blobs / name, (time.time() - 4000,) * 2)
    (store.blobs / (TEMP_BLOB + "1" * 32)).write_bytes(b"of a writer that is gone, young")
    (store.manifests / (".cama-" + "0" * 32)).write_bytes(b"x")
    everything = {p.name for p in store.blobs.iterdir()}

    server.env["OLLAMA_NOPRUNE"] = "1"
    server.start()
    assert server.stop() == 0
    assert {p.name for p in store.blobs.iterdir()} == everything
    del server.env["OLLAMA_NOPRUNE"]
    server.start()
    assert {p.name for p in store.blobs.iterdir()} == used | young | {junk.name}
    assert store.temps() == []
    runs(server)
