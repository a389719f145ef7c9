//! A folder of checkpoints in many forms, with an `expect.json`: `"same": "FILE …"` must draw the small model's
//! picture, `"rounded"` nearly that, `"other"` a different one; `"refused"` must be refused in one sentence; `"any"`
//! must be one of same and refused.
//!
//! `WILD_CHECKPOINTS=FOLDER cargo test --release --test files wild -- --ignored --nocapture` prints a table.

use super::*;
use std::io::Cursor;
use std::process::Output;

/// The largest mean difference, in levels of 255, with rounded weights. It is 0.9 for bf16, 8.6 for 8 bits, and 26 for
/// a wrong prediction type.
const ROUNDED: f64 = 12.;

/// Files with another expectation than in `expect.json`, and the reason.
const DELIBERATE: [(&str, &str); 4] = [
    // The weights are rounded from f16 to bf16.
    ("bf16.safetensors", "rounded"),
    // `position_ids` are not used, so rounding them has no effect.
    ("posbad.safetensors", "same"),
    // The small model's config says `use_ema: False`.
    ("with_ema.ckpt", "same"),
    // The guidance scale is an input of the UNet.
    ("lcm.safetensors", "refused"),
];

fn run(checkpoint: &Path, out: &Path) -> Output {
    let mut txt2img = Command::new(env!("CARGO_BIN_EXE_txt2img"));
    txt2img.arg("--config").arg(nano_path().with_extension("yaml")).arg("--ckpt").arg(checkpoint);
    txt2img.args(["--H", "64", "--W", "64", "--ddim_steps", "2", "--n_samples", "1", "--n_iter", "1"]);
    txt2img.args(["--no_metadata", "--safety", "off", "--outdir"]).arg(out).output().unwrap()
}

/// Returns the pixels of the picture, or the error.
fn outcome(checkpoint: &Path) -> Result<Vec<u8>, String> {
    let out = Folder::new();
    let output = run(checkpoint, out.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let sentences: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    match (output.status.code(), &sentences[..]) {
        (Some(0), []) => {
            let file = fs::read(out.path().join("samples/00000.png")).unwrap();
            Ok(image::load(Cursor::new(file), image::ImageFormat::Png).unwrap().into_rgb8().into_raw())
        }
        (Some(1), [sentence]) => Err(sentence.to_string()),
        _ => panic!("{}: {said}", checkpoint.display()),
    }
}

fn fits(expected: &str, outcome: &Result<Vec<u8>, String>, same: &[u8]) -> bool {
    let far = |rgb: &[u8]| rgb.iter().zip(same).filter(|(a, b)| a.abs_diff(**b) > 2).count() as f64 / same.len() as f64;
    let sum = |rgb: &[u8]| rgb.iter().zip(same).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>();
    let mean = |rgb: &[u8]| sum(rgb) / same.len() as f64;
    match (expected, outcome) {
        ("same", Ok(rgb)) => far(rgb) <= 0.001,
        ("rounded", Ok(rgb)) => mean(rgb) <= ROUNDED,
        ("other", Ok(rgb)) => rgb != same,
        ("any", Ok(rgb)) => rgb == same,
        ("any" | "refused", Err(_)) => true,
        _ => false,
    }
}

#[test]
#[ignore = "takes a folder of checkpoints, WILD_CHECKPOINTS"]
fn wild_checkpoints_are_drawn_or_refused_as_expected() {
    let folder = PathBuf::from(std::env::var_os("WILD_CHECKPOINTS").expect("WILD_CHECKPOINTS names a folder"));
    let expected: BTreeMap<String, String> =
        serde_json::from_slice(&fs::read(folder.join("expect.json")).unwrap()).unwrap();
    let same = outcome(&nano_path()).unwrap();
    let mut wrong = vec![];
    for (kind, files) in &expected {
        for file in files.split_whitespace() {
            let outcome = outcome(&folder.join(file));
            let kind = DELIBERATE.iter().find(|(name, _)| *name == file).map_or(kind.as_str(), |(_, kind)| *kind);
            let is_right = fits(kind, &outcome, &same);
            let what =
                outcome.map_or_else(|sentence| sentence, |rgb| if rgb == same { "same" } else { "other" }.into());
            println!("{}  {kind:8} {file}: {what}", if is_right { "ok   " } else { "WRONG" });
            if !is_right {
                wrong.push(file);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
