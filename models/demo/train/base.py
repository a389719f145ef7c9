"""The finished demo model, to train additions to it: a LoRA, an embedding."""

from pathlib import Path

import torch
from layout import Autoencoder
from safetensors.torch import load_file
from scenes import caption
from train_diffusion import Bucket, Denoiser

CHECKPOINT = Path(__file__).resolve().parents[1] / "demo.safetensors"
SCALE_FACTOR = 0.77  # as in demo.yaml
PREFIXES = {"unet": "model.diffusion_model.", "text": "cond_stage_model.transformer.text_model."}


def part(weights, prefix):
    return {name.removeprefix(prefix): tensor.float() for name, tensor in weights.items() if name.startswith(prefix)}


def load_autoencoder(path=CHECKPOINT):
    model = Autoencoder().to(memory_format=torch.channels_last)
    model.load_state_dict(part(load_file(path), "first_stage_model."))
    return model.requires_grad_(False)


def load_denoiser(path=CHECKPOINT):
    """UNet and text encoder, frozen."""
    weights, model = load_file(path), Denoiser()
    for name, prefix in PREFIXES.items():
        getattr(model, name).load_state_dict(part(weights, prefix))
    return model.requires_grad_(False)


def latents(path):
    """What encode.py wrote with this model's autoencoder."""
    return Bucket(f"{path}*1*1", SCALE_FACTOR)


def draw(rng, bucket, count, without):
    """`count` latents of a bucket with their captions, of which a share `without` is empty."""
    picked = [rng.randrange(len(bucket.said)) for _ in range(count)]
    captions = ["" if rng.random() < without else caption(rng, *bucket.said[i]) for i in picked]
    return bucket.latents[picked].float() * bucket.scale_factor, captions
