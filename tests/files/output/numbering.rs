//! The numbering of samples and grids.

use super::outdir::{Outdir, save};
use super::{flat, load, names, waves};
use std::fs;

#[test]
fn a_saved_picture_is_the_picture() {
    let outdir = Outdir::new();
    let path = save(&mut outdir.open(), &waves(61, 47)).unwrap();
    assert_eq!(path, outdir.path().join("samples/00000.png"));
    assert_eq!(load(path), waves(61, 47));
}

#[test]
fn the_first_run_counts_from_zero() {
    let outdir = Outdir::new();
    let mut folder = outdir.open();
    save(&mut folder, &flat(8, 8, 1)).unwrap();
    save(&mut folder, &flat(8, 8, 2)).unwrap();
    folder.save_grid(&flat(8, 8, 3)).unwrap();
    assert_eq!(outdir.files(), ["grid-0000.png", "samples/00000.png", "samples/00001.png"]);
}

#[test]
fn the_second_run_continues_the_numbering() {
    let outdir = Outdir::new();
    for _ in 0..2 {
        let mut folder = outdir.open();
        save(&mut folder, &flat(8, 8, 1)).unwrap();
        folder.save_grid(&flat(8, 8, 2)).unwrap();
    }
    assert_eq!(outdir.files(), ["grid-0000.png", "grid-0001.png", "samples/00000.png", "samples/00001.png"]);
}

#[test]
fn every_entry_counts() {
    let outdir = Outdir::with(&["notes.txt", ".hidden", "samples/a", "samples/b", "samples/c"]);
    let mut folder = outdir.open();
    assert!(save(&mut folder, &flat(8, 8, 1)).unwrap().ends_with("samples/00003.png"));
    assert!(folder.save_grid(&flat(8, 8, 1)).unwrap().ends_with("grid-0002.png"));
}

#[test]
fn a_deleted_file_never_causes_an_overwrite() {
    let outdir = Outdir::with(&["samples/00000.png", "samples/00002.png", "grid-0001.png"]);
    let mut folder = outdir.open();
    assert!(save(&mut folder, &flat(8, 8, 1)).unwrap().ends_with("samples/00003.png"));
    assert!(folder.save_grid(&flat(8, 8, 1)).unwrap().ends_with("grid-0002.png"));
    assert!(["samples/00002.png", "grid-0001.png"].iter().all(|file| outdir.is_old(file)));
}

#[test]
fn a_name_taken_meanwhile_is_added_to() {
    let outdir = Outdir::new();
    let mut ours = outdir.open();
    fs::write(outdir.path().join("samples/00000.png"), "theirs").unwrap();
    assert!(save(&mut ours, &flat(8, 8, 2)).unwrap().ends_with("samples/00000-2.png"));
    assert!(save(&mut ours, &flat(8, 8, 1)).unwrap().ends_with("samples/00001.png"));
    assert_eq!(fs::read(outdir.path().join("samples/00000.png")).unwrap(), b"theirs");
}

#[test]
fn another_run_is_refused_while_one_goes_on() {
    let outdir = Outdir::new();
    let ours = outdir.open();
    let expected = format!("another txt2img is drawing into '{}'; wait for it", outdir.path().display());
    assert!(outdir.refusal().starts_with(&expected), "{}", outdir.refusal());
    drop(ours);
    outdir.open();
}

#[test]
fn an_unfinished_file_does_not_count() {
    let outdir = Outdir::with(&[".txt2img-a1b2c3", "samples/.txt2img-d4e5f6"]);
    let mut folder = outdir.open();
    assert!(save(&mut folder, &flat(8, 8, 1)).unwrap().ends_with("samples/00000.png"));
    assert!(folder.save_grid(&flat(8, 8, 1)).unwrap().ends_with("grid-0000.png"));
}

#[test]
fn opening_leaves_nothing_but_the_folders() {
    let outdir = Outdir::new();
    outdir.open();
    assert_eq!(names(&outdir.path()), ["run.jsonl", "samples"]);
    assert!(outdir.files().is_empty());
}
