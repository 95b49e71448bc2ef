"""A tree of files written to, or compared with, a folder, without ever losing someone's work.

``.course-release.json`` in the folder remembers the hash of every file as it was written. A file
that no longer has that hash is someone's work; so is one that was there before.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from course.release.tree import File, Tree

MANIFEST = ".course-release.json"


class ModifiedFiles(Exception):
    """Writing would lose these files' contents; nothing was written."""

    def __init__(self, paths: list[str]) -> None:
        super().__init__(f"modified since they were written: {', '.join(paths)}")
        self.paths = paths


def write(tree: Tree, folder: Path, overwrite: bool = False) -> tuple[list[str], list[str]]:
    """Make ``folder`` hold ``tree``; files written earlier that ``tree`` no longer has are removed.

    Returns:
        The paths written and the paths removed.

    Raises:
        ModifiedFiles: a file that was modified, or was never written by this function, would be
            lost. Nothing has been written. With ``overwrite`` it is replaced instead.
        ValueError: a folder stands where a file belongs, or the reverse.
    """
    if _exists(folder) and not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    before = _manifest(folder)
    changed = [path for path, file in tree.items() if not _is(folder / path, file)]
    stale = [path for path in before if path not in tree and _exists(folder / path)]
    for path in (*changed, *stale):
        _check_place(folder, path)
    lost = [
        path
        for path in (*changed, *stale)
        if _exists(folder / path)
        and _hash(folder / path) not in (before.get(path, ""), _wanted_hash(tree.get(path)))
    ]
    if lost and not overwrite:
        raise ModifiedFiles(sorted(lost))
    for path in changed:
        _replace(folder / path, tree[path])
    for path in stale:
        (folder / path).unlink()
        _prune((folder / path).parent, folder)
    manifest = File(manifest_of(tree))
    if not _is(folder / MANIFEST, manifest):
        _replace(folder / MANIFEST, manifest)
    return changed, stale


def differences(tree: Tree, folder: Path, rooms: Iterable[Path]) -> list[str]:
    """What :func:`write` would change, one line a file; empty if nothing.

    Args:
        tree: what should be there.
        folder: where it should be.
        rooms: the files found where only generated files belong.
    """
    lines = []
    for path, file in sorted(tree.items()):
        if not _exists(folder / path):
            lines.append(f"missing: {path}")
        elif not _is(folder / path, file):
            lines.append(f"differs: {path}")
    found = {one.relative_to(folder).as_posix() for one in rooms}
    found |= {path for path in _manifest(folder) if _exists(folder / path)}
    lines += [f"stale: {path}" for path in sorted(found - tree.keys())]
    if not lines and not _is(folder / MANIFEST, File(manifest_of(tree))):
        lines.append(f"differs: {MANIFEST}")
    return lines


def manifest_of(tree: Tree) -> bytes:
    """The manifest's bytes: no time, no machine, so that the same tree gives the same file."""
    hashes = {path: _wanted_hash(file) for path, file in sorted(tree.items())}
    about = "What 'course release' wrote here: a file with another hash is never overwritten."
    return (json.dumps({"about": about, "sha256": hashes}, indent=1) + "\n").encode()


def _manifest(folder: Path) -> dict[str, str]:
    file = folder / MANIFEST
    if not file.is_file():
        return {}
    try:
        hashes = json.loads(file.read_text(encoding="utf-8"))["sha256"]
        inside = all(not Path(p).is_absolute() and ".." not in Path(p).parts for p in hashes)
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{file} is damaged: delete it, and release again") from None
    if not inside:
        raise ValueError(f"{file} names files outside its folder")
    return hashes


def _exists(file: Path) -> bool:
    return os.path.lexists(file)


def _is(file: Path, wanted: File) -> bool:
    return (
        file.is_file()
        and not file.is_symlink()
        and file.read_bytes() == wanted.content
        and bool(file.stat().st_mode & 0o100) == wanted.executable
    )


def _hash(file: Path) -> str | None:
    """None for what is no plain file, and so is never what was written."""
    if file.is_symlink() or not file.is_file():
        return None
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _wanted_hash(file: File | None) -> str:
    return "" if file is None else hashlib.sha256(file.content).hexdigest()


def _check_place(folder: Path, path: str) -> None:
    file = folder / path
    if file.is_dir() and not file.is_symlink():
        raise ValueError(f"{file} is a folder, and a file belongs there")
    for parent in file.parents:
        if parent == folder:
            return
        if _exists(parent) and (parent.is_symlink() or not parent.is_dir()):
            raise ValueError(f"{parent} is not a folder, and {path} belongs in it")


def _replace(file: Path, wanted: File) -> None:
    """All of the file or nothing of it, also when the disk is full."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, new = tempfile.mkstemp(dir=file.parent)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(wanted.content)
        os.chmod(new, 0o755 if wanted.executable else 0o644)
        os.replace(new, file)
    except BaseException:
        os.unlink(new)
        raise


def _prune(parent: Path, folder: Path) -> None:
    while parent != folder and not any(parent.iterdir()):
        parent.rmdir()
        parent = parent.parent
