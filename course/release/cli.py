"""The command ``course release``."""

from pathlib import Path
from typing import Annotated

import typer

from course.release import tree, write

_HERE = Path(__file__).resolve().parents[2]


def release(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if anything would change.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the whole student repository into this folder.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files even where they were modified.")
    ] = False,
    root: Annotated[
        Path, typer.Option(help="The instructor's repository.", show_default=False)
    ] = _HERE,
) -> None:
    """Derive the student's tree from solutions/: stubs, notebooks, the student repository."""
    root = root.resolve()
    folder = root if out is None else out.resolve()
    try:
        if out is not None and (folder == root or folder in root.parents):
            raise ValueError(f"{folder} holds the instructor's repository: choose another folder")
        wanted = tree.generated(root) if out is None else tree.student(root)
        if check:
            rooms = tree.generated_rooms(root)
            found = [file for room in rooms for file in tree.files_under(folder / room)]
            lines = write.differences(wanted, folder, found)
            for line in lines:
                typer.echo(line)
            if lines:
                typer.echo("Run 'course release' to bring these files up to date.", err=True)
                raise typer.Exit(1)
            typer.echo(f"All {len(wanted)} files are up to date.")
            return
        written, removed = write.write(wanted, folder, overwrite)
    except write.ModifiedFiles as error:
        typer.echo("Nothing was written. These files hold changes that would be lost:", err=True)
        for path in error.paths:
            typer.echo(f"  {path}", err=True)
        typer.echo("Keep them elsewhere first, or say --overwrite.", err=True)
        raise typer.Exit(1) from None
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    for path in removed:
        typer.echo(f"removed: {path}")
    for path in written:
        typer.echo(f"wrote: {path}")
    typer.echo(f"{len(wanted)} files in {folder}, {len(written)} of them new or changed.")
