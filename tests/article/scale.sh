#!/usr/bin/env bash
# The effect of the guidance scale.
. "$(dirname "$0")/program.sh"

txt2img --prompt "a photo of a pink cube, black background" --plms --sweep scale=1,2,5,7.5,10,15,20 "$@"
