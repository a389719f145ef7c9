"""The guided step of `cargo bench --bench stages` with OpenVINO. Prints a line `step SECONDS`.

openvino_stages.py float32|bfloat16 [BATCH]
"""
import sys

import openvino
import torch
from torch_stages import seconds, unet


class Eps(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.unet = unet()

    def forward(self, x, t, context):
        return self.unet(x, t, context, return_dict=False)[0]


def main():
    precision = {"float32": "f32", "bfloat16": "bf16"}[sys.argv[1]]
    batch = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    inputs = torch.randn(2 * batch, 4, 64, 64), torch.tensor(500.0), torch.randn(2 * batch, 77, 768)
    model = openvino.convert_model(Eps(), example_input=inputs, input=[tuple(x.shape) for x in inputs])
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
    arrays = [x.numpy() for x in inputs]
    print("step", seconds(lambda: request.infer(arrays), "cpu"), flush=True)


main()
