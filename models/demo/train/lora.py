"""LoRAs in training: layers that are changed by products of low rank, and their files, in the layout and with the metadata of
kohya's sd-scripts."""

import json
import math
import time
from contextlib import contextmanager
from pathlib import Path

import pace
import torch
from safetensors.torch import load_file, save_file
from torch import nn


class Low(nn.Module):
    """A frozen linear layer or convolution, plus scale·up·down."""

    def __init__(self, layer, rank, alpha):
        super().__init__()
        self.layer, self.scale, self.is_on = layer, alpha / rank, True
        n_out, *shape = layer.weight.shape
        self.down = nn.Parameter(torch.empty(rank, *shape))
        self.up = nn.Parameter(torch.zeros(n_out, rank, *[1 for _ in shape[1:]]))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x):
        weight = self.layer.weight
        if self.is_on:
            weight = weight + (self.scale * self.up.flatten(1) @ self.down.flatten(1)).reshape(weight.shape)
        if isinstance(self.layer, nn.Conv2d):
            return nn.functional.conv2d(x, weight, self.layer.bias, self.layer.stride, self.layer.padding)
        return nn.functional.linear(x, weight, self.layer.bias)

    def tensors(self):
        """As the file has them."""
        alpha = torch.tensor(self.scale * len(self.down))
        return {"lora_down.weight": self.down, "lora_up.weight": self.up, "alpha": alpha}


def products(module):
    """The linear layers and convolutions below a module, by name."""
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]


def add(places, rank, alpha):
    """Wraps layers, and returns the wrapped ones by the names of the file. `places`: for each layer its name in the file, with
    dots or underscores, a module above it, and its name in that module."""
    added = {}
    for name, home, inner in list(places):
        parent, _, last = inner.rpartition(".")
        parent = home.get_submodule(parent)
        low = added[name.replace(".", "_")] = Low(getattr(parent, last), rank, alpha)
        setattr(parent, last, low)
    return added


class Average:
    """The moving average of parameters, which is what is saved."""

    def __init__(self, parameters):
        self.parameters, self.steps = parameters, 0
        self.mean = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def add(self):
        """Adds the parameters after a step."""
        keep = min(0.97, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.mean, self.parameters, 1 - keep)
        self.steps += 1

    @contextmanager
    def in_place(self):
        """Gives the parameters the values of the average for a while."""
        now = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.mean)
            yield
            torch._foreach_copy_(self.parameters, now)


def load(path, added):
    """Goes on from a file that `save` wrote."""
    tensors = load_file(path)
    with torch.no_grad():
        for name, low in added.items():
            low.down.copy_(tensors[f"{name}.lora_down.weight"])
            low.up.copy_(tensors[f"{name}.lora_up.weight"])


def save(path, added, args, steps, **more):
    """Writes a file. `more`: entries of the metadata besides those of all LoRAs."""
    tensors = {f"{name}.{part}": tensor.detach().half().contiguous()
               for name, low in added.items() for part, tensor in low.tensors().items()}
    name = Path(path).stem
    metadata = {
        "ss_base_model_version": "sd_v1", "ss_sd_model_name": "demo.safetensors", "ss_v2": "False",
        "ss_network_module": "networks.lora", "ss_network_dim": str(args.rank), "ss_network_alpha": str(float(args.alpha)),
        "ss_network_args": json.dumps({"conv_dim": str(args.rank), "conv_alpha": str(float(args.alpha))}),
        "ss_output_name": name, "ss_steps": str(steps), "ss_seed": str(args.seed), "ss_learning_rate": str(args.rate),
        "ss_resolution": "(256, 256)", "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models", "modelspec.title": name,
        "modelspec.resolution": "256x256", "modelspec.prediction_type": "epsilon",
    }
    save_file(tensors, path, metadata=metadata | more)


def train(model, added, args, cool, loss_of_step, **more):
    """Trains wrapped layers for `args.minutes`, and saves their moving averages to `args.out` now and then. `cool`: the share of
    the time in which the rate falls to nothing. `more`: entries of the metadata."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    average = Average(parameters)
    print(f"{len(added)} modules, {sum(p.numel() for p in parameters)} numbers")
    optimizer = torch.optim.AdamW(parameters, lr=args.rate, betas=(0.9, 0.99), weight_decay=0.0)
    started, step, sums, n = time.time(), 0, 0.0, 0

    def save_average():
        with average.in_place():
            save(args.out, added, args, step, **more)

    while (left := 1 - (time.time() - started) / pace.seconds(args.minutes)) > 0:
        optimizer.param_groups[0]["lr"] = args.rate * min(1, (step + 1) / 30) * (0.01 + 0.99 * min(1, left / cool))
        loss = loss_of_step()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        average.add()
        step, sums, n = step + 1, sums + loss.item(), n + 1
        if step % 25 == 0:
            print(f"step {step} {time.time() - started:.0f} s: loss {sums / n:.4f}", flush=True)
            sums, n = 0.0, 0
            save_average()
    save_average()
