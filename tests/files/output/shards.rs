//! Shards that open the output folder at the same time.

use super::outdir::{Outdir, open_as, spec};
use std::fs::{self, OpenOptions};
use std::sync::Barrier;
use std::thread::{scope, sleep};
use std::time::Duration;
use txt2img::outdir::{RunHeader, RunSpec};
use txt2img::shard::Shard;

const SHARDS: usize = 8;

/// Opens the output folder as a shard; returns the run's id.
fn open_shard(outdir: &Outdir, index: usize) -> String {
    let shard = Some(Shard { index, of: SHARDS });
    let run = open_as(RunSpec { shard, ..spec(&outdir.path()) }).unwrap();
    let RunHeader { id, shards, .. } = run.folder.run();
    assert_eq!(*shards, SHARDS);
    id.clone()
}

#[test]
fn shards_that_start_at_the_same_moment_share_a_run() {
    // A different shard may be first each time.
    for _ in 0..10 {
        let (outdir, all_are_here) = (&Outdir::new(), &Barrier::new(SHARDS));
        let ids: Vec<_> = scope(|scope| {
            let open_shard = |index| {
                all_are_here.wait();
                open_shard(outdir, index)
            };
            let shards: Vec<_> = (0..SHARDS).map(|index| scope.spawn(move || open_shard(index))).collect();
            shards.into_iter().map(|shard| shard.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}

#[test]
fn a_run_is_not_shared_before_it_has_begun() {
    let outdir = Outdir::new();
    fs::create_dir(outdir.path()).unwrap();
    let journal = outdir.path().join("run.jsonl");
    let another = OpenOptions::new().create(true).append(true).open(&journal).unwrap();
    // As another shard does that starts at the same moment.
    another.lock_shared().unwrap();
    scope(|scope| {
        let shard = scope.spawn(|| open_shard(&outdir, 0));
        sleep(Duration::from_millis(300));
        assert_eq!(fs::read(&journal).unwrap(), b"");
        another.unlock().unwrap();
        let id = shard.join().unwrap();
        assert!(fs::read_to_string(&journal).unwrap().contains(&id));
    });
}
