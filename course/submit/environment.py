"""What machine the work was tested on."""

import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from course import __version__, versions
from course.process import ROOT

_PACKAGES = ("torch", "triton", "numpy", "einops", "jaxtyping", "pandas", "pytest")


def describe() -> dict[str, Any]:
    """Versions, GPU, and how kernels run here; a broken torch is a sentence, not an error."""
    found: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "course": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: versions.installed(name) for name in _PACKAGES},
        "problems": versions.problems(),
        "gpu": None,
        "kernels": "",
    }
    try:
        from course.device import prepare

        machine = prepare()
        found["kernels"] = machine.sentence
        if machine.device == "cuda":
            found["gpu"] = _gpu()
    except (ImportError, OSError, RuntimeError) as error:
        found["problems"].append(f"torch does not work: {type(error).__name__}: {error}")
    return found


def _gpu() -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "capability": f"sm_{properties.major}{properties.minor}",
        "memory_GiB": round(properties.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
        "driver": _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "-i0"),
    }


def _commit() -> str | None:
    return _said("git", "-C", str(ROOT), "describe", "--always", "--dirty")


def _said(*command: str) -> str | None:
    """A command's first line, or None where it does not work."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.splitlines()
    return lines[0] if lines else None


def record(outputs: Path) -> dict[str, Any]:
    """Write :func:`describe` to ``environment.json`` and return it."""
    found = describe()
    (outputs / "environment.json").write_text(json.dumps(found, indent=2) + "\n")
    return found
