"""Draws pictures and keeps their latents:
python encode.py VAE.pt OUT.pt --count N --size HxW --seed S [--counts A,B,C] [--colour NAME] [--pattern NAME].

The autoencoder can also be that of a checkpoint, VAE.safetensors."""

import argparse

import pace
import torch
from base import load_autoencoder
from layout import Autoencoder
from pictures import pictures


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("vae")
    parser.add_argument("out")
    parser.add_argument("--count", type=pace.count, required=True)
    parser.add_argument("--size", default="256x256")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--counts", help="how often one, two and three solids, instead of what scenes.py says")
    parser.add_argument("--colour", help="the colour of one of the solids, such as one of NEW_COLOURS in scenes.py")
    parser.add_argument("--pattern", default="", help="the pattern of all solids, one of PATTERNS in scenes.py")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    counts = [tuple(map(float, args.counts.split(",")))] if args.counts else []
    if args.vae.endswith(".safetensors"):
        model = load_autoencoder(args.vae)
    else:
        model = Autoencoder().to(memory_format=torch.channels_last)
        model.load_state_dict(torch.load(args.vae))
    latents, said = [], []
    batch = max(1, 2**20 // (height * width))
    for start in range(0, args.count, 1024):
        drawn, what = pictures(min(1024, args.count - start), height, width, args.seed * 1000 + start // 1024, *counts,
                               workers=args.workers, colour=args.colour, pattern=args.pattern)
        said += what
        for x in torch.from_numpy(drawn).split(batch):
            x = (x.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
            with pace.bfloat16():
                mean, _ = model.encode(x)
            latents.append(mean.half())
        print(f"{args.out}: {start + len(drawn)}", flush=True)
    torch.save((torch.cat(latents), said), args.out)


if __name__ == "__main__":
    main()
