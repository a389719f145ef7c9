//! The files that a run would write, and the state of OUTDIR.

use super::{demo, job};
use crate::support::{TestRun, files_below};
use std::fs::{create_dir_all, write};
use tempfile::TempDir;
use txt2img::commands::dry_run::dry_run;

#[test]
fn a_plan_leaves_the_folder_as_it_was() {
    let folder = TempDir::new().unwrap();
    demo(folder.path(), ["--n_iter", "1"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let new = folder.path().join("new/folder");
    demo(&new, ["--n_iter", "1"]);
    assert!(!folder.path().join("new").exists());
}

#[test]
fn a_plan_lists_the_capabilities_of_the_file_system() {
    let folder = TempDir::new().unwrap();
    let plan = demo(folder.path(), ["--n_iter", "1"]);
    let found = plan.values("file system")[0].to_owned();
    assert!(found.starts_with("has ") || found.starts_with("lacks "), "{found}");
    let missing = folder.path().join("new/folder");
    let expected = format!("{found} (of '{}', in which OUTDIR will be created)", folder.path().display());
    assert_eq!(demo(&missing, ["--n_iter", "1"]).values("file system"), [expected]);
}

#[test]
fn numbers_continue_and_skip_taken_names() {
    let folder = TempDir::new().unwrap();
    let samples = folder.path().join("samples");
    create_dir_all(&samples).unwrap();
    for name in ["a.txt", "00003.png", "00004.png", "3.png"] {
        write(samples.join(name), "").unwrap();
    }
    write(folder.path().join("grid-0000.png"), "").unwrap();
    let before = files_below(folder.path());
    let plan = demo(folder.path(), ["--n_iter", "1", "--n_samples", "2"]);
    // Numbering starts at the number of entries, 4, which is taken.
    assert_eq!(plan.values("first file"), [samples.join("00005.png").to_str().unwrap()]);
    assert_eq!(plan.values("last file"), [samples.join("00006.png").to_str().unwrap()]);
    assert_eq!(plan.values("grid"), [folder.path().join("grid-0001.png").to_str().unwrap()]);
    assert_eq!(files_below(folder.path()), before);
}

#[test]
fn a_run_writes_what_its_plan_names() {
    let run = TestRun::new();
    let flags = ["--n_iter", "2", "--n_samples", "2", "--H", "64", "--W", "64", "--ddim_steps", "1", "--ckpt", "demo"];
    for _ in 0..2 {
        let outdir = run.path("out");
        let plan = demo(&outdir, flags);
        let names = ["first file", "last file", "grid"].map(|what| plan.values(what)[0].to_owned());
        let n_before = run.files().len();
        run.alone(flags).0.args(["--outdir", "out"]).output().unwrap();
        assert_eq!(run.files().len(), n_before + 5);
        for name in names {
            assert!(std::path::Path::new(&name).exists(), "{name}");
        }
    }
}

#[test]
fn pictures_batches_and_sizes_are_counted() {
    let flags = ["--n_iter", "3", "--n_samples", "4", "--H", "128", "--W", "192"];
    let plan = demo("/nowhere/at/all".as_ref(), flags);
    assert_eq!(plan.values("pictures"), ["12"]);
    assert_eq!(plan.values("batches"), ["3, batch size up to 4"]);
    assert_eq!(plan.values("pixels"), ["192x128"]);
    let plan = demo("/nowhere/at/all".as_ref(), ["--sweep", "W=64,128,128"]);
    assert_eq!(plan.values("pixels"), ["1 of 64x512, 2 of 128x512"]);
    assert!(plan.values("sheet")[0].ends_with("sweep-0000.png") && plan.values("page")[0].ends_with("sweep-0000.html"));
}

#[test]
fn files_that_are_not_written_are_not_listed() {
    let plan = demo("/nowhere/at/all".as_ref(), ["--skip_save", "--skip_grid"]);
    assert!(plan.values("first file").is_empty() && plan.values("grid").is_empty());
    assert_eq!(plan.values("disk"), ["about 0 bytes, up to 0 bytes"]);
}

#[test]
fn an_outdir_that_is_a_file_is_an_error() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    write(&file, "").unwrap();
    let Err(error) = dry_run(&job(["--ckpt", "demo", "--outdir", file.to_str().unwrap()])) else { panic!("a plan") };
    assert!(error.to_string().ends_with("is a file, not a folder: choose another --outdir"), "{error}");
}

#[test]
fn the_plan_of_a_resumed_run_covers_the_rest() {
    let run = TestRun::new();
    let outdir = run.path("out");
    let flags =
        ["--n_iter", "4", "--n_samples", "2", "--H", "64", "--W", "64", "--ddim_steps", "1", "--prompt", "a cube"];
    let into = ["--ckpt", "demo", "--outdir", outdir.to_str().unwrap()];
    run.alone(into.into_iter().chain(flags)).ok();
    let resumed =
        |more: &[&'static str]| demo(&outdir, flags.into_iter().chain(["--resume"]).chain(more.iter().copied()));
    let done = resumed(&[]);
    assert_eq!(
        (done.values("pictures"), done.values("first file"), done.values("grid")),
        (vec!["0 of 8"], vec![], vec![])
    );
    let lost = outdir.join("samples/00005.png");
    std::fs::remove_file(&lost).unwrap();
    let before = files_below(&outdir);
    let rest = resumed(&[]);
    assert_eq!((rest.values("pictures"), rest.values("batches")), (vec!["1 of 8"], vec!["1 of 4, batch size up to 2"]));
    assert_eq!(
        (rest.values("first file"), rest.values("last file")),
        (vec![lost.to_str().unwrap()], vec![lost.to_str().unwrap()])
    );
    let words = into.into_iter().chain(flags).chain(["--resume", "--seed", "7"]);
    let Err(error) = dry_run(&job(words)) else { panic!("a plan") };
    assert!(
        error
            .to_string()
            .ends_with("holds a different run (--seed was 42, is now 7); use the same flags or another --outdir"),
        "{error}"
    );
    assert_eq!(files_below(&outdir), before);
}

#[test]
fn the_plan_of_a_shard_covers_its_part() {
    let run = TestRun::new();
    let outdir = run.path("out");
    let flags = ["--n_iter", "4", "--n_samples", "2", "--H", "64", "--W", "64", "--ddim_steps", "1"];
    let into = ["--ckpt", "demo", "--outdir", outdir.to_str().unwrap()];
    run.alone(into.into_iter().chain(flags).chain(["--shard", "0/3"])).ok();
    let shard = |i: &'static str| demo(&outdir, flags.into_iter().chain(["--resume", "--shard", i]));
    assert_eq!(shard("0/3").values("pictures"), ["0 of 8"]);
    let plan = shard("1/3");
    assert_eq!((plan.values("pictures"), plan.values("batches")), (vec!["2 of 8"], vec!["1 of 4, batch size up to 2"]));
    assert!(plan.values("first file")[0].ends_with("00002.png") && plan.values("last file")[0].ends_with("00003.png"));
    assert!(plan.values("grid").is_empty());
}
