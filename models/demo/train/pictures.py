"""Draws the training pictures: python pictures.py OUT.npz --count N --size HxW --seed S [--workers N]"""

import argparse
import multiprocessing
import pickle
import random

import numpy as np
import pace
from render import render
from scenes import random_scene


def draw(job):
    seed, height, width, counts, look = job
    scene, descriptions, background = random_scene(random.Random(seed), *counts, **look)
    return render(scene, height, width), (descriptions, background)


def pictures(count, height, width, seed, *counts, workers=2, **look):
    """(pictures (N, H, W, 3) uint8, what is in each); `look`: a colour or a pattern, as for `random_scene`."""
    jobs = [(seed * 10_000_000 + i, height, width, counts, look) for i in range(count)]
    with multiprocessing.Pool(workers) as pool:
        drawn = pool.map(draw, jobs, chunksize=16)
    return np.stack([picture for picture, _ in drawn]), [said for _, said in drawn]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--count", type=pace.count, required=True)
    parser.add_argument("--size", default="256x256")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    drawn, said = pictures(args.count, height, width, args.seed, workers=args.workers)
    np.save(args.out + ".npy", drawn)
    with open(args.out + ".pkl", "wb") as file:
        pickle.dump(said, file)
