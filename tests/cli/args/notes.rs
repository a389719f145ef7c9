//! Notes on flags without effect.

use crate::support::{TestRun, stderr};

#[track_caller]
fn notes(flags: &[&str], note: &str) {
    let message = stderr(&TestRun::new().quick(flags).ok());
    assert!(message.contains(&format!("note: {note}")), "{message}");
}

#[test]
fn flags_without_effect_get_a_note() {
    notes(&["--scale", "1", "--negative_prompt", "a ball"], "--negative_prompt has no effect at --scale 1");
    notes(
        &["--skip_grid", "--n_rows", "2", "--grid_every", "3"],
        "--n_rows and --grid_every have no effect with --skip_grid",
    );
    notes(&["--skip_save", "--fname", "{seed}"], "--fname has no effect with --skip_save");
    notes(&["--safety", "off", "--safety_ckpt", "."], "--safety_ckpt has no effect with --safety off");
    notes(&["--sampler", "euler", "--ddim_eta", "1"], "--ddim_eta has no effect with samplers other than ddim and tcd");
    notes(&["--plms", "--schedule", "discrete"], "--schedule has no effect with this sampler");
    notes(&["--plms", "--dpm_solver"], "--plms has no effect with --dpm_solver");
    notes(&["--fixed_code", "--seed_mode", "per_image"], "--fixed_code has no effect with --seed_mode per_image");
    notes(&["--deepcache", "2", "--ddim_steps", "1"], "--deepcache has no effect with a single step");
    notes(&["--scale", "3", "--sweep", "scale=1,2"], "--scale has no effect with --sweep, which sets it");
    notes(&["--sweep", "scale=1,2"], "--n_iter and --n_samples have no effect with --sweep");
}

#[test]
fn flags_with_an_effect_get_none() {
    for flags in [
        &["--negative_prompt", "a ball", "--n_rows", "1", "--grid_every", "1", "--fname", "{index}", "--format", "jpg"]
            [..],
        &["--ddim_eta", "1", "--seed_mode", "stream", "--fixed_code", "--prompt", "a ball"],
        &["--sampler", "euler", "--schedule", "karras"],
        &["--plms", "--ddim_steps", "1", "--deepcache", "2"],
        &["--webui_prompts", "--prompt", "a cube :0.5", "--scale", "1", "--negative_prompt", "a ball"],
    ] {
        let message = stderr(&TestRun::new().quick(flags).ok());
        assert!(!message.contains("no effect"), "{message}");
    }
}

#[test]
fn a_prompt_beside_a_file_and_blank_lines_get_notes() {
    let run = TestRun::new().file("p.txt", "a\n\n \nb\n");
    let message = stderr(&run.quick(["--from-file", "p.txt", "--prompt", "c"]).ok());
    assert!(message.contains("note: --prompt has no effect with --from-file\n"), "{message}");
    assert!(message.contains("note: 2 prompts in 'p.txt' are blank; they are drawn like the others"), "{message}");
}

#[test]
fn a_misspelt_instruction_set_gets_a_note() {
    let run = TestRun::new();
    for (name, note) in [("avx3", "is not an instruction set (use portable"), ("portable", ""), ("", "")] {
        let mut drawn = run.quick(["--skip_grid"]);
        drawn.0.env("TXT2IMG_ISA", name);
        let message = stderr(&drawn.ok());
        assert_eq!(message.contains("TXT2IMG_ISA"), !note.is_empty(), "{message}");
        assert!(message.contains(note), "{message}");
    }
}
