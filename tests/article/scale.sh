#!/usr/bin/env bash
# What the guidance scale changes.
. "$(dirname "$0")/program.sh"

txt2img --prompt "a photo of a pink cube, black background" --plms --sweep scale=1,2,5,7.5,10,15,20 "$@"
