"""``python -m course.release``."""

import typer

from course.release.cli import release

if __name__ == "__main__":
    typer.run(release)
