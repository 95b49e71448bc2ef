"""``course submit`` from beginning to end."""

import json
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape

from course.process import ROOT
from course.submit.archive import write_archive
from course.submit.benchmarks import BENCHMARKS, Run, run_benchmark
from course.submit.display import WIDTH, Shown, console, scorecard
from course.submit.environment import record
from course.submit.score import Exercise, totals
from course.submit.testing import SILENCE, test_all, tree

OUTPUTS = ROOT / "outputs"


def submit(solutions: bool = False, benchmarks: bool = True, silence: float = SILENCE) -> int:
    """Test, time, score and pack the work.

    Args:
        solutions: use ``solutions/`` instead of the learner's files.
        benchmarks: run the benchmarks too where there is a GPU.
        silence: seconds without a finished test after which the tests are stopped.

    Returns:
        0 if nothing failed, else 1: an exercise not written yet is no success, a bonus left alone
        and what is unproven here are no failure. The archive is written either way.
    """
    out = console()
    OUTPUTS.mkdir(exist_ok=True)
    environment = record(OUTPUTS)
    out.print(escape(environment["kernels"] or "Kernels cannot run here."))
    for problem in environment["problems"]:
        out.print(f"[bold red]Problem:[/] {escape(problem)}")
    out.print("Testing the solutions:" if solutions else "Testing your work:")
    with Shown(out) as shown:
        exercises = test_all(OUTPUTS, solutions, shown.test, silence)
    runs = _benchmarks(out, solutions, bool(environment["gpu"])) if benchmarks else []
    scorecard(out, exercises, runs)
    _write(exercises, runs, solutions)
    left_out = write_archive(tree(solutions), OUTPUTS)
    for name, why in left_out.items():
        out.print(f"[bold red]Left out of the archive:[/] {escape(f'{name} ({why})')}")
    out.print("Archive to hand in: outputs/submission.zip")
    failed = any(exercise.counts_as_failure for exercise in exercises)
    return 1 if failed or any(run.state == "failed" for run in runs) else 0


def _benchmarks(out: Console, solutions: bool, gpu: bool) -> list[Run]:
    if not gpu:
        out.print("No GPU here, so the benchmarks are not timed (timings earn no points).")
        return []
    runs = []
    for module in BENCHMARKS:
        out.print(f"Timing {module} ...")
        runs.append(run_benchmark(module, tree(solutions), OUTPUTS))
        out.print(escape(f"  {runs[-1].state}: {runs[-1].line}"))
    return runs


def _write(exercises: list[Exercise], runs: list[Run], solutions: bool) -> None:
    card = {
        "solutions": solutions,
        "exercises": [asdict(exercise) | {"bonus": exercise.bonus} for exercise in exercises],
        "totals": totals(exercises),
        "benchmarks": [asdict(run) for run in runs],
    }
    (OUTPUTS / "scorecard.json").write_text(json.dumps(card, indent=2) + "\n")
    with (OUTPUTS / "scorecard.txt").open("w") as file:
        scorecard(Console(file=file, width=WIDTH, highlight=False), exercises, runs)
