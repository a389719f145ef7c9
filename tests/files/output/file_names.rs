//! File names by a pattern (`--fname`).

use super::outdir::{Outdir, save, save_as};
use super::{flat, load};
use serde_json::json;
use txt2img::diffusion::deep_cache::DeepCache;
use txt2img::diffusion::guidance::Interval;
use txt2img::diffusion::samplers::{Kind, SamplerConfig, Spacing};
use txt2img::output::{Borders, NameFields, Pattern, Record};
use txt2img::params::{Hires, HiresSize, LoraChoice, MaskFill, SamplingParams, Upscaler};

const PARAMS: SamplingParams = SamplingParams {
    height: 512,
    width: 768,
    factor: 8,
    scale: 7.5,
    guidance_rescale: 0.,
    guidance_interval: Interval { from: 0., to: 1. },
    deepcache: DeepCache { every: 1, branch: 0 },
    clip_skip: 1,
    init_img: None,
    mask: None,
    mask_blur: 0.,
    mask_fill: MaskFill::Original,
    outpaint: Borders { left: 0, top: 0, right: 0, bottom: 0 },
    hires: Hires { size: HiresSize::Factor(1.), strength: 0.75, steps: 0, sampler: None, upscaler: Upscaler::Latent },
    sampler: SamplerConfig { kind: Kind::EulerA, steps: 50, eta: 0., spacing: Spacing::Discrete, strength: None },
    loras: vec![],
    lora_weight: 1.,
};

const CUBE: NameFields = NameFields { seed: 42, prompt: "a pink cube", params: PARAMS, hash: "6ce0161689" };

fn name(pattern: &str, prompt: &str) -> String {
    Pattern::parse(pattern).unwrap().name(7, &NameFields { prompt, ..CUBE })
}

fn refusal(pattern: &str) -> String {
    Pattern::parse(pattern).unwrap_err().to_string()
}

#[test]
fn every_placeholder_is_filled_in() {
    let pattern = "{index}-{seed}-{prompt}-{sampler}-{steps}-{scale}-{hash}";
    assert_eq!(name(pattern, "a pink cube"), "00007-42-a_pink_cube-euler_a-50-7.5-6ce0161689");
    assert_eq!(name("{width}x{height}-{eta}-{schedule}", ""), "768x512-0-discrete");
}

#[test]
fn doubled_braces_are_braces() {
    assert_eq!(name("{{{seed}}} }}{{seed}}", ""), "{42} }{seed}");
}

#[test]
fn a_pattern_is_written_as_it_was_given() {
    for pattern in ["{index}", "{{{seed}}} }}{{seed}}", "a-{prompt}-{sampler}-{steps}-{scale}-{hash}"] {
        assert_eq!(Pattern::parse(pattern).unwrap().to_string(), pattern);
    }
}

#[test]
fn scales_have_no_needless_places() {
    let params = |scale| SamplingParams { scale, ..PARAMS };
    let of = |scale| Pattern::parse("{scale}").unwrap().name(0, &NameFields { params: params(scale), ..CUBE });
    assert_eq!([of(10.), of(7.25), of(-1.)], ["10", "7.25", "-1"]);
}

#[test]
fn prompts_are_made_safe() {
    for (prompt, safe) in [
        ("a  cat\n\tand a dog ", "a_cat_and_a_dog"),
        ("../../etc/passwd", "etc_passwd"),
        (r"C:\temp\*.png", "C__temp__.png"),
        ("<what> \"is\" a|b?", "what___is__a_b"),
        ("...hidden...", "hidden"),
        ("bell\u{7} and \u{85}next\u{2028}line", "bell__and_next_line"),
        ("ein schönes Bild, 猫", "ein_schönes_Bild,_猫"),
        ("{seed}", "{seed}"),
    ] {
        assert_eq!(name("{prompt}", prompt), safe, "{prompt:?}");
    }
}

#[test]
fn no_name_is_that_of_a_device() {
    for device in ["CON", "con", "Nul", "aux.txt", "COM1", "lpt9", "lpt³", "COM0.tar.gz", "conin$"] {
        assert_eq!(name("{prompt}", device), format!("_{device}"));
    }
    for harmless in ["CONE", "COM", "COM10", "a CON", "console"] {
        assert_eq!(name("{prompt}", harmless), harmless.replace(' ', "_"));
    }
    assert_eq!(name("{seed}-{prompt}", "CON"), "42-CON");
    assert_eq!(name("PRN", ""), "_PRN");
}

#[test]
fn what_is_around_placeholders_is_made_safe_too() {
    assert_eq!(name(" .my: {seed}?. ", ""), "my_ 42_");
    let named = NameFields { hash: "a/b..\\c", ..CUBE };
    assert_eq!(Pattern::parse("{hash}").unwrap().name(0, &named), "a_b.._c");
}

#[test]
fn a_name_with_nothing_in_it_is_the_number() {
    assert_eq!(name("{prompt}", ""), "00007");
    assert_eq!(name("{prompt}.", " ... "), "00007");
}

#[test]
fn long_prompts_are_shortened_and_nothing_else() {
    for letter in ["a", "é", "猫", "🐈"] {
        let name = name("{index}-{prompt}-{seed}-{hash}", &letter.repeat(1000));
        assert!(name.starts_with(&format!("00007-{letter}")) && name.ends_with(&format!("{letter}-42-6ce0161689")));
        assert!((180..=184).contains(&name.len()), "{name}");
    }
}

#[test]
fn two_prompts_share_the_room() {
    let name = name("{prompt}+{prompt}", &"猫".repeat(100));
    let (left, right) = name.split_once('+').unwrap();
    assert_eq!(left, right);
    assert!((170..=184).contains(&name.len()), "{name}");
}

#[test]
fn no_pattern_makes_a_name_too_long() {
    for pattern in ["é".repeat(500), "{hash}".repeat(50), "{prompt}".repeat(300), format!("con.{}", "x".repeat(500))] {
        assert!((5..=185).contains(&name(&pattern, &"🐈".repeat(500)).len()), "{pattern}");
    }
}

#[test]
fn a_shortened_prompt_ends_in_no_space() {
    let cats = "a ".repeat(500);
    assert!(name("{prompt}", &cats).ends_with("_a"));
    assert!(name("x{prompt}", &cats).ends_with("_a"));
}

#[test]
fn impossible_patterns_are_refused() {
    const KNOWN: &str = "write a name with any of {seed} {index} {prompt} {hash} {height} {width} {steps} {scale} {guidance_rescale} \
                         {guidance_interval} {deepcache} {clip_skip} {init_img} {strength} {mask} {mask_blur} {mask_fill} {outpaint} {sampler} {eta} {schedule} {hires} {hires_strength} {hires_steps} {hires_sampler} {hires_upscaler} {loras} {lora_weight}, and {{ or }} for a brace itself";
    let (long, hashes) = ("x".repeat(178) + "{index}", "{hash}".repeat(18) + "{index}");
    assert!(name(&long[1..], "").ends_with("00007"));
    for (pattern, fault) in [
        (&*long, "its {index} has no room in the 184 bytes of a name"),
        (&*hashes, "its {index} has no room in the 184 bytes of a name"),
        ("{seeed}", "there is no {seeed}"),
        ("{}", "there is no {}"),
        ("{Seed}", "there is no {Seed}"),
        ("{seed:05}", "there is no {seed:05}"),
        ("{a{seed}", "there is no {a{seed}"),
        ("x{seed", "'{seed' is never closed"),
        ("{index}{", "'{' is never closed"),
        ("seed}", "a '}' has no '{' before it"),
        ("{{{{}", "a '}' has no '{' before it"),
        ("cats/{index}", "file names cannot contain / or \\"),
        (r"cats\{index}", "file names cannot contain / or \\"),
        ("..", "it needs more than dots and spaces"),
        (" . ", "it needs more than dots and spaces"),
        ("", "it needs more than dots and spaces"),
    ] {
        assert_eq!(refusal(pattern), format!("{fault}; {KNOWN}"), "{pattern}");
    }
}

#[test]
fn loras_are_named_without_their_folders_and_in_60_bytes() {
    let lora = |name: &str| LoraChoice { name: name.into(), text: 0.5, unet: 0.5 };
    let name = |loras| {
        let params = SamplingParams { loras, ..PARAMS };
        Pattern::parse("{index}-{loras}").unwrap().name(7, &NameFields { params, ..CUBE })
    };
    assert_eq!(name(vec![lora("loras/ink.safetensors"), lora(r"D:\loras\oil")]), "00007-ink.safetensors=0.5+oil=0.5");
    assert_eq!(name(vec![lora(&"x".repeat(100))]), format!("00007-{}", "x".repeat(60)));
}

#[test]
fn a_record_names_its_picture() {
    let place = json!({ "position": 0, "of": 1 });
    let record = json!({
        "version": "", "prompt": "a pink cube", "origin": { "seed": 42, "start": place, "steps": null, "index": 0 },
        "rng": "", "sampler": "euler_a", "schedule": "discrete", "steps": 50, "eta": 0.0, "scale": 7.5, "latent_width": 96,
        "latent_height": 64, "width": 768, "height": 512, "model": "", "products": "", "watermark": false,
    });
    let mut record: Record = serde_json::from_value(record).unwrap();
    assert_eq!(record.name_fields(), NameFields { hash: "", ..CUBE });
    record.model_hash = Some(CUBE.hash.repeat(3));
    assert_eq!(record.name_fields(), CUBE);
}

#[test]
fn samples_are_named_by_the_pattern() {
    let outdir = Outdir::with(&["samples/00000.png", "samples/notes"]);
    let mut folder = outdir.open_named("{index}-{prompt}");
    save_as(&mut folder, &flat(8, 8, 1), &CUBE).unwrap();
    save_as(&mut folder, &flat(8, 8, 2), &NameFields { prompt: "a red cone", ..CUBE }).unwrap();
    folder.save_grid(&flat(8, 8, 3)).unwrap();
    let expected =
        ["grid-0000.png", "samples/00000.png", "samples/00002-a_pink_cube.png", "samples/00003-a_red_cone.png"];
    assert_eq!(outdir.files(), [&expected[..], &["samples/notes"]].concat());
}

#[test]
fn a_taken_name_gets_a_number() {
    let outdir = Outdir::with(&["samples/a_pink_cube.png"]);
    for level in 2..5 {
        let path = save_as(&mut outdir.open_named("{prompt}"), &flat(8, 8, level), &CUBE).unwrap();
        assert_eq!(path, outdir.path().join(format!("samples/a_pink_cube-{level}.png")));
        assert_eq!(load(path), flat(8, 8, level));
    }
    assert!(outdir.is_old("samples/a_pink_cube.png"));
}

#[test]
fn a_sample_named_like_a_sweep_counts() {
    let outdir = Outdir::new();
    let sweeper = NameFields { prompt: "sweep-0001", ..CUBE };
    save_as(&mut outdir.open_named("{prompt}"), &flat(8, 8, 1), &sweeper).unwrap();
    assert!(save(&mut outdir.open(), &flat(8, 8, 1)).unwrap().ends_with("samples/00001.png"));
}

#[test]
fn the_longest_names_can_be_written_and_taken() {
    let outdir = Outdir::new();
    let prompt = "猫".repeat(500);
    for _ in 0..12 {
        let path = save_as(&mut outdir.open_named("{prompt}"), &flat(8, 8, 1), &NameFields { prompt: &prompt, ..CUBE })
            .unwrap();
        assert!(path.file_name().unwrap().len() <= 200);
    }
    assert_eq!(outdir.files().len(), 12);
}
