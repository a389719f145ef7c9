"""Measures txt2img, PyTorch and OpenVINO alternately, in several rounds. Prints a Markdown table of medians and ratios.

    python -m venv peers && peers/bin/pip install torch diffusers transformers openvino
    peers/bin/python benches/peers/run.py [ROUNDS] [BATCH]

ROUNDS: default 3. BATCH: pictures per step, default 1.
"""
import pathlib
import signal
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
OURS = ["cargo", "bench", "--quiet", "--bench", "stages", "--"]


def ours(dtype, batch):
    words = ["half"] if dtype == "bfloat16" else []
    lines = output(OURS + words + [str(batch)], HERE.parent.parent)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {cell[0]: float(cell[1]) for cell in cells if cell[0] in ("step", "decode")}


def peer(script):
    def run(dtype, batch):
        lines = output([sys.executable, HERE / script, dtype, str(batch)], HERE)
        words = [line.split() for line in lines]
        stages = {word[0]: float(word[1]) for word in words if len(word) == 2 and word[0] in ("step", "decode")}
        if not stages:
            raise RuntimeError(f"{script} printed no times")
        return stages

    return run


def output(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode < 0:
        raise RuntimeError(f"ended by signal {-done.returncode}, {signal.strsignal(-done.returncode)}")
    if done.returncode > 0:
        errors = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(errors[-1])
    return done.stdout.splitlines()


def main():
    rounds, batch = [int(word) for word in sys.argv[1:]] + [3, 1][len(sys.argv) - 1 :]
    programs = {"txt2img": ours, "PyTorch": peer("torch_stages.py"), "OpenVINO": peer("openvino_stages.py")}
    times = {}
    for _ in range(rounds):
        for dtype in ("float32", "bfloat16"):
            for name, run in programs.items():
                try:
                    stages = run(dtype, batch)
                except RuntimeError as error:
                    print(f"{name} in {dtype} is left out: {error}", file=sys.stderr)
                    continue
                for stage, seconds in stages.items():
                    times.setdefault((stage, dtype), {}).setdefault(name, []).append(seconds)
    print("| stage | precision | " + " | ".join(f"{name}, s" for name in programs) + " | speedup over PyTorch | over OpenVINO |")
    print("| --- | --- |" + " ---: |" * (len(programs) + 2))
    for (stage, dtype), by_name in times.items():
        median = {name: statistics.median(seconds) for name, seconds in by_name.items()}
        cells = [f"{median[name]:.2f}" if name in median else "" for name in programs]
        ratios = [f"{median[name] / median['txt2img']:.2f}×" if name in median else "" for name in list(programs)[1:]]
        print(f"| {stage} | {dtype} | " + " | ".join(cells + ratios) + " |")


main()
