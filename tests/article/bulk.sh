#!/usr/bin/env bash
# Pictures from a prompts file: three prompts per batch, every prompt three times.
. "$(dirname "$0")/program.sh"

txt2img --from-file "${PROMPTS:-prompts.txt}" --ddim_steps 100 --n_iter 3 --n_samples 3 --scale 8.0 --seed 119 "$@"
