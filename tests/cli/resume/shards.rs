//! Runs divided among several processes.

use super::{RICH, are_equal, content, into, kill, resume, start};
use crate::support::{TestRun, stderr};
use serde_json::Value;
use std::fs;

#[test]
fn shards_draw_the_same_pictures_as_one_process() {
    let run = TestRun::new();
    into(&run, "whole", &RICH).ok();
    let shard = |i: usize| start(into(&run, "parts", &[&RICH[..], &["--shard", &format!("{i}/3")]].concat()));
    let children: Vec<_> = (0..3).map(shard).collect();
    children.into_iter().for_each(|mut child| assert!(child.wait().unwrap().success()));
    assert!(!run.path("parts/grid-0000.png").exists());
    into(&run, "parts", &["--collect"]).ok();
    are_equal(&run, "whole", "parts");
    into(&run, "parts", &["--collect"]).ok();
}

#[test]
fn pictures_missing_from_a_shard_are_named() {
    let run = TestRun::new();
    into(&run, "whole", &RICH).ok();
    for i in [0, 2] {
        into(&run, "parts", &[&RICH[..], &["--shard", &format!("{i}/3")]].concat()).ok();
    }
    let reason = "3 of 12 pictures are missing (3-5); shard 1 of 3 did not finish; repeat the command with --resume";
    into(&run, "parts", &["--collect"]).fails_with(reason);
    // A single process may draw the rest.
    resume(&run, "parts", &RICH).ok();
    into(&run, "parts", &["--collect"]).ok();
    are_equal(&run, "whole", "parts");
}

#[test]
fn a_killed_shard_is_resumed() {
    let run = TestRun::new();
    into(&run, "whole", &RICH).ok();
    let flags = |i: usize| [&RICH[..], &["--resume", "--shard", ["0/2", "1/2"][i]]].concat();
    for i in [0, 1, 0, 1, 0, 1] {
        let child = start(into(&run, "parts", &flags(i)));
        std::thread::sleep(std::time::Duration::from_millis(150));
        kill(child);
    }
    (0..2).for_each(|i| drop(into(&run, "parts", &flags(i)).ok()));
    into(&run, "parts", &["--collect"]).ok();
    are_equal(&run, "whole", "parts");
}

#[test]
fn shards_of_different_runs_are_refused() {
    let run = TestRun::new();
    into(&run, "out", &["--shard", "0/2", "--n_iter", "2"]).ok();
    let same = ["--shard", "1/2", "--n_iter", "2"];
    into(&run, "out", &[&same[..], &["--seed", "1"]].concat())
        .fails_with("'out' holds a different run (--seed was 42, is now 1)");
    into(&run, "out", &["--shard", "1/3", "--n_iter", "2"]).fails_with("'out' holds a run of 2 shards");
    into(&run, "out", &["--shard", "0/2", "--n_iter", "2"])
        .fails_with("shard 0/2 was already begun in 'out'; add --resume to continue it");
    into(&run, "out", &same).ok();
}

#[test]
fn the_environment_of_a_cluster_selects_the_shard() {
    let run = TestRun::new();
    into(&run, "whole", &RICH).ok();
    for i in 0..2 {
        let mut part = into(&run, "parts", &RICH);
        part.0.env("RANK", i.to_string()).env("WORLD_SIZE", "2");
        let message = stderr(&part.ok());
        assert!(
            message.contains(&format!("drawing shard {i}/2, as RANK says; --shard 0/1 draws everything")),
            "{message}"
        );
    }
    into(&run, "parts", &["--collect"]).ok();
    are_equal(&run, "whole", "parts");
}

#[test]
fn each_shard_has_a_report_of_its_own() {
    let run = TestRun::new();
    let shard = |i: usize| {
        let shard = format!("{i}/3");
        into(&run, "out", &[&RICH[..], &["--report", "report.json", "--resume", "--shard", &shard]].concat())
    };
    let report = |i: usize| -> Value {
        serde_json::from_slice(&fs::read(run.path(&format!("report-{i}-of-3.json"))).unwrap()).unwrap()
    };
    // The second time, nothing is lost.
    for _ in 0..2 {
        let children: Vec<_> = (0..3).map(|i| start(shard(i))).collect();
        children.into_iter().for_each(|mut child| assert!(child.wait().unwrap().success()));
        for (i, numbers) in [&[0, 1, 2, 9, 10, 11][..], &[3, 4, 5], &[6, 7, 8]].into_iter().enumerate() {
            let report = report(i);
            let there =
                report["pictures"].as_array().unwrap().iter().map(|picture| picture["number"].as_u64().unwrap());
            assert_eq!(there.collect::<Vec<_>>(), numbers);
            assert_eq!(report["finished"], true);
        }
    }
    // Pictures that are not in the previous report are missing in the new one.
    fs::remove_file(run.path("report-1-of-3.json")).unwrap();
    let said = stderr(&shard(1).ok());
    let note = "note: the report 'report-1-of-3.json' will lack 3 pictures that an earlier process saved, and not count as finished";
    assert!(said.contains(note), "{said}");
    assert_eq!((report(1)["pictures"].as_array().unwrap().len(), &report(1)["finished"]), (0, &false.into()));
}

#[test]
fn a_shard_of_one_is_the_whole() {
    let run = TestRun::new();
    let mut whole = into(&run, "out", &["--shard", "0/1"]);
    whole.0.env("RANK", "1").env("WORLD_SIZE", "2");
    whole.ok();
    assert!(content(&run, "out").contains_key("grid-0000.png"));
}

#[test]
fn a_late_shard_of_many_pictures_starts_at_once() {
    let run = TestRun::new();
    for rng in ["cuda", "cpu"] {
        let flags = ["--n_iter", "90000", "--shard", "89999/90000", "--skip_grid", "--rng", rng, "--ddim_steps", "50"];
        let begun = std::time::Instant::now();
        into(&run, rng, &flags).ok();
        assert!(begun.elapsed().as_secs() < 10);
        assert_eq!(fs::read_dir(run.path(rng).join("samples")).unwrap().count(), 1);
        let picture = run.path(rng).join("samples/89999.png");
        // The metadata has the position of the noise, so the picture can be redrawn alone.
        let picture = picture.to_str().unwrap();
        into(&run, "again", &["--replay", picture]).ok();
    }
}

#[test]
fn names_without_numbers_are_refused() {
    let run = TestRun::new();
    let reason = "--fname needs {index} with several devices or shards";
    into(&run, "out", &["--fname", "{prompt}", "--shard", "0/2"]).is_misuse(reason);
    into(&run, "out", &["--fname", "{prompt}-{index}", "--shard", "0/2"]).ok();
}
