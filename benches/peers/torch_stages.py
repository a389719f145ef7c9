"""PyTorch and diffusers at the work of `cargo bench --bench stages`: prints `STAGE SECONDS` lines.

torch_stages.py float32|bfloat16 [BATCH]
"""
import statistics
import sys
import time

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

CROSS_DOWN, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"


def unet():
    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=(CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, "DownBlock2D"),
        up_block_types=("UpBlock2D", CROSS_UP, CROSS_UP, CROSS_UP),
        cross_attention_dim=768,
        attention_head_dim=8,
    ).eval()


def decoder():
    levels = 4
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=2,
        latent_channels=4,
    ).eval()


def seconds(call, calls=3):
    call()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    dtype, batch = getattr(torch, sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with torch.inference_mode():
        model = unet().to(dtype)
        x = torch.randn(2 * batch, 4, 64, 64, dtype=dtype)
        context = torch.randn(2 * batch, 77, 768, dtype=dtype)
        print("step", seconds(lambda: model(x, 500, context)), flush=True)
        del model
        model = decoder().to(dtype)
        z = torch.randn(1, 4, 64, 64, dtype=dtype)
        print("decode", seconds(lambda: model.decode(z)), flush=True)


if __name__ == "__main__":
    main()
