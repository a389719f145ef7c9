#!/usr/bin/env bash
# The effect of words in the prompt: kinds of picture from left to right, seeds from top to bottom.
. "$(dirname "$0")/program.sh"

txt2img --prompt "a photo of a pink cube, black background" --plms \
    --sweep "prompt=a photo of a pink cube,a painting of a pink cube,a pink cube,a pink ball,two pink cubes" \
    --sweep "seed=42,43,44" "$@"
