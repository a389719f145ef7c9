#!/usr/bin/env bash
# One picture. Additional flags are passed on: `CKPT=v1-5-pruned-emaonly.safetensors tests/article/single.sh --seed 7`
. "$(dirname "$0")/program.sh"

txt2img --prompt "a photo of a pink cube, black background" --plms --skip_grid --n_samples 1 "$@"
