//! `--lora`, `--lora_weight`, `--lora_dir` and tags in prompts: in runs, sweeps, metadata, resumption and replay.

use crate::support::{TestRun, fixture, notes, read_png, stderr, stdout};
use std::fs;
use txt2img::output::{self, LoraRecord};

const PICTURE: &str = "out/samples/00000.png";

/// The start of a command whose picture holds nothing but pixels.
const CUBE: [&str; 3] = ["--prompt", "a cube", "--no_metadata"];

/// A folder `loras` with files of several kinds, one of them in a subfolder.
fn run() -> TestRun {
    let run = TestRun::new();
    fs::create_dir_all(run.path("loras/style")).unwrap();
    for (kind, name) in [("locon", "locon"), ("peft", "peft"), ("loha", "style/loha")] {
        fs::copy(fixture(&format!("lora/{kind}.safetensors")), run.path(&format!("loras/{name}.safetensors"))).unwrap();
    }
    run
}

/// Returns the file of the picture that `--no_metadata` and these flags draw.
fn picture(flags: &[&str]) -> Vec<u8> {
    let run = run();
    run.quick([&CUBE, flags].concat()).ok();
    fs::read(run.path(PICTURE)).unwrap()
}

#[test]
fn loras_change_the_picture_by_their_weights() {
    let pictures = [
        picture(&[]),
        picture(&["--lora", "loras/locon.safetensors"]),
        picture(&["--lora", "loras/locon.safetensors=0.5"]),
        picture(&["--lora", "loras/locon.safetensors=1,0"]),
        picture(&["--lora", "loras/locon.safetensors=0,1"]),
        picture(&["--lora", "loras/locon.safetensors", "--lora", "loras/peft.safetensors"]),
    ];
    for (i, picture) in pictures.iter().enumerate() {
        assert!(!pictures[..i].contains(picture), "{i}");
    }
    assert!(picture(&["--lora", "loras/locon.safetensors", "--lora_weight", "0.5"]) == pictures[2]);
    assert!(picture(&["--lora", "loras/locon.safetensors=2,0", "--lora_weight", "0.5"]) == pictures[3]);
}

#[test]
fn weights_that_add_up_to_0_draw_the_picture_of_the_model() {
    let plain = picture(&[]);
    assert!(picture(&["--lora", "loras/locon.safetensors=0"]) == plain);
    assert!(picture(&["--lora", "loras/locon.safetensors", "--lora_weight", "0"]) == plain);
    let both = ["--lora", "loras/locon.safetensors=1", "--lora", "loras/locon.safetensors=-1"];
    assert!(picture(&both) == plain);
}

#[test]
fn a_lora_without_weight_is_noted() {
    let noted = |weights: &[&str]| {
        let run = run();
        let output = run.quick([&["--prompt", "a cube", "--lora", "loras/locon.safetensors"], weights].concat()).ok();
        notes(&output).contains("note: LoRA 'loras/locon.safetensors' has weight 0, so it does not change the model\n")
    };
    assert!(noted(&["--lora_weight", "0"]));
    assert!(!noted(&["--sweep", "lora_weight=0,1"]));
}

#[test]
fn a_lora_is_found_by_its_name_in_a_folder_and_its_subfolders() {
    let by_path = picture(&["--lora", "loras/style/loha.safetensors"]);
    for name in ["loha", "loha.safetensors", "loha=1"] {
        assert!(picture(&["--lora", name, "--lora_dir", "loras"]) == by_path, "{name}");
    }
}

#[test]
fn a_name_that_two_files_have_is_refused_unless_it_says_which() {
    let run = run();
    fs::create_dir(run.path("loras/old")).unwrap();
    fs::copy(run.path("loras/peft.safetensors"), run.path("loras/old/loha.pt")).unwrap();
    let lora = |name: &str| run.quick(["--lora_dir", "loras", "--lora", name]);
    lora("loha")
        .fails_with("LoRA name 'loha' is ambiguous: --lora_dir contains 'old/loha.pt' and 'style/loha.safetensors'");
    for name in ["style/loha", "style/loha.safetensors", "loha.safetensors"] {
        assert!(notes(&lora(name).ok()).contains("LoHa"), "{name}");
    }
}

#[test]
fn tags_name_only_files_of_the_folder() {
    let run = run();
    let tag = |tag: &str| run.quick(["--lora_dir", "loras", "--prompt", tag]);
    tag("a cube <lora:style/loha:1>").ok();
    tag("a cube <lora:owner/name:1>").fails_with("prompt 'a cube ': LoRA 'owner/name' was not found in 'loras'");
    tag("a cube <lora:style:1>").fails_with("LoRA 'style' was not found in 'loras'");
    // A folder of the same name does not hide a file.
    fs::create_dir(run.path("locon")).unwrap();
    tag("a cube <lora:locon:1>").ok();
    tag("a cube <lora:locon:1:2:3>").is_misuse("there are 3 weights; give at most two");
}

#[test]
fn tags_in_prompts_add_the_loras_of_a_folder() {
    let tagged = |tag: &str| {
        let run = run();
        run.quick(["--prompt", &format!("a cube{tag}"), "--no_metadata", "--lora_dir", "loras"]).ok();
        fs::read(run.path(PICTURE)).unwrap()
    };
    assert!(tagged("<lora:locon>") == picture(&["--lora", "loras/locon.safetensors"]));
    assert!(tagged("<lora:locon:0.5:0>") == picture(&["--lora", "loras/locon.safetensors=0.5,0"]));
    let two = ["--lora", "loras/locon.safetensors=0.5", "--lora", "loras/style/loha.safetensors=0.7"];
    assert!(tagged("<lora:locon:0.5><lora:loha:0.7>") == picture(&two));
}

#[test]
fn without_a_folder_a_tag_is_text_and_a_note_says_so() {
    let run = run();
    let said = notes(&run.quick(["--prompt", "a cube <lora:none:1>"]).ok());
    assert!(
        said.contains("a <lora:…> tag in a prompt is treated as text, as in the original; give --lora_dir DIR"),
        "{said}"
    );
}

#[test]
fn pictures_of_one_file_do_not_depend_on_the_loras_of_others() {
    let lines = [
        r#"{"prompt": "a cube", "seed": 7, "lora": "locon=0.8"}"#,
        r#"{"prompt": "a ball <lora:loha:0.5>", "seed": 7}"#,
        r#"{"prompt": "a cone", "seed": 8}"#,
        r#"{"prompt": "a cube", "seed": 9, "lora": ["locon=0.8"]}"#,
        r#"{"prompt": "a ring", "seed": 10, "lora": ["loha", "peft=0.3,0"], "lora_weight": 0.5}"#,
    ];
    let pictures = |lines: &[&str]| {
        let run = run().file("lines.jsonl", lines.join("\n"));
        let flags = ["--from-file", "lines.jsonl", "--lora_dir", "loras", "--n_samples", "3", "--no_metadata"];
        run.quick(flags).ok();
        let picture = |i: usize| fs::read(run.path(&format!("out/samples/{i:05}.png"))).unwrap();
        (0..lines.len()).map(picture).collect::<Vec<_>>()
    };
    let together = pictures(&lines);
    for (i, line) in lines.iter().enumerate() {
        assert!(pictures(&[line])[0] == together[i], "line {i}");
    }
}

#[test]
fn loras_and_their_weight_can_be_swept() {
    let run = run();
    let flags = ["--sweep", "lora=locon,peft", "--sweep", "lora_weight=0,0.5", "--lora_dir", "loras"];
    run.quick([&CUBE[..], &flags].concat()).ok();
    let cell = |i: usize| read_png(&run.path(&format!("out/samples/{i:05}.png")));
    assert!(cell(0) == cell(1) && cell(2) != cell(3) && cell(0) != cell(2));
    run.quick([&CUBE[..], &["--outdir", "plain"]].concat()).ok();
    assert!(cell(0) == read_png(&run.path("plain/samples/00000.png")));
}

#[test]
fn a_note_and_a_dry_run_report_what_a_lora_changes() {
    let run = run();
    let expected = "LoRA of rank 4 and alpha 2; changes";
    let flags = ["--lora", "locon=0.5", "--lora_dir", "loras"];
    let dry = stdout(&run.quick([&flags[..], &["--dry_run"]].concat()).ok());
    let drawn = notes(&run.quick(flags).ok());
    for said in [dry, drawn] {
        assert!(said.contains("locon") && said.contains("modules in the text encoder"), "{expected}: {said}");
    }
}

#[test]
fn metadata_name_the_loras_and_replay_finds_them_by_their_hash() {
    let run = run();
    run.quick([
        "--prompt",
        "a cube <lora:loha:0.5:1>",
        "--lora",
        "locon",
        "--lora_weight",
        "0.5",
        "--lora_dir",
        "loras",
    ])
    .ok();
    let record = output::record(&run.path(PICTURE)).unwrap();
    let names: Vec<String> = record.params.loras.iter().map(ToString::to_string).collect();
    assert_eq!((&*record.prompt, names), ("a cube ", vec!["locon=1".into(), "loha=0.5,1".into()]));
    let [LoraRecord { name, hash, sha256 }, _] = &record.lora_files[..] else { panic!("{:?}", record.lora_files) };
    assert_eq!((&**name, hash.len(), sha256.len()), ("locon", 12, 64));
    let text = record.parameters();
    assert!(text.starts_with("a cube  <lora:locon:0.5> <lora:loha:0.25:0.5>\nSteps: "), "{text}");
    assert!(text.contains(&format!(", Lora hashes: \"locon: {hash}, loha: ")), "{text}");

    let replay = ["--replay", PICTURE, "--outdir", "again"];
    let identical = |flags: &[&str]| {
        let said = stderr(&run.args([&replay[..], flags].concat()).ok());
        assert!(said.contains("redrawn: identical"), "{said}");
    };
    run.args(replay).fails_with(&format!(
        "'{PICTURE}' cannot be redrawn: its LoRA 'locon' (hash {hash}) was not found; give the file's folder with \
         --lora_dir"
    ));
    identical(&["--lora_dir", "loras"]);
    // A file is found under another name, and another file under the same name is not taken for it.
    fs::rename(run.path("loras/locon.safetensors"), run.path("loras/style/renamed.safetensors")).unwrap();
    identical(&["--lora_dir", "loras"]);
    fs::rename(run.path("loras/peft.safetensors"), run.path("loras/locon.safetensors")).unwrap();
    fs::remove_file(run.path("loras/style/renamed.safetensors")).unwrap();
    run.args([&replay[..], &["--lora_dir", "loras"]].concat()).fails_with("its LoRA 'locon'");
}

#[test]
fn a_resumed_run_has_the_same_loras() {
    let run = run();
    let flags = ["--lora", "loras/locon.safetensors"];
    run.quick(flags).ok();
    run.quick([&flags[..], &["--resume"]].concat()).ok();
    run.quick(["--resume"]).fails_with("--lora was \"loras/locon.safetensors=1\", is now none");
    run.quick(["--lora", "loras/locon.safetensors=0.5", "--resume"])
        .fails_with("is now \"loras/locon.safetensors=0.5\"");
    fs::copy(run.path("loras/peft.safetensors"), run.path("loras/locon.safetensors")).unwrap();
    run.quick([&flags[..], &["--resume"]].concat()).fails_with("the LoRA files changed");
}

#[test]
fn bad_loras_are_refused_before_anything_is_written() {
    let run = run()
        .file("words.safetensors", "hello")
        .file("page.safetensors", "<!doctype html><html></html>")
        .file("empty.safetensors", "\x02\0\0\0\0\0\0\0{}")
        .file("lora.jsonl", "{\"prompt\": \"a ball\"}\n{\"prompt\": \"a cube\", \"lora\": \"none\"}\n");
    for (code, flags, reason) in [
        (1, vec!["--lora", "none"], "LoRA 'none' was not found; give a file, or its folder with --lora_dir"),
        (
            1,
            vec!["--lora", "none", "--lora_dir", "loras"],
            "LoRA 'none' was not found in 'loras'; check its name and --lora_dir",
        ),
        (
            1,
            vec!["--lora", "words.safetensors"],
            "'words.safetensors' is a text file, not a LoRA; give a .safetensors file of a LoRA, or one written by torch",
        ),
        (1, vec!["--lora", "page.safetensors"], "is a web page, not a LoRA"),
        (1, vec!["--lora", "empty.safetensors"], "'empty.safetensors' holds no tensors; give a LoRA made for"),
        (1, vec!["--from-file", "lora.jsonl"], "prompt 'a cube': LoRA 'none' was not found; give a file"),
        (1, vec!["--lora", "loras"], "LoRA 'loras' is a folder; give the LoRA file in it"),
        (1, vec!["--lora_dir", "none"], "--lora_dir: cannot read the folder 'none'"),
        (2, vec!["--lora", "loras/locon.safetensors=1001"], "a weight of --lora is 1001; the largest is 1000"),
        (2, vec!["--lora", "loras/locon.safetensors=1e39"], "; the largest is 1000"),
        (2, vec!["--lora_weight", "-1001"], "a weight of --lora_weight is -1001; the largest is 1000"),
        (2, vec!["--lora", "a=0,5,1"], "--lora 'a=0,5,1' has weights '0,5,1', which are not one or two numbers"),
        (2, vec!["--lora", "=1"], "--lora '=1' names no file"),
        (2, vec!["--prompt", "<lora:locon:much>", "--lora_dir", "loras"], "'much' is not a weight"),
        (
            2,
            vec!["--prompt", "{a|b<lora:locon>}", "--wildcards", "--lora_dir", "loras"],
            "a <lora:…> tag in braces does not work with --wildcards",
        ),
    ] {
        run.quick(&flags).fails(code, reason);
    }
    assert!(!run.path("out").exists());
}
