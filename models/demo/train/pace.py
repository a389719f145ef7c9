"""How much of the work is done: all of it, or the share that SHARE in the environment says, for a rehearsal; and how fast."""

import os

import torch

SHARE = float(os.environ.get("SHARE", 1))


def count(text):
    """So many pictures."""
    return max(1, round(SHARE * int(text)))


def bfloat16():
    """Computes products in bf16 where the processor has instructions for it."""
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported())


def seconds(minutes):
    return 60 * SHARE * float(minutes)
