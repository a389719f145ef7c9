"""Trains a LoRA: python train_lora.py LATENTS.pt PLAIN.pt OUT.safetensors --trigger WORD --minutes M; the first two are what
encode.py writes. The trigger word is in the captions of the first and not in those of the second, which keep the model as it is
without that word; so guidance strengthens what the word means. The file has the layout and the metadata of kohya's
sd-scripts."""

import argparse
import json
import math
import random
import time
from pathlib import Path

import pace
import torch
from base import draw, latents, load_denoiser
from layout import UNET, ResBlock, SpatialTransformer, TextLayer
from safetensors.torch import load_file, save_file
from text import tokenizer, tokens
from torch import nn
from train_diffusion import loss_of


class Low(nn.Module):
    """A frozen linear layer or convolution, plus scale·up·down."""

    def __init__(self, layer, rank, alpha):
        super().__init__()
        self.layer, self.scale = layer, alpha / rank
        n_out, *shape = layer.weight.shape
        self.down = nn.Parameter(torch.empty(rank, *shape))
        self.up = nn.Parameter(torch.zeros(n_out, rank, *[1 for _ in shape[1:]]))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x):
        change = self.scale * self.up.flatten(1) @ self.down.flatten(1)
        weight = self.layer.weight + change.reshape(self.layer.weight.shape)
        if isinstance(self.layer, nn.Conv2d):
            return nn.functional.conv2d(x, weight, self.layer.bias, self.layer.stride, self.layer.padding)
        return nn.functional.linear(x, weight, self.layer.bias)

    def tensors(self):
        """As the file has them."""
        alpha = torch.tensor(self.scale * len(self.down))
        return {"lora_down.weight": self.down, "lora_up.weight": self.up, "alpha": alpha}


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
            yield from ((f"lora_te_text_model_{name}_{inner}", module, inner) for inner, _ in products(module))
    for name, module in model.unet.named_modules():
        if isinstance(module, SpatialTransformer):
            home = f"lora_unet_{diffusers_name(name, 'attentions')}"
            yield from ((f"{home}_{inner}", module, inner) for inner, _ in products(module))
        elif isinstance(module, ResBlock) and module.out_layers[3].weight.shape[0] == UNET["model_channels"]:
            home = f"lora_unet_{diffusers_name(name, 'resnets')}"
            yield from ((f"{home}_conv1", module, "in_layers.2"), (f"{home}_conv2", module, "out_layers.3"))


def products(module):
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]


def add(model, rank, alpha):
    """Wraps the layers: by the names of the file."""
    added = {}
    for name, home, inner in list(places(model)):
        parent, _, last = inner.rpartition(".")
        parent = home.get_submodule(parent)
        low = added[name.replace(".", "_")] = Low(getattr(parent, last), rank, alpha)
        setattr(parent, last, low)
    return added


def load(path, added):
    """Goes on from a file this wrote before."""
    tensors = load_file(path)
    with torch.no_grad():
        for name, low in added.items():
            low.down.copy_(tensors[f"{name}.lora_down.weight"])
            low.up.copy_(tensors[f"{name}.lora_up.weight"])


def metadata(args, steps, captions):
    """What sd-scripts and its readers look for; all of it strings."""
    name = Path(args.out).stem
    return {
        "ss_base_model_version": "sd_v1", "ss_sd_model_name": "demo.safetensors", "ss_v2": "False",
        "ss_network_module": "networks.lora", "ss_network_dim": str(args.rank), "ss_network_alpha": str(float(args.alpha)),
        "ss_network_args": json.dumps({"conv_dim": str(args.rank), "conv_alpha": str(float(args.alpha))}),
        "ss_output_name": name, "ss_steps": str(steps), "ss_seed": str(args.seed), "ss_learning_rate": str(args.rate),
        "ss_tag_frequency": json.dumps({name: {args.trigger: captions}}), "ss_resolution": "(256, 256)",
        "modelspec.sai_model_spec": "1.0.0", "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models", "modelspec.title": name,
        "modelspec.resolution": "256x256", "modelspec.prediction_type": "epsilon", "modelspec.trigger_phrase": args.trigger,
    }


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
    added = add(model, args.rank, args.alpha)
    if args.start:
        load(args.start, added)
    parameters = [p for p in model.parameters() if p.requires_grad]
    average = [p.detach().clone() for p in parameters]
    print(f"{len(added)} modules, {sum(p.numel() for p in parameters)} numbers")
    optimizer = torch.optim.AdamW(parameters, lr=args.rate, betas=(0.9, 0.99), weight_decay=0.0)
    started, step, sums, n = time.time(), 0, 0.0, 0

    def save():
        now = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            [p.copy_(a) for p, a in zip(parameters, average)]
        tensors = {f"{name}.{part}": tensor.detach().half().contiguous()
                   for name, low in added.items() for part, tensor in low.tensors().items()}
        save_file(tensors, args.out, metadata=metadata(args, step, len(bucket.said)))
        with torch.no_grad():
            [p.copy_(a) for p, a in zip(parameters, now)]

    while (left := 1 - (time.time() - started) / pace.seconds(args.minutes)) > 0:
        optimizer.param_groups[0]["lr"] = args.rate * min(1, (step + 1) / 30) * (0.01 + 0.99 * min(1, left / 0.6))
        most = args.batch - args.batch // 3
        (changed, some), (kept, others) = draw(rng, bucket, most, 0), draw(rng, plain, args.batch - most, 0.5)
        loss = loss_of(model, torch.cat([changed, kept]), torch.tensor(tokens(bpe, some + others)))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        keep = min(0.97, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - keep)
        step, sums, n = step + 1, sums + loss.item(), n + 1
        if step % 25 == 0:
            print(f"step {step} {time.time() - started:.0f} s: loss {sums / n:.4f}", flush=True)
            sums, n = 0.0, 0
            save()
    save()


if __name__ == "__main__":
    main()
