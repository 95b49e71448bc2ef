#!/usr/bin/env bash
# Sets up Python for the course once, then runs its arguments with it:
#   course/environment.sh -m course.cli doctor
# The active environment is used when it has a supported torch and triton, which are then never
# touched; otherwise .venv is made. COURSE_EXTRAS="dev" adds the extras of pyproject.toml.
# For tests of other versions: COURSE_ISOLATED=1 ignores the active environment, COURSE_VENV names
# the folder to make, COURSE_VERSIONS replaces the default triton, COURSE_CPU=1 ignores a GPU.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
cd "$root"
extras="${COURSE_EXTRAS:-}"
venv="${COURSE_VENV:-.venv}"
mkdir -p outputs
log="outputs/setup.log"
stamp="outputs/.environment-$(basename "$venv")-${extras//,/-}"

candidates() {
  [ -n "${PYTHON:-}" ] && command -v "$PYTHON"
  [ -n "${VIRTUAL_ENV:-}" ] && echo "$VIRTUAL_ENV/bin/python"
  [ -n "${CONDA_PREFIX:-}" ] && echo "$CONDA_PREFIX/bin/python"
  command -v python
  command -v python3
  return 0
}

say() { echo "$*" >&2; }

# say what is done, keep the details in the log, show the log's end on failure
step() {
  local what="$1" begin=$SECONDS
  shift
  say "$what ..."
  if ! "$@" >>"$log" 2>&1; then
    say "$what failed; the end of $log:"
    tail -n 15 "$log" >&2
    return 1
  fi
  say "  done in $((SECONDS - begin)) s"
}

# and pip, or else everything that pip would have to install
has_torch_and_triton() {
  [ -x "$1" ] && "$1" -m course.versions supported >/dev/null 2>&1 &&
    "$1" -c "import torch, triton" >/dev/null 2>&1 &&
    { "$1" -c "import pip" || "$1" -c "import course.cli, pandas, matplotlib, einops, pytest"; } \
      >/dev/null 2>&1
}

active_python() {
  local candidate
  while read -r candidate; do
    if has_torch_and_triton "$candidate" </dev/null; then
      echo "$candidate"
      return
    fi
  done < <(candidates)
  return 1
}

# the python3 the user means, if it is suitable; else another that is, 3.14 last: it is not tested
new_python() {
  local name
  for name in "${PYTHON:-python3}" python3 python3.13 python3.12 python3.11 python3.10 python3.14; do
    if "$name" -c "import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 15))" \
      >/dev/null 2>&1; then
      echo "$name"
      return
    fi
  done
  say "Found no Python 3.10 to 3.14 that can make environments."
  say "Install one (Debian and Ubuntu: apt install python3 python3-venv) and run this again."
  return 1
}

has_gpu() { [ -z "${COURSE_CPU:-}" ] && { [ -e /dev/nvidia0 ] || nvidia-smi -L 2>/dev/null | grep -q "GPU 0"; }; }

use_active() {
  say "Using $1, which has torch and triton."
  # without a network the course still runs from this folder
  step "Adding the course to it" "$1" -m pip install -q --no-deps -e . ||
    { say "Going on from this folder, without the 'course' command."; return 0; }
  local lacking
  lacking="$("$1" -m course.versions missing ${extras//,/ })"
  [ -z "$lacking" ] && return
  local pinned
  pinned="$(mktemp)"
  "$1" -m course.versions pinned >"$pinned"
  # shellcheck disable=SC2086  # one requirement a word
  step "Installing $(echo $lacking | tr '\n' ' ')" "$1" -m pip install -q -c "$pinned" $lacking
}

make_venv() {
  local python
  python="$(new_python)" || return 1
  [ -x "$venv/bin/python" ] || step "Making $venv with $("$python" -V)" "$python" -m venv "$venv"
  local begin=(--no-deps torch==2.13.0) versions="${COURSE_VERSIONS:-triton==3.7.1}"
  [ "$(uname -s)" = Linux ] || versions=""
  # Without a GPU, the build without CUDA. Alone, because an index that cannot be reached costs
  # 9 s a package, and what it needs comes with the course.
  has_gpu || begin+=(--extra-index-url https://download.pytorch.org/whl/cpu)
  step "Installing PyTorch" "$venv/bin/python" -m pip install -q "${begin[@]}"
  # shellcheck disable=SC2086  # one requirement a word
  step "Installing the course and what it needs (a minute or two; with a GPU several GB)" \
    "$venv/bin/python" -m pip install -q $versions -e ".${extras:+[$extras]}"
}

# the stamp: what the course asks for, where Python was looked for, which one was taken
asked="$(cksum pyproject.toml) ${COURSE_ISOLATED:-} ${COURSE_VERSIONS:-}"
found="$(candidates)"
stamped() { sed -n "$1" "$stamp" 2>/dev/null; }
python=""
# to activate the environment that was taken changes what is found, but not what is needed
if [ "$(stamped 1p)" = "$asked" ] &&
  { [ "$(stamped 2p)" = "${found//$'\n'/ }" ] || [ "$(stamped 3p)" = "${found%%$'\n'*}" ]; }; then
  python="$(stamped 3p)"
  # an environment made anew since then must be filled anew
  [ -x "$python" ] && [ ! "$(dirname "$python")/../pyvenv.cfg" -nt "$stamp" ] || python=""
fi
if [ -z "$python" ]; then
  : >"$log"
  if [ -z "${COURSE_ISOLATED:-}" ] && python="$(active_python)"; then
    use_active "$python"
  else
    make_venv
    python="$root/$venv/bin/python"
  fi
  printf '%s\n%s\n%s\n' "$asked" "${found//$'\n'/ }" "$python" >"$stamp"
fi

[ $# -eq 0 ] || exec "$python" "$@"
