"""How much of the work is done: all of it, or the share that SHARE in the environment says, for a rehearsal."""

import os

SHARE = float(os.environ.get("SHARE", 1))


def count(text):
    """So many pictures."""
    return max(1, round(SHARE * int(text)))


def seconds(minutes):
    return 60 * SHARE * float(minutes)
