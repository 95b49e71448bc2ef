"""Finding a student's function, with a sentence for everything that can be wrong with a file."""

import importlib
import sys
import traceback
from pathlib import Path
from typing import Any

from course.subject.reply import StudentError

_tree: Path | None = None


def use(tree: Path) -> None:
    """Look for student packages in this folder, and nowhere else.

    An editable install of another copy would stand in for a file that was deleted here, and so
    would what this process has imported from another folder: that is forgotten.
    """
    global _tree
    _tree = tree.resolve()
    for package in [path.parent.name for path in _tree.glob("*/__init__.py")]:
        known = getattr(sys.modules.get(package), "__file__", None)
        if known and Path(known).resolve().parent.parent != _tree:
            for name in [n for n in sys.modules if n.partition(".")[0] == package]:
                del sys.modules[name]
    if sys.path[0] != str(_tree):
        sys.path[:] = [str(_tree), *(entry for entry in sys.path if entry != str(_tree))]


def load(target: str) -> Any:
    """The object that "package.module:attribute.path" names.

    Raises:
        StudentError: says which file, line and reason, or which name is missing.
    """
    module_name, _, path = target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        path_here = Path(*module_name.split(".")).with_suffix(".py")
        if _tree and _tree not in Path(found.__file__ or "").resolve().parents:
            raise StudentError(f"{path_here} is not there: was it moved or deleted?")
        for attribute in path.split("."):
            # looking up a name in flash_attention.flash_attention imports the file it lives in
            if not hasattr(found, attribute):
                owner = getattr(found, "__name__", module_name)
                raise StudentError(
                    f"{owner} has no {attribute}: was it renamed or deleted? "
                    "The signatures are fixed."
                )
            found = getattr(found, attribute)
    except StudentError:
        raise
    except SyntaxError as error:
        where = f"{_short(error.filename)}, line {error.lineno}"
        raise StudentError(f"{where}: Python cannot read this file: {error.msg}") from None
    except Exception as error:
        raise StudentError(
            f"{module_name} cannot be imported: {_where(error)}{type(error).__name__}: {error}"
        ) from None
    return found


def _short(filename: str | None) -> str:
    return "/".join(Path(filename or "?").parts[-2:])


def _where(error: BaseException) -> str:
    """The last line of student code in the traceback."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and not frame.filename.endswith("subject/load.py")
    ]
    return f"{_short(frames[-1].filename)}, line {frames[-1].lineno}: " if frames else ""
