//! The accuracy of the demo model: every colour × every solid × four backgrounds at several scales, with its LoRA in
//! few steps, and pairs of solids, evaluated as in the tests. Prints a Markdown table; with FOLDER, also saves the pictures.
//!
//! `cargo bench --bench demo [-- FOLDER]`

#[path = "../tests/engine/demo/drawing.rs"]
mod drawing;
#[path = "../tests/engine/demo/matcher.rs"]
mod matcher;

use drawing::{Settings, every_scene, judge, judge_pairs, model, pairs, prompt, prompt_for_two, shares, with_lora};
use std::path::PathBuf;
use txt2img::diffusion::samplers::Kind;
use txt2img::output::grid;

fn main() -> anyhow::Result<()> {
    let folder = std::env::args().skip(1).find(|word| !word.starts_with("--")).map(PathBuf::from);
    let (model, scenes) = (model(), every_scene());
    let prompts: Vec<_> = scenes.iter().map(prompt).collect();
    let mut table = String::from("| scale | solid | colour | background |\n| ---: | ---: | ---: | ---: |\n");
    for scale in [1., 3., 5., 7.5] {
        let pictures = Settings { kind: Kind::DpmSolver, steps: 20, scale, seed: 42 }.draw(&model, &prompts);
        let [solid, colour, background] = shares(&judge(&pictures, &scenes)).map(|share| 100. * share);
        table += &format!("| {scale} | {solid:.1}% | {colour:.1}% | {background:.1}% |\n");
        if let Some(folder) = &folder {
            let grid = grid(&pictures, 24)?;
            std::fs::create_dir_all(folder)?;
            let path = folder.join(format!("scale-{scale}.png"));
            image::save_buffer(path, &grid.rgb, grid.width as u32, grid.height as u32, image::ColorType::Rgb8)?;
        }
    }
    let few = with_lora("lcm.safetensors", 1.);
    let mut few_table = String::from("| steps | solid | colour | background |\n| ---: | ---: | ---: | ---: |\n");
    for steps in [1, 2, 4, 8] {
        let pictures = Settings { kind: Kind::Lcm, steps, scale: 1., seed: 42 }.draw(&few, &prompts);
        let [solid, colour, background] = shares(&judge(&pictures, &scenes)).map(|share| 100. * share);
        few_table += &format!("| {steps} | {solid:.1}% | {colour:.1}% | {background:.1}% |\n");
    }
    let prompts: Vec<_> = pairs().iter().map(prompt_for_two).collect();
    let pictures = Settings { kind: Kind::DpmSolver, steps: 20, scale: 5., seed: 42 }.draw(&model, &prompts);
    let solids: Vec<_> = pairs().iter().map(|(solids, _)| *solids).collect();
    let [solid, colour] = shares(&judge_pairs(&pictures, &solids)).map(|share| 100. * share);
    println!("\nOf {} pictures, DPM-Solver, 20 steps, 256×256:\n\n{table}", scenes.len());
    println!("The same prompts with the LoRA for few steps, LCM, scale 1:\n\n{few_table}");
    println!("Of two solids in a picture, at scale 5: solid {solid:.1}%, colour {colour:.1}%");
    Ok(())
}
