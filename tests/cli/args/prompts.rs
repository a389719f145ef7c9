//! `--prompt` and `--from-file`.

use crate::support::{TestRun, notes, read_png};

/// Returns the pixels of the picture of one prompt.
fn picture(prompt: &str) -> Vec<u8> {
    let run = TestRun::new();
    run.quick(["--prompt", prompt, "--fixed_code"]).ok();
    read_png(&run.path("out/samples/00000.png")).rgb
}

/// Returns the pictures of `p.txt`, drawn from the same noise as `picture`.
fn pictures(run: &TestRun, n: usize) -> Vec<Vec<u8>> {
    run.quick(["--from-file", "p.txt", "--fixed_code", "--skip_grid"]).ok();
    (0..n).map(|i| read_png(&run.path(&format!("out/samples/{i:05}.png"))).rgb).collect()
}

#[test]
fn each_line_is_a_prompt_even_a_blank_one() {
    let run = TestRun::new().file("p.txt", "a cube\r\n\na ball");
    assert_eq!(pictures(&run, 3), [picture("a cube"), picture(""), picture("a ball")]);
    assert_eq!(run.files().len(), 3);
}

#[test]
fn a_short_last_batch_draws_what_it_has() {
    let run = TestRun::new().file("p.txt", "a\nb\nc\n");
    run.quick(["--from-file", "p.txt", "--n_samples", "2", "--n_iter", "2", "--skip_grid"]).ok();
    assert_eq!(run.files().len(), 6);
}

#[test]
fn a_file_shorter_than_a_batch_draws_what_it_has() {
    let run = TestRun::new().file("p.txt", "a\nb");
    run.quick(["--from-file", "p.txt", "--n_samples", "1000000", "--skip_grid"]).ok();
    assert_eq!(run.files().len(), 2);
}

#[test]
fn a_dash_is_standard_input() {
    let run = TestRun::new();
    run.quick(["--from-file", "-", "--skip_grid"]).reads("a\nb\nc\n").ok();
    assert_eq!(run.files().len(), 3);
}

#[test]
fn cut_words_are_noted_once() {
    let prompt = format!("{} a sunken ship", "red ".repeat(74));
    let run = TestRun::new();
    let message = notes(&run.quick(["--prompt", &prompt, "--n_iter", "2", "--skip_watermark"]).ok());
    assert_eq!(
        message,
        "note: a prompt is longer than the 75 tokens that CLIP reads; the rest is ignored: sunken ship\n"
    );
}

#[test]
fn cut_words_do_not_change_the_picture() {
    let full = "red ".repeat(75);
    assert_eq!(picture(&full), picture(&format!("{full} and blue")));
}

/// Returns the pixels of the picture of a prompt with these flags.
fn drawn(prompt: &str, flags: &[&str]) -> Vec<u8> {
    let run = TestRun::new();
    run.quick([&["--prompt", prompt], flags].concat()).ok();
    read_png(&run.path("out/samples/00000.png")).rgb
}

#[test]
fn a_negative_prompt_replaces_the_empty_prompt_of_guidance() {
    let plain = drawn("a cube", &[]);
    assert_ne!(drawn("a cube", &["--negative_prompt", "a ball"]), plain);
    assert_eq!(drawn("a cube", &["--negative_prompt", ""]), plain);
    assert_eq!(drawn("a cube", &["--negative_prompt", "a ball", "--scale", "1"]), drawn("a cube", &["--scale", "1"]));
}

#[test]
fn without_their_flags_brackets_and_braces_are_text() {
    assert_ne!(drawn("a (red:1.3) cube", &[]), drawn("a (red:1.3) cube", &["--emphasis"]));
    assert_ne!(drawn("a {red} cube", &[]), drawn("a {red} cube", &["--wildcards"]));
    assert_eq!(drawn("a red cube", &["--emphasis", "--wildcards", "--long_prompt"]), drawn("a red cube", &[]));
}

#[test]
fn a_long_prompt_is_read_completely() {
    let long = format!("{}ship", "red ".repeat(75));
    let run = TestRun::new();
    assert_eq!(notes(&run.quick(["--prompt", &long, "--long_prompt", "--skip_watermark"]).ok()), "");
    assert_ne!(drawn(&long, &["--long_prompt"]), drawn(&long, &[]));
}

#[test]
fn wildcards_are_chosen_for_every_picture() {
    let run = TestRun::new();
    run.quick(["--prompt", "{a|b|c|d} cube", "--wildcards", "--n_samples", "9", "--fixed_code", "--skip_grid"]).ok();
    run.quick(["--prompt", "{a|b|c|d} cube", "--wildcards", "--n_samples", "9", "--fixed_code", "--skip_grid"]).ok();
    let picture = |i| read_png(&run.path(&format!("out/samples/{i:05}.png"))).rgb;
    assert!((0..9).all(|i| picture(i) == picture(i + 9)));
    run.quick(["--prompt", "a {cube", "--wildcards"]).is_misuse("never closed");
}

#[test]
fn the_wildcards_of_a_picture_with_its_own_seed_depend_on_it_alone() {
    let run = TestRun::new();
    let prompt = ["--prompt", "{a|b|c|d} cube", "--wildcards", "--seed_mode", "per_image"];
    run.quick([&prompt[..], &["--seed", "7", "--n_samples", "3", "--skip_grid"]].concat()).ok();
    for (i, seed) in [(0, "7"), (1, "8"), (2, "9")] {
        let picture = read_png(&run.path(&format!("out/samples/{i:05}.png"))).rgb;
        assert_eq!(picture, drawn(prompt[1], &["--wildcards", "--seed_mode", "per_image", "--seed", seed]));
    }
}

#[test]
fn the_syntax_of_the_web_ui_needs_its_flag() {
    for prompt in ["a [cube:ball:1]", "a [cube|ball]", "a cube AND a ball", "a BREAK cube", "a cube :0.5"] {
        assert_ne!(drawn(prompt, &["--webui_prompts"]), drawn(prompt, &["--emphasis", "--long_prompt"]), "{prompt}");
    }
    let plain = ["a (red:1.3) [cube], \\(big\\)", &format!("{}ship", "red ".repeat(75))];
    for prompt in plain {
        assert_eq!(drawn(prompt, &["--webui_prompts"]), drawn(prompt, &["--emphasis", "--long_prompt"]), "{prompt}");
    }
}

#[test]
fn wildcards_are_replaced_before_words_change() {
    let flags = ["--webui_prompts", "--wildcards"];
    assert_eq!(drawn("a [{cube}|{ball}] AND {[x:y:1]}", &flags), drawn("a [cube|ball] AND [x:y:1]", &flags[..1]));
}

#[test]
fn web_ui_prompts_do_not_depend_on_their_batch() {
    let lines =
        ["a [cube:ball:1]", "a cube AND a ball :0.7 AND fog", "a cube", "[a|b|c] BREAK cube", "[x|y] AND [y:x:1]"];
    let flags = ["--webui_prompts", "--seed_mode", "per_image", "--ddim_steps", "4", "--negative_prompt", "[fog|rain]"];
    let run = TestRun::new().file("p.txt", lines.join("\n"));
    run.quick([&["--from-file", "p.txt", "--n_samples", "5", "--skip_grid"], &flags[..]].concat()).ok();
    for (i, line) in lines.iter().enumerate() {
        let together = read_png(&run.path(&format!("out/samples/{i:05}.png"))).rgb;
        let seed = (42 + i).to_string();
        assert!(together == drawn(line, &[&flags[..], &["--seed", &seed]].concat()), "{line}");
    }
}

#[test]
fn weights_beyond_measure_are_refused_in_any_part_of_a_prompt() {
    let run = TestRun::new();
    for (prompt, reason) in [
        ("a AND b :2000", "the subprompt 'b' has a weight of 2000; the largest is 1000"),
        ("[a|(b:2000)]", "the brackets around 'b' give it a weight of 2000"),
        ("a AND [b:(c:2000):1]", "the brackets around 'c' give it a weight of 2000"),
    ] {
        run.quick(["--webui_prompts", "--prompt", prompt]).is_misuse(reason);
    }
    run.quick(["--webui_prompts", "--negative_prompt", "[a:(b:2000):1]"]).is_misuse("the brackets around 'b'");
}

#[test]
fn prompts_are_recorded_as_typed() {
    let run = TestRun::new();
    let prompt = "a [cube|ball] AND fog :0.5";
    run.quick(["--webui_prompts", "--prompt", prompt]).ok();
    let record = txt2img::output::record(&run.path("out/samples/00000.png")).unwrap();
    assert_eq!((&*record.prompt, record.webui_prompts), (prompt, true));
    assert!(record.parameters().starts_with(&format!("{prompt}\n")));
}

#[test]
fn flags_that_webui_prompts_includes_have_no_effect_beside_it() {
    let run = TestRun::new();
    let note = notes(&run.quick(["--webui_prompts", "--emphasis", "--long_prompt", "--skip_watermark"]).ok());
    assert_eq!(note, "note: --emphasis and --long_prompt have no effect with --webui_prompts, which includes them\n");
}
