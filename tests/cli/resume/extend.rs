//! Finished runs that become longer: `--resume` with a larger `--n_iter`, or with more lines in the prompts file.

use super::{are_equal, into, resume};
use crate::support::{TestRun, stderr};
use std::fs;

/// The flags of a run of two batches of two pictures, each with a grid.
const RUN: [&str; 6] = ["--prompt", "a red ball", "--n_samples", "2", "--grid_every", "2"];

fn iterations<'a>(n: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    [&RUN[..], flags, &["--n_iter", n]].concat()
}

#[test]
fn a_run_with_more_iterations_continues_where_it_ended() {
    let run = TestRun::new();
    into(&run, "long", &iterations("3", &[])).ok();
    into(&run, "out", &iterations("1", &[])).ok();
    let output = resume(&run, "out", &iterations("3", &[])).ok();
    assert!(stderr(&output).contains("Resumed at picture 3 of 6 (2 pictures were already there): 4 more saved"));
    are_equal(&run, "out", "long");
    // Once more, nothing is left.
    assert!(stderr(&resume(&run, "out", &iterations("3", &[])).ok()).contains("Nothing left to draw"));
    into(&run, "out", &["--collect"]).0.output().unwrap();
    are_equal(&run, "out", "long");
}

#[test]
fn a_grid_that_was_short_is_completed() {
    let run = TestRun::new();
    let flags = |n: &'static str| ["--n_samples", "2", "--grid_every", "4", "--n_iter", n];
    into(&run, "long", &flags("3")).ok();
    into(&run, "out", &flags("1")).ok();
    resume(&run, "out", &flags("3")).ok();
    are_equal(&run, "out", "long");
}

#[test]
fn without_a_size_of_grids_the_added_pictures_get_another() {
    let run = TestRun::new();
    into(&run, "out", &["--n_samples", "2"]).ok();
    let first = fs::read(run.path("out/grid-0000.png")).unwrap();
    resume(&run, "out", &["--n_samples", "2", "--n_iter", "2"]).ok();
    assert!(fs::read(run.path("out/grid-0000.png")).unwrap() == first);
    assert!(run.path("out/grid-0001.png").exists());
}

#[test]
fn lines_can_be_appended_after_whole_batches() {
    let run = TestRun::new().file("p.txt", "a\nb\n");
    let flags = ["--from-file", "p.txt", "--n_samples", "2", "--skip_grid"];
    into(&run, "out", &flags).ok();
    fs::write(run.path("p.txt"), "a\nb\nc\nd\ne\n").unwrap();
    into(&run, "long", &flags).ok();
    resume(&run, "out", &flags).ok();
    are_equal(&run, "out", "long");
    // The last batch would be another with one line more.
    fs::write(run.path("p.txt"), "a\nb\nc\nd\ne\nf\n").unwrap();
    resume(&run, "out", &flags)
        .fails_with("(--from-file changed); a run can be extended by a larger --n_iter, or, with --n_iter 1");
    // With seeds of their own, pictures do not depend on their batch.
    let seeds = [&flags[..], &["--seed_mode", "per_image"]].concat();
    fs::write(run.path("p.txt"), "a\nb\nc\n").unwrap();
    into(&run, "seeds", &seeds).ok();
    fs::write(run.path("p.txt"), "a\nb\nc\nd\n").unwrap();
    into(&run, "all", &seeds).ok();
    resume(&run, "seeds", &seeds).ok();
    are_equal(&run, "seeds", "all");
}

#[test]
fn runs_whose_pictures_would_change_are_not_extended() {
    let run = TestRun::new().file("p.txt", "a\nb\n");
    let flags = ["--from-file", "p.txt", "--n_samples", "2", "--n_iter", "2"];
    into(&run, "out", &flags).ok();
    let refused = |flags: &[&str], reason: &str| {
        resume(&run, "out", flags).fails_with(reason);
    };
    refused(&[&flags[..4], &["--n_iter", "1"]].concat(), "--n_iter was 2, is now 1");
    refused(&[&flags[..], &["--seed", "7"]].concat(), "use the same flags or another --outdir");
    for lines in ["a\nx\nc\nd\n", "a\nb\nc\nd\n"] {
        fs::write(run.path("p.txt"), lines).unwrap();
        refused(&flags, "--from-file changed");
    }
}

#[test]
fn an_extended_run_does_not_take_the_numbers_of_later_runs() {
    let run = TestRun::new();
    into(&run, "out", &["--seed", "1"]).ok();
    into(&run, "out", &["--seed", "2"]).ok();
    let second = fs::read(run.path("out/samples/00001.png")).unwrap();
    resume(&run, "out", &["--seed", "1", "--n_iter", "2"]).ok();
    assert!(fs::read(run.path("out/samples/00001.png")).unwrap() == second);
    into(&run, "long", &["--seed", "1", "--n_iter", "2"]).ok();
    let (added, expected) = (fs::read(run.path("out/samples/00002.png")), fs::read(run.path("long/samples/00001.png")));
    assert!(added.unwrap() == expected.unwrap());
}

#[test]
fn a_run_with_a_random_seed_resumes_with_that_seed() {
    let run = TestRun::new();
    into(&run, "out", &["--seed", "-1", "--n_iter", "2"]).ok();
    let said = stderr(&resume(&run, "out", &["--seed", "-1", "--n_iter", "2"]).ok());
    assert!(said.contains("Nothing left to draw") && !said.contains("the random seed"), "{said}");
    // Without a run to resume, a seed is picked.
    assert!(stderr(&resume(&run, "new", &["--seed", "-1"]).ok()).contains("note: the random seed is "));
}

#[test]
fn sweeps_and_shards_are_not_extended() {
    let run = TestRun::new();
    into(&run, "out", &["--sweep", "scale=1,2"]).ok();
    let said = resume(&run, "out", &["--sweep", "scale=1,2", "--n_iter", "3"]).fails_with("--n_iter was 1, is now 3");
    assert!(!said.contains("extended"), "{said}");
    for shard in ["0/2", "1/2"] {
        into(&run, "shards", &["--n_iter", "2", "--shard", shard]).ok();
    }
    let said = resume(&run, "shards", &["--n_iter", "4"]).fails_with("--n_iter was 2, is now 4");
    assert!(!said.contains("extended"), "{said}");
}
