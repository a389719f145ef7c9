"""Random scenes, and the many ways to say what is in them."""

import random
from dataclasses import dataclass

from render import COLOURS, GROUNDS, SOLIDS, Scene, Thing

NOUNS = {
    "cube": ["cube"] * 4 + ["box", "block"],
    "ball": ["ball"] * 4 + ["sphere", "orb"],
    "pyramid": ["pyramid"],
    "cone": ["cone"],
    "cylinder": ["cylinder"] * 4 + ["tube", "can"],
    "ring": ["ring"] * 4 + ["torus", "donut"],
}
# Colours that the words of the demo model's captions do not cover, for embeddings: sRGB.
NEW_COLOURS = {"magenta": (0.86, 0.06, 0.66)}
COLOUR_WORDS = {name: [name] for name in COLOURS} | {
    "turquoise": ["turquoise", "turquoise", "cyan", "teal"],
    "purple": ["purple", "purple", "purple", "violet"],
    "grey": ["grey", "gray"],
} | {name: [name] for name in NEW_COLOURS}
SIZES = {"tiny": 0.45, "small": 0.6, "": 1.0, "large": 1.25, "big": 1.25, "huge": 1.42}
MATERIALS = {"matte": (0.0, ["matte", "dull"]), "": (0.25, [""]), "shiny": (1.0, ["shiny", "glossy", "polished"])}
PATTERNS = {"": None, "striped": "white"}  # the colour of every second band; on white solids it is black
PLACES = {
    "left": (-0.85, ["on the left", "on the left side", "to the left"]),
    "": (0.0, [""]),
    "middle": (0.0, ["in the middle", "in the center", "in the centre"]),
    "right": (0.85, ["on the right", "on the right side", "to the right"]),
}
LEADS = (["a photo of"] * 6 + ["a photograph of"] * 2 + ["a painting of", "a picture of", "an image of", "a drawing of",
         "a render of", "a 3d render of", "photo of", "an illustration of"] + [""] * 4)
TRAILS = ["highly detailed", "4k", "8k", "studio lighting", "trending on artstation", "octane render", "high quality",
          "minimalist", "product photo", "sharp focus", "digital art", "soft light", "realistic", "beautiful",
          "cinematic lighting", "simple", "masterpiece", "hd", "unreal engine", "wallpaper"]
COUNTS = {2: ["{} and {}"] * 6 + ["{} next to {}", "{} beside {}", "{} to the left of {}", "{} with {}"],
          3: ["{}, {} and {}"] * 3 + ["{} and {} and {}", "{}, {}, {}", "{} next to {} and {}"]}


@dataclass
class Description:
    """What can be said of one solid."""

    solid: str
    colour: str
    size: str = ""
    material: str = ""
    place: str = ""
    pattern: str = ""


def random_scene(rng: random.Random, counts=(0.68, 0.22, 0.10), colour=None, pattern=""):
    """(scene, descriptions from left to right, the background's colour).

    `counts`: how often there are one, two or three solids. `colour`: the colour of one of the solids; `pattern`: the pattern
    of all of them.
    """
    count = rng.choices([1, 2, 3], counts)[0]
    background = rng.choice(list(COLOURS) + ["black", "white", "grey"] * 4)
    descriptions = [random_description(rng, count) for _ in range(count)]
    if count == 1 and rng.random() < 0.12:
        # The same in the same colour: hard to see, and asked for all the same.
        descriptions[0].colour = background
    if colour:
        rng.choice(descriptions).colour = colour
    for one in descriptions:
        one.pattern = pattern
    return place(rng, descriptions, background), descriptions, background


def random_description(rng, count):
    one = Description(rng.choice(SOLIDS), rng.choice(list(COLOURS)))
    if rng.random() < 0.3:
        one.material = rng.choice(["matte", "shiny"])
    if count == 1:
        if rng.random() < 0.3:
            one.size = rng.choice(["tiny", "small", "large", "big", "huge"])
        if rng.random() < 0.25:
            one.place = rng.choice(["left", "middle", "right"])
    return one


def place(rng, descriptions, background):
    """A scene with these solids in it, and all that is not said of them at random."""
    near = lambda spread: rng.uniform(-spread, spread)

    def about(colour, spread):
        brighter = 1 + near(spread)
        return tuple(min(max(c * brighter + near(0.006), 0.0), 1.0) for c in colour)

    count, things = len(descriptions), []
    for i, one in enumerate(descriptions):
        size = {1: SIZES[one.size] * 0.97, 2: 0.74, 3: 0.53}[count] * (1 + near(0.05))
        x = {1: PLACES[one.place][0] * (1.25 - 0.3 * size), 2: 1.6 * i - 0.8, 3: 1.2 * i - 1.2}[count]
        if one.solid == "cube" or one.solid == "pyramid":
            yaw = rng.uniform(0.25, 1.32)
        else:
            yaw = near(0.75)
        shine = MATERIALS[one.material][0]
        stripes = PATTERNS[one.pattern] and COLOURS["black" if one.colour == PATTERNS[one.pattern] else PATTERNS[one.pattern]]
        colour = about((COLOURS | NEW_COLOURS)[one.colour], 0.06)
        things.append(Thing(SOLIDS.index(one.solid), colour, x + near(0.06), near(0.12), size, yaw, shine, stripes))
    light = (-0.55 + near(0.12), 1.0, -0.65 + near(0.12))
    return Scene(things, about(GROUNDS[background], 0.04), light, pitch=0.36 + near(0.04), glow=0.08 + near(0.03))


def caption(rng, descriptions, background):
    """One of the many ways to ask for this picture."""
    parts = []
    for one in descriptions:
        adjectives = [rng.choice(MATERIALS[one.material][1])] if rng.random() < 0.8 else []
        adjectives += [one.pattern] if one.pattern else []
        if rng.random() < 0.95:
            adjectives.append(rng.choice(COLOUR_WORDS[one.colour]))
        if one.size and rng.random() < 0.9:
            adjectives.insert(0, one.size)
        words = " ".join(word for word in adjectives + [rng.choice(NOUNS[one.solid])] if word)
        article = rng.choice(["a", "a", "a", "one", "the", ""]) if rng.random() < 0.3 else "a"
        if article == "a" and words[0] in "aeiou":
            article = "an"
        words = f"{article} {words}".strip()
        where = rng.choice(PLACES[one.place][1])
        if where and rng.random() < 0.9:
            words += rng.choice([" ", ", "]) + where
        parts.append(words)
    text = parts[0] if len(parts) == 1 else rng.choice(COUNTS[len(parts)]).format(*parts)
    lead = rng.choice(LEADS)
    text = f"{lead} {text}".strip()
    if rng.random() < 0.78:
        ground = rng.choice(COLOUR_WORDS[background])
        wording = [", {} background"] * 6 + [" on a {} background"] * 2 + [" in front of a {} background",
                   " against a {} background", ", {} backdrop", " with a {} background"]
        text += rng.choice(wording).format(ground)
    if rng.random() < 0.3:
        text += "".join(f", {trail}" for trail in rng.sample(TRAILS, rng.choice([1, 1, 2, 3])))
    if rng.random() < 0.1:
        text += "."
    return text[0].upper() + text[1:] if rng.random() < 0.1 else text
