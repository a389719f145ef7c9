#!/usr/bin/env bash
# The effect of the size: widths from left to right, heights from top to bottom.
. "$(dirname "$0")/program.sh"

txt2img --prompt "a photo of a pink cube, black background" --plms \
    --sweep "W=${WIDTHS:-256,512,768}" --sweep "H=${HEIGHTS:-256,512,768}" "$@"
