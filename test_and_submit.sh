#!/usr/bin/env bash
# Sets up Python where needed, tests your work, and writes the archive to hand in.
# Also from a notebook: !./test_and_submit.sh        Options: ./test_and_submit.sh --help
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/course/environment.sh" -m course.cli submit "$@"
