"""``python -m course.handout`` builds the PDF; ``--figures`` draws the pictures first."""

import argparse

from course.handout import build


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.handout", description=__doc__)
    parser.add_argument("--figures", action="store_true", help="draw the pictures again first")
    if parser.parse_args().figures:
        from course.handout import figures

        for path in figures.draw_all(build.ROOT):
            print(path.relative_to(build.ROOT))
    print(build.build().relative_to(build.ROOT))


if __name__ == "__main__":
    main()
