//! The closing message of a run.

use super::{RICH, into, resume};
use crate::support::{TestCommand, TestRun, stderr, stdout};
use std::fs;

/// Returns the last line on standard error of a successful run, without the time.
#[track_caller]
fn last_line(mut run: TestCommand) -> String {
    let output = run.ok();
    assert_eq!(stdout(&output), "Your samples are ready and waiting for you here: \nout\n");
    let message = stderr(&output);
    let seconds = |line: &str| line.split_once(" in ").map(|(before, after)| (before.to_owned(), after.to_owned()));
    let line = message.lines().last().unwrap_or_default();
    // The time depends on the machine.
    let Some((before, after)) = seconds(line) else { return line.to_owned() };
    let (time, after) = after.split_at(after.find([',', ' ']).unwrap());
    assert!(time.parse::<f64>().is_ok_and(|seconds| seconds > 0.), "{line}");
    format!("{before} in{}", after.trim_start_matches(" s").trim_start_matches(" minutes"))
}

#[test]
fn a_run_reports_the_number_of_pictures_and_its_grids() {
    let run = TestRun::new();
    assert_eq!(last_line(into(&run, "out", &RICH)), "12 pictures saved in, and grid-0000.png.");
    let line = last_line(into(&run, "out", &[&RICH[..], &["--grid_every", "3", "--skip_save"]].concat()));
    assert_eq!(line, "12 pictures drawn in, and grid-0001.png to grid-0004.png.");
    assert_eq!(last_line(into(&run, "out", &["--skip_grid"])), "1 picture saved in.");
    let line = last_line(into(&run, "out", &["--sweep", "scale=1,2"]));
    assert_eq!(line, "2 pictures saved in, and sweep-0000.png and sweep-0000.html.");
}

#[test]
fn a_resumed_run_reports_where_it_resumed_and_what_existed() {
    let run = TestRun::new();
    into(&run, "out", &RICH).ok();
    assert_eq!(last_line(resume(&run, "out", &RICH)), "Nothing left to draw: 12 pictures were already there.");
    for file in ["samples/00007.png", "samples/00009.png"] {
        fs::remove_file(run.path("out").join(file)).unwrap();
    }
    let expected = "Resumed at picture 8 of 12 (10 pictures were already there): 2 more saved in.";
    assert_eq!(last_line(resume(&run, "out", &RICH)), expected);
}

#[test]
fn a_resumed_shard_counts_its_own_pictures() {
    let run = TestRun::new();
    let shard = [&RICH[..], &["--shard", "0/3"]].concat();
    into(&run, "out", &shard).ok();
    fs::remove_file(run.path("out/samples/00009.png")).unwrap();
    let line = last_line(resume(&run, "out", &shard));
    let expected =
        "Resumed shard 0/3 of 6 pictures (5 pictures were already there): 1 more saved in. This was shard 0/3 only";
    assert!(line.starts_with(expected), "{line}");
}

#[test]
fn a_shard_reports_that_it_is_one_and_how_to_collect_all() {
    let run = TestRun::new();
    let line = last_line(into(&run, "out", &[&RICH[..], &["--shard", "0/3"]].concat()));
    let expected = "6 pictures saved in. This was shard 0/3 only: when all 3 have finished, run --collect with the same \
                    --outdir to verify the pictures and write the grid.";
    assert_eq!(line, expected);
}

#[test]
fn a_quiet_run_prints_only_errors_and_the_last_line() {
    let run = TestRun::new();
    let output = into(&run, "out", &["--quiet", "--seed", "-1"]).ok();
    assert!(stderr(&output).starts_with("1 picture saved in ") && stderr(&output).lines().count() == 1);
    assert_eq!(stdout(&output), "Your samples are ready and waiting for you here: \nout\n");
    assert_eq!(stderr(&into(&run, "out", &["--quiet", "--seed", "-1", "--dry_run"]).ok()), "");
    into(&run, "out", &["--quiet", "--H", "99"]).is_misuse("--H 99 is not a multiple of 8");
    let events = stderr(&into(&run, "out", &["--quiet", "--progress", "json"]).ok());
    assert!(events.lines().all(|line| line.starts_with('{')) && events.contains(r#""event":"step""#), "{events}");
}
