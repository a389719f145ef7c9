#!/usr/bin/env bash
# Makes models/demo/demo.safetensors, or OUT, from nothing: `./train.sh FOLDER [OUT]`. Two cores of an AMD EPYC (family 26)
# take about five hours; stages are so many minutes long, so a faster machine makes a better model in the same time.
# `SHARE=0.001 ./train.sh FOLDER OUT` is a rehearsal of a few minutes: every step, with that share of time and pictures.
#
# Needs Python 3.11 with: pip install numpy numba torch safetensors tokenizers pillow
set -euo pipefail
code=$(cd "$(dirname "$0")" && pwd)
out=$(realpath "${2:-$code/../demo.safetensors}")
mkdir -p "$1" && cd "$1"
py() { python3 -u "$code/$1.py" "${@:2}"; }

# The autoencoder, on pictures of growing size.
py pictures v32 --count 6000 --size 32x32 --seed 11
py pictures v64 --count 6000 --size 64x64 --seed 1
py pictures v128 --count 2500 --size 128x128 --seed 2
py pictures v256 --count 800 --size 256x256 --seed 3
py train_vae vae1.pt v32.npy:32:5 v64.npy:16:8 --rate 0.0015
py train_vae vae2.pt v128.npy:8:8 v256.npy:2:4 --start vae1.pt --rate 0.0008
py train_vae vae.pt v128.npy:8:9 v256.npy:2:3 --start vae2.pt --rate 0.0005 --seed 6

# The denoiser and the text encoder, on latents: the small ones first, where steps are quick, then all sizes.
# (Up to d5.pt each start warmed up for 200 steps, and averages went on through the starts; it is 50 now, and they begin anew.)
py encode vae.pt l128.pt --count 6144 --size 128x128 --seed 21
py encode vae.pt l256.pt --count 4096 --size 256x256 --seed 22
py encode vae.pt l512.pt --count 160 --size 512x512 --seed 23
py encode vae.pt wide.pt --count 192 --size 256x384 --seed 24
py encode vae.pt tall.pt --count 192 --size 384x256 --seed 25
py train_diffusion d1.pt --scale_factor 0.77 '16:l128.pt*64*1' '27:l256.pt*32*1' \
    '10:l256.pt*32*6,l512.pt*8*2,wide.pt*20*1,tall.pt*20*1'
py train_diffusion d2.pt --scale_factor 0.77 '7:l256.pt*32*1' --start d1.pt --rate 0.0006

# By then solids are right and their colours are often the background's. What the text encoder does not tell apart it is
# taught from captions alone, in minutes, and the denoiser goes on with it.
py train_text text.pt --minutes 3 --start d2.pt
py train_diffusion d3.pt --scale_factor 0.77 '16:l256.pt*32*1' --start d2.pt --text text.pt --rate 0.001 --cool 0.3 --seed 3
py encode vae.pt m512.pt --count 1024 --size 512x512 --seed 33
py train_diffusion d4.pt --scale_factor 0.77 '36:l256.pt*32*4,m512.pt*8*3,wide.pt*20*0.4,tall.pt*20*0.4' \
    --start d3.pt --rate 0.0009 --cool 0.01 --seed 4
py train_diffusion d5.pt --scale_factor 0.77 '36:m512.pt*8*6,l256.pt*32*2.5,wide.pt*20*0.5,tall.pt*20*0.5' \
    --start d4.pt --rate 0.0009 --cool 0.6 --seed 5

# By then one solid is right and two often have one colour. Most of these pictures show several, and some are 768×768.
py encode vae.pt s128.pt --count 3072 --size 128x128 --seed 46 --counts 0.1,0.6,0.3
py encode vae.pt s256.pt --count 4096 --size 256x256 --seed 41 --counts 0.15,0.5,0.35
py encode vae.pt swide.pt --count 512 --size 256x384 --seed 44 --counts 0.4,0.4,0.2
py encode vae.pt m768.pt --count 192 --size 768x768 --seed 34 --counts 0.5,0.3,0.2
py train_diffusion d6.pt --scale_factor 0.77 '8:s256.pt*32*3,l256.pt*32*1' '15:s128.pt*48*4,s256.pt*32*2' \
    '19:s256.pt*32*4,l256.pt*32*1.5,m512.pt*8*0.8,m768.pt*4*0.6,swide.pt*20*0.7,tall.pt*20*0.7' \
    --start d5.pt --rate 0.0008 --cool 0.6 --seed 8
py train_diffusion d7.pt --scale_factor 0.77 \
    '15:s256.pt*32*4,l256.pt*32*1,m512.pt*8*0.8,m768.pt*4*0.5,swide.pt*20*0.7,tall.pt*20*0.7' \
    --start d6.pt --rate 0.0006 --cool 0.85 --seed 9

py export vae.pt d7.pt "$out"
chmod 644 "$out"
# additions.sh makes the LoRA and the embedding for it.
