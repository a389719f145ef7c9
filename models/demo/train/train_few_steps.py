"""Trains a LoRA with which few steps draw what many draw, by consistency distillation (Song et al. 2023, arXiv 2303.01469; Luo
et al. 2023, arXiv 2310.04378): python train_few_steps.py LATENTS.pt OUT.safetensors --minutes M; LATENTS.pt is what encode.py
writes. Its sampler is LCM, at scale 1: guidance is part of what it learns."""

import argparse
import random

import lora
import pace
import torch
from base import draw, latents, load_denoiser
from text import tokenizer, tokens
from train_diffusion import ALPHAS

# LCM's timesteps are 19, 39, … 999. With 1, 2, 4 or 8 steps, it visits eight of them.
SPACING = 20
VISITED = [999, 879, 759, 639, 499, 379, 259, 139]
# The distance in time over which the model is made consistent, and the teacher's steps over it.
SKIP, TEACHER_STEPS = 120, 2


def places(unet):
    """What is changed, by LDM's names: all products of the transformers and of the blocks, but not the first and the last
    convolution and the embedding of time."""
    for name, _ in lora.products(unet):
        if not name.startswith(("time_embed.", "input_blocks.0.", "out.")):
            yield f"lora_unet_{name}", unet, name


def alpha(t):
    """ᾱ of timesteps (B); 1 before the first."""
    return torch.where(t >= 0, ALPHAS[t.clamp(min=0)], 1.0)[:, None, None, None]


def clean(x, eps, t):
    """The latents without noise, as the model sees them."""
    return (x - (1 - alpha(t)).sqrt() * eps) / alpha(t).sqrt()


class Pair:
    """The model with and without the LoRA."""

    def __init__(self, model, added):
        self.model, self.added = model, added

    def eps(self, x, t, context, changed):
        for low in self.added.values():
            low.is_on = changed
        with pace.bfloat16():
            return self.model.unet(x.contiguous(memory_format=torch.channels_last), t.clamp(min=0), context).float()


@torch.no_grad()
def solve(pair, x, t, end, contexts, scale):
    """Follows the teacher with guidance from `t` to `end` by DDIM. `contexts`: (2B, 77, C), without and with the caption."""
    for i in range(TEACHER_STEPS):
        now, following = t + (end - t) * i // TEACHER_STEPS, t + (end - t) * (i + 1) // TEACHER_STEPS
        without, wanted = pair.eps(torch.cat([x, x]), torch.cat([now, now]), contexts, False).chunk(2)
        eps = without + scale * (wanted - without)
        x = alpha(following).sqrt() * clean(x, eps, now) + (1 - alpha(following)).sqrt() * eps
    return x


def loss_of(pair, x0, contexts, scale):
    b = len(x0)
    visited = torch.tensor(VISITED)[torch.randint(len(VISITED), (b,))]
    t = torch.where(torch.rand(b) < 0.7, visited, SPACING * torch.randint(1, 51, (b,)) - 1)
    end = (t - SKIP).clamp(min=-1)
    noise = torch.randn_like(x0)
    # Pictures begin with nothing but noise, through which no mean shows.
    x = torch.where((t == 999)[:, None, None, None], noise, alpha(t).sqrt() * x0 + (1 - alpha(t)).sqrt() * noise)
    before = solve(pair, x, t, end, contexts, scale)
    context = contexts[b:]
    with torch.no_grad():
        seen = clean(before, pair.eps(before, end, context, True), end)
        target = torch.where((end < 0)[:, None, None, None], before, seen)
    error = clean(x, pair.eps(x, t, context, True), t) - target
    return ((error.square() + 1e-3**2).sqrt() - 1e-3).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("latents")
    parser.add_argument("out")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=8)
    parser.add_argument("--scale", type=float, default=5, help="the guidance scale to learn")
    parser.add_argument("--start", help="a file this wrote before, to go on from")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng, bpe = random.Random(args.seed), tokenizer()
    bucket = latents(args.latents)
    model = load_denoiser()
    added = lora.add(places(model.unet), args.rank, args.alpha)
    if args.start:
        lora.load(args.start, added)
    pair = Pair(model, added)

    def loss_of_step():
        x0, captions = draw(rng, bucket, args.batch, 0.05)
        with torch.no_grad():
            contexts = model.text(torch.tensor(tokens(bpe, ["" for _ in captions] + captions)))
        return loss_of(pair, x0, contexts, args.scale)

    lora.train(model, added, args, 0.5, loss_of_step)


if __name__ == "__main__":
    main()
