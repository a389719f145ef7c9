"""Draws pictures and keeps their latents:
python encode.py VAE.pt OUT.pt --count N --size HxW --seed S [--counts A,B,C]."""

import argparse

import pace
import torch
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
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    counts = [tuple(map(float, args.counts.split(",")))] if args.counts else []
    model = Autoencoder().to(memory_format=torch.channels_last)
    model.load_state_dict(torch.load(args.vae))
    latents, said = [], []
    batch = max(1, 2**20 // (height * width))
    for start in range(0, args.count, 1024):
        drawn, what = pictures(min(1024, args.count - start), height, width, args.seed * 1000 + start // 1024, *counts)
        said += what
        for x in torch.from_numpy(drawn).split(batch):
            x = (x.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                mean, _ = model.encode(x)
            latents.append(mean.half())
        print(f"{args.out}: {start + len(drawn)}", flush=True)
    torch.save((torch.cat(latents), said), args.out)


if __name__ == "__main__":
    main()
