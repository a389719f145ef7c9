"""Pictures of coloured solids on a seamless floor: a small ray tracer, and the only source of the demo model's pictures.

The camera looks slightly down on the floor y = 0; x goes right, y up, z away. Lengths are in units of half a solid's
height. The shorter side of a picture shows about 3.6 units at the solids' distance, whatever the picture's size.
"""

from dataclasses import dataclass, field

import numpy as np
from numba import njit, prange

SOLIDS = ["cube", "ball", "pyramid", "cone", "cylinder", "ring"]
CUBE, BALL, PYRAMID, CONE, CYLINDER, RING = range(6)

COLOURS = {  # sRGB, what a fully lit surface shows
    "red": (0.84, 0.09, 0.09),
    "orange": (0.96, 0.47, 0.04),
    "yellow": (0.97, 0.86, 0.10),
    "green": (0.10, 0.60, 0.18),
    "turquoise": (0.10, 0.76, 0.74),
    "blue": (0.10, 0.22, 0.84),
    "purple": (0.46, 0.13, 0.70),
    "pink": (0.98, 0.48, 0.72),
    "brown": (0.42, 0.23, 0.11),
    "white": (0.94, 0.94, 0.94),
    "grey": (0.50, 0.50, 0.50),
    "black": (0.15, 0.15, 0.16),
}
# As a background, where nothing is lit from the side, black is darker: a black solid on it can be seen.
GROUNDS = COLOURS | {"black": (0.04, 0.04, 0.045)}
GAMMA = 2.2
BAND = 0.36  # the height of a stripe, of a solid of size 1


@dataclass
class Thing:
    """A solid on the floor."""

    solid: int
    colour: tuple  # sRGB, each 0 to 1
    x: float = 0.0
    z: float = 0.0
    size: float = 1.0
    yaw: float = 0.6
    shine: float = 0.25  # 0 is matte, 1 is polished
    stripes: tuple | None = None  # sRGB of every second horizontal band, if the solid is striped


@dataclass
class Scene:
    """Solids, and what they stand on and are lit by."""

    things: list = field(default_factory=list)
    background: tuple = (0.5, 0.5, 0.5)  # sRGB
    light: tuple = (-0.55, 1.0, -0.65)  # towards the light
    pitch: float = 0.36  # radians the camera looks down
    glow: float = 0.08  # how much brighter the middle of the background is than its corners


def render(scene: Scene, height: int, width: int) -> np.ndarray:
    """The picture: (height, width, 3), uint8."""
    solids = np.array([t.solid for t in scene.things], np.int64)
    linear = lambda rgb: np.array(rgb, np.float64) ** GAMMA
    numbers = np.array([[t.x, t.z, t.size, np.cos(t.yaw), np.sin(t.yaw), t.shine] for t in scene.things])
    colours = np.array([[linear(t.colour), linear(t.stripes or t.colour)] for t in scene.things])
    light = np.array(scene.light) / np.linalg.norm(scene.light)
    out = np.empty((height, width, 3), np.uint8)
    _render(solids, numbers.reshape(-1, 6), colours.reshape(-1, 2, 3), linear(scene.background), light, scene.pitch,
            scene.glow, out)
    return out


@njit(cache=True, fastmath=True)
def _hit(solid, ox, oy, oz, dx, dy, dz):
    """Where a ray meets a solid of size 1 on the floor: (distance, face, normal); no distance below 0 is a hit."""
    far = 1e9
    best, face, nx, ny, nz = far, 0, 0.0, 0.0, 0.0
    if solid == BALL:
        r = 0.95
        b = ox * dx + (oy - r) * dy + oz * dz
        c = ox * ox + (oy - r) * (oy - r) + oz * oz - r * r
        disc = b * b - c
        if disc > 0.0:
            t = -b - np.sqrt(disc)
            if t > 1e-4:
                best, nx, ny, nz = t, (ox + t * dx) / r, (oy - r + t * dy) / r, (oz + t * dz) / r
    elif solid == CUBE:
        a = 0.78
        near, out, axis = -far, far, 0
        for k in range(3):
            o = ox if k == 0 else (oy - a if k == 1 else oz)
            d = dx if k == 0 else (dy if k == 1 else dz)
            if abs(d) < 1e-9:
                d = 1e-9
            t0, t1 = (-a - o) / d, (a - o) / d
            if t0 > t1:
                t0, t1 = t1, t0
            if t0 > near:
                near, axis = t0, k
            out = min(out, t1)
        if near < out and near > 1e-4:
            best, face = near, axis
            if axis == 0:
                nx = -1.0 if dx > 0 else 1.0
            elif axis == 1:
                ny = -1.0 if dy > 0 else 1.0
            else:
                nz = -1.0 if dz > 0 else 1.0
            face = axis * 2 + (1 if nx + ny + nz > 0 else 0)
    elif solid == PYRAMID:
        # Four planes n·p = a through the base's edges and the apex, and the floor: a convex solid, by clipping.
        h, a = 1.75, 1.02
        norm = np.sqrt(h * h + a * a)
        near, out = -far, far
        for k in range(5):
            px, py, pz = 0.0, -1.0, 0.0
            limit = 0.0
            if k < 4:
                px = h / norm if k == 0 else (-h / norm if k == 1 else 0.0)
                pz = h / norm if k == 2 else (-h / norm if k == 3 else 0.0)
                py, limit = a / norm, a * h / norm
            along = px * dx + py * dy + pz * dz
            gap = limit - (px * ox + py * oy + pz * oz)
            if abs(along) < 1e-12:
                if gap < 0.0:
                    near = far
            elif along < 0.0:
                t = gap / along
                if t > near:
                    near, face, nx, ny, nz = t, k, px, py, pz
            else:
                out = min(out, gap / along)
        if near < out and near > 1e-4:
            best = near
    elif solid == CYLINDER or solid == CONE:
        h = 1.62 if solid == CYLINDER else 1.85
        r = 0.78 if solid == CYLINDER else 0.98
        # The radius at height y is r − k y.
        k = 0.0 if solid == CYLINDER else r / h
        ro, rd = r - k * oy, -k * dy
        a = dx * dx + dz * dz - rd * rd
        b = ox * dx + oz * dz - ro * rd
        c = ox * ox + oz * oz - ro * ro
        disc = b * b - a * c
        if disc > 0.0 and abs(a) > 1e-12:
            root = np.sqrt(disc)
            for sign in range(2):
                t = (-b - root) / a if sign == 0 else (-b + root) / a
                y = oy + t * dy
                if 1e-4 < t < best and 0.0 <= y <= h:
                    best, face = t, 0
                    qx, qz = ox + t * dx, oz + t * dz
                    q = max(np.sqrt(qx * qx + qz * qz), 1e-9)
                    length = np.sqrt(1.0 + k * k)
                    nx, ny, nz = qx / q / length, k / length, qz / q / length
        top = h if solid == CYLINDER else 0.0
        if abs(dy) > 1e-9:
            t = (top - oy) / dy
            qx, qz = ox + t * dx, oz + t * dz
            if 1e-4 < t < best and qx * qx + qz * qz <= r * r:
                best, face = t, 1
                nx, ny, nz = 0.0, (1.0 if solid == CYLINDER else -1.0), 0.0
    else:
        # A torus upright on its edge, by sphere tracing within its bounding ball.
        major, minor = 0.70, 0.27
        cy = major + minor
        reach = major + minor + 0.01
        b = ox * dx + (oy - cy) * dy + oz * dz
        c = ox * ox + (oy - cy) * (oy - cy) + oz * oz - reach * reach
        disc = b * b - c
        if disc > 0.0:
            t = max(-b - np.sqrt(disc), 1e-3)
            end = -b + np.sqrt(disc)
            for _ in range(64):
                qx, qy, qz = ox + t * dx, oy - cy + t * dy, oz + t * dz
                q = max(np.sqrt(qx * qx + qy * qy), 1e-9)
                distance = np.sqrt((q - major) * (q - major) + qz * qz) - minor
                if distance < 1e-3:
                    if t > 2e-3:
                        best = t
                        nx, ny, nz = (q - major) * qx / q, (q - major) * qy / q, qz
                        length = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-9)
                        nx, ny, nz = nx / length, ny / length, nz / length
                    break
                t += distance
                if t > end:
                    break
    return best, face, nx, ny, nz


@njit(cache=True, fastmath=True)
def _trace(solids, numbers, skip, ox, oy, oz, dx, dy, dz):
    """The nearest solid along a ray: (distance, thing or −1, face, normal)."""
    best, thing, face, nx, ny, nz = 1e9, -1, 0, 0.0, 0.0, 0.0
    for i in range(len(solids)):
        if i == skip:
            continue
        x, z, s, cos, sin = numbers[i, 0], numbers[i, 1], numbers[i, 2], numbers[i, 3], numbers[i, 4]
        # Past the bounding ball? Most rays are.
        cx, cy, cz = x - ox, s - oy, z - oz
        b = cx * dx + cy * dy + cz * dz
        if cx * cx + cy * cy + cz * cz - b * b > 3.3 * s * s:
            continue
        px, pz = (ox - x) / s, (oz - z) / s
        t, f, ax, ay, az = _hit(solids[i], cos * px - sin * pz, oy / s, sin * px + cos * pz,
                                cos * dx - sin * dz, dy, sin * dx + cos * dz)
        t *= s
        if t < min(best, 1e6):
            best, thing, face = t, i, f
            nx, ny, nz = cos * ax + sin * az, ay, -sin * ax + cos * az
    return best, thing, face, nx, ny, nz


@njit(cache=True, fastmath=True)
def _shadow(solids, numbers, skip, light, px, py, pz):
    """The share of the light, a soft square, that does not reach a point."""
    spread = 0.11
    blocked, near = 0.0, False
    for i in range(len(solids)):
        if i == skip:
            continue
        s = numbers[i, 2]
        cx, cy, cz = numbers[i, 0] - px, s - py, numbers[i, 1] - pz
        b = cx * light[0] + cy * light[1] + cz * light[2]
        away = np.sqrt(max(cx * cx + cy * cy + cz * cz - b * b, 0.0))
        near = near or away < 1.8 * s + 1.6 * spread * max(b, 0.0)
    if not near:
        return 0.0
    n = 6
    # Two directions across the light.
    ux, uy, uz = light[1], -light[0], 0.0
    length = np.sqrt(ux * ux + uy * uy)
    ux, uy = ux / length, uy / length
    vx, vy, vz = -light[2] * uy, light[2] * ux, light[0] * uy - light[1] * ux
    for i in range(n):
        for j in range(n):
            a, b = spread * (2.0 * (i + 0.5) / n - 1.0), spread * (2.0 * (j + 0.5) / n - 1.0)
            dx, dy, dz = light[0] + a * ux + b * vx, light[1] + a * uy + b * vy, light[2] + b * vz
            length = np.sqrt(dx * dx + dy * dy + dz * dz)
            _, thing, _, _, _, _ = _trace(solids, numbers, skip, px, py, pz, dx / length, dy / length, dz / length)
            if thing >= 0:
                blocked += 1.0
    return blocked / (n * n)


@njit(cache=True, fastmath=True)
def _shade(solids, numbers, colours, background, light, pitch, glow, u, v, reach, rgb):
    """The colour seen in direction (u, v) of the picture plane, in linear light; and what is seen there."""
    cos, sin = np.cos(pitch), np.sin(pitch)
    far = 9.0
    ox, oy, oz = 0.0, 0.85 + far * sin, -far * cos
    dx, dy, dz = u, -sin + v * cos, cos + v * sin
    length = np.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx / length, dy / length, dz / length
    t, thing, face, nx, ny, nz = _trace(solids, numbers, -1, ox, oy, oz, dx, dy, dz)
    if thing < 0:
        edge = 1.0 + glow * (1.0 - 2.0 * (u * u + v * v) / (reach * reach))
        lit = 1.0
        if dy < -1e-3:
            t = -oy / dy
            px, pz = ox + t * dx, oz + t * dz
            lit = 1.0 - 0.62 * _shadow(solids, numbers, -1, light, px, 1e-3, pz)
            # What stands on the floor keeps some of the sky from it.
            for i in range(len(solids)):
                s = numbers[i, 2]
                q = ((px - numbers[i, 0]) ** 2 + (pz - numbers[i, 1]) ** 2) / (s * s)
                lit *= 1.0 - 0.35 * np.exp(-1.4 * q)
        for c in range(3):
            rgb[c] = background[c] * edge * lit
        return 0
    px, py, pz = ox + t * dx, oy + t * dy, oz + t * dz
    lit = 1.0 - _shadow(solids, numbers, thing, light, px, py, pz)
    shine = numbers[thing, 5]
    diffuse = max(0.0, nx * light[0] + ny * light[1] + nz * light[2]) * lit
    # The light's reflection, and at grazing angles that of a bright sky.
    hx, hy, hz = light[0] - dx, light[1] - dy, light[2] - dz
    length = np.sqrt(hx * hx + hy * hy + hz * hz)
    facing = max(0.0, (nx * hx + ny * hy + nz * hz) / length)
    towards = max(0.0, -(nx * dx + ny * dy + nz * dz))
    gloss = shine * (0.9 * facing ** 60 * lit + 0.10 * facing ** 12 * lit + 0.22 * (1.0 - towards) ** 4)
    low = min(py / numbers[thing, 2], 1.0)
    band = int(py / numbers[thing, 2] / BAND) % 2
    ambient = (0.26 + 0.12 * ny) * (0.7 + 0.3 * low)
    for c in range(3):
        bounce = 0.10 * background[c] * max(0.0, 0.5 - 0.5 * ny)
        rgb[c] = colours[thing, band, c] * (ambient + 0.92 * diffuse + bounce) + gloss
    return 1 + thing * 16 + band * 8 + face


@njit(cache=True, fastmath=True)
def _render(solids, numbers, colours, background, light, pitch, glow, out):
    height, width = out.shape[:2]
    scale = 1.8 / 9.0 / (0.5 * min(height, width))
    reach = scale * 0.5 * np.sqrt(height * height + width * width)
    seen = np.empty((height, width), np.int64)
    linear = np.empty((height, width, 3))
    rgb = np.empty(3)
    for y in range(height):
        for x in range(width):
            u, v = (x + 0.5 - 0.5 * width) * scale, (0.5 * height - y - 0.5) * scale
            seen[y, x] = _shade(solids, numbers, colours, background, light, pitch, glow, u, v, reach, linear[y, x])
    n = 4  # where edges cross a pixel, 4·4 rays instead of one
    for y in range(height):
        for x in range(width):
            here = seen[y, x]
            if ((x > 0 and seen[y, x - 1] != here) or (x + 1 < width and seen[y, x + 1] != here)
                    or (y > 0 and seen[y - 1, x] != here) or (y + 1 < height and seen[y + 1, x] != here)):
                for c in range(3):
                    linear[y, x, c] = 0.0
                for i in range(n):
                    for j in range(n):
                        u = (x + (j + 0.5) / n - 0.5 * width) * scale
                        v = (0.5 * height - y - (i + 0.5) / n) * scale
                        _shade(solids, numbers, colours, background, light, pitch, glow, u, v, reach, rgb)
                        for c in range(3):
                            linear[y, x, c] += min(rgb[c], 1.2) / (n * n)
            for c in range(3):
                out[y, x, c] = np.uint8(255.0 * min(max(linear[y, x, c], 0.0), 1.0) ** (1.0 / GAMMA) + 0.5)
