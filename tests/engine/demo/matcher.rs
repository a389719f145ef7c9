//! A classifier of pictures: the solid, its colour and the background.
//!
//! In linear light, a picture of one solid is a sum of three terms: the solid's colour times its illumination, the
//! shine, and the background's colour times the illumination of the floor. `templates.png` has the three for each solid
//! in several views (see models/demo/train/templates.py). A least-squares fit finds the solid whose template is nearest
//! to the picture, and its colour from the coefficients. There is no segmentation, so shadows, shade and shine do not
//! mislead it, and a white solid on white is recognised by its shading.

use image::imageops::crop_imm;
use std::path::{Path, PathBuf};
use txt2img::output::Picture;

/// The solids, in the order of the rows of `templates.png`.
pub const SOLIDS: [&str; 6] = ["cube", "ball", "pyramid", "cone", "cylinder", "ring"];

/// The colours of models/demo/train/render.py, in sRGB.
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
/// The side of the compared pictures, in pixels: enough to distinguish the solids, and small enough to average noise
/// and blurred edges.
const SIDE: usize = 32;
/// The position of the solids in their templates, about which they are scaled.
const FOOT: [f32; 2] = [0.5 * SIDE as f32, 0.712 * SIDE as f32];
/// The brightness of the middle of a background, relative to its corners.
const GLOW: f32 = 0.08;

/// The content of a picture.
#[derive(Debug)]
pub struct Content {
    pub solid: &'static str,
    pub colour: &'static str,
    /// The fitted colour of the solid, in sRGB.
    #[allow(dead_code)] // the bench does not read it
    pub rgb: [f32; 3],
    pub background: &'static str,
    /// The unexplained share of the difference from an empty floor: small for a solid, near 1 for anything else.
    #[allow(dead_code)] // the bench does not read it
    pub misfit: f32,
}

/// The templates of all solids.
pub struct Matcher {
    /// The views of each solid.
    templates: Vec<Vec<Template>>,
}

/// The illumination of the solid, the shine, and the illumination of the floor, stored as red, green and blue.
struct Template(Map);

/// Red, green and blue of each pixel, in linear light.
type Map = Vec<[f32; 3]>;

/// A picture in linear light, and the weight of an error at each pixel.
struct View {
    light: Map,
    weights: Vec<f32>,
}

/// The placement of a template on a picture: the shift to the right and down, in pixels, and the scale.
#[derive(Clone, Copy)]
struct Place([f32; 3]);

/// The best fit of a template to a picture.
#[derive(Clone, Copy)]
struct Fit {
    place: Place,
    error: f32,
    /// The solid's colour, in linear light.
    colour: [f32; 3],
}

impl Matcher {
    /// Reads the templates.
    pub fn new() -> Self {
        let sheet = tiles("templates.png", SOLIDS.len());
        let views = sheet.chunks(sheet.len() / SOLIDS.len());
        Self { templates: views.map(|views| views.iter().map(Template::new).collect()).collect() }
    }

    /// Classifies a square picture of one solid.
    pub fn classify(&self, picture: &Picture) -> Content {
        let view = View::new(picture);
        let (solid, best) = self.nearest(&view, Place::HOME);
        let empty = view.fit(&Template::empty(), Place::HOME);
        Content {
            solid,
            colour: name(best.colour.map(srgb)),
            rgb: best.colour.map(srgb),
            background: name(view.border().map(srgb)),
            misfit: best.error / empty.error,
        }
    }

    /// Classifies a square picture of two solids: solid and colour of the left and of the right one.
    pub fn classify_two(&self, picture: &Picture) -> [[&'static str; 2]; 2] {
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
        // Illumination and shine are stored at half strength, as they may exceed 1.
        Self(reduced(tile).into_iter().map(|[light, shine, floor]| [2. * light, 2. * shine, floor]).collect())
    }

    /// Returns the template of an empty floor.
    fn empty() -> Self {
        Self(vec![[0., 0., 1.]; SIDE * SIDE])
    }

    /// Interpolates the template at a pixel of a picture; outside the template there is only floor.
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
    /// The placements of two solids by render.py.
    const LEFT: Self = Self([-7., 0., 0.76]);
    const RIGHT: Self = Self([7., 0., 0.76]);

    /// Returns the placements one step away along each axis.
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
        // As for the eye, differences count relative to the brightness.
        let weights = light.iter().map(|[r, g, b]| 3. / (r + g + b + 0.03)).collect();
        Self { light, weights }
    }

    /// Ignores the half opposite to the placement.
    fn half(mut self, Place([right, ..]): Place) -> Self {
        for (at, weight) in self.weights.iter_mut().enumerate() {
            if (at % SIDE >= SIDE / 2) != (right > 0.) {
                *weight = 0.;
            }
        }
        self
    }

    /// Returns the best fit among the views of one solid.
    fn best(&self, templates: &[Template], home: Place) -> Fit {
        let nearest = |place| {
            let fits = templates.iter().map(|template| self.fit(template, place)).zip(templates);
            let (fit, template) = fits.min_by(|a, b| a.0.error.total_cmp(&b.0.error)).expect("a view of each solid");
            self.moved(template, fit)
        };
        // A second pass chooses the view again, from the improved placement.
        nearest(nearest(home).place)
    }

    /// Improves the placement of a fit by descent.
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

    /// Fits a template by weighted least squares, with the normal equations of each channel.
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
        // Regularised, as the equations of an empty floor are singular.
        (0..3).for_each(|i| products[i][i] += 0.01);
        let sums = sides.map(|side| solve(products, side));
        let explained: f32 = sides.iter().flatten().zip(sums.iter().flatten()).map(|(side, sum)| side * sum).sum();
        Fit { place, error: square - explained, colour: sums.map(|[colour, ..]| colour) }
    }

    /// Returns the median colour along the edges.
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

/// Splits a sheet with `rows` rows into its square pictures, row by row.
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

/// Returns a picture in linear light, reduced to SIDE×SIDE.
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

/// Returns the name of the nearest colour.
fn name(srgb: [f32; 3]) -> &'static str {
    let distance = |colour: &[f32; 3]| colour.iter().zip(srgb).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
    COLOURS.iter().min_by(|a, b| distance(&a.1).total_cmp(&distance(&b.1))).expect("twelve colours").0
}

/// Solves a·x = b for a symmetric positive definite `a`.
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
