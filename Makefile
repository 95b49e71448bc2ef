# Every target needs Python 3.10 or newer and nothing else: set-up is the first thing it does.
# The active environment is used where it has torch and triton, else .venv is made.
RUN := COURSE_EXTRAS=dev course/environment.sh
# tests of triton versions other than the default, each in an environment of its own
TRITON := 3.6.0 3.7.1 3.9.0

.PHONY: setup test test-slow test-all test-versions lint release demo pdf performance clean

setup:
	$(RUN)

# what a developer runs
test: setup
	$(RUN) -m course.cli release --check
	$(RUN) -m pytest --solutions -q -n 2 -m "not slow"

test-slow: setup
	$(RUN) -m pytest --solutions -q -m slow

test-versions: $(TRITON:%=test-triton-%)

# interpreted, as everywhere without a GPU; triton 3.6 interprets with an older NumPy only
test-triton-%:
	COURSE_ISOLATED=1 COURSE_CPU=1 COURSE_VENV=.venv-triton-$* \
	COURSE_VERSIONS="triton==$* $(if $(filter 3.6.%,$*),numpy<2.4)" TRITON_INTERPRET=1 \
	course/environment.sh -m pytest --solutions -q -W ignore::DeprecationWarning \
	tests/test_*.py tests/course/test_interpreter_*.py

test-all: test test-slow test-versions

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# writes the stubs and notebooks that are generated from solutions/
release: setup
	$(RUN) -m course.cli release

pdf: setup
	$(RUN) -m course.handout

# needs a GPU, and a commit: measures every table and rewrites docs/performance.md with its charts
performance: setup
	$(RUN) -m course.bench.report --file

# what a learner sees: this machine, an exercise before it is solved, and after
demo: setup
	$(RUN) -m course.cli doctor
	-$(RUN) -m course.cli check hw1-1
	$(RUN) -m course.cli check hw1-1 --solutions

# all that can be made again, except .venv, which takes longest
clean:
	rm -rf outputs .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
