"""Writes the checkpoint: python export.py VAE.pt DIFFUSION.pt ../demo.safetensors; prints demo.yaml's scale_factor."""

import sys

import torch
from safetensors.torch import save_file

vae, diffusion, out = torch.load(sys.argv[1]), torch.load(sys.argv[2]), sys.argv[3]
tensors = {f"first_stage_model.{name}": tensor for name, tensor in vae.items()}
for name, tensor in diffusion["average"].items():
    part, rest = name.split(".", 1)
    prefix = {"unet": "model.diffusion_model.", "text": "cond_stage_model.transformer.text_model."}[part]
    tensors[prefix + rest] = tensor
tensors = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
save_file(tensors, out, metadata={"format": "pt"})
print("scale_factor:", round(diffusion["scale_factor"], 5))
