#!/bin/bash
# run-tests.sh PYTEST [ARG...]: the whole suite in three lanes side by side: the cluster's tests wait most of their time for clocks, the
# virtual machine's for its emulator, the others compute. The second half of the cluster's tests follows those of the machine, with a
# control plane of its own. What these lanes print is shown when they have ended. Tests that fail run once more by themselves, because
# machines are shared and a cluster has many clocks: what fails twice fails. Anything but failed tests (an internal error, no test, an
# interrupt) ends a suite at once with pytest's own status.
set -u
pytest=$1
shift

suite() {  # NAME ARG...
  local name=$1
  shift
  "$pytest" -o "cache_dir=.pytest_cache/$name" "$@" && return 0
  local status=$?
  [ "$status" -eq 1 ] || return "$status"
  echo "--- once more, only what failed of $name:"
  "$pytest" -o "cache_dir=.pytest_cache/$name" --last-failed --last-failed-no-failures=none "$@"
}

mkdir -p build
# Needed by one test of the cluster's, which waits for it: minutes on a new machine, nothing later.
hack/build-crdserver.sh > build/crdserver.log 2>&1 &
echo "--- the cluster's tests run beside the others: build/cluster.log (on a new machine it builds the control plane first)"
suite cluster tests/cluster/test_[a-n]*.py "$@" > build/cluster.log 2>&1 &
cluster=$!
echo "--- and so do those of the virtual machine, and then the cluster's other half: build/vm.log, build/cluster-more.log"
{
  suite vm tests/vm "$@" > build/vm.log 2>&1
  status=$?
  suite cluster-more tests/cluster/test_[o-z]*.py "$@" > build/cluster-more.log 2>&1 || exit
  exit "$status"
} &
more=$!
trap 'kill "$cluster" "$more" 2>/dev/null' EXIT
suite others --ignore=tests/cluster --ignore=tests/vm "$@"
worst=$?
for lane in more cluster; do
  wait "${!lane}"
  status=$?
  [ "$worst" -ne 0 ] || worst=$status
done
for log in vm cluster cluster-more; do
  echo "--- $log:"
  cat "build/$log.log"
done
exit "$worst"
