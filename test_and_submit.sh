#!/usr/bin/env bash
# Sets up Python where needed, tests your work, and writes the archive to hand in.
# Also from a notebook: !./test_and_submit.sh        Options: ./test_and_submit.sh --help
set -euo pipefail
stamps="$(dirname "${BASH_SOURCE[0]}")/outputs/.environment-"
case " $* " in
  *" --help "*)
    # before Python is set up, which takes a minute or two
    if ! compgen -G "$stamps*" >/dev/null; then
      cat <<EOF
Usage: $0 [--no-benchmarks] [--patience SECONDS]
Sets up Python where needed, tests your work, and writes outputs/submission.zip.
  --no-benchmarks     do not time the benchmarks where a GPU is
  --patience SECONDS  stop the tests after so long without a finished one (240)
EOF
      exit
    fi
    ;;
esac
exec "$(dirname "${BASH_SOURCE[0]}")/course/environment.sh" -m course.cli submit "$@"
