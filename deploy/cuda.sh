#!/usr/bin/env bash
# Installs what `cargo build --features cuda` needs on machines without the CUDA toolkit, with or without a GPU: the
# compiler, headers and libraries of CUDA 13.0 from Python packages (1.5 GB), and a stub of the driver for the linker.
#
#   deploy/cuda.sh DIR && source DIR/env.sh
#
# Running the program requires NVIDIA's driver and these libraries on LD_LIBRARY_PATH: see the end of DIR/env.sh.
# PyTorch's `site-packages/nvidia/cu13/lib` has the same libraries.
set -euo pipefail
mkdir -p "${1:?usage: deploy/cuda.sh DIR}"
dir=$(cd "$1" && pwd)
python3 -m venv "$dir/python"
"$dir/python/bin/pip" install --quiet --no-deps nvidia-{cuda-nvcc,nvvm,cuda-crt,cuda-cccl,cuda-runtime,cuda-nvrtc}'==13.0.*' \
    nvidia-cublas'==13.1.*' nvidia-curand'==10.4.*'
cuda=$(echo "$dir"/python/lib/python3*/site-packages/nvidia/cu13)
ln -sfn lib "$cuda/lib64"
mkdir -p "$dir/link"
# The linker looks for names without versions.
for library in "$cuda"/lib/lib{cudart,nvrtc,cublas,cublasLt,curand}.so.*; do
    ln -sf "$library" "$dir/link/$(basename "${library%%.so*}").so"
done
# The stub defines every function that the header declares, also under its versioned name (such as cuMemAlloc_v2).
{
    grep -oE '\bcu[A-Z]\w*[[:space:]]*\(' "$cuda/include/cuda.h" | tr -d ' \t('
    sed -n 's/#define cu[A-Z]\w* *\(cu[A-Z]\w*\).*/\1/p' "$cuda/include/cuda.h"
} | sort -u | sed 's/.*/int &(void) { return 100; }/' | cc -shared -fPIC -Wl,-soname,libcuda.so.1 -x c -o "$dir/link/libcuda.so" -
cat > "$dir/env.sh" <<ENV
export CUDA_HOME=$cuda CUDA_PATH=$cuda NVCC=$cuda/bin/nvcc PATH=$cuda/bin:\$PATH
export CUDA_COMPUTE_CAP=\${CUDA_COMPUTE_CAP:-80}
export LIBRARY_PATH=$dir/link\${LIBRARY_PATH:+:\$LIBRARY_PATH}
# to run the program: export LD_LIBRARY_PATH=$cuda/lib
ENV
"$cuda/bin/nvcc" --version | grep release
echo "source $dir/env.sh"
