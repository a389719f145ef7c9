#!/usr/bin/env bash
# Tests a build with the feature cuda on an emulated GPU, for machines without a real one. It is slow, but faithful in
# numbers, launches, memory and captured graphs; it says nothing about speed.
#
#   tests/card/run.sh [ARGUMENTS OF cargo test]    default: the tests of operations and networks
#
# Requires nvcc, which deploy/cuda.sh installs, and g++.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/card}
[ $# -gt 0 ] || set -- --test engine -- ops:: models::
cargo test --release --features cuda --no-run --test engine
tests/card/driver/build.sh "$CARGO_TARGET_DIR/emulated"
LD_LIBRARY_PATH=$(cd "$CARGO_TARGET_DIR/emulated/lib" && pwd) cargo test --release --features cuda "$@"
