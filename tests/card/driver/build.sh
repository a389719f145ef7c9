#!/usr/bin/env bash
# The emulated card's libraries: a program with the feature cuda that finds them first computes on the processor.
#
#   build.sh OUT    OUT/lib, from this folder, the program's kernels, and candle's, which were built below CARGO_TARGET_DIR
#
# nvcc and CUDA_HOME as deploy/cuda.sh leaves them; g++. Only what changed is compiled again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
own=$here/../../../src/ops/cuda/kernels/all.cu
built=$(cd "${CARGO_TARGET_DIR:?where cargo builds}" && pwd)
mkdir -p "${1:?usage: build.sh OUT}"/{lib,objects,candle}
cd "$1"
flags=(-std=c++17 -O2 -march=native -fno-strict-aliasing -fPIC -w -I"$here" -I"$here/..")

changed() {  # whether $1 is older than one of the others
    local made=$1 source; shift
    for source in "$@"; do [ "$source" -nt "$made" ] && return; done
    return 1
}
entries() { grep -oP '\.entry \K\w+' "$1" | grep -vE 'f8|fp8' | sort -u | sed 's/.*/KERNEL(&)/'; }

# Kernels, each file's by the names that the compiler gives them.
sources=$(dirname "$(cargo metadata --format-version 1 --features cuda --manifest-path "$here/../../../Cargo.toml" |
    grep -oP '"manifest_path":"\K[^"]*candle-kernels[^"]*')")/src
ptx=$(dirname "$(ls -t "$built"/release/build/candle-kernels-*/out/unary.ptx | head -1)")
cp "$sources"/*.cuh candle/
for name in affine binary cast conv fill indexing reduce sort ternary unary; do
    object=objects/$name.o
    changed "$object" "$here"/kernels.hpp "$here"/../card.hpp "$here"/shims/*.h "$ptx/$name.ptx" || continue
    echo "compiling candle's $name.cu"
    sed 's/extern __shared__ int dst_row\[\];/int* dst_row = card::dynamic_shared<int>();/' "$sources/$name.cu" > "candle/$name.cu"
    {
        printf '#include "kernels.hpp"\n#include "cuda_fp8.h"\n#include <cuda/std/limits>\n'
        # Each file has helpers of the same names.
        printf 'namespace candle_%s {\n#include "%s.cu"\n' "$name" "$name"
        entries "$ptx/$name.ptx"
        echo '}'
    } > "candle/$name.cpp"
    g++ "${flags[@]}" -D__CUDA_ARCH__=800 -D__CUDACC_VER_MAJOR__=13 -D__CUDACC_VER_MINOR__=0 -I"$here/shims" -Icandle \
        -c "candle/$name.cpp" -o "$object"
done
if changed objects/own.o "$own" "$(dirname "$own")"/*.cu* "$here"/kernels.hpp "$here"/../card.hpp; then
    echo "compiling $(basename "$own")"
    nvcc -std=c++17 -arch=sm_90 -ptx -o objects/own.ptx "$own"
    { printf '#include "kernels.hpp"\n#include "%s"\n' "$own"; entries objects/own.ptx; } > objects/own.cpp
    g++ "${flags[@]}" -c objects/own.cpp -o objects/own.o
fi

# Functions of a library (names on standard input) that its objects ($4…) lack say so, and give $2.
stubs() {  # source, what they give, library, objects
    local source=$1 gives=$2 library=$3; shift 3
    { [ $# -eq 0 ] || nm -g --defined-only "$@"; } | awk 'NF == 3 { print $3 }' | sort -u > objects/defined
    {
        echo '#include <stdio.h>'
        sort -u | comm -23 - objects/defined |
            sed "s/.*/int &(void) { fprintf(stderr, \"emulated card: & of $library is not emulated\\\\n\"); return $gives; }/"
    } > "$source"
    gcc -w -fno-builtin -fPIC -c "$source" -o "${source%.c}.o"
}
functions() {  # how they begin, headers
    local prefix=$1; shift
    cat "$@" | tr '\n' ' ' | grep -oE "\b$prefix[A-Za-z0-9_]*[[:space:]]*\(" | tr -d ' \t('
}
library() {  # name, what functions that are not there give, headers that declare them, how they begin, objects
    local name=$1 gives=$2 headers=$3 prefix=$4; shift 4
    echo "$name { global: *; };" > "objects/$name.map"
    # shellcheck disable=SC2086 # several headers
    functions "$prefix" $headers | stubs "objects/$name.c" "$gives" "$name" "$@"
    g++ -shared -fopenmp -Wl,-soname,"$name",--version-script,"objects/$name.map" -o "lib/$name" "$@" "objects/$name.o" \
        $([ "$name" = libcuda.so.1 ] || echo -Llib -l:libcuda.so.1) -pthread -ldl
}
include=$CUDA_HOME/include
for name in libcuda libcublas libcurand; do
    changed "objects/$name.o" "$here/$name.cpp" "$here"/*.hpp "$here/../card.hpp" || continue
    echo "compiling $name.cpp"
    g++ "${flags[@]}" -O3 -fopenmp -I"$include" -c "$here/$name.cpp" -o "objects/$name.o"
done
# Of the driver also those that headers rename.
sed -n 's/#define cu[A-Z][A-Za-z0-9]* *\(cu[A-Za-z0-9_]*\).*/int \1(/p' "$include/cuda.h" > objects/renamed.h
library libcuda.so.1 801 "$include/cuda.h objects/renamed.h" cu[A-Z] objects/libcuda.o objects/own.o \
    objects/{affine,binary,cast,conv,fill,indexing,reduce,sort,ternary,unary}.o
library libcublas.so.13 15 "$include/cublas_api.h $include/cublas_v2.h" cublas objects/libcublas.o
library libcurand.so.10 999 "$include/curand.h" curand objects/libcurand.o
library libcublasLt.so.13 15 "$include/cublasLt.h" cublas
library libnvrtc.so.13 8 "$include/nvrtc.h" nvrtc
# The real runtime: candle's kernels are made known to it at start, which takes no driver.
ln -sf "$CUDA_HOME/lib/libcudart.so.13" lib/libcudart.so.13
