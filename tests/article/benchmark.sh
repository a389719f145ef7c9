#!/usr/bin/env bash
# The article's benchmark, with a row for this machine in its table.
. "$(dirname "$0")/program.sh"

processor=$(sed -n 's/^model name\s*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
row=$(txt2img --prompt 'a photograph of an astronaut riding a horse' --scale 7.5 --ddim_steps 50 --n_iter 3 --n_samples 1 \
    --plms --timings "$@" | sed -n '3s/^|//p')
cat <<TABLE
| | Time to load the model | Processing time per image | Total time |
| --- | ---: | ---: | ---: |
| NVIDIA A100, the Python original (AIME, 2023) | 12.35 s | 4.35 s | |
| NVIDIA RTX 3090, the Python original (AIME, 2023) | 12.95 s | 5.64 s | |
| this machine (${processor:-unknown}) |$row
TABLE
if txt2img --dry_run --quiet "$@" | grep -q '^model  *demo, built in$'; then
    echo 'This row is not a valid comparison: it is the time of the small demo model. Give Stable Diffusion with --ckpt.' >&2
fi
