"""Markers: what is cut, what stands in its place, and every way to write them wrong."""

import ast
import textwrap

import pytest

from course.release.markers import NOTICE, MarkerError, cut, declaration, released


def source(text: str) -> str:
    return textwrap.dedent(text).lstrip("\n")


def test_a_python_body_raises() -> None:
    student = cut(
        source("""
        def f(x):
            # about 1 line
            ### BEGIN SOLUTION hw1-2 twice as much
            y = x + x
            ### END SOLUTION
            return y
        """),
        "f.py",
    )
    assert student == source("""
        def f(x):
            # about 1 line
            raise NotImplementedError("hw1-2: twice as much")
            return y
        """)


@pytest.mark.parametrize(
    "decorators",
    [
        "@triton.jit",
        "@jit",
        "@triton.jit(do_not_specialize=['n'])",
        "@triton.autotune(configs=[triton.Config({})], key=['n'])\n@triton.jit",
        "@triton.heuristics({})\n@triton.autotune(\n    configs=[],\n    key=[],\n)\n@triton.jit",
    ],
)
def test_a_kernel_body_fails_to_compile(decorators: str) -> None:
    student = cut(
        f"{decorators}\ndef kernel(n):\n    if n:\n        for i in range(n):\n"
        "            ### BEGIN SOLUTION hw1-1 add\n            tl.store(n)\n"
        "            ### END SOLUTION\n",
        "k.py",
    )
    assert student.endswith('range(n):\n            tl.static_assert(False, "hw1-1: add")\n')


@pytest.mark.parametrize("decorator", ["@torch.jit.script", "@jitter", "@staticmethod"])
def test_other_decorators_make_no_kernel(decorator: str) -> None:
    student = cut(
        f"{decorator}\ndef f():\n    ### BEGIN SOLUTION hw1-1 t\n    pass\n    ### END SOLUTION\n",
        "f.py",
    )
    assert "raise NotImplementedError" in student


def test_the_innermost_function_decides() -> None:
    student = cut(
        source("""
        @triton.jit
        def kernel():
            pass

        def outer():
            def inner():
                ### BEGIN SOLUTION hw1-1 inside
                return 1
                ### END SOLUTION
            return inner

        async def waits():
            ### BEGIN SOLUTION hw1-1 waits
            return 1
            ### END SOLUTION
        """),
        "f.py",
    )
    assert student.count("raise NotImplementedError") == 2 and "static_assert" not in student


def test_a_title_may_hold_anything() -> None:
    title = 'the "sum" of exponentials \\ their maximum, exp(x − m)'
    student = cut(
        f"def f():\n    ### BEGIN SOLUTION hw1-1 {title}\n    pass\n    ### END SOLUTION\n", "f.py"
    )
    with pytest.raises(NotImplementedError) as raised:
        namespace: dict = {}
        exec(student, namespace)
        namespace["f"]()
    assert str(raised.value) == f"hw1-1: {title}"


def test_a_stub_takes_the_solutions_place() -> None:
    student = cut(
        source("""
        def f(x):
            ### BEGIN SOLUTION hw1-1 a loop
            return 1
            ### END SOLUTION
            ### BEGIN STUB
            # # a comment stays one
            # for i in range(3):
            #     x += 1
            #
            # return x
            ### END STUB
        """),
        "f.py",
    )
    assert student == source("""
        def f(x):
            # a comment stays one
            for i in range(3):
                x += 1

            return x
        """)


SOLUTION = "    ### BEGIN SOLUTION hw1-1 a title\n    pass\n    ### END SOLUTION\n"
MALFORMED = {
    "no end": ("def f():\n    ### BEGIN SOLUTION hw1-1 t\n    pass\n", 2, "without END"),
    "no begin": ("def f():\n    pass\n    ### END SOLUTION\n", 3, "without BEGIN"),
    "two ends": (f"def f():\n{SOLUTION}    ### END SOLUTION\n", 5, "without BEGIN"),
    "nested": (f"def f():\n    ### BEGIN SOLUTION hw1-2 t\n{SOLUTION}", 3, "nested in hw1-2"),
    "no id": (
        "def f():\n    ### BEGIN SOLUTION\n    pass\n    ### END SOLUTION\n",
        2,
        "needs an id",
    ),
    "no title": (SOLUTION.replace(" a title", ""), 1, "has no title"),
    "blank title": (SOLUTION.replace(" a title", "   "), 1, "has no title"),
    "bad id": (SOLUTION.replace("hw1-1", "hw1_1"), 1, "'hw1_1' is no exercise id"),
    "bad notebook id": (SOLUTION.replace("hw1-1", "nb1-1"), 1, "'nb1-1' is no exercise id"),
    "zero id": (SOLUTION.replace("hw1-1", "hw1-0"), 1, "'hw1-0' is no exercise id"),
    "title for an id": (SOLUTION.replace("hw1-1 ", ""), 1, "'a' is no exercise id"),
    "text after an end": (
        SOLUTION.replace("END SOLUTION", "END SOLUTION hw1-1"),
        3,
        "means nothing",
    ),
    "uneven": (SOLUTION.replace("    ### END", "  ### END"), 3, "not indented like the BEGIN"),
    "deeper than its code": (SOLUTION.replace("    pass", "  pass"), 2, "leaves its own block"),
    "no code": (
        SOLUTION.replace("pass", "# nothing") + "    pass\n",
        1,
        "marks no whole statement",
    ),
    "half a statement": (
        "def f():\n    x = [\n        ### BEGIN SOLUTION hw1-1 t\n        1,\n"
        "        ### END SOLUTION\n    ]\n",
        3,
        "marks no whole statement",
    ),
    "half an if": (
        "def f(x):\n    ### BEGIN SOLUTION hw1-1 t\n    if x:\n        pass\n"
        "    ### END SOLUTION\n    else:\n        pass\n",
        5,
        "ends inside a statement",
    ),
    "only an else": (
        "def f(x):\n    if x:\n        pass\n    ### BEGIN SOLUTION hw1-1 t\n    else:\n"
        "        pass\n    ### END SOLUTION\n",
        4,
        "not indented like the code",
    ),
    "module level": (
        "### BEGIN SOLUTION hw1-1 t\nx = 1\n### END SOLUTION\n",
        1,
        "at module level and needs a stub",
    ),
    "module level, in an if": (f"if True:\n{SOLUTION}", 2, "at module level and needs a stub"),
    "whole function": (
        "### BEGIN SOLUTION hw1-1 t\ndef f():\n    pass\n### END SOLUTION\n",
        1,
        "at module level and needs a stub",
    ),
    "between a decorator and its function": (
        "@triton.jit\n### BEGIN SOLUTION hw1-1 t\ndef f():\n    pass\n### END SOLUTION\n"
        "### BEGIN STUB\n# def f():\n#     pass\n### END STUB\n",
        2,
        "not indented like the code",
    ),
    "class level": (f"class A:\n{SOLUTION}", 2, "in class A and needs a stub"),
    "lower case": (SOLUTION.replace("BEGIN SOLUTION", "begin solution"), 1, "looks like a marker"),
    "two hashes": (SOLUTION.replace("### END", "## END"), 3, "looks like a marker"),
    "no space": (SOLUTION.replace("### END", "###END"), 3, "looks like a marker"),
    "underscore": (SOLUTION.replace("END SOLUTION", "END_SOLUTION"), 3, "looks like a marker"),
    "plural": (SOLUTION.replace("END SOLUTION", "END SOLUTIONS"), 3, "looks like a marker"),
    "after code": ("def f():\n    pass  ### BEGIN SOLUTION hw1-1 t\n", 2, "looks like a marker"),
    "in a string": (f'X = """\n{SOLUTION}"""\n', 2, "looks like a marker"),
    "a cell of text": (
        "# ### BEGIN SOLUTION hw1-1 t\n# ### END SOLUTION\n",
        1,
        "looks like a marker",
    ),
    "nbgrader's own": ("### BEGIN HIDDEN TESTS\nx = 1\n", 1, "looks like a marker"),
    "tabs": (f"def f():\n{SOLUTION}".replace("    ", "\t"), 2, "looks like a marker"),
    "stub alone": ("### BEGIN STUB\n# pass\n### END STUB\n", 1, "follows at once"),
    "stub later": (
        f"def f():\n{SOLUTION}\n    ### BEGIN STUB\n    # pass\n    ### END STUB\n",
        6,
        "follows at once",
    ),
    "stub inside": (
        "def f():\n    ### BEGIN SOLUTION hw1-1 t\n    pass\n    ### BEGIN STUB\n",
        4,
        "inside another region",
    ),
    "two stubs": (
        f"def f():\n{SOLUTION}" + "    ### BEGIN STUB\n    # pass\n    ### END STUB\n" * 2,
        8,
        "follows at once",
    ),
    "stub without end": (
        f"def f():\n{SOLUTION}    ### BEGIN STUB\n    # pass\n",
        5,
        "without END STUB",
    ),
    "stub end alone": (f"def f():\n{SOLUTION}    ### END STUB\n", 5, "without BEGIN STUB"),
    "stub of code": (
        f"def f():\n{SOLUTION}    ### BEGIN STUB\n    pass\n    ### END STUB\n",
        6,
        "are comments",
    ),
    "stub without a space": (
        f"def f():\n{SOLUTION}    ### BEGIN STUB\n    #pass\n    ### END STUB\n",
        6,
        "are comments",
    ),
    "stub uneven": (
        f"def f():\n{SOLUTION}    ### BEGIN STUB\n        # pass\n    ### END STUB\n",
        6,
        "indented like its markers",
    ),
    "stub elsewhere": (
        f"def f():\n{SOLUTION}### BEGIN STUB\n# pass\n### END STUB\n",
        5,
        "not indented like the BEGIN",
    ),
    "empty stub": (
        f"def f():\n{SOLUTION}    ### BEGIN STUB\n    ### END STUB\n",
        5,
        "an empty stub",
    ),
    "solution in a stub": (
        f"def f():\n{SOLUTION}    ### BEGIN STUB\n{SOLUTION}    ### END STUB\n",
        6,
        "nested in hw1-1",
    ),
    "stub that is no Python": (
        f"def f():\n{SOLUTION}    ### BEGIN STUB\n    # if x\n    ### END STUB\n",
        2,
        "not valid Python once cut",
    ),
    "no Python": ("def f(:\n", 1, "not valid Python"),
    "no marker": ("def f():\n    pass\n", 1, "no solution is marked"),
}


@pytest.mark.parametrize(("text", "line", "why"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_markers_name_file_and_line(text: str, line: int, why: str) -> None:
    if text.startswith("    "):
        text, line = f"def f():\n{text}", line + 1
    with pytest.raises(MarkerError) as raised:
        cut(text, "room/file.py")
    assert f"room/file.py:{line}: " in str(raised.value) and why in str(raised.value)


@pytest.mark.parametrize(
    "first",
    [
        "",
        "import torch",
        "# course:given",
        "# course: given too",
        "# course: ",
        "<!-- course: given",
        "# course: given -->",
        "#!/bin/sh",
    ],
)
def test_undeclared_is_an_error(first: str) -> None:
    with pytest.raises(MarkerError, match="undeclared"):
        declaration(f"{first}\nx = 1\n", "file.py")


def test_an_unknown_declaration_is_an_error() -> None:
    with pytest.raises(MarkerError, match=r"file.py:1: declared 'hidden', which is none of"):
        declaration("# course: hidden\n", "file.py")


def test_the_first_line_says_where_a_file_comes_from() -> None:
    assert released("# course: given\nx = 1\n", "a.py") == f"# {NOTICE}\nx = 1\n"
    assert released("<!-- course: given -->\n# A\n", "a.md") == f"<!-- {NOTICE} -->\n# A\n"
    assert released("#!/bin/sh\n# course: given\nls\n", "a.sh") == f"#!/bin/sh\n# {NOTICE}\nls\n"
    exercise = released(f"# course: exercise\ndef f():\n{SOLUTION}", "a.py")
    assert exercise.startswith(f"# {NOTICE}\ndef f():\n    raise ")
    ast.parse(exercise)


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        (f"# course: given\ndef f():\n{SOLUTION}", "a.py", "a.py:3: a marker in a file"),
        ("<!-- course: given -->\n### BEGIN SOLUTION hw1-1 t\n", "a.md", "a.md:2: a marker in a"),
        ("<!-- course: exercise -->\ntext\n", "a.md", "only Python files can be exercises"),
        ("# course: instructor\nx = 1\n", "a.py", "never released"),
    ],
)
def test_what_cannot_be_released(text: str, path: str, why: str) -> None:
    with pytest.raises(MarkerError, match=why):
        released(text, path)
