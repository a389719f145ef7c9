"""The stages of `cargo bench --bench stages` with PyTorch and diffusers. Prints lines `STAGE SECONDS`.

torch_stages.py float32|bfloat16|float16 [BATCH] [cuda] [compile]

cuda: on a GPU, channels last except in float32. compile: with torch.compile, mode="max-autotune".
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


def seconds(call, device):
    calls, warm = (20, 4) if device == "cuda" else (3, 1)
    for _ in range(warm):
        call()
    times = []
    for _ in range(calls):
        wait(device)
        start = time.perf_counter()
        call()
        wait(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def main():
    words = sys.argv[2:]
    dtype, batch = getattr(torch, sys.argv[1]), next((int(word) for word in words if word.isdigit()), 1)
    device = "cuda" if "cuda" in words else "cpu"
    is_channels_last = device == "cuda" and dtype != torch.float32
    layout = torch.channels_last if is_channels_last else torch.contiguous_format
    torch.backends.cudnn.benchmark = True

    def there(model):
        return model.to(device, dtype).to(memory_format=layout)

    def compiled(function):
        return torch.compile(function, mode="max-autotune") if "compile" in words else function

    def random(*shape):
        return torch.randn(*shape, dtype=dtype, device=device)

    with torch.inference_mode():
        model = there(unet())
        run = compiled(model)
        x, context = random(2 * batch, 4, 64, 64).to(memory_format=layout), random(2 * batch, 77, 768)
        t = torch.tensor(500, device=device)
        print("step", seconds(lambda: run(x, t, context), device), flush=True)
        del model, run
        model = there(decoder())
        run = compiled(model.decode)
        z = random(1, 4, 64, 64).to(memory_format=layout)
        print("decode", seconds(lambda: run(z), device), flush=True)


if __name__ == "__main__":
    main()
