"""Whether what a hand-out puts in backticks is in the code: names, signatures, files, commands."""

import ast
import builtins
import importlib
import re
from functools import lru_cache

import typer

from course.cli import app
from course.handout.build import ROOT
from course.release import settings

# what stands in backticks and is no name in the code
WORDS = {"inf", ".venv", "no"}
PACKAGES = settings.load(ROOT).packages
LIBRARIES = {"torch": "torch", "tl": "triton.language", "triton": "triton"}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def spans(text: str) -> list[str]:
    """What stands in single backticks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def shell_lines(text: str) -> list[str]:
    """The commands in listings, without their comments."""
    listings = [body for language, body in FENCE.findall(text) if language == "bash"]
    lines = [line.split("#")[0].strip() for body in listings for line in body.splitlines()]
    return [line for line in lines if line]


@lru_cache(maxsize=1)
def modules() -> dict[str, ast.Module]:
    """What hand-outs speak of, by dotted name: what learners fill in, and the course's clocks."""
    rooms = [ROOT / "solutions" / room for room in (*PACKAGES, "notebooks", "student_repository")]
    paths = [path for room in rooms for path in sorted(room.glob("*.py"))]
    found = {
        ".".join(path.relative_to(ROOT / "solutions").with_suffix("").parts): path for path in paths
    }
    # the hand-outs name what these define
    for name in ("course.bench.clock", "course.check.registry", "course.cli", "course.release.cli"):
        found[name] = ROOT / f"{name.replace('.', '/')}.py"
    return {name: ast.parse(path.read_text("utf-8")) for name, path in found.items()}


@lru_cache(maxsize=1)
def vocabulary() -> frozenset[str]:
    """Names defined or used in these modules, and the words among their strings (columns)."""
    words = set(dir(builtins)) | WORDS
    for name, module in modules().items():
        words |= set(name.split("."))
        for node in ast.walk(module):
            for field in ("name", "arg", "id", "attr"):
                words.add(str(getattr(node, field, "")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
    return frozenset(words)


@lru_cache(maxsize=1)
def signatures() -> dict[str, list[str]]:
    """How each function is called: "x", "V", "BLOCK_1=16"; an autograd class by its ``apply``."""
    found = {}
    for name, module in modules().items():
        if name.startswith(("course.", "notebooks.")):
            continue
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef):
                found[node.name] = parameters(node.args)
            elif isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and method.name == "forward":
                        found[f"{node.name}.apply"] = parameters(method.args)[1:]
    return found


def parameters(arguments: ast.arguments) -> list[str]:
    names = [argument.arg for argument in arguments.args]
    defaults = [""] * (len(names) - len(arguments.defaults))
    defaults += [f"={ast.unparse(default)}" for default in arguments.defaults]
    return [name + default for name, default in zip(names, defaults, strict=True)]


@lru_cache(maxsize=1)
def points() -> dict[str, int]:
    """Exercise -> points, from the markers in ``tests/``."""
    found: dict[str, int] = {}
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "attr", "") != "exercise":
                continue
            exercise = ast.literal_eval(node.args[0])
            worth = {k.arg: ast.literal_eval(k.value) for k in node.keywords}.get("points", 0)
            found[exercise] = found.get(exercise, 0) + worth
    return found


@lru_cache(maxsize=1)
def notebook_exercises() -> frozenset[str]:
    sources = sorted((ROOT / "solutions/notebooks").glob("*.py"))
    ids = (re.findall(r'check="(nb[\d-]+)"', path.read_text("utf-8")) for path in sources)
    return frozenset(i for some in ids for i in some)


def constant(module: str, name: str) -> list:
    """A constant of a module under ``solutions/``: literals, sums and unpackings of constants."""

    def value(node: ast.AST) -> list:
        if isinstance(node, ast.List | ast.Tuple):
            return [one for item in node.elts for one in value(item)]
        if isinstance(node, ast.Starred):
            return value(node.value)
        if isinstance(node, ast.BinOp):
            return value(node.left) + value(node.right)
        if isinstance(node, ast.Name):
            return constant(module, node.id)
        return [ast.literal_eval(node)]

    for node in modules()[module].body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return value(node.value)
    raise AssertionError(f"{module} has no constant {name}")


def wrong_with(span: str) -> str:
    """Why what stands in backticks does not fit the code; empty if it does."""
    if re.fullmatch(r"hw\d+-\d+", span):
        return "" if span in points() else "no test is marked with this exercise"
    if re.fullmatch(r"nb\d+-(\d+|\*)", span):
        known = notebook_exercises()
        found = span in known or any(i.startswith(span.removesuffix("*")) for i in known)
        return "" if found else "no notebook has this exercise"
    if span == "pytest" or span.startswith(("course ", "pytest ", "python ", "./", "!./", "make ")):
        return _command(span.removeprefix("!").split())
    if span.startswith("[tool."):
        project = (ROOT / "pyproject.toml").read_text("utf-8")
        return "" if f"\n{span}\n" in project else "pyproject.toml has no such table"
    if re.fullmatch(r"[\w.-]*/[\w./-]*|\w+\.toml", span):
        return _path(span)
    return _code(span)


def _command(words: list[str]) -> str:
    program, *rest = words
    if program == "make":
        rules = (ROOT / "Makefile").read_text("utf-8")
        return "" if re.search(rf"^{rest[0]}:", rules, re.MULTILINE) else "no such rule"
    if program == "./test_and_submit.sh":
        return "" if set(rest) <= {"--solutions"} else "unknown option"
    if program == "pytest":
        plugin = (ROOT / "course/testing/plugin.py").read_text("utf-8")
        options = [word for word in rest if word.startswith("-")]
        return "" if all(f'"{option}"' in plugin for option in options) else "unknown option"
    if program == "python":
        path = rest[1].replace(".", "/")
        files = (f"{path}.py", f"{path}/__main__.py")
        return "" if "" in map(_path, files) else "no such module"
    if program == "course" and rest:
        commands = typer.main.get_group(app).commands
        if rest[0] not in (*commands, "release"):
            return f"course has no command {rest[0]}"
        exercises = [word for word in rest[1:] if re.match(r"(hw|nb)\d", word)]
        if rest[0] == "check":  # which takes a whole homework or notebook too
            parts = {name.split("-")[0] for name in (*points(), *notebook_exercises())}
            exercises = [word for word in exercises if word not in parts]
        return next((why for why in map(wrong_with, exercises) if why), "")
    return "an unknown command"


def _path(path: str) -> str:
    if path.startswith("outputs/"):
        name = path.rsplit("/", 1)[-1]
        submit = sorted((ROOT / "course/submit").glob("*.py"))
        written = any(name in path.read_text("utf-8") for path in submit)
        return "" if written else "nothing writes this file"
    found = (ROOT / path).exists() or (ROOT / "solutions" / path).exists()
    return "" if found else "no such file"


def _code(span: str) -> str:
    try:
        code = ast.parse(span.removeprefix("@"))
    except SyntaxError:
        unknown = set(re.findall(r"[A-Za-z_]\w*", span)) - vocabulary()
        return "" if span in vocabulary() or not unknown else f"unknown: {sorted(unknown)}"
    return next((why for why in map(_node, ast.walk(code)) if why), "")


def _node(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute) and _root(node) in LIBRARIES:
        library = LIBRARIES[_root(node)]
        inside = ast.unparse(node).split(".")[1:]
        return "" if _has(library, inside) else f"{library} has no {'.'.join(inside)}"
    name = getattr(node, "id", getattr(node, "attr", None))
    if name and name not in vocabulary() and name not in LIBRARIES:
        return f"nothing in the code is called {name}"
    if isinstance(node, ast.Call) and ast.unparse(node.func) in signatures():
        wanted = signatures()[ast.unparse(node.func)]
        if [ast.unparse(one) for one in [*node.args, *node.keywords]] != wanted:
            return f"the signature is ({', '.join(wanted)})"
    return ""


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return getattr(node, "id", "")


def _has(library: str, names: list[str]) -> bool:
    thing = importlib.import_module(library)
    for name in names:
        if not hasattr(thing, name):
            return False
        thing = getattr(thing, name)
    return True
