"""Trains the denoiser and the text encoder: python train_diffusion.py OUT.pt STAGE… ; a stage is MINUTES:BUCKET,BUCKET…
and a bucket LATENTS.pt*BATCH*SHARE, LATENTS.pt being what encode.py writes."""

import argparse
import math
import random
import time

import pace
import torch
from layout import TextEncoder, UNet
from scenes import caption
from text import tokenizer, tokens

# The noise schedule of Stable Diffusion 1.x.
BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
ALPHAS = torch.cumprod(1 - BETAS, 0).float()


class Denoiser(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.unet = UNet().to(memory_format=torch.channels_last)
        self.text = TextEncoder()

    def forward(self, x, timesteps, ids):
        return self.unet(x, timesteps, self.text(ids))


class Bucket:
    """Latents of one size, and what can be said of them."""

    def __init__(self, text, scale_factor):
        path, batch, share = text.split("*")
        self.latents, self.said = torch.load(path, weights_only=False)
        self.scale_factor, self.batch, self.share = scale_factor, int(batch), float(share)

    def draw(self, rng, others):
        picked = [rng.randrange(len(self.said)) for _ in range(self.batch)]
        captions = [say(rng, *self.said[i], others) for i in picked]
        return self.latents[picked].float() * self.scale_factor, captions


def words(bpe):
    """Plain words of CLIP's vocabulary."""
    ends = (word.removesuffix("</w>") for word in bpe.get_vocab() if word.endswith("</w>"))
    return sorted(word for word in ends if word.isascii() and word.isalpha() and len(word) > 2)


def say(rng, descriptions, background, others):
    """A caption; a tenth of the pictures have none, and some have words that say nothing."""
    if rng.random() < 0.1:
        return ""
    text = caption(rng, descriptions, background)
    if rng.random() < 0.12:
        text += ", " + " ".join(rng.sample(others, rng.randint(1, 4)))
    return text


def loss_of(model, latents, ids):
    """The error of the predicted noise, weighted by min(SNR, 5)/SNR (arXiv:2303.09556)."""
    b, _, h, w = latents.shape
    # Larger latents take more noise to hide what they show (arXiv:2403.03206, section 5.3.2): more of it is looked at.
    shift, u = max(math.sqrt(h * w) / 32, 1.0), torch.rand(b)
    t = (1000 * shift * u / (1 + (shift - 1) * u)).long().clamp(max=999)
    # A little of the noise is the same all over a channel: else the mean would show through all noise.
    eps = torch.randn_like(latents) + 0.08 * torch.randn(b, 4, 1, 1)
    alpha = ALPHAS[t][:, None, None, None]
    noisy = (alpha.sqrt() * latents + (1 - alpha).sqrt() * eps).contiguous(memory_format=torch.channels_last)
    with pace.bfloat16():
        out = model(noisy, t, ids)
    snr = (alpha / (1 - alpha)).flatten()
    error = (out.float() - eps).square().mean(dim=(1, 2, 3))
    return (error * snr.clamp(max=5) / snr).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("stages", nargs="+")
    parser.add_argument("--scale_factor", type=float, default=0.74, help="1 over the standard deviation of the latents")
    parser.add_argument("--start", help="a file this wrote before, to go on from")
    parser.add_argument("--text", help="the text encoder train_text.py wrote, to begin with")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--cool", type=float, default=0.4, help="the share of the time in which the rate falls to nothing")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    bpe = tokenizer()
    others = words(bpe)
    model, average = Denoiser(), Denoiser()
    step = 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=0.0)
    if args.start:
        saved = torch.load(args.start)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step = saved["step"]
        average.load_state_dict(saved["average"])
    else:
        average.load_state_dict(model.state_dict())
    if args.text:
        model.text.load_state_dict(torch.load(args.text))
        average.text.load_state_dict(model.text.state_dict())
    save = lambda: torch.save({"model": model.state_dict(), "average": average.state_dict(), "step": step,
                               "optimizer": optimizer.state_dict(), "scale_factor": args.scale_factor}, args.out)
    stages = []
    for stage in args.stages:
        minutes, buckets = stage.split(":")
        stages.append((pace.seconds(minutes), buckets.split(",")))
    warm = 50 if args.start else 200
    total, started = sum(seconds for seconds, _ in stages), time.time()
    end, saved_at, sums, n, first = started, started, 0.0, 0, step
    for seconds, names in stages:
        buckets = [Bucket(name, args.scale_factor) for name in names]
        end += seconds
        while time.time() < end:
            left = 1 - min((time.time() - started) / total, 1.0)
            for group in optimizer.param_groups:
                group["lr"] = args.rate * min(1, (step - first + 1) / warm) * (0.01 + 0.99 * min(1, left / args.cool))
            bucket = rng.choices(buckets, [b.share for b in buckets])[0]
            latents, captions = bucket.draw(rng, others)
            loss = loss_of(model, latents, torch.tensor(tokens(bpe, captions)))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            keep = min(0.9985, (1 + step - first) / (10 + step - first))
            with torch.no_grad():
                torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)
            step, sums, n = step + 1, sums + loss.item(), n + 1
            if step % 100 == 0:
                print(f"step {step} {time.time() - started:.0f} s: loss {sums / n:.4f}", flush=True)
                sums, n = 0.0, 0
            if time.time() - saved_at > 300:
                save()
                saved_at = time.time()
    save()


if __name__ == "__main__":
    main()
