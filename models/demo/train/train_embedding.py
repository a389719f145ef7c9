"""Trains a textual inversion: python train_embedding.py LATENTS.pt OUT.safetensors --word WORD --minutes M; LATENTS.pt is what
encode.py writes. The vectors take the place of WORD in the captions; the file has the layout of AUTOMATIC1111's."""

import argparse
import random
import time

import pace
import torch
from base import draw, latents, load_denoiser
from layout import VOCABULARY
from safetensors.torch import save_file
from text import END, LENGTH, tokenizer, tokens
from torch import nn
from train_diffusion import loss_of


class Extended(nn.Module):
    """The token embeddings, frozen, and new vectors after them."""

    def __init__(self, embedding, vectors):
        super().__init__()
        self.embedding, self.vectors = embedding, vectors

    def forward(self, ids):
        return torch.cat([self.embedding.weight, self.vectors])[ids]


def replace(row, word, n):
    """Replaces each occurrence of the tokens `word` by `n` new tokens."""
    out, at = [], 0
    while at < len(row):
        if row[at:at + len(word)] == word:
            out += range(VOCABULARY, VOCABULARY + n)
            at += len(word)
        else:
            out.append(row[at])
            at += 1
    out = out[:LENGTH - 1] + [END]
    return out + [END] * (LENGTH - len(out))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("latents")
    parser.add_argument("out")
    parser.add_argument("--word", required=True, help="a word of the captions")
    parser.add_argument("--start", help="words to begin with, one a vector, such as pink,red")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng, bpe = random.Random(args.seed), tokenizer()
    word = bpe.encode(args.word).ids
    bucket = latents(args.latents)
    model = load_denoiser()
    embedding = model.text.embeddings.token_embedding
    vectors = nn.Parameter(embedding.weight[bpe.encode(args.start.replace(",", " ")).ids].clone())
    model.text.embeddings.token_embedding = Extended(embedding, vectors)
    average = vectors.detach().clone()
    optimizer = torch.optim.AdamW([vectors], lr=args.rate, betas=(0.9, 0.99), weight_decay=0.0)
    started, step, sums, n = time.time(), 0, 0.0, 0
    save = lambda: save_file({"emb_params": average.half()}, args.out)
    while (left := 1 - (time.time() - started) / pace.seconds(args.minutes)) > 0:
        optimizer.param_groups[0]["lr"] = args.rate * (0.01 + 0.99 * min(1, left / 0.6))
        pictures, captions = draw(rng, bucket, args.batch, without=0)
        ids = torch.tensor([replace(row, word, len(vectors)) for row in tokens(bpe, captions)])
        loss = loss_of(model, pictures, ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step, sums, n = step + 1, sums + loss.item(), n + 1
        average.lerp_(vectors.detach(), 1 - min(0.97, (1 + step) / (10 + step)))
        if step % 25 == 0:
            print(f"step {step} {time.time() - started:.0f} s: loss {sums / n:.4f}, lengths {vectors.norm(dim=1).tolist()}", flush=True)
            sums, n = 0.0, 0
            save()
    save()


if __name__ == "__main__":
    main()
