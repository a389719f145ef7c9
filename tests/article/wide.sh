#!/usr/bin/env bash
# One picture of 768×512.
. "$(dirname "$0")/program.sh"

txt2img --prompt "a photo of a pink cube, black background" --plms --skip_grid --n_samples 1 --W 768 --H 512 "$@"
