"""Which versions of Python, torch, triton and NumPy the course was tested with.

Standard library only: it must be able to speak where torch and triton are missing or broken.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True)
class Tested:
    """One series of triton, the torch it comes with, and what was seen with it."""

    triton: str
    torch: tuple[str, ...]
    numpy_below: str | None  # when kernels are interpreted; compiled kernels do not care
    remark: str


TESTED = (
    Tested("3.6", ("2.10", "2.11"), "2.4", "Colab's version; interprets only with NumPy < 2.4"),
    Tested("3.7", ("2.12", "2.13"), None, "the course's default: torch 2.13.0 with triton 3.7.1"),
    Tested("3.9", (), None, "interpreted tests pass; comes with no torch release tested here"),
)
OLDEST_PYTHON = "3.10"
OLDEST_TORCH = "2.10"
OLDEST_TRITON, FIRST_UNSUPPORTED_TRITON = "3.6", "3.10"
_KEPT = ("torch", "triton", "numpy")


def installed(package: str) -> str | None:
    """The version of an installed package, without importing it; None where it is missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def number(version: str) -> tuple[int, ...]:
    """``"2.13.0+cpu"`` -> ``(2, 13, 0)``."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def series(version: str) -> str:
    """``"3.7.1"`` -> ``"3.7"``."""
    return ".".join(str(part) for part in number(version)[:2])


def has_nvidia_gpu() -> bool:
    """Whether the driver shows a GPU, asked without torch."""
    if Path("/dev/nvidia0").exists():
        return True
    if shutil.which("nvidia-smi") is None:
        return False
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "GPU 0" in listed.stdout


def interpreting() -> bool:
    """Whether kernels will be interpreted in this process's environment."""
    wanted = os.environ.get("TRITON_INTERPRET")
    return wanted == "1" or (wanted is None and not has_nvidia_gpu())


def problems(interpreted: bool | None = None) -> list[str]:
    """What keeps the course from working here, one sentence each; empty when nothing does.

    Args:
        interpreted: whether kernels are interpreted; None finds out.
    """
    found = _environment_problems()
    triton, numpy = installed("triton"), installed("numpy")
    row = next((row for row in TESTED if triton and row.triton == series(triton)), None)
    if not (row and row.numpy_below and numpy) or number(numpy) < number(row.numpy_below):
        return found
    if interpreting() if interpreted is None else interpreted:
        found.append(
            f"triton {triton} cannot interpret kernels with NumPy {numpy}: install "
            f'"numpy<{row.numpy_below}", or triton 3.7.1 (then restart Python).'
        )
    return found


def _environment_problems() -> list[str]:
    found = []
    if sys.version_info[:2] < number(OLDEST_PYTHON):
        found.append(
            f"Python {platform.python_version()} is too old: the course needs {OLDEST_PYTHON}."
        )
    torch = installed("torch")
    if torch is None:
        found.append("PyTorch is not installed: run ./test_and_submit.sh, which sets it up.")
    elif number(torch) < number(OLDEST_TORCH):
        found.append(f"torch {torch} is too old: the course needs {OLDEST_TORCH} or newer.")
    triton = installed("triton")
    if triton is None:
        found.append(
            "Triton is not installed: run ./test_and_submit.sh, which sets it up."
            if sys.platform == "linux"
            else "Triton exists for Linux only: the PyTorch exercises work here, the kernels do "
            "not. Colab, or Linux in a container or WSL, runs everything."
        )
    elif not number(OLDEST_TRITON) <= number(triton) < number(FIRST_UNSUPPORTED_TRITON):
        works = ", ".join(row.triton for row in TESTED)
        found.append(f"triton {triton} is not supported: versions {works} were tested.")
    return found


def notes() -> list[str]:
    """Combinations that should work but were not tested, one sentence each."""
    torch, triton = installed("torch"), installed("triton")
    if torch is None or triton is None:
        return []
    row = next((row for row in TESTED if row.triton == series(triton)), None)
    if row is None:
        return [f"triton {triton} was not tested with this course."]
    if row.torch and series(torch) not in row.torch:
        pairs = " and ".join(row.torch)
        return [f"triton {triton} comes with torch {pairs}; torch {torch} beside it is untested."]
    return []


def missing(extras: tuple[str, ...] = ()) -> list[str]:
    """The course's requirements this environment lacks, as pip takes them.

    torch, triton and NumPy are never listed: an environment that has them keeps its own.
    """
    # pip carries the standard parser of requirements; where there is no pip, nothing could be
    # installed either
    from pip._vendor.packaging.requirements import Requirement

    lacking = []
    for line in metadata.requires("triton-kernels-course") or []:
        wanted = Requirement(line)
        chosen = wanted.marker is None or any(
            wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        )
        if not chosen or wanted.name in (*_KEPT, "triton-kernels-course"):
            continue
        version = installed(wanted.name)
        if version is None or not wanted.specifier.contains(version, prereleases=True):
            lacking.append(f"{wanted.name}{wanted.specifier}")
    return lacking


def main(arguments: list[str]) -> int:
    """What ``course/environment.sh`` asks.

    ``missing EXTRA...`` and ``pinned`` print what pip shall install and what it shall keep;
    ``supported`` exits 0 where torch and triton will do.
    """
    if arguments[:1] == ["missing"]:
        print("\n".join(missing(tuple(arguments[1:]))))
        return 0
    if arguments[:1] == ["pinned"]:
        kept = {name: installed(name) for name in _KEPT}
        print("\n".join(f"{name}=={version}" for name, version in kept.items() if version))
        return 0
    return 1 if _environment_problems() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
