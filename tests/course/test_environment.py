"""What Python ``course/environment.sh`` takes, what it installs, tried on Pythons made of bash."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PYTHON = """#!/usr/bin/env bash
here="$(dirname "$0")"
echo "$here: $*" >>"$CALLS"
case "$*" in
  "-m course.versions supported" | "-c import torch, triton") [ -e "$here/has_torch" ] ;;
  "-m course.versions missing"*) [ ! -e "$here/missing" ] || cat "$here/missing" ;;
  "-m course.versions pinned") echo torch==2.11.0 ;;
  "-c import pip" | "-c import course.cli"*) [ ! -e "$here/no_pip" ] ;;
  "-c import sys, venv"*) [ ! -e "$here/too_old" ] ;;
  -V) echo Python 3.11.9 ;;
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && touch "$3/pyvenv.cfg" ;;
  "-m pip "*) if [ -e "$here/offline" ]; then echo "no network" >&2; exit 1; fi ;;
  *) echo "ran $*" ;;
esac
"""


class Place:
    """A course folder, and a PATH on which python3 is a script that writes down its calls."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "the course"
        (self.root / "course").mkdir(parents=True)
        shutil.copy(ROOT / "course/environment.sh", self.root / "course")
        shutil.copy(ROOT / "test_and_submit.sh", self.root)
        (self.root / "pyproject.toml").write_text("[project]\n")
        self.bin = folder / "bin"
        self.python(self.bin / "python3")
        self._calls = folder / "calls"
        self.settings = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "CALLS": str(self._calls),
            "COURSE_CPU": "1",
        }

    def python(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PYTHON)
        path.chmod(0o755)

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        self._calls.write_text("")
        script, *rest = arguments or ("course/environment.sh", "work")
        return subprocess.run(
            [str(self.root / script), *rest],
            cwd="/",
            env=self.settings | settings,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines()

    def installed(self) -> list[str]:
        """What pip was asked for, with the folder of its Python."""
        asked = [line for line in self.calls() if "-m pip" in line]
        return [line.replace("-m pip install -q ", "") for line in asked]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_without_torch_a_venv_is_made_with_pytorch_for_the_cpu_first(place: Place) -> None:
    done = place.run()
    assert (done.returncode, done.stdout) == (0, "ran work\n"), done.stderr
    assert place.installed() == [
        ".venv/bin: --no-deps torch==2.13.0 --extra-index-url https://download.pytorch.org/whl/cpu",
        ".venv/bin: triton==3.7.1 -e .",
    ]
    assert "Making .venv with Python 3.11.9 ..." in done.stderr


def test_help_needs_no_environment(place: Place) -> None:
    done = place.run("test_and_submit.sh", "--help")
    assert (done.returncode, done.stderr, place.calls()) == (0, "", [])
    assert done.stdout.startswith("Usage: ") and "--no-benchmarks" in done.stdout
    place.run()
    assert place.run("test_and_submit.sh", "--help").stdout == "ran -m course.cli submit --help\n"


def test_the_second_run_starts_at_once(place: Place) -> None:
    place.run()
    begin = time.monotonic()
    done = place.run()
    assert time.monotonic() - begin < 1
    assert (done.stdout, done.stderr) == ("ran work\n", "")
    assert place.installed() == []


def test_activating_what_was_made_changes_nothing(place: Place) -> None:
    place.run()
    log = (place.root / "outputs/setup.log").read_bytes()
    venv = place.root / ".venv"
    (venv / "bin/has_torch").touch()
    done = place.run(VIRTUAL_ENV=str(venv), PATH=f"{venv}/bin:{place.settings['PATH']}")
    assert (done.stdout, done.stderr) == ("ran work\n", "")
    assert place.installed() == []
    assert (place.root / "outputs/setup.log").read_bytes() == log
    assert place.run().stderr == "", "nor does leaving it"


def test_what_could_have_changed_is_looked_at_again(place: Place) -> None:
    place.run()
    (place.root / "pyproject.toml").write_text("[project]\nname = 'changed'\n")
    place.run()
    assert len(place.installed()) == 2
    assert place.run("course/environment.sh", COURSE_EXTRAS="dev").returncode == 0
    assert place.installed()[-1].endswith("triton==3.7.1 -e .[dev]")
    shutil.rmtree(place.root / ".venv")
    place.run()
    assert len(place.installed()) == 2


@pytest.mark.parametrize("variable", ["PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHON"])
def test_an_environment_with_torch_keeps_it(place: Place, tmp_path: Path, variable: str) -> None:
    active = place.bin if variable == "PATH" else tmp_path / "active env" / "bin"
    if variable != "PATH":
        place.python(active / "python")
        value = {"PYTHON": active / "python"}.get(variable, active.parent)
        place.settings[variable] = str(value)
    (active / "has_torch").touch()
    (active / "missing").write_text("typer>=0.12\nrich>=13.7\n")
    done = place.run()
    assert (done.returncode, done.stdout) == (0, "ran work\n"), done.stderr
    first, second = place.installed()
    assert first == f"{active}: --no-deps -e ."
    assert second.startswith(f"{active}: -c ") and second.endswith("typer>=0.12 rich>=13.7")
    assert not (place.root / ".venv").exists()


def test_without_a_network_an_environment_with_torch_is_used_as_it_is(place: Place) -> None:
    for name in ("has_torch", "offline"):
        (place.bin / name).touch()
    done = place.run()
    assert (done.returncode, done.stdout) == (0, "ran work\n")
    assert "Going on from this folder" in done.stderr


def test_an_environment_that_nothing_can_be_installed_in_is_passed_over(place: Place) -> None:
    for name in ("has_torch", "no_pip"):
        (place.bin / name).touch()
    done = place.run()
    assert done.returncode == 0, done.stderr
    assert "Making .venv" in done.stderr


def test_a_failed_installation_says_why_and_is_tried_again(place: Place) -> None:
    place.run()
    (place.root / ".venv/bin/offline").touch()
    (place.root / "pyproject.toml").write_text("changed")
    done = place.run()
    assert done.returncode == 1
    assert "Installing PyTorch failed" in done.stderr and "no network" in done.stderr
    assert place.run().returncode == 1
    (place.root / ".venv/bin/offline").unlink()
    assert place.run().returncode == 0


def test_a_python_that_will_not_do_is_passed_over(place: Place) -> None:
    newer = place.bin.parent / "newer"
    place.python(newer / "python3.12")
    (place.bin / "too_old").touch()
    done = place.run(PATH=f"{place.bin}:{newer}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert f"{newer}: -m venv .venv" in place.calls()
    (place.root / "pyproject.toml").write_text("changed")
    shutil.rmtree(place.root / ".venv")
    for tool in ("bash", "dirname", "basename", "mkdir", "head", "tail", "cksum", "tr"):
        (place.bin / tool).symlink_to(Path("/usr/bin", tool))
    done = place.run(PATH=str(place.bin))
    assert done.returncode == 1
    assert "Found no Python 3.10 to 3.14" in done.stderr


def test_other_versions_for_tests_leave_the_active_environment_alone(place: Place) -> None:
    (place.bin / "has_torch").touch()
    place.run(
        COURSE_ISOLATED="1", COURSE_VENV=".venv-old", COURSE_VERSIONS="triton==3.6.0 numpy<2.4"
    )
    assert place.installed()[-1] == ".venv-old/bin: triton==3.6.0 numpy<2.4 -e ."


def test_and_submit_passes_its_arguments_on(place: Place) -> None:
    done = place.run("test_and_submit.sh", "--solutions")
    assert (done.returncode, done.stdout) == (0, "ran -m course.cli submit --solutions\n")


def test_both_scripts_can_be_started() -> None:
    for name in ("course/environment.sh", "test_and_submit.sh", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK), name
        subprocess.run(["bash", "-n", str(ROOT / name)], check=True)
