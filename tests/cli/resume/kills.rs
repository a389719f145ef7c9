//! Runs that are killed, interrupted or run out of disk space, and deleted or modified files.
//!
//! Tests that kill runs at random moments draw them from a seed, which they print if they fail. `KILL_SEED=N cargo test
//! --release --test cli -- kills::NAME` repeats the moments, as fractions of the time of an unbroken run.

use super::{RICH, are_equal, content, into, journal, kill, resume, start, wait_for};
use crate::support::{TestRun, stderr, stdout};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Random moments of a run.
struct Moments(u64);

impl Moments {
    /// Starts from the seed `KILL_SEED`, or else a random one, and prints it: cargo shows that if the test fails.
    fn new() -> Self {
        let given = env::var("KILL_SEED").ok().map(|seed| seed.parse().expect("KILL_SEED is a whole number"));
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
        println!("KILL_SEED={seed}");
        Self(seed)
    }

    /// Returns the next moment below `end`, by SplitMix64.
    fn next(&mut self, end: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        end.mul_f64((bits >> 11) as f64 / (1u64 << 53) as f64)
    }
}

/// Resumes a run until it finishes, killing it at least `kills` times on the way.
fn break_often(run: &TestRun, outdir: &str, flags: &[&str], kills: usize) {
    let flags = [flags, &["--resume"]].concat();
    let begun = Instant::now();
    into(run, "timed", &flags).ok();
    let whole = begun.elapsed();
    let (mut moments, mut n_killed) = (Moments::new(), 0);
    loop {
        let mut child = start(into(run, outdir, &flags));
        sleep(moments.next(whole));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        match status.signal() {
            Some(_) => n_killed += 1,
            None if !status.success() => panic!("{status}"),
            None if n_killed >= kills => return,
            // It finished too early: start again.
            None => fs::remove_dir_all(run.path(outdir)).unwrap(),
        }
    }
}

#[track_caller]
fn comes_out_equal(flags: &[&str], kills: usize) {
    let run = TestRun::new()
        .file("lines.jsonl", LINES)
        .file("lines.txt", "a red ball\na cube\n\na cone\na ring\n")
        .file("changes.txt", "a [red:blue:2] ball\na [cube|cone]\na cone AND (fog:0.5) :0.3\na BREAK [ring]\n");
    into(&run, "whole", flags).ok();
    break_often(&run, "broken", flags, kills);
    are_equal(&run, "whole", "broken");
}

const LINES: &str = r#"{"prompt": "a ball"}
{"prompt": "a red ball", "seed": 7}
{"prompt": "a cube", "H": 128}
{"prompt": "a {red|blue} cube", "steps": 3, "sampler": "euler_a"}
{"prompt": "a cone", "sampler": "ddim"}
"#;

#[test]
fn a_run_killed_repeatedly_gives_the_same_files() {
    comes_out_equal(&RICH, 60);
}

#[test]
fn a_killed_run_of_differing_prompts_gives_the_same_files() {
    comes_out_equal(&["--from-file", "lines.jsonl", "--n_iter", "3", "--n_samples", "2", "--wildcards"], 40);
}

#[test]
fn a_killed_run_of_changing_prompts_gives_the_same_files() {
    let flags =
        ["--from-file", "changes.txt", "--n_iter", "2", "--n_samples", "2", "--webui_prompts", "--sampler", "euler_a"];
    comes_out_equal(&flags, 30);
}

#[test]
fn a_killed_run_with_previews_and_names_gives_the_same_files() {
    let flags = ["--save_intermediates", "1", "--fname", "{prompt}", "--rng", "cpu", "--format", "webp"];
    comes_out_equal(&[&flags[..], &["--from-file", "lines.txt", "--n_iter", "3", "--n_samples", "2"]].concat(), 40);
}

#[test]
fn a_killed_run_of_grids_alone_gives_the_same_files() {
    comes_out_equal(&["--skip_save", "--grid_every", "4", "--n_iter", "10", "--n_samples", "2", "--fixed_code"], 40);
}

#[test]
fn a_killed_sweep_gives_the_same_files() {
    comes_out_equal(&["--sweep", "scale=1,2,5,7.5", "--sweep", "seed=1,2,3"], 30);
}

#[test]
fn a_deleted_sheet_is_rebuilt() {
    let run = TestRun::new();
    let sweep = ["--sweep", "scale=1,2", "--sweep", "seed=1,2"];
    into(&run, "out", &sweep).ok();
    let before = content(&run, "out");
    for file in ["sweep-0000.png", "sweep-0000.html"] {
        fs::remove_file(run.path("out").join(file)).unwrap();
        into(&run, "out", &["--collect"])
            .fails_with("but the sweep's HTML page or sheet is; repeat the command with --resume");
        resume(&run, "out", &sweep).ok();
        assert!(content(&run, "out") == before);
        into(&run, "out", &["--collect"]).ok();
    }
}

#[test]
fn a_deleted_outdir_is_not_recreated() {
    let run = TestRun::new();
    for flags in [&["--skip_grid"][..], &["--save_intermediates", "1"]] {
        let mut command = into(&run, "out", &[&["--n_iter", "100000"], flags].concat());
        let child = command.0.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(&run, "out/samples/00002.png");
        fs::rename(run.path("out"), run.path("away")).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains("error: the output folder 'out' was moved or deleted: "), "{said}");
        assert!(!run.path("out").exists());
        fs::remove_dir_all(run.path("away")).unwrap();
    }
}

#[test]
fn nothing_is_saved_twice() {
    let run = TestRun::new();
    break_often(&run, "broken", &RICH, 10);
    let drawn = journal(&run, "broken").iter().filter(|line| line.starts_with(r#"{"done":{"picture""#)).count();
    assert_eq!(drawn, 12);
}

#[test]
fn an_interrupted_run_is_resumed() {
    let run = TestRun::new();
    into(&run, "whole", &RICH).ok();
    loop {
        let mut child = start(into(&run, "stopped", &RICH));
        wait_for(&run, "stopped/samples/00004.png");
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        if child.wait().unwrap().code() == Some(130) {
            break;
        }
        fs::remove_dir_all(run.path("stopped")).unwrap();
    }
    let stopped = content(&run, "stopped");
    assert!(stopped.contains_key("grid-0000.png") && !stopped.contains_key("samples/00011.png"));
    resume(&run, "stopped", &RICH).ok();
    are_equal(&run, "whole", "stopped");
}

#[test]
fn a_run_stopped_by_a_full_disk_is_resumed() {
    let run = TestRun::new();
    into(&run, "whole", &RICH).ok();
    let mut limited = into(&run, "full", &RICH).0;
    let words: Vec<_> = [limited.get_program()].into_iter().chain(limited.get_args()).map(Into::into).collect();
    limited = Command::new("sh");
    let limit = r#"trap "" XFSZ; ulimit -f 5; exec "$@""#;
    limited.args(["-c", limit, "sh"]).args::<Vec<OsString>, _>(words).current_dir(run.path(""));
    let output = limited.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("File too large"), "{message}");
    assert_eq!(output.status.code(), Some(1));
    resume(&run, "full", &RICH).ok();
    are_equal(&run, "whole", "full");
}

#[test]
fn collect_checks_the_run_resumed_last() {
    let run = TestRun::new();
    let mut child = start(into(&run, "out", &RICH));
    wait_for(&run, "out/samples/00000.png");
    child.kill().unwrap();
    child.wait().unwrap();
    into(&run, "out", &["--n_samples", "1", "--n_iter", "1"]).ok();
    resume(&run, "out", &RICH).ok();
    let message = stdout(&into(&run, "out", &["--collect"]).ok());
    assert!(message.starts_with("All 12 pictures are present and unchanged:"), "{message}");
}

#[test]
fn deleted_pictures_are_redrawn() {
    let run = TestRun::new();
    into(&run, "whole", &RICH).ok();
    into(&run, "torn", &RICH).ok();
    fs::remove_file(run.path("torn/samples/00007.png")).unwrap();
    let message = into(&run, "torn", &["--collect"]).fails_with("1 of 12 pictures is missing (7); ");
    assert!(message.ends_with("repeat the command with --resume to draw what is missing\n"), "{message}");
    resume(&run, "torn", &RICH).ok();
    are_equal(&run, "whole", "torn");
    into(&run, "torn", &["--collect"]).ok();
}

#[test]
fn a_reserved_name_is_used_by_its_picture() {
    let run = TestRun::new();
    into(&run, "whole", &RICH).ok();
    into(&run, "torn", &RICH).ok();
    // The state after a kill between the two halves of a rename, on file systems that need two.
    let done = "{\"done\":{\"picture\":7}}\n";
    let journal = fs::read_to_string(run.path("torn/run.jsonl")).unwrap();
    assert!(journal.contains(done));
    fs::write(run.path("torn/run.jsonl"), journal.replacen(done, "", 1)).unwrap();
    fs::write(run.path("torn/samples/00007.png"), "").unwrap();
    resume(&run, "torn", &RICH).ok();
    are_equal(&run, "whole", "torn");
}

#[test]
fn modified_pictures_are_reported_and_left_alone() {
    let run = TestRun::new();
    into(&run, "whole", &RICH).ok();
    into(&run, "torn", &RICH).ok();
    fs::write(run.path("torn/samples/00003.png"), "retouched").unwrap();
    fs::remove_file(run.path("torn/samples/00004.png")).unwrap();
    let reason = "1 of 12 pictures is missing (4); 1 of 12 pictures was modified (3); delete the modified files and \
                  repeat the command with --resume to redraw them";
    into(&run, "torn", &["--collect"]).fails_with(reason);
    resume(&run, "torn", &RICH).ok();
    assert_eq!(fs::read(run.path("torn/samples/00003.png")).unwrap(), b"retouched");
    fs::remove_file(run.path("torn/samples/00003.png")).unwrap();
    resume(&run, "torn", &RICH).ok();
    into(&run, "torn", &["--collect"]).ok();
    are_equal(&run, "whole", "torn");
}

#[test]
fn a_deleted_grid_is_rebuilt() {
    let run = TestRun::new();
    into(&run, "whole", &RICH).ok();
    into(&run, "torn", &RICH).ok();
    fs::remove_file(run.path("torn/grid-0000.png")).unwrap();
    into(&run, "torn", &["--collect"]).fails_with("no picture is missing, but a grid is");
    resume(&run, "torn", &RICH).ok();
    are_equal(&run, "whole", "torn");
}

#[test]
fn a_modified_grid_is_reported_and_rebuilt_once_it_is_deleted() {
    let run = TestRun::new();
    into(&run, "whole", &RICH).ok();
    into(&run, "torn", &RICH).ok();
    fs::write(run.path("torn/grid-0000.png"), "retouched").unwrap();
    let reason = "no picture is missing, but grid-0000.png was modified; delete it and repeat the command with --resume \
                  to rebuild it";
    into(&run, "torn", &["--collect"]).fails_with(reason);
    fs::remove_file(run.path("torn/grid-0000.png")).unwrap();
    resume(&run, "torn", &RICH).ok();
    into(&run, "torn", &["--collect"]).ok();
    are_equal(&run, "whole", "torn");
}

#[test]
fn abandoned_runs_do_not_share_grids() {
    let run = TestRun::new();
    into(&run, "whole", &[&RICH[..], &["--n_iter", "40", "--seed", "1"]].concat()).ok();
    let stop_at = |flags: &[&str], file: &str| {
        let child = start(into(&run, "out", flags));
        wait_for(&run, file);
        kill(child);
    };
    let first = [&RICH[..], &["--n_iter", "40", "--seed", "1"]].concat();
    stop_at(&first, "out/samples/00020.png");
    stop_at(&[&RICH[..], &["--n_iter", "40", "--H", "128"]].concat(), "out/samples/00050.png");
    resume(&run, "out", &first).ok();
    let grid = |outdir: &str| fs::read(run.path(outdir).join("grid-0000.png")).unwrap();
    assert_eq!(grid("whole"), grid("out"));
}

#[test]
fn a_report_is_continued_by_a_resumed_run() {
    let run = TestRun::new();
    let flags = [&RICH[..], &["--report", "out/report.json", "--ddim_steps", "20"]].concat();
    let mut child = start(into(&run, "out", &flags));
    wait_for(&run, "out/samples/00002.png");
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    child.wait().unwrap();
    let report =
        || -> serde_json::Value { serde_json::from_slice(&fs::read(run.path("out/report.json")).unwrap()).unwrap() };
    let before = report()["pictures"].as_array().unwrap().len();
    assert!((3..=12).contains(&before) && report()["finished"] == (before == 12));
    into(&run, "out", &flags).fails_with("it exists already; name another");
    resume(&run, "out", &flags).ok();
    assert_eq!(report()["finished"], true);
    let numbers: Vec<_> =
        report()["pictures"].as_array().unwrap().iter().map(|p| p["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..12).collect::<Vec<_>>());
    // The report of another run is not overwritten, whatever its flags.
    let whole = fs::read(run.path("out/report.json")).unwrap();
    resume(&run, "another", &flags).fails_with("the report there belongs to a different run; name another file");
    assert_eq!(fs::read(run.path("out/report.json")).unwrap(), whole);
    fs::write(run.path("notes"), "mine").unwrap();
    let notes = [&RICH[..], &["--report", "notes", "--resume"]].concat();
    into(&run, "out", &notes).fails_with("it exists already; name another");
}

#[test]
fn a_complete_run_is_left_alone() {
    let run = TestRun::new();
    into(&run, "out", &RICH).ok();
    let before = content(&run, "out");
    resume(&run, "out", &RICH).ok();
    assert_eq!(content(&run, "out"), before);
}
