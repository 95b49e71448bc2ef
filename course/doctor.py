"""What will and will not work on this machine, in sentences."""

import importlib.util
import platform
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from course import versions
from course.interpreter import proves

if TYPE_CHECKING:  # it needs torch, and this must speak where torch is missing
    from course.device import Machine

Verdict = Literal["works", "partly", "no"]
_STYLE = {"works": "green", "partly": "yellow", "no": "bold red"}


@dataclass(frozen=True)
class Finding:
    """One thing a learner may want to do here."""

    what: str
    verdict: Verdict
    why: str


def machine() -> "tuple[Machine | None, tuple[int, int] | None, str]":
    """Where kernels run, the GPU's compute capability, and why torch does not work, if so."""
    try:
        import torch

        from course.device import prepare

        chosen = prepare()
        return chosen, torch.cuda.get_device_capability() if chosen.device == "cuda" else None, ""
    except (ImportError, OSError, RuntimeError) as error:
        return None, None, f"torch does not work: {type(error).__name__}: {error}"


def examine() -> list[Finding]:
    """Every finding of this machine, the most important first."""
    chosen, capability, broken = machine()
    interpreted = chosen is None or chosen.interpreted
    problems = ([broken] if broken else []) + versions.problems(interpreted)
    findings = [Finding("versions", "no", problem) for problem in problems]
    if not problems:
        findings = [Finding("versions", "works", _versions())]
    findings += [Finding("versions", "partly", note) for note in versions.notes()]
    usable = not problems
    findings += _kernels(chosen, usable) + _gpu(capability)
    findings += [_compiling(usable), _benchmarks(capability), _notebooks()]
    findings.append(
        Finding("submit", "works", "./test_and_submit.sh tests your work and packs it.")
        if usable
        else Finding("submit", "partly", "It packs your work, but much of it will fail its tests.")
    )
    return findings


def _versions() -> str:
    names = ("torch", "triton", "numpy")
    found = ", ".join(f"{name} {versions.installed(name)}" for name in names)
    return f"Python {platform.python_version()}, {found}."


def _kernels(chosen: "Machine | None", usable: bool) -> list[Finding]:
    if chosen is None or not usable:
        return [Finding("kernels", "no", "They cannot run until the versions are right.")]
    if not chosen.interpreted:
        verdict: Verdict = "works" if chosen.device == "cuda" else "no"
        return [Finding("kernels", verdict, chosen.sentence)]
    small = "so are bf16 and fp8, which the course mends."
    if not (proves("bf16") and proves("fp8")):
        small = (
            "bf16 and fp8 come out wrong, because the course cannot mend this version of triton: "
            "tests of them are unproven here."
        )
    right = f"fp32, fp16 and int8 are right, and {small}"
    return [
        Finding("kernels", "works", chosen.sentence),
        Finding("interpreter", "partly", f"{right} Races go unnoticed."),
    ]


def _gpu(capability: tuple[int, int] | None) -> list[Finding]:
    if capability is None:
        return [
            Finding(
                "GPU",
                "no",
                "None is in use. Every chapter and every correctness test works without one.",
            )
        ]
    name = f"sm_{capability[0]}{capability[1]}"
    if capability < (7, 5):
        return [Finding("GPU", "no", f"{name} is older than Triton supports: TRITON_INTERPRET=1.")]
    if capability < (8, 0):
        return [
            Finding(
                "GPU",
                "partly",
                f"{name} has no bf16, and current Triton does not use its tensor cores: results "
                "are right, fp16 is not fast, and large tiles spill. Use 32 x 32 tiles in "
                "attention. No int8 products, no fp8.",
            )
        ]
    if capability < (8, 9):
        return [Finding("GPU", "works", f"{name}: fp32, TF32, fp16, bf16, int8. No fp8 (sm_89).")]
    extra = {9: " Tensor descriptors use TMA, products wgmma.", 10: " Products use tcgen05."}
    words = f"{name}: fp32, TF32, fp16, bf16, int8, fp8.{extra.get(capability[0], '')}"
    return [Finding("GPU", "works", words)]


def _compiling(usable: bool) -> Finding:
    if sys.platform != "linux" or not usable:
        return Finding("compile tier", "no", "Compiling for GPUs needs a working Triton on Linux.")
    return Finding(
        "compile tier",
        "works",
        "Kernels compile ahead of time for sm_75, sm_80, sm_90 and sm_100, without a GPU too.",
    )


def _benchmarks(capability: tuple[int, int] | None) -> Finding:
    if capability is None:
        return Finding(
            "benchmarks",
            "partly",
            "Without a GPU the programs are tested, which earns their points; nothing is timed.",
        )
    return Finding("benchmarks", "works", "Timed on this GPU. Timings earn no points.")


def _notebooks() -> Finding:
    if importlib.util.find_spec("ipykernel") is None:
        return Finding(
            "notebooks",
            "partly",
            "This Python has no Jupyter kernel: pip install jupyterlab. 'course check' works.",
        )
    if shutil.which("jupyter") is None and importlib.util.find_spec("jupyterlab") is None:
        return Finding("notebooks", "works", "In VS Code or an existing Jupyter, with this Python.")
    return Finding("notebooks", "works", "Open the folder notebooks/ in JupyterLab.")


def report(out: Console) -> int:
    """Print the findings and the tested versions; 0 if the course works here, else 1."""
    findings = examine()
    table = Table(title="This machine", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("what", no_wrap=True)
    table.add_column("works?", no_wrap=True)
    table.add_column("why")
    for one in findings:
        style = _STYLE[one.verdict]
        table.add_row(one.what, f"[{style}]{one.verdict}[/]", escape(one.why))
    out.print(table)
    tested = Table(
        title="Tested versions (Python 3.10 or newer)", title_justify="left", box=SIMPLE_HEAD
    )
    for column in ("triton", "torch", "NumPy, interpreted", "remark"):
        tested.add_column(column)
    for row in versions.TESTED:
        numpy = f"< {row.numpy_below}" if row.numpy_below else "any"
        tested.add_row(row.triton, ", ".join(row.torch) or "-", numpy, row.remark)
    out.print(tested)
    broken = [
        one for one in findings if one.what in ("versions", "kernels") and one.verdict == "no"
    ]
    out.print("The course works here." if not broken else "The course does not work here yet.")
    return 1 if broken else 0
