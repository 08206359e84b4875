#!/bin/bash
# run-tests.sh PYTEST [ARG...]: the whole suite, the cluster's part in a process of its own, so that nothing of the kernel tests is left
# in it. Tests that fail run once more by themselves, because machines are shared and a cluster has many clocks: what fails twice fails.
# Anything but failed tests (an internal error, no test, an interrupt) ends the run at once with pytest's own status.
set -u
pytest=$1
shift

suite() {
  "$pytest" "$@" && return 0
  local status=$?
  [ "$status" -eq 1 ] || return "$status"
  echo "--- once more, only what failed:"
  "$pytest" --last-failed --last-failed-no-failures=none "$@"
}

suite --ignore=tests/cluster "$@" && suite tests/cluster "$@"
