#!/usr/bin/env bash
# Many pictures from a file of prompts: three different ones a batch, everything three times.
. "$(dirname "$0")/program.sh"

txt2img --from-file "${PROMPTS:-prompts.txt}" --ddim_steps 100 --n_iter 3 --n_samples 3 --scale 8.0 --seed 119 "$@"
