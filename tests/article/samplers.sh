#!/usr/bin/env bash
# The effect of sampler and steps: samplers from left to right, steps from top to bottom.
. "$(dirname "$0")/program.sh"

txt2img --prompt "a photo of a pink cube, black background" \
    --sweep sampler=ddim,plms,dpm_solver,lms,euler --sweep "ddim_steps=${STEPS:-5,10,20,50}" "$@"
