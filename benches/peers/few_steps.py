"""Measures whole commands that draw one picture in four LCM steps at 512×512, unguided: txt2img, diffusers and OpenVINO
alternately, each in a new process with its files in the page cache. Prints a Markdown table of medians.

    python -m venv peers && peers/bin/pip install torch diffusers transformers openvino tokenizers
    cargo build --release
    peers/bin/python benches/peers/few_steps.py target/release/txt2img [ROUNDS]

ROUNDS: default 3. The model has Stable Diffusion 1.5's size, made-up weights in f16, and both its own decoder and TAESD.
OpenVINO reads a converted model; the time of its conversion, and that of its compilation in each process, are printed too.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMPT, STEPS, SIDE = "a photo of a pink cube, black background", 4, 512
DECODERS = {"VAE": "vae", "TAESD": "taesd"}


def write_model(folder):
    """Writes a pipeline for txt2img and diffusers, and the ids of the prompt."""
    import numpy
    import torch
    from diffusers import AutoencoderTiny, LCMScheduler, StableDiffusionPipeline
    from torch_stages import decoder, unet
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "models/demo/train"))
    from check_original import TEXT, write_clip

    torch.manual_seed(1)
    clip = folder / "clip"
    clip.mkdir()
    sizes = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    write_clip({TEXT + name: x for name, x in text_weights(CLIPTextModel(sizes)).items()}, clip)
    tokenizer = CLIPTokenizer.from_pretrained(clip)
    schedule = LCMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    pipeline = StableDiffusionPipeline(decoder(), CLIPTextModel.from_pretrained(clip), tokenizer, unet(), schedule, None,
                                       None, requires_safety_checker=False)
    pipeline.to(torch.float16).save_pretrained(folder / "model")
    AutoencoderTiny().to(torch.float16).save_pretrained(folder / "taesd")
    numpy.save(folder / "ids.npy", tokenizer(PROMPT, padding="max_length", return_tensors="np").input_ids)


def text_weights(model):
    """The weights of a text encoder by the names in Stable Diffusion's pipelines."""
    prefix = "" if any(name.startswith("text_model.") for name in model.state_dict()) else "text_model."
    return {prefix + name: x for name, x in model.state_dict().items() if not name.endswith("position_ids")}


def convert(folder):
    """Writes the networks in OpenVINO's format, weights in f16."""
    import openvino
    import torch
    from diffusers import AutoencoderTiny, StableDiffusionPipeline

    class Call(torch.nn.Module):
        def __init__(self, function, module):
            super().__init__()
            self.function, self.module = function, module

        def forward(self, *inputs):
            return self.function(self.module, *inputs)

    pipeline = StableDiffusionPipeline.from_pretrained(folder / "model", torch_dtype=torch.float32)
    tiny = AutoencoderTiny.from_pretrained(folder / "taesd", torch_dtype=torch.float32)
    x, z = torch.randn(1, 4, SIDE // 8, SIDE // 8), torch.randn(1, 4, SIDE // 8, SIDE // 8)
    networks = {
        "text": (pipeline.text_encoder, lambda m, ids: m(ids)[0], [torch.zeros(1, 77, dtype=torch.int64)]),
        "unet": (pipeline.unet, lambda m, *a: m(*a, return_dict=False)[0], [x, torch.tensor(9.0), torch.randn(1, 77, 768)]),
        "vae": (pipeline.vae, lambda m, z: m.decode(z / 0.18215, return_dict=False)[0], [z]),
        "taesd": (tiny, lambda m, z: m.decode(z, return_dict=False)[0], [z]),
    }
    for name, (module, function, inputs) in networks.items():
        call = Call(function, module).eval()
        shapes = [tuple(x.shape) for x in inputs]
        openvino.save_model(openvino.convert_model(call, example_input=tuple(inputs), input=shapes), folder / f"{name}.xml")


def draw_with_diffusers(folder, decoder, precision):
    import torch
    from diffusers import AutoencoderTiny, StableDiffusionPipeline

    dtype = getattr(torch, precision)
    pipeline = StableDiffusionPipeline.from_pretrained(folder / "model", torch_dtype=dtype)
    if decoder == "taesd":
        pipeline.vae = AutoencoderTiny.from_pretrained(folder / "taesd", torch_dtype=dtype)
    picture = pipeline(PROMPT, SIDE, SIDE, STEPS, guidance_scale=1.0, generator=torch.Generator().manual_seed(42))
    picture.images[0].save(folder / "diffusers.png")


def draw_with_openvino(folder, decoder, precision):
    import numpy
    import openvino
    from PIL import Image

    hints = {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision], "PERFORMANCE_HINT": "LATENCY"}
    core = openvino.Core()
    start = time.perf_counter()
    text, unet, decode = [core.compile_model(folder / f"{name}.xml", "CPU", hints) for name in ("text", "unet", decoder)]
    print("compilation", time.perf_counter() - start)
    context = text([numpy.load(folder / "ids.npy")])[0]
    alphas = numpy.cumprod(1 - numpy.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    random = numpy.random.default_rng(42)
    noise = lambda: random.standard_normal((1, 4, SIDE // 8, SIDE // 8)).astype(numpy.float32)
    x, steps = noise(), [999, 759, 499, 259]
    for t, after in zip(steps, steps[1:] + [None]):
        eps = unet([x, numpy.float32(t), context])[0]
        x = (x - (1 - alphas[t]) ** 0.5 * eps) / alphas[t] ** 0.5
        if after is not None:
            x = alphas[after] ** 0.5 * x + (1 - alphas[after]) ** 0.5 * noise()
    pixels = decode([x.astype(numpy.float32)])[0][0].transpose(1, 2, 0)
    Image.fromarray(((pixels / 2 + 0.5).clip(0, 1) * 255).round().astype(numpy.uint8)).save(folder / "openvino.png")


def ours(program, folder, decoder, precision):
    words = [program, "--prompt", PROMPT, "--ckpt", folder / "model", "--sampler", "lcm", "--ddim_steps", str(STEPS)]
    words += ["--scale", "1", "--n_samples", "1", "--n_iter", "1", "--skip_grid", "--safety", "off", "--outdir", folder / "out"]
    words += ["--precision", "full" if precision == "float32" else "autocast"]
    return words + (["--vae", folder / "taesd"] if decoder == "taesd" else [])


def peer(function, folder, decoder, precision):
    return [sys.executable, __file__, function, folder, decoder, precision]


def run(command):
    """Returns the seconds that a command takes, and of these the seconds that it says it compiled."""
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"{command}: {done.stderr[-2000:]}")
    compilation = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("compilation ")]
    return seconds, sum(compilation)


def precisions():
    """float32, and bfloat16 on CPUs with instructions for it."""
    info = Path("/proc/cpuinfo")
    has_bf16 = info.exists() and any(flag in info.read_text() for flag in ("avx512_bf16", "amx_bf16"))
    return ["float32", "bfloat16"] if has_bf16 else ["float32"]


def main():
    program, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        # In processes of their own, which give their memory back.
        run([sys.executable, __file__, "write", folder])
        seconds, _ = run([sys.executable, __file__, "convert", folder])
        print(f"Conversion for OpenVINO, once: {seconds:.0f} s\n")
        print("| decoder | precision | txt2img, s | diffusers, s | OpenVINO, s | of which compilation, s | speedup over diffusers "
              "| over OpenVINO | over OpenVINO without compilation |")
        print("| --- | --- |" + " ---: |" * 7)
        for name, decoder in DECODERS.items():
            for precision in precisions():
                commands = [ours(program, folder, decoder, precision), peer("diffusers", folder, decoder, precision),
                            peer("openvino", folder, decoder, precision)]
                for command in commands:
                    run(command)
                times = [[run(command) for command in commands] for _ in range(rounds)]
                median = lambda i, of=lambda time: time[0]: statistics.median(of(times[i]) for times in times)
                own, torch, vino, compilation = median(0), median(1), median(2), median(2, lambda time: time[1])
                ratios = [torch / own, vino / own, median(2, lambda time: time[0] - time[1]) / own]
                cells = [f"{s:.1f}" for s in (own, torch, vino, compilation)] + [f"{ratio:.2f}×" for ratio in ratios]
                print(f"| {name} | {precision} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    PARTS = {"write": write_model, "convert": convert, "diffusers": draw_with_diffusers, "openvino": draw_with_openvino}
    if sys.argv[1] in PARTS:
        PARTS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
    else:
        main()
