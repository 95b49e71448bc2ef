"""The table ``[tool.course.release]`` of ``pyproject.toml``."""

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Settings:
    """What is released, and where learners find it.

    Attributes:
        student_repository: address of the student repository; it stands here and nowhere else.
        branch: the branch that links point to; clones take the default one, which it must be.
        hub: address of the course's JupyterHub, or "" where each class has its own: no badge then.
        onyxia_init: the script in the student repository that SSP Cloud runs in a new service.
        packages: folders of ``solutions/`` that are released at the same place in the root.
        include: globs of hand-written files that are copied as they stand.
    """

    student_repository: str
    branch: str
    hub: str
    onyxia_init: str
    packages: tuple[str, ...]
    include: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder that a clone of the student repository makes."""
        return self.student_repository.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")

    @property
    def slug(self) -> str:
        """ "owner/name" of the student repository."""
        return urlsplit(self.student_repository).path.strip("/").removesuffix(".git")


def load(root: Path) -> Settings:
    """Read the table in ``root/pyproject.toml``.

    Raises:
        ValueError: there is no such file or table, or a key is missing, unknown or of another type.
    """
    file = root / "pyproject.toml"
    if not file.is_file():
        raise ValueError(f"{file} does not exist")
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    table = table.get("tool", {}).get("course", {}).get("release")
    if table is None:
        raise ValueError(f"{file} has no table [tool.course.release]: not the instructor's tree?")
    values = {}
    for one in fields(Settings):
        key = one.name.replace("_", "-")
        if key not in table:
            raise ValueError(f"{file}: [tool.course.release] lacks '{key}'")
        value = table.pop(key)
        if one.type is str or one.type == "str":
            valid = isinstance(value, str)
        else:
            valid = isinstance(value, list) and all(isinstance(item, str) for item in value)
            value = tuple(value) if valid else value
        if not valid:
            raise ValueError(f"{file}: [tool.course.release] '{key}' cannot be {value!r}")
        values[one.name] = value
    if table:
        raise ValueError(f"{file}: [tool.course.release] does not know {sorted(table)}")
    return Settings(**values)
