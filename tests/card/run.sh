#!/usr/bin/env bash
# The tests of a build with the feature cuda, on an emulated card: for machines that have none. Slow, but what it says of
# numbers, launches, memory and recorded work holds; of speed it says nothing.
#
#   tests/card/run.sh [WORDS OF cargo test]    without words: the operations and the networks
#
# It takes nvcc and g++; deploy/cuda.sh installs the former.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/card}
[ $# -gt 0 ] || set -- --test engine -- ops:: models::
cargo test --release --features cuda --no-run --test engine
tests/card/driver/build.sh "$CARGO_TARGET_DIR/emulated"
LD_LIBRARY_PATH=$(cd "$CARGO_TARGET_DIR/emulated/lib" && pwd) cargo test --release --features cuda "$@"
