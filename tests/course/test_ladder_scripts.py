"""Each rung of the ladder runs as a script, and without a GPU says what it cannot measure."""

import subprocess

import pytest

from course.process import ROOT, environment, python

RUNGS = ["naive", "basic", "vectorized", "tiled", "multihead", "fp8", "descriptors"]


@pytest.mark.parametrize("rung", RUNGS)
def test_a_rung_checks_itself(rung, machine, tmp_path):
    command = python(ROOT / "solutions", f"attention_ladder.{rung}")
    clean = {k: v for k, v in environment().items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        command, env=clean, cwd=tmp_path, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert f"{rung}: right at every length tried." in done.stdout
    if machine.device == "cuda":
        assert (tmp_path / "outputs" / f"attention_ladder_{rung}.csv").exists()
    else:
        assert "Time and memory are not measured" in done.stdout
