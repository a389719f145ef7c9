"""What tests/engine/demo needs to judge the model's pictures: python templates.py FOLDER

templates.png: the light of each solid (rows, as in SOLIDS) in some views (columns). A picture of one solid is, in linear
light, its colour times one map, plus its shine times another, plus the background's colour times a third. The three are
in red, green and blue; the first two at half strength, for white is lit to more than 1.
renders.png, renders.json: pictures in rows, with everything at random that is at random in training; what they are of.
pairs.png, pairs.json: the same of two solids.
striped.png: striped solids (rows, as in SOLIDS) of the first eight COLOURS on black and on blue.
"""

import itertools
import json
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from render import COLOURS, GAMMA, SOLIDS, Scene, Thing, render
from scenes import Description, place

VIEWS = 24
DRAWN, KEPT = 256, 64  # sides in pixels: all are drawn as large as the model's pictures
BACKGROUNDS = ["black", "white", "grey", "blue"]
ROWS = 18


def main(folder):
    views = [template(solid, view) for solid in range(len(SOLIDS)) for view in range(VIEWS)]
    save(views, len(SOLIDS), folder / "templates.png")
    rng = random.Random(2022)
    said = list(itertools.product(SOLIDS, COLOURS, BACKGROUNDS))
    renders = [light(place(rng, [Description(solid, colour)], ground)) for solid, colour, ground in said]
    save(renders, ROWS, folder / "renders.png")
    write(said, folder / "renders.json")
    pairs = [[[rng.choice(SOLIDS), rng.choice(list(COLOURS))] for _ in range(2)] for _ in range(48)]
    renders = [light(place(rng, [Description(*one) for one in pair], rng.choice(BACKGROUNDS))) for pair in pairs]
    save(renders, 6, folder / "pairs.png")
    write(pairs, folder / "pairs.json")
    said = itertools.product(SOLIDS, list(COLOURS)[:8], ["black", "blue"])
    renders = [light(place(rng, [Description(solid, colour, pattern="striped")], ground)) for solid, colour, ground in said]
    save(renders, len(SOLIDS), folder / "striped.png")


def template(solid, view):
    """(h, w, 3): the three maps of a solid in the middle."""
    # Evenly over what `place` draws at random: Roberts' sequence in four dimensions.
    yaw, x, z, pitch = (2 * ((0.5 + view / 1.1673**k) % 1) - 1 for k in range(1, 5))
    yaw = 0.785 + 0.535 * yaw if SOLIDS[solid] in ("cube", "pyramid") else 0.75 * yaw
    towards = (-0.55 + 0.12 * x, 1.0, -0.65 + 0.12 * z)

    def drawn(colour, shine, background):
        grey = lambda level: (level ** (1 / GAMMA),) * 3
        thing = Thing(solid, grey(colour), size=0.97, yaw=yaw, shine=shine)
        return light(Scene([thing], grey(background), towards, 0.36 + 0.04 * pitch, glow=0))[..., 0]

    # A solid is also lit by the floor: as by one of middling brightness.
    return np.stack([drawn(0.5, 0, 0.3) - drawn(0, 0, 0.3), drawn(0, 0.5, 0), drawn(0, 0, 1)], -1)


def light(scene):
    """(h, w, 3), linear."""
    light = (render(scene, DRAWN, DRAWN) / 255) ** GAMMA
    return light.reshape(KEPT, DRAWN // KEPT, KEPT, DRAWN // KEPT, 3).mean((1, 3))


def write(said, path):
    path.write_text("[\n" + ",\n".join(map(json.dumps, said)) + "\n]\n")


def save(tiles, rows, path):
    """One picture of many."""
    sheet = np.stack(tiles).reshape(rows, -1, KEPT, KEPT, 3).swapaxes(1, 2).reshape(rows * KEPT, -1, 3)
    Image.fromarray(np.uint8(255 * sheet.clip(0, 1) ** (1 / GAMMA) + 0.5)).save(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
