"""Trains the autoencoder: python train_vae.py OUT.pt STAGE… ; a stage is PICTURES.npy:BATCH:MINUTES."""

import argparse
import time

import numpy as np
import pace
import torch
from layout import Autoencoder


def loss_of(model, x, kl_weight):
    """Reconstruction, with edges counted again, and a little KL; pictures (B, 3, H, W)."""
    mean, logvar = model.encode(x)
    logvar = logvar.clamp(-12, 4)
    z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
    error = model.decode(z).float() - x
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    kl = 0.5 * (mean ** 2 + logvar.exp() - 1 - logvar).mean()
    return error.abs().mean() + 2 * error.square().mean() + edges + kl_weight * kl, error.square().mean(), kl


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("stages", nargs="+")
    parser.add_argument("--start")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--kl", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model = Autoencoder().to(memory_format=torch.channels_last)
    if args.start:
        model.load_state_dict(torch.load(args.start))
    average = {name: p.clone() for name, p in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=0.0)
    stages = [(path, int(batch), pace.seconds(minutes)) for path, batch, minutes in (s.split(":") for s in args.stages)]
    total, started, step = sum(seconds for _, _, seconds in stages), time.time(), 0
    end = started
    for path, batch, seconds in stages:
        pictures = np.load(path)
        end, sums, n = end + seconds, np.zeros(2), 0
        while time.time() < end:
            done = min((time.time() - started) / total, 1.0)
            rate = args.rate * min(1, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * done)))
            for group in optimizer.param_groups:
                group["lr"] = rate
            x = torch.from_numpy(pictures[np.random.randint(len(pictures), size=batch)])
            x = (x.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
            if np.random.rand() < 0.5:
                x = x.flip(3)
            with pace.bfloat16():
                loss, mse, kl = loss_of(model, x, args.kl)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            keep = min(0.998, (1 + step) / (10 + step))
            with torch.no_grad():
                for name, p in model.state_dict().items():
                    average[name].lerp_(p, 1 - keep)
            step, sums, n = step + 1, sums + (mse.item(), kl.item()), n + 1
            if step % 100 == 0:
                mse, kl = sums / n
                print(f"{path} step {step} {time.time() - started:.0f} s: PSNR {10 * np.log10(4 / mse):.2f} dB, KL {kl:.2f}",
                      flush=True)
                sums, n = np.zeros(2), 0
        torch.save(average, args.out)
    torch.save(average, args.out)


if __name__ == "__main__":
    main()
