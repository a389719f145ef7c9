//! What is in a picture: a solid of some colour in front of some background.
//!
//! In linear light, a picture of one solid is a sum: the solid's colour times how it is lit, the shine on it, and the
//! background's colour times how the floor is lit. `templates.png` has these three for each solid in some views (see
//! models/demo/train/templates.py). The rest is least squares: the solid is the one whose lights come nearest to the
//! picture, its colour their coefficients. Nothing is cut out, so a shadow is not taken for a solid, nor shade or shine
//! for its colour, and white on white is seen as people see it: by its light.

use std::path::{Path, PathBuf};
use image::imageops::crop_imm;
use txt2img::output::Picture;

/// As the rows of `templates.png`.
pub const SOLIDS: [&str; 6] = ["cube", "ball", "pyramid", "cone", "cylinder", "ring"];

/// Of models/demo/train/render.py, in sRGB.
pub const COLOURS: [(&str, [f32; 3]); 12] = [
    ("red", [0.84, 0.09, 0.09]),
    ("orange", [0.96, 0.47, 0.04]),
    ("yellow", [0.97, 0.86, 0.10]),
    ("green", [0.10, 0.60, 0.18]),
    ("turquoise", [0.10, 0.76, 0.74]),
    ("blue", [0.10, 0.22, 0.84]),
    ("purple", [0.46, 0.13, 0.70]),
    ("pink", [0.98, 0.48, 0.72]),
    ("brown", [0.42, 0.23, 0.11]),
    ("white", [0.94, 0.94, 0.94]),
    ("grey", [0.50, 0.50, 0.50]),
    ("black", [0.15, 0.15, 0.16]),
];

const GAMMA: f32 = 2.2;
/// Pixels along a side of what is compared. Enough to tell the solids; noise and unsharp edges are averaged away.
const SIDE: usize = 32;
/// Where the solids stand in their templates; about this point a picture grows with its solid.
const FOOT: [f32; 2] = [0.5 * SIDE as f32, 0.712 * SIDE as f32];
/// How much brighter the middle of a background is than its corners.
const GLOW: f32 = 0.08;

/// What a picture shows.
#[derive(Debug)]
pub struct Seen {
    pub solid: &'static str,
    pub colour: &'static str,
    pub background: &'static str,
    /// The share of what is not background that is not such a solid either: little is right, 1 is anything else.
    #[allow(dead_code)] // the bench does not ask
    pub misfit: f32,
}

pub struct Matcher {
    /// By solid.
    templates: Vec<Vec<Template>>,
}

/// The light of the solid, its shine and the light of the floor, as if they were red, green and blue.
struct Template(Map);

/// Red, green and blue by pixel, in linear light.
type Map = Vec<[f32; 3]>;

/// A picture's light, and how much an error matters at each pixel.
struct View {
    light: Map,
    weights: Vec<f32>,
}

/// How a template lies on a picture: moved by some pixels, and grown.
#[derive(Clone, Copy)]
struct Place([f32; 3]);

/// The sum of a template's three lights that is nearest to a picture.
#[derive(Clone, Copy)]
struct Fit {
    place: Place,
    error: f32,
    /// The solid's, by channel.
    colour: [f32; 3],
}

impl Matcher {
    /// Knows what is in `templates.png`.
    pub fn new() -> Self {
        let sheet = tiles("templates.png", SOLIDS.len());
        let views = sheet.chunks(sheet.len() / SOLIDS.len());
        Self { templates: views.map(|views| views.iter().map(Template::new).collect()).collect() }
    }

    /// The best explanation of a square picture.
    pub fn look(&self, picture: &Picture) -> Seen {
        let view = View::new(picture);
        let (solid, best) = self.nearest(&view, Place::HOME);
        let empty = view.fit(&Template::empty(), Place::HOME);
        Seen {
            solid,
            colour: name(best.colour.map(srgb)),
            background: name(view.border().map(srgb)),
            misfit: best.error / empty.error,
        }
    }

    /// Solid and colour of the left and of the right one of two in a square picture.
    pub fn look_at_two(&self, picture: &Picture) -> [[&'static str; 2]; 2] {
        [Place::LEFT, Place::RIGHT].map(|place| {
            let (solid, best) = self.nearest(&View::new(picture).half(place), place);
            [solid, name(best.colour.map(srgb))]
        })
    }

    fn nearest(&self, view: &View, home: Place) -> (&'static str, Fit) {
        let fits = self.templates.iter().map(|templates| view.best(templates, home));
        SOLIDS.into_iter().zip(fits).min_by(|a, b| a.1.error.total_cmp(&b.1.error)).expect("six solids")
    }
}

impl Template {
    fn new(tile: &Picture) -> Self {
        // White is lit to more than 1, and its light and shine are stored at half strength.
        Self(reduced(tile).into_iter().map(|[light, shine, floor]| [2. * light, 2. * shine, floor]).collect())
    }

    /// A floor, and nothing on it.
    fn empty() -> Self {
        Self(vec![[0., 0., 1.]; SIDE * SIDE])
    }

    /// Between the pixels; nothing but floor beyond them.
    fn at(&self, place: Place, x: usize, y: usize) -> [f32; 3] {
        let [right, down, size] = place.0;
        let x = FOOT[0] + (x as f32 + 0.5 - FOOT[0] - right) / size - 0.5;
        let y = FOOT[1] + (y as f32 + 0.5 - FOOT[1] - down) / size - 0.5;
        let inner = 0. ..(SIDE - 1) as f32;
        if !inner.contains(&x) || !inner.contains(&y) {
            return [0., 0., 1.];
        }
        let corner = y as usize * SIDE + x as usize;
        let [upper, lower] = [&self.0[corner..corner + 2], &self.0[corner + SIDE..corner + SIDE + 2]];
        let between = |a: f32, b: f32, share: f32| a + (b - a) * share;
        std::array::from_fn(|part| {
            let across = |row: &[[f32; 3]]| between(row[0][part], row[1][part], x.fract());
            between(across(upper), across(lower), y.fract())
        })
    }
}

impl Place {
    const HOME: Self = Self([0., 0., 1.]);
    /// Where render.py puts two.
    const LEFT: Self = Self([-7., 0., 0.76]);
    const RIGHT: Self = Self([7., 0., 0.76]);

    /// One step along each axis, both ways.
    fn around(self, step: f32) -> impl Iterator<Item = Self> {
        let steps = [step, step, 0.08 * step];
        (0..6).map(move |way| {
            let mut place = self;
            place.0[way / 2] += if way % 2 == 0 { steps[way / 2] } else { -steps[way / 2] };
            place
        })
    }
}

impl View {
    fn new(picture: &Picture) -> Self {
        let light = reduced(picture);
        // As for the eye, a difference is as large as its share of what is there.
        let weights = light.iter().map(|[r, g, b]| 3. / (r + g + b + 0.03)).collect();
        Self { light, weights }
    }

    /// Blind to the other half.
    fn half(mut self, Place([right, ..]): Place) -> Self {
        for (at, weight) in self.weights.iter_mut().enumerate() {
            if (at % SIDE >= SIDE / 2) != (right > 0.) {
                *weight = 0.;
            }
        }
        self
    }

    /// Of the views of one solid.
    fn best(&self, templates: &[Template], home: Place) -> Fit {
        let nearest = |place| {
            let fits = templates.iter().map(|template| self.fit(template, place)).zip(templates);
            let (fit, template) = fits.min_by(|a, b| a.0.error.total_cmp(&b.0.error)).expect("a view of each solid");
            self.moved(template, fit)
        };
        // Where the solid is and which way it is turned, again with the one better known.
        nearest(nearest(home).place)
    }

    /// From `best` on downhill.
    fn moved(&self, template: &Template, mut best: Fit) -> Fit {
        let mut step = 1.;
        while step > 0.1 {
            let nearest = best.place.around(step).map(|place| self.fit(template, place));
            let nearest = nearest.min_by(|a, b| a.error.total_cmp(&b.error)).expect("six neighbours");
            if nearest.error < best.error {
                best = nearest;
            } else {
                step /= 2.;
            }
        }
        best
    }

    /// Weighted least squares by the normal equations, for each channel on its own.
    fn fit(&self, template: &Template, place: Place) -> Fit {
        let (mut products, mut sides, mut square) = ([[0.; 3]; 3], [[0.; 3]; 3], 0.);
        for (at, (light, weight)) in self.light.iter().zip(&self.weights).enumerate() {
            let (x, y) = (at % SIDE, at / SIDE);
            let [colour, shine, floor] = template.at(place, x, y);
            let parts = [colour, shine, floor * glow(x, y)];
            for i in 0..3 {
                for j in 0..3 {
                    products[i][j] += weight * parts[i] * parts[j];
                    sides[i][j] += weight * light[i] * parts[j];
                }
                square += weight * light[i] * light[i];
            }
        }
        // An empty floor has no solid whose colour could be solved for.
        (0..3).for_each(|i| products[i][i] += 0.01);
        let sums = sides.map(|side| solve(products, side));
        let explained: f32 = sides.iter().flatten().zip(sums.iter().flatten()).map(|(side, sum)| side * sum).sum();
        Fit { place, error: square - explained, colour: sums.map(|[colour, ..]| colour) }
    }

    /// The median along the edges.
    fn border(&self) -> [f32; 3] {
        let inside = 2..SIDE - 2;
        let edge = |at: &usize| !inside.contains(&(at % SIDE)) || !inside.contains(&(at / SIDE));
        std::array::from_fn(|channel| {
            let mut values: Vec<f32> = (0..SIDE * SIDE).filter(edge).map(|at| self.light[at][channel]).collect();
            values.sort_by(f32::total_cmp);
            values[values.len() / 2]
        })
    }
}

pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/demo").join(name)
}

/// The square pictures of a sheet with so many rows, row by row.
pub fn tiles(sheet: &str, rows: usize) -> Vec<Picture> {
    let sheet = image::open(file(sheet)).unwrap().into_rgb8();
    let side = sheet.height() / rows as u32;
    let mut tiles = vec![];
    for y in (0..sheet.height()).step_by(side as usize) {
        for x in (0..sheet.width()).step_by(side as usize) {
            let rgb = crop_imm(&sheet, x, y, side, side).to_image().into_raw();
            tiles.push(Picture { width: side as usize, height: side as usize, rgb });
        }
    }
    tiles
}

/// A picture's light at SIDE×SIDE.
fn reduced(picture: &Picture) -> Map {
    assert!(
        picture.width == picture.height && picture.width.is_multiple_of(SIDE),
        "{}×{}",
        picture.width,
        picture.height
    );
    let shrink = picture.width / SIDE;
    let levels: Vec<f32> =
        (0..=255).map(|level| (level as f32 / 255.).powf(GAMMA) / (shrink * shrink) as f32).collect();
    let mut map = vec![[0.; 3]; SIDE * SIDE];
    for (at, pixel) in picture.rgb.chunks(3).enumerate() {
        let (x, y) = (at % picture.width / shrink, at / picture.width / shrink);
        for (sum, level) in map[y * SIDE + x].iter_mut().zip(pixel) {
            *sum += levels[usize::from(*level)];
        }
    }
    map
}

fn glow(x: usize, y: usize) -> f32 {
    let [u, v] = [x, y].map(|i| 2. * (i as f32 + 0.5) / SIDE as f32 - 1.);
    1. + GLOW * (1. - u * u - v * v)
}

fn srgb(light: f32) -> f32 {
    light.max(0.).powf(1. / GAMMA)
}

/// Of the nearest colour.
fn name(srgb: [f32; 3]) -> &'static str {
    let distance = |colour: &[f32; 3]| colour.iter().zip(srgb).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
    COLOURS.iter().min_by(|a, b| distance(&a.1).total_cmp(&distance(&b.1))).expect("twelve colours").0
}

/// x of a·x = b, for a symmetric positive a.
fn solve(mut a: [[f32; 3]; 3], mut b: [f32; 3]) -> [f32; 3] {
    for i in 0..3 {
        for j in i + 1..3 {
            let factor = a[j][i] / a[i][i];
            (i..3).for_each(|k| a[j][k] -= factor * a[i][k]);
            b[j] -= factor * b[i];
        }
    }
    for i in (0..3).rev() {
        let known: f32 = (i + 1..3).map(|k| a[i][k] * b[k]).sum();
        b[i] = (b[i] - known) / a[i][i];
    }
    b
}
