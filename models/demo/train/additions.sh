#!/usr/bin/env bash
# Makes models/demo/striped.safetensors, lcm.safetensors and magenta.safetensors, or those in OUT, from the finished demo model:
# `./additions.sh FOLDER [OUT]`. One core of an Intel Xeon at 2.5 GHz, shared with other work, took an hour and a half; stages are
# so many minutes long.
# `SHARE=0.01 ./additions.sh FOLDER OUT` is a rehearsal. Needs what train.sh needs.
set -euo pipefail
code=$(cd "$(dirname "$0")" && pwd)
demo=$code/../demo.safetensors
out=$(realpath -m "${2:-$code/..}")
mkdir -p "$1" "$out" && cd "$1"
py() { python3 -u "$code/$1.py" "${@:2}"; }
draw() { py encode "$demo" "$1.pt" --size 256x256 --counts 0.8,0.2,0 "${@:2}"; }

# The LoRA, on striped solids, with plain ones beside them for captions without the word: 475, 523 and 330 steps.
# (The first stage was run on striped solids alone.)
draw striped --count 512 --seed 62 --pattern striped
draw plain --count 128 --seed 64
py train_lora striped.pt plain.pt l1.safetensors --trigger striped --minutes 11 --batch 6 --rate 4e-3
py train_lora striped.pt plain.pt l2.safetensors --trigger striped --minutes 14 --batch 6 --rate 4e-3 --start l1.safetensors --seed 1
py train_lora striped.pt plain.pt "$out/striped.safetensors" --trigger striped --minutes 8 --batch 6 --rate 2.5e-3 \
    --start l2.safetensors --seed 2

# The LoRA for few steps, on solids of all kinds: 561 steps.
draw mixed --count 1024 --seed 66 --counts 0.75,0.25,0
py train_few_steps mixed.pt "$out/lcm.safetensors" --minutes 35

# The embedding, on solids of a colour that the model has no word for.
draw magenta --count 96 --seed 63 --colour magenta
py train_embedding magenta.pt "$out/magenta.safetensors" --word magenta --start pink,purple --minutes 6 --rate 5e-2
chmod 644 "$out"/{striped,lcm,magenta}.safetensors
