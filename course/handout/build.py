"""Markdown hand-outs to one PDF: pandoc turns each into typst, typst sets them together."""

import hashlib
import re
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = Path(__file__).with_name("template.typ")
FILTER = Path(__file__).with_name("keep.lua")
HANDOUTS = (
    "homework/01_softmax_matmul.md",
    "homework/02_flash_attention_pytorch.md",
    "homework/03_flash_attention_triton.md",
)
PDF = "homework/homework_all.pdf"

_FOLDED = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
_KEY = re.compile(rb"sources-sha256-([0-9a-f]{64})")


def sources(root: Path = ROOT) -> list[Path]:
    """Every file the PDF is made of: hand-outs, drawings, this module, filter and template."""
    drawings = [*sorted((root / "homework/figures").glob("*.svg")), root / "docs/pictures/road.svg"]
    return [*(root / name for name in HANDOUTS), *drawings, TEMPLATE, FILTER, Path(__file__)]


def fingerprint(root: Path = ROOT) -> str:
    """SHA-256 over the sources, in order."""
    digest = hashlib.sha256()
    for path in sources(root):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def fingerprint_in(pdf: Path) -> str | None:
    """The fingerprint of the sources ``pdf`` was built from, or None where it holds none."""
    found = _KEY.search(pdf.read_bytes())
    return found.group(1).decode() if found else None


def to_typst(markdown: str) -> str:
    """The typst text of one hand-out; folded hints stand open, a printed page has nothing to click.

    Raises:
        ModuleNotFoundError: pypandoc is not installed (``pip install -e .[dev]``).
    """
    import pypandoc

    opened = _FOLDED.sub(lambda m: f"#### {m.group(1).strip()}\n\n{m.group(2).strip()}\n", markdown)
    return pypandoc.convert_text(
        opened,
        "typst",
        format="markdown+lists_without_preceding_blankline-smart",
        extra_args=["--wrap=preserve", "--columns=500", f"--lua-filter={FILTER}"],
    )


def build(root: Path = ROOT) -> Path:
    """Write ``homework/homework_all.pdf``: the same bytes from the same sources.

    Raises:
        ModuleNotFoundError: pypandoc or typst is not installed.
        RuntimeError: pandoc or typst cannot make sense of the text; their message is passed on.
    """
    import typst

    body = "\n\n".join(to_typst((root / name).read_text(encoding="utf-8")) for name in HANDOUTS)
    body = body.replace('image("figures/', 'image("/homework/figures/')
    text = TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("$sources$", f"sources-sha256-{fingerprint(root)}").replace("$body$", body)
    with tempfile.NamedTemporaryFile("w", suffix=".typ", dir=root, encoding="utf-8") as page:
        page.write(text)
        page.flush()
        typst.compile(Path(page.name), output=root / PDF, root=root, ignore_system_fonts=True)
    return root / PDF
