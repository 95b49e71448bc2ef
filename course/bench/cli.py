"""The command ``course bench``."""

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from course.bench import measured
from course.bench.clock import Clock
from course.bench.registry import Op, UnknownName, dtype_name, find, op_names
from course.process import ROOT

# whose kernels 'course check' and 'course compile' know, where there is nothing to time
EXERCISE = "hw3-1"
EXERCISES = {"softmax_matmul": "hw1-1", "softmax": "hw1-1", "attention_ladder": "nb03-1"}
Many = list[str] | None


def _option(name: str, text: str) -> Any:
    spellings = dict.fromkeys((f"--{name}", f"--{name.replace('-', '_')}"))
    return typer.Option(*spellings, help=text)


def bench(
    op: Annotated[str, typer.Argument(help=f"One of {', '.join(op_names())}.")] = "",
    seq_len: Annotated[Many, _option("seq-len", "Tokens; say it again, or 1024,4096.")] = None,
    head_dim: Annotated[Many, _option("head-dim", "Numbers a head has for a token.")] = None,
    heads: Annotated[Many, _option("heads", "Heads.")] = None,
    batch: Annotated[Many, _option("batch", "Batch size.")] = None,
    d1: Annotated[Many, _option("d1", "Rows.")] = None,
    d2: Annotated[Many, _option("d2", "Columns.")] = None,
    d3: Annotated[Many, _option("d3", "Columns of V.")] = None,
    n: Annotated[Many, _option("n", "Rows and columns of a square matrix.")] = None,
    mib: Annotated[Many, _option("mib", "MiB copied.")] = None,
    dtype: Annotated[Many, _option("dtype", "bf16, fp16, fp32; tf32 for products.")] = None,
    causal: Annotated[bool | None, typer.Option("--causal/--full", help="The mask.")] = None,
    impl: Annotated[Many, _option("impl", "Only this implementation; repeatable.")] = None,
    which: Annotated[Many, _option("pass", "forward, backward or total; repeatable.")] = None,
    budget_ms: Annotated[float, _option("budget-ms", "The GPU's time for each cell.")] = 300.0,
    csv: Annotated[Path | None, typer.Option(help="Write the rows here.")] = None,
    to_json: Annotated[Path | None, typer.Option("--json", help="The same, with GPU.")] = None,
    plot: Annotated[Path | None, typer.Option(help="A folder for charts.")] = None,
    solutions: Annotated[
        bool, typer.Option("--solutions", help="The solutions (instructor's repository only).")
    ] = False,
) -> None:
    """Time an op against its peers on this GPU, results checked first.

    Exit status 0 when all was measured or says why not, 1 when a kernel of this repository is
    wrong, 2 when nothing can be measured.
    """
    sizes = {
        "seq_len": seq_len,
        "head_dim": head_dim,
        "heads": heads,
        "batch": batch,
        "d1": d1,
        "d2": d2,
        "d3": d3,
        "n": n,
        "MiB": mib,
    }
    try:
        request = asked(op, sizes, dtype, causal, impl, which, solutions)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    limits = {"budget_ms": budget_ms}
    request = replace(request, limits=limits, csv=csv, json=to_json, plot=plot)
    raise typer.Exit(run(request))


@dataclass(frozen=True)
class Request:
    """What to measure, checked, and where to write it."""

    op: Op
    cases: list[dict[str, Any]]
    names: list[str] | None
    passes: tuple[str, ...]
    tree: Path
    limits: dict[str, Any] = field(default_factory=dict)
    csv: Path | None = None
    json: Path | None = None
    plot: Path | None = None


def asked(
    name: str,
    sizes: dict[str, Many],
    dtype: Many = None,
    causal: bool | None = None,
    impl: Many = None,
    passes: Many = None,
    solutions: bool = False,
) -> Request:
    """Check what was asked for before anything is measured.

    Raises:
        ValueError: a name that does not exist, with those that do; a size that is no number.
    """
    if not name:
        raise ValueError(f"Which op? There are: {', '.join(op_names())}")
    op = find(name)
    if solutions and not (ROOT / "solutions").is_dir():
        raise ValueError("There are no solutions in this repository; leave out --solutions.")
    choices: dict[str, list[Any]] = {size: list(values) for size, values in op.sizes.items()}
    for size, texts in sizes.items():
        if texts is None:
            continue
        if size not in op.sizes:
            own = ", ".join(f"--{s.replace('_', '-').lower()}" for s in op.sizes)
            raise ValueError(
                f"--{size.replace('_', '-').lower()} means nothing to {name}, whose sizes are {own}"
            )
        choices[size] = [_whole(size, text) for text in _split(texts)]
    choices["dtype"] = [dtype_name(d, op.dtypes) for d in _split(dtype)] or [op.dtypes[0]]
    if op.causal:
        choices["is_causal"] = [op.causal[0] if causal is None else causal]
    elif causal is not None:
        raise ValueError(f"--causal/--full means nothing to {name}, which has no mask")
    wanted = tuple(_split(passes)) or op.passes
    for what in wanted:
        if what not in op.passes:
            raise UnknownName(f"pass of {name}", what, op.passes)
    cases = [dict(zip(choices, v, strict=True)) for v in itertools.product(*choices.values())]
    tree = ROOT / "solutions" if solutions else ROOT
    names = _split(impl)
    if names:
        op.named(names)
    return Request(op, cases, names or None, wanted, tree)


def run(
    request: Request,
    clock: Clock | None = None,
    console: Console | None = None,
    ceilings: Any = None,
) -> int:
    """Measure, show, write; returns the exit status.

    Args:
        clock, ceilings: those of this GPU, measured, unless a clock is given; without a GPU and a
            clock nothing is measured, and the status is 2.
    """
    from course import device

    if device.prepare().device != "cuda" and clock is None:
        from course.bench.show import no_gpu

        typer.echo(no_gpu(EXERCISES.get(request.op.name, EXERCISE)), err=True)
        return 2
    # only now: triton is imported after the choice between GPU and interpreter
    from course.bench import ceilings as roof
    from course.bench import harness, show
    from course.bench.clock import cuda_clock

    sys.path.insert(0, str(request.tree))
    console = console or Console()
    if clock is None:
        clock = cuda_clock()
        ceilings = roof.measure_ceilings(clock)[0]
    meta = measured.environment(clock.name)
    with show.progress(Console(stderr=True), len(request.cases)) as told:
        rows = harness.bench(
            request.op,
            request.cases,
            request.names,
            clock,
            request.passes,
            ceilings,
            progress=told,
            **request.limits,
        )
    source = measured.sentence(meta)
    for table in show.tables(request.op, rows, request.passes, source):
        console.print(table)
    for line in show.reasons(rows):
        console.print(line, soft_wrap=True, markup=False)
    for path in _written(request, rows, meta, source):
        console.print(f"{path} is written.", soft_wrap=True)
    mine = {n for n, one in request.op.implementations.items() if one.module}
    wrong = [r for r in rows if r["implementation"] in mine and r["status"] == "wrong"]
    return 1 if wrong else 0


def _written(request: Request, rows: list, meta: dict, source: str) -> list[Path]:
    from course.bench import plots
    from course.bench.show import frame_of

    written: list[Path] = []
    if request.csv:
        request.csv.parent.mkdir(parents=True, exist_ok=True)
        frame_of(rows).to_csv(request.csv, index=False)
        written.append(request.csv)
    if request.json:
        request.json.parent.mkdir(parents=True, exist_ok=True)
        request.json.write_text(
            json.dumps({"meta": meta | {"op": request.op.name}, "rows": rows}, indent=1)
        )
        written.append(request.json)
    if request.plot:
        request.plot.mkdir(parents=True, exist_ok=True)
        drawings: dict[str, Callable] = plots.drawings(
            request.op, frame_of(rows), request.passes, source
        )
        for name, draw in drawings.items():
            path = request.plot / f"{request.op.name}_{name}.png"
            draw().savefig(path)
            written.append(path)
    return written


def _split(texts: Many) -> list[str]:
    return [part.strip() for text in texts or [] for part in text.split(",") if part.strip()]


def _whole(size: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(
            f"--{size.replace('_', '-').lower()}: expected whole numbers such as 4096 or "
            f"1024,4096, got {text!r}"
        )
    return int(text)


command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
command.command()(bench)
