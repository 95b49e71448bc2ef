"""The command ``course``."""

import difflib
import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from course.compiled.cli import compile_kernels
from course.process import ROOT

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Check, test and submit your work of the Triton kernels course.",
)

Solutions = Annotated[
    bool, typer.Option("--solutions", help="The solutions instead (instructor's repository only).")
]


@app.callback()
def here() -> None:
    """Check, test and submit your work of the Triton kernels course."""
    # an editable install belongs to one folder; from another copy it would test the wrong files
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "course" / "cli.py").is_file() and folder.resolve() != ROOT:
            typer.echo(f"This command belongs to {ROOT}. In {folder} use ./test_and_submit.sh, or")
            typer.echo("activate the environment of that folder.")
            raise typer.Exit(2)


def _need_solutions(solutions: bool) -> None:
    if solutions and not (ROOT / "solutions").is_dir():
        typer.echo("There are no solutions in this repository; leave out --solutions.")
        raise typer.Exit(2)


@app.command()
def submit(
    solutions: Solutions = False,
    benchmarks: Annotated[bool, typer.Option(help="Time the benchmarks where a GPU is.")] = True,
    patience: Annotated[
        float, typer.Option(help="Seconds without a finished test before tests are stopped.")
    ] = 240.0,
) -> None:
    """Test your work, score it, and write outputs/submission.zip.

    Exit status 0 if nothing failed. An exercise not written yet counts as failed, a bonus left
    alone and what this machine cannot prove do not. The archive is written either way.
    """
    from course.submit.run import submit as run

    _need_solutions(solutions)
    raise typer.Exit(run(solutions, benchmarks, patience))


@app.command()
def check(
    exercise: Annotated[
        str, typer.Argument(help="An id such as hw2-1 or nb02-3, or all of hw2 or nb02.")
    ] = "",
    solutions: Solutions = False,
) -> None:
    """Check one exercise, or all of a homework or notebook; without an id, list them all."""
    from course.exercise import homework, notebook
    from course.submit.titles import TITLES

    _need_solutions(solutions)
    in_notebooks = notebook.all_exercises(solutions)
    titles = {n: TITLES.get(n, in_notebooks.get(n, "")) for n in homework.test_files()}
    titles |= {n: TITLES.get(n, title) for n, title in in_notebooks.items()}
    if not exercise:
        _list(titles)
        return
    chosen = [n for n in sorted(titles) if exercise in (n, n.split("-")[0])]
    if not chosen:
        _no_such_exercise(exercise, titles)
        raise typer.Exit(2)
    right = []
    for name in chosen:
        if name in in_notebooks:
            wrong = notebook.check_saved(name, solutions)
            right.append(not wrong)
            if wrong:
                typer.echo(wrong)
                for place in homework.stubs(name):
                    typer.echo(f"  to write: {place}")
        else:
            right.append(homework.check_homework(name, solutions))
    if len(chosen) > 1:
        typer.echo(f"{exercise}: {sum(right)} of {len(right)} exercises are right.")
    if not all(right):
        raise typer.Exit(1)


def _list(titles: dict[str, str]) -> None:
    for name in sorted(titles):
        typer.echo(f"{name:8} {titles[name]}".rstrip())


def _no_such_exercise(wanted: str, known: dict[str, str]) -> None:
    """Say what there is instead in the homework or notebook of that name, or which there are."""
    part = wanted.split("-")[0]
    within = [name for name in known if name.split("-")[0] == part]
    if within:
        near = difflib.get_close_matches(wanted, within, n=3) or sorted(within)
        typer.echo(f"There is no exercise {wanted!r}. Did you mean {', '.join(near)}?")
    else:
        kinds = {"nb": "notebook", "hw": "homework"}
        kind, of = kinds.get(part[:2], "exercise"), part[:2] if part[:2] in kinds else ""
        parts = sorted({name.split("-")[0] for name in known if name.startswith(of)})
        typer.echo(f"There is no {kind} {part!r}. There are {', '.join(parts)};")
        typer.echo("'course check' alone lists every exercise.")


@app.command()
def doctor() -> None:
    """Say what will and will not work on this machine."""
    from course.doctor import report
    from course.submit.display import console

    raise typer.Exit(report(console()))


app.command("compile")(compile_kernels)


@app.command(
    "bench",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def bench(context: typer.Context) -> None:
    """Time an op against its peers on this GPU, results checked first."""
    # imported only now: it needs torch, without which the other commands start
    from course.bench.cli import command

    command(context.args, prog_name="course bench")


def main() -> None:
    """Run the command line; the developers' commands are there where their code is."""
    if importlib.util.find_spec("course.release") is not None:
        from course.release.cli import release

        app.command()(release)
    app()


if __name__ == "__main__":
    main()
