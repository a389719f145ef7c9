"""Loads the demo model with the original's own code, and with diffusers, and draws with each what txt2img draws:

    python check_original.py PATH/TO/txt2img [--ckpt demo.safetensors]

Needs Python 3.11 with: pip install torch torchvision 'diffusers<0.36' 'transformers<5' safetensors pillow omegaconf einops
'pytorch-lightning<2' 'setuptools<75' open_clip_torch taming-transformers-rom1504; and on its path `ldm`, the original's code:
its repository, or pip install --no-deps stable-diffusion-sdkit. Without `ldm`, diffusers is asked alone.
"""

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from text import END, START, tokenizer

DEMO = Path(__file__).resolve().parents[1]
CONFIG = DEMO / "demo.yaml"
PROMPT, SIDE, STEPS, SCALE, SEED = "a photo of a pink cube, black background", 256, 50, 7.5, 42
TEXT = "cond_stage_model.transformer."


def ours(program, ckpt, sampler, folder):
    """txt2img's picture, from the noise that torch makes on a CPU: (H, W, 3), uint8."""
    subprocess.run([program, "--config", CONFIG, "--ckpt", ckpt, "--prompt", PROMPT, "--sampler", sampler, "--rng", "cpu",
                    "--precision", "full", "--seed", str(SEED), "--ddim_steps", str(STEPS), "--scale", str(SCALE),
                    "--H", str(SIDE), "--W", str(SIDE), "--n_samples", "1", "--n_iter", "1", "--skip_grid",
                    "--skip_watermark", "--safety", "off", "--outdir", folder / sampler], check=True, capture_output=True)
    return np.asarray(Image.open(folder / sampler / "samples" / "00000.png"))


def write_clip(weights, folder):
    """CLIP's tokenizer and the model's text encoder, as transformers keep them."""
    bpe = json.loads(tokenizer().to_str())["model"]
    vocabulary = bpe["vocab"] | {"<|startoftext|>": START, "<|endoftext|>": END}
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in bpe["merges"]]
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}))
    clip = {name.removeprefix(TEXT): tensor.float() for name, tensor in weights.items() if name.startswith(TEXT)}
    words, width = clip["text_model.embeddings.token_embedding.weight"].shape
    config = dict(vocab_size=words, hidden_size=width, projection_dim=width, num_attention_heads=max(width // 64, 1),
                  intermediate_size=len(clip["text_model.encoder.layers.0.mlp.fc1.bias"]),
                  num_hidden_layers=len({name.split(".")[3] for name in clip if ".layers." in name}),
                  hidden_act="quick_gelu", bos_token_id=START, eos_token_id=END, model_type="clip_text_model",
                  architectures=["CLIPTextModel"], max_position_embeddings=77)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(clip, folder / "model.safetensors", metadata={"format": "pt"})


@torch.inference_mode()
def by_diffusers(ckpt, clip):
    """Each sampler's picture, and what did not fit."""
    from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    part = lambda kind: kind.from_single_file(str(ckpt), original_config=str(CONFIG), torch_dtype=torch.float32)
    schedule = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, set_alpha_to_one=False)
    samplers = {"ddim": DDIMScheduler(**schedule, clip_sample=False), "plms": PNDMScheduler(**schedule, skip_prk_steps=True)}
    text = CLIPTextModel.from_pretrained(clip, torch_dtype=torch.float32)
    pipeline = StableDiffusionPipeline(part(AutoencoderKL), text, CLIPTokenizer.from_pretrained(clip),
                                       part(UNet2DConditionModel), samplers["ddim"], None, None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    for name, pipeline.scheduler in samplers.items():
        noise = torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(SEED))
        drawn = pipeline(PROMPT, SIDE, SIDE, STEPS, guidance_scale=SCALE, latents=noise, output_type="np").images[0]
        yield name, levels(drawn)


@torch.inference_mode()
def by_ldm(weights, clip):
    """Each sampler's picture, by `instantiate_from_config` and the samplers of the original."""
    from ldm.models.diffusion.ddim import DDIMSampler
    from ldm.models.diffusion.plms import PLMSSampler
    from ldm.util import instantiate_from_config
    from omegaconf import OmegaConf

    class OnCpu:
        # The original's samplers keep their tables on CUDA.
        def register_buffer(self, name, value):
            setattr(self, name, value)

    config = OmegaConf.load(CONFIG)
    # The original takes the shapes of the text encoder from what it downloads.
    config.model.params.cond_stage_config.params = {"version": str(clip), "device": "cpu"}
    model = instantiate_from_config(config.model).eval()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    made = {name for name, _ in model.named_buffers()}
    print(f"ldm: {len(weights)} tensors, {len(unexpected)} unexpected {unexpected}; missing, but for the",
          f"{len(set(missing) & made)} tables it makes itself: {sorted(set(missing) - made)}")
    for name, kind in (("ddim", DDIMSampler), ("plms", PLMSSampler)):
        sampler = type("Sampler", (OnCpu, kind), {})(model)
        torch.manual_seed(SEED)
        latents, _ = sampler.sample(
            S=STEPS, batch_size=1, shape=[4, SIDE // 8, SIDE // 8], conditioning=model.get_learned_conditioning([PROMPT]),
            unconditional_conditioning=model.get_learned_conditioning([""]), unconditional_guidance_scale=SCALE,
            eta=0.0, verbose=False)
        yield name, levels((model.decode_first_stage(latents)[0].permute(1, 2, 0).numpy() / 2 + 0.5).clip(0, 1))


def levels(picture):
    """As the original writes them: rounded down."""
    return (255 * picture).astype(np.uint8)


def compare(code, sampler, picture, own):
    apart = np.abs(picture.astype(float) - own)
    psnr = 20 * math.log10(255 / max(math.sqrt((apart**2).mean()), 1e-9))
    print(f"{code}, {sampler}: {psnr:.1f} dB, largest difference {apart.max():.0f} of 255")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--ckpt", type=Path, default=DEMO / "demo.safetensors")
    args = parser.parse_args()
    weights = load_file(args.ckpt)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        clip = folder / "clip"
        clip.mkdir()
        write_clip(weights, clip)
        own = {sampler: ours(args.program, args.ckpt, sampler, folder) for sampler in ("ddim", "plms")}
        for sampler, picture in by_diffusers(args.ckpt, clip):
            compare("diffusers", sampler, picture, own[sampler])
        try:
            import ldm  # noqa: F401
        except ImportError:
            return print("no ldm here, so the original's own code was not asked")
        for sampler, picture in by_ldm(weights, clip):
            compare("ldm", sampler, picture, own[sampler])


if __name__ == "__main__":
    main()
