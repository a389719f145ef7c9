//! A long run, measured from outside: whether speed and memory stay the same from beginning to end.
//!
//!     cargo bench --bench bulk [-- PICTURES [FOLDER]]
//!
//! The demo model draws PICTURES images of 64×64 (by default 10,000) from as many prompts, with a grid every thousand.
//! FOLDER is emptied first.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The number of rows in the table.
const PARTS: usize = 10;

/// The state of the run at one moment.
struct Moment {
    pictures: usize,
    /// The time since the start.
    seconds: f64,
    /// The CPU time in seconds.
    cpu: f64,
    /// The resident memory in MB.
    memory: f64,
    files: usize,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let n = words.first().map_or(10_000, |n| n.parse().expect("a number of pictures"));
    let folder = words.get(1).map_or_else(|| std::env::temp_dir().join("txt2img-bulk"), PathBuf::from);
    fs::remove_dir_all(&folder).unwrap_or_default();
    fs::create_dir_all(&folder).expect("a folder to draw into");
    let moments = watch(&folder, n);
    println!("| pictures | pictures a second | seconds of the processors each | memory, MB | open files |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    for pair in moments.windows(2) {
        let (from, to) = (&pair[0], &pair[1]);
        let pictures = (to.pictures - from.pictures) as f64;
        let (rate, cpu) = (pictures / (to.seconds - from.seconds), (to.cpu - from.cpu) / pictures);
        println!("| {} | {rate:.1} | {cpu:.4} | {:.0} | {} |", to.pictures, to.memory, to.files);
    }
}

/// Draws `n` images, and measures the run after each part of it.
fn watch(folder: &Path, n: usize) -> Vec<Moment> {
    let prompts = folder.join("prompts.txt");
    let colours = ["red", "blue", "green", "yellow", "pink", "white"];
    let line = |i: usize| format!("a {} cube number {i}\n", colours[i % colours.len()]);
    fs::write(&prompts, (0..n).map(line).collect::<String>()).expect("writing the prompts");
    let mut run = Command::new(env!("CARGO_BIN_EXE_txt2img"))
        .args("--ckpt demo --H 64 --W 64 --dpm_solver --ddim_steps 5 --n_iter 1 --n_samples 4".split(' '))
        .args(["--progress", "json", "--grid_every", "1000", "--n_rows", "40", "--outdir"])
        .arg(folder.join("out"))
        .arg("--from-file")
        .arg(&prompts)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting the run");
    let (begun, pid) = (Instant::now(), run.id());
    let lines = BufReader::new(run.stderr.take().expect("it is piped")).lines();
    let (mut moments, mut pictures) = (vec![], 0);
    for line in lines.map_while(Result::ok) {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if event["event"] == "picture" {
            // The first few images are left out, as they include the time to load the model.
            if pictures == n / 100 || (pictures + 1) % (n / PARTS).max(1) == 0 {
                moments.push(Moment::now(pid, pictures + 1, begun));
            }
            pictures += 1;
        }
    }
    assert!(run.wait().expect("waiting for the run").success());
    assert_eq!(fs::read_dir(folder.join("out/samples")).expect("samples").count(), n);
    moments
}

impl Moment {
    fn now(pid: u32, pictures: usize, begun: Instant) -> Self {
        let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        // The fields after the name in brackets; user and system time are the 14th and 15th of all, in 1/100 s.
        let stat = of("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok()).unwrap_or(f64::NAN);
        let status = of("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        Self {
            pictures,
            seconds: begun.elapsed().as_secs_f64(),
            cpu: (ticks(11) + ticks(12)) / 100.,
            memory: resident.and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1000.,
            files: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count),
        }
    }
}
