"""The PSNR between bf16 and f32, of txt2img and PyTorch, with the demo model: 20 prompts, DDIM, 20 steps, 256×256, scale 7.5.

    python benches/peers/closeness.py target/release/txt2img

Needs diffusers, as models/demo/train/check_original.py does.
"""

import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "models/demo/train"))
from check_original import CONFIG, DEMO, write_clip  # noqa: E402

COLOURS, SOLIDS = ["red", "green", "blue", "pink", "yellow"], ["cube", "ball", "cone", "ring"]
PROMPTS = [f"a photo of a {colour} {solid}, black background" for colour in COLOURS for solid in SOLIDS]


def ours(program, precision, folder):
    """Returns the pictures of txt2img, (H, W, 3)."""
    (folder / "prompts.txt").write_text("\n".join(PROMPTS))
    subprocess.run([program, "--ckpt", "demo", "--from-file", folder / "prompts.txt", "--precision", precision, "--n_iter", "1",
                    "--n_samples", "1", "--ddim_steps", "20", "--H", "256", "--W", "256", "--skip_grid", "--skip_watermark",
                    "--outdir", folder / precision], check=True, capture_output=True)
    return [np.asarray(Image.open(file)) for file in sorted((folder / precision / "samples").iterdir())]


@torch.inference_mode()
def theirs(folder):
    """Returns the pictures of diffusers, in f32 and with bf16 autocast."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    write_clip(load_file(DEMO / "demo.safetensors"), folder)
    part = lambda kind: kind.from_single_file(str(DEMO / "demo.safetensors"), original_config=str(CONFIG), torch_dtype=torch.float32)
    schedule = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
                             set_alpha_to_one=False, clip_sample=False)
    pipeline = StableDiffusionPipeline(part(AutoencoderKL), CLIPTextModel.from_pretrained(folder, torch_dtype=torch.float32),
                                       CLIPTokenizer.from_pretrained(folder), part(UNet2DConditionModel), schedule, None, None,
                                       requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            seed = lambda: torch.Generator().manual_seed(42)
            drawn = [pipeline(prompt, 256, 256, 20, guidance_scale=7.5, generator=seed(), output_type="np").images[0]
                     for prompt in PROMPTS]
        yield [(255 * picture).astype(np.uint8) for picture in drawn]


def psnrs(exact, half):
    error = lambda a, b: math.sqrt(((a.astype(float) - b) ** 2).mean())
    return [20 * math.log10(255 / max(error(a, b), 1e-9)) for a, b in zip(exact, half)]


def row(name, dbs):
    print(f"| {name} | {min(dbs):.1f} | {statistics.median(dbs):.1f} | {max(dbs):.1f} |")


with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    print("| bf16 against f32, dB | lowest | median | highest |\n| --- | ---: | ---: | ---: |")
    row("txt2img", psnrs(ours(sys.argv[1], "full", folder), ours(sys.argv[1], "autocast", folder)))
    (folder / "clip").mkdir()
    row("PyTorch, autocast", psnrs(*theirs(folder / "clip")))
