"""Trains the text encoder to say at the end of a caption all that the caption said, so that the denoiser, which reads it,
need not find that out from noise: python train_text.py OUT.pt --minutes M [--start DIFFUSION.pt]."""

import argparse
import random
import time

import pace
import torch
import torch.nn.functional as F
from layout import TEXT, TextEncoder
from render import COLOURS, SOLIDS
from scenes import MATERIALS, PLACES, SIZES, random_scene
from text import END, tokenizer, tokens
from torch import nn
from train_diffusion import say, words

# What is asked of one solid: the answers there are, the last of them meaning that there is no such solid.
ASKED = {"solid": [*SOLIDS, None], "colour": [*COLOURS, None], "size": [*SIZES, None], "material": [*MATERIALS, None],
         "place": [*PLACES, None]}
GROUNDS = list(COLOURS)
MOST = 3


def answers(descriptions, background):
    """A number for each question: the background, then five of each of three solids."""
    solids = [[options.index(getattr(one, name)) for name, options in ASKED.items()] for one in descriptions]
    nothing = [len(options) - 1 for options in ASKED.values()]
    return sum(solids + [nothing] * (MOST - len(solids)), [GROUNDS.index(background)])


class Reader(nn.Module):
    """One linear reading of a token: the answers to all questions."""

    def __init__(self):
        super().__init__()
        self.sizes = [len(GROUNDS)] + [len(options) for options in ASKED.values()] * MOST
        self.read = nn.Linear(TEXT["width"], sum(self.sizes))

    def forward(self, x):
        return self.read(x).split(self.sizes, -1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--start", help="what train_diffusion.py wrote, to take its text encoder")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng, bpe = random.Random(args.seed), tokenizer()
    others = words(bpe)
    text, reader = TextEncoder(), Reader()
    if args.start:
        saved = torch.load(args.start)["average"]
        text.load_state_dict({name[5:]: value for name, value in saved.items() if name.startswith("text.")})
    optimizer = torch.optim.AdamW([*text.parameters(), *reader.parameters()], lr=args.rate, betas=(0.9, 0.99), weight_decay=0.0)
    started, step, right, n = time.time(), 0, 0, 0
    while (left := 1 - (time.time() - started) / pace.seconds(args.minutes)) > 0:
        optimizer.param_groups[0]["lr"] = args.rate * min(1, (step + 1) / 100) * (0.02 + 0.98 * min(1, left / 0.6))
        scenes = [random_scene(rng)[1:] for _ in range(192)]
        ids = torch.tensor(tokens(bpe, [say(rng, *scene, others) for scene in scenes]))
        context = text(ids)
        # Anywhere from the end of the text on.
        ends = (ids == END).int().argmax(1)
        at = ends + (torch.rand(len(ends)) * (77 - ends)).long()
        read = reader(context[torch.arange(len(at)), at])
        wanted = torch.tensor([answers(*scene) for scene in scenes]).unbind(1)
        loss = sum(F.cross_entropy(r, w) for r, w in zip(read, wanted))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(text.parameters(), 1.0)
        optimizer.step()
        right += torch.stack([r.argmax(1) == w for r, w in zip(read, wanted)]).float().mean(1)
        step, n = step + 1, n + 1
        if step % 100 == 0:
            shares = (right / n).tolist()
            print(f"step {step} {time.time() - started:.0f} s: loss {loss.item():.3f}, background {shares[0]:.3f},",
                  *(f"{name} {share:.3f}" for name, share in zip(ASKED, shares[1:])), flush=True)
            right, n = 0, 0
    torch.save(text.state_dict(), args.out)


if __name__ == "__main__":
    main()
