"""The compiled tier: what the compiler makes of a kernel for a GPU that need not be here.

It proves that a kernel compiles for a chip, and says how many registers, spills and bytes of shared
memory it takes and whether it uses tensor cores. It proves nothing about numbers or speed.
"""

from course.compiled.build import check, compile_all
from course.compiled.cases import ARCHITECTURES, CASES, Case, cases_of
from course.compiled.row import CHIPS, Row

__all__ = ["ARCHITECTURES", "CASES", "CHIPS", "Case", "Row", "cases_of", "check", "compile_all"]
