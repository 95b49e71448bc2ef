"""The submission: what a learner wrote, what came of it, and a manifest of hashes."""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from course.submit.titles import PACKAGES

LIMIT = 20 * 2**20  # bytes in all, before compression
_OUTPUTS = {".csv", ".json", ".jsonl", ".txt", ".log", ".png"}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's first moment: the same files, the same archive


def candidates(tree: Path, outputs: Path) -> Iterator[tuple[str, Path]]:
    """Name in the archive and path of every allow-listed file, the learner's own first."""
    for package in PACKAGES:
        for path in sorted((tree / package).rglob("*.py")):
            inside = path.relative_to(tree)
            if not any(part.startswith(".") for part in inside.parts):
                yield inside.as_posix(), path
    for path in sorted((tree / "notebooks").glob("*.ipynb")):
        yield f"notebooks/{path.name}", path
    for path in sorted(outputs.rglob("*")):
        inside = path.relative_to(outputs)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.suffix in _OUTPUTS and not hidden:
            yield f"outputs/{inside.as_posix()}", path


def why_left_out(path: Path, tree: Path, outputs: Path, room: int) -> str:
    """Why a file may not go into the archive; "" if it may."""
    real = path.resolve()
    if not any(real.is_relative_to(place.resolve()) for place in (tree, outputs)):
        return "a link to a place outside the course folder"
    if not real.is_file():
        return "not a plain file"
    if not os.access(real, os.R_OK):
        return "it cannot be read"
    size = real.stat().st_size
    if size > room:
        hint = ": clear its outputs and submit again" if path.suffix == ".ipynb" else ""
        return f"{size / 2**20:.1f} MB, and all together may have {LIMIT >> 20} MB{hint}"
    return ""


def write_archive(tree: Path, outputs: Path) -> dict[str, str]:
    """Write ``submission.zip`` into ``outputs``.

    Args:
        tree: the folder of the learner's packages and notebooks.
        outputs: holds ``environment.json``, the scorecard and the benchmarks' results.

    Returns:
        The files left out and why; instructor files, which are nobody's submission, unmentioned.
    """
    contents: dict[str, bytes] = {}
    left_out: dict[str, str] = {}
    room = LIMIT
    for name, path in candidates(tree, outputs):
        why = why_left_out(path, tree, outputs, room)
        if why:
            left_out[name] = why
            continue
        data = path.read_bytes()
        if data.startswith(b"# course: instructor"):
            continue
        contents[name] = data
        room -= len(data)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(contents.items())}
    manifest = {"format": 1, "sha256": hashes, "left_out": left_out}
    contents["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    temporary = outputs / ".submission.zip"
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    temporary.replace(outputs / "submission.zip")
    return left_out
