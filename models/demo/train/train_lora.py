"""Trains a LoRA: python train_lora.py LATENTS.pt PLAIN.pt OUT.safetensors --trigger WORD --minutes M; the first two are what
encode.py writes. The trigger word is in the captions of the first and not in those of the second, which keep the model as it is
without that word; so guidance strengthens what the word means. The file has the layout and the metadata of kohya's
sd-scripts."""

import argparse
import json
import random
from pathlib import Path

import lora
import torch
from base import draw, latents, load_denoiser
from layout import UNET, ResBlock, SpatialTransformer, TextLayer
from text import tokenizer, tokens
from train_diffusion import loss_of


def diffusers_name(name, kind):
    """diffusers' name of the UNet's module `name`, one of the transformers (`kind`: attentions) or blocks (resnets)."""
    side, i = name.split(".")[:2]
    per_level = UNET["num_res_blocks"] + 1
    if side == "middle_block":
        return f"mid_block.{kind}.{int(i) // 2}"
    i = int(i) - 1 if side == "input_blocks" else int(i)
    return f"{side.replace('input', 'down').replace('output', 'up')}.{i // per_level}.{kind}.{i % per_level}"


def places(model):
    """What is changed, by the names of the file: every product of the text encoder's layers and of the UNet's transformers,
    and the convolutions of its blocks on the two finest levels, where the detail is."""
    for name, module in model.text.named_modules():
        if isinstance(module, TextLayer):
            yield from ((f"lora_te_text_model_{name}_{inner}", module, inner) for inner, _ in lora.products(module))
    for name, module in model.unet.named_modules():
        if isinstance(module, SpatialTransformer):
            home = f"lora_unet_{diffusers_name(name, 'attentions')}"
            yield from ((f"{home}_{inner}", module, inner) for inner, _ in lora.products(module))
        elif isinstance(module, ResBlock) and module.out_layers[3].weight.shape[0] == UNET["model_channels"]:
            home = f"lora_unet_{diffusers_name(name, 'resnets')}"
            yield from ((f"{home}_conv1", module, "in_layers.2"), (f"{home}_conv2", module, "out_layers.3"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("latents")
    parser.add_argument("plain")
    parser.add_argument("out")
    parser.add_argument("--trigger", required=True, help="the word that captions have and the model did not learn")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--alpha", type=float, default=4)
    parser.add_argument("--start", help="a file this wrote before, to go on from")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng, bpe = random.Random(args.seed), tokenizer()
    bucket, plain = latents(args.latents), latents(args.plain)
    model = load_denoiser()
    added = lora.add(places(model), args.rank, args.alpha)
    if args.start:
        lora.load(args.start, added)

    def loss_of_step():
        most = args.batch - args.batch // 3
        (changed, some), (kept, others) = draw(rng, bucket, most, 0), draw(rng, plain, args.batch - most, 0.5)
        return loss_of(model, torch.cat([changed, kept]), torch.tensor(tokens(bpe, some + others)))

    captions = {Path(args.out).stem: {args.trigger: len(bucket.said)}}
    lora.train(model, added, args, 0.6, loss_of_step, ss_tag_frequency=json.dumps(captions),
               **{"modelspec.trigger_phrase": args.trigger})


if __name__ == "__main__":
    main()
