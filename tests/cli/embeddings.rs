//! `--embedding`, `--embedding_dir` and `--clip_skip` in runs, metadata, resumption and replay.

use crate::support::{TestRun, fixture, notes, stderr};
use std::fs;
use txt2img::output::{self, EmbeddingRecord};

/// A folder `embeddings` with the fixtures.
fn run() -> TestRun {
    let run = TestRun::new();
    fs::create_dir(run.path("words")).unwrap();
    for file in ["EasyNeg.safetensors", "bad-hands-5.pt", "charturner.bin"] {
        fs::copy(fixture(&format!("embeddings/{file}")), run.path(&format!("words/{file}"))).unwrap();
    }
    run
}

const PICTURE: &str = "out/samples/00000.png";

#[test]
fn embeddings_change_pictures_in_both_prompts() {
    let picture = |flags: &[&str]| {
        let run = run();
        run.quick([&["--prompt", "a charturner", "--negative_prompt", "easyneg"], flags].concat()).ok();
        fs::read(run.path(PICTURE)).unwrap()
    };
    let pictures = [
        picture(&["--no_metadata"]),
        picture(&["--no_metadata", "--embedding", "words/charturner.bin"]),
        picture(&["--no_metadata", "--embedding", "words/EasyNeg.safetensors"]),
        picture(&["--no_metadata", "--embedding_dir", "words"]),
        picture(&["--no_metadata", "--embedding_dir", "words", "--clip_skip", "2"]),
    ];
    for (i, picture) in pictures.iter().enumerate() {
        assert!(!pictures[..i].contains(picture), "{i}");
    }
    let named = ["--no_metadata", "--embedding", "words/EasyNeg.safetensors", "--embedding", "words/charturner.bin"];
    assert!(picture(&named) == pictures[3]);
}

#[test]
fn notes_name_the_embeddings_and_those_in_the_prompts() {
    let run = run();
    fs::create_dir(run.path("words/more")).unwrap();
    fs::write(run.path("words/more/empty.pt"), "").unwrap();
    fs::write(run.path("words/more/readme.txt"), "text").unwrap();
    fs::copy(run.path("words/EasyNeg.safetensors"), run.path("words/more/easyneg.safetensors")).unwrap();
    let prompt = ["--prompt", "a toy, BAD-HANDS-5", "--n_iter", "2"];
    let flags = ["--embedding", "words/charturner.bin=toy", "--embedding_dir", "words"];
    let expected = "note: --embedding_dir leaves out a file: 'words/more/easyneg.safetensors': two embeddings have the name 'easyneg' \
                    (the other: 'EasyNeg'); give one another name with FILE=NAME\n\
                    note: --embedding_dir leaves out a file: 'words/more/empty.pt' is empty; download it again\n\
                    note: embeddings: toy (1 vector), EasyNeg (4 vectors), bad-hands-5 (2 vectors), charturner (1 vector)\n\
                    note: embeddings in the prompts: toy, bad-hands-5\n";
    let said = notes(&run.quick([&prompt[..], &flags].concat()).ok());
    assert!(said.contains(expected), "{said}");
}

#[test]
fn pictures_tell_their_embeddings_and_are_drawn_again_with_them() {
    let run = run();
    let flags = ["--prompt", "a cube", "--negative_prompt", "EASYNEG", "--clip_skip", "2", "--embedding_dir", "words"];
    run.quick(flags).ok();
    let record = output::record(&run.path(PICTURE)).unwrap();
    let [EmbeddingRecord { name, sha256 }] = &record.embeddings[..] else { panic!("{:?}", record.embeddings) };
    assert_eq!((&**name, sha256.len(), record.params.clip_skip), ("EasyNeg", 64, 2));
    assert!(record.parameters().contains(", Clip skip: 2, TI hashes: \"EasyNeg: "), "{}", record.parameters());

    let replay = ["--replay", PICTURE, "--outdir", "again"];
    run.args(replay).fails_with(&format!(
        "'{PICTURE}' cannot be redrawn: its embedding 'EasyNeg' was not found; give it with --embedding \
         (its SHA-256 begins with {sha256:.10})"
    ));
    let identical = |flags: &[&str]| {
        let said = stderr(&run.args([&replay[..], flags].concat()).ok());
        assert!(said.contains("redrawn: identical"), "{said}");
    };
    identical(&["--embedding_dir", "words"]);
    identical(&["--embedding", "words/EasyNeg.safetensors"]);
    fs::rename(run.path("words"), run.path("embeddings")).unwrap();
    identical(&[]);
    // Another file of the same name is another embedding.
    fs::copy(run.path("embeddings/charturner.bin"), run.path("embeddings/EasyNeg.safetensors")).unwrap();
    run.args(replay).fails_with("its embedding 'EasyNeg'");
}

#[test]
fn embeddings_are_read_with_the_requested_threads() {
    run().quick(["--embedding", "words/charturner.bin", "--threads", "1"]).ok();
}

#[test]
fn a_resumed_run_has_the_same_embeddings() {
    const CHANGED: &str = "'out' holds a different run (--embedding changed)";
    let run = run();
    let one = ["--embedding", "words/charturner.bin"];
    run.quick(one).ok();
    run.quick([&one[..], &["--resume"]].concat()).ok();
    run.quick(["--resume"]).fails_with(CHANGED);
    let renamed = ["--embedding", "words/charturner.bin=other", "--resume"];
    run.quick(renamed).fails_with(CHANGED);
    fs::copy(run.path("words/EasyNeg.safetensors"), run.path("words/charturner.bin")).unwrap();
    run.quick([&one[..], &["--resume"]].concat()).fails_with(CHANGED);
}

#[test]
fn files_that_are_not_embeddings_for_the_model_are_refused_before_anything_is_written() {
    let run = run();
    run.quick(["--embedding", "words/none.pt"]).fails_with("--embedding: 'words/none.pt' does not exist");
    run.quick(["--embedding_dir", "none"]).fails_with("--embedding_dir: reading 'none'");
    let twice = ["--embedding", "words/charturner.bin", "--embedding", "words/EasyNeg.safetensors=CharTurner"];
    run.quick(twice).fails_with("two embeddings have the name 'CharTurner'");
    assert!(!run.path("out").exists());
}

#[test]
fn clip_skip_is_checked_before_anything_is_written() {
    let run = TestRun::new();
    for (n, reason) in [
        ("0", "--clip_skip 0 is not between 1, which skips nothing, and 12"),
        ("13", "--clip_skip 13 is not between 1, which skips nothing, and 12"),
        ("12", ", the number of layers of the model's text encoder"),
    ] {
        run.quick(["--clip_skip", n]).is_misuse(reason);
        run.quick(["--clip_skip", n, "--dry_run"]).is_misuse(reason);
    }
    assert!(!run.path("out").exists());
}
