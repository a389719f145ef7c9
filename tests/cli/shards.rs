//! Shards: parsing, and detection from the variables of Slurm, Kubernetes and torchrun.

use txt2img::shard::Shard;

/// Returns the shard detected from variables "NAME=VALUE NAME=VALUE …", as "SHARD: SOURCE".
fn found(variables: &str) -> Result<Option<String>, String> {
    let pairs: Vec<_> = variables.split_whitespace().map(|pair| pair.split_once('=').unwrap()).collect();
    let variable = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
    let found = Shard::from_environment(&variable).map_err(|error| error.to_string())?;
    Ok(found.map(|(shard, message)| format!("{shard}: {message}")))
}

#[track_caller]
fn says(variables: &str, shard: &str) {
    assert_eq!(found(variables).unwrap().as_deref(), Some(shard), "{variables}");
}

#[track_caller]
fn says_nothing(variables: &str) {
    assert_eq!(found(variables), Ok(None), "{variables}");
}

#[track_caller]
fn is_refused(variables: &str, reasons: &[&str]) {
    let error = found(variables).unwrap_err();
    assert!(reasons.iter().all(|reason| error.contains(reason)), "{variables}: {error}");
    assert!(error.contains("--shard I/N"), "{variables}: {error}");
}

/// The variables that Slurm sets in a task of an array.
fn array(id: usize, count: usize, min: usize, max: usize, step: usize) -> String {
    format!(
        "SLURM_ARRAY_TASK_ID={id} SLURM_ARRAY_TASK_COUNT={count} SLURM_ARRAY_TASK_MIN={min} SLURM_ARRAY_TASK_MAX={max} \
         SLURM_ARRAY_TASK_STEP={step} {BATCH}"
    )
}

/// The variables that Slurm sets in every batch script, also without srun.
const BATCH: &str = "SLURM_PROCID=0 SLURM_LOCALID=0";

#[test]
fn shards_are_parsed_as_printed() {
    for text in ["0/1", "3/8", "7/8"] {
        assert_eq!(text.parse::<Shard>().unwrap().to_string(), text);
    }
}

#[test]
fn invalid_shards_are_refused_with_the_reason() {
    let reasons = [
        ("3", "give I/N, such as 0/8"),
        ("", "give I/N, such as 0/8"),
        ("a/8", "give I/N, such as 0/8"),
        ("-1/8", "give I/N, such as 0/8"),
        ("1/2/3", "give I/N, such as 0/8"),
        ("0/0", "N must be at least 1"),
        ("8/8", "shards are numbered from 0: give 0/8 to 7/8"),
        ("1/1", "shards are numbered from 0: give 0/1 to 0/1"),
    ];
    for (text, reason) in reasons {
        let error = text.parse::<Shard>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn every_batch_is_in_exactly_one_shard() {
    for of in 1..=5 {
        for batch in 0..20 {
            assert_eq!((0..of).filter(|&index| Shard { index, of }.owns(batch)).count(), 1, "{batch}, {of} shards");
        }
    }
}

#[test]
fn a_shard_of_no_shards_is_empty() {
    assert!(!Shard { index: 0, of: 0 }.owns(0));
}

#[test]
fn tasks_of_an_array_are_shards_wherever_their_numbers_start() {
    says(&array(3, 8, 0, 7, 1), "3/8: SLURM_ARRAY_TASK_ID says");
    says(&array(1, 8, 1, 8, 1), "0/8: SLURM_ARRAY_TASK_ID says");
    says(&array(7, 3, 3, 7, 2), "2/3: SLURM_ARRAY_TASK_ID says");
    // --array=1-8:3 ends at 7, which is what Slurm sets.
    says(&array(4, 3, 1, 7, 3), "1/3: SLURM_ARRAY_TASK_ID says");
    says("SLURM_ARRAY_TASK_ID=1 SLURM_ARRAY_TASK_COUNT=2", "1/2: SLURM_ARRAY_TASK_ID says");
}

#[test]
fn tasks_of_an_array_with_gaps_are_refused() {
    for id in [1, 5, 9] {
        is_refused(&array(id, 3, 1, 9, 1), &[&format!("SLURM_ARRAY_TASK_ID {id}"), "--array=0-2"]);
    }
    for id in [0, 1, 3] {
        is_refused(&array(id, 3, 0, 3, 1), &["--array=0-2"]);
    }
}

#[test]
fn invalid_array_variables_are_refused() {
    let most = u32::MAX as usize;
    is_refused(&array(8, 8, 0, 7, 1), &["SLURM_ARRAY_TASK_ID 8", "SLURM_ARRAY_TASK_COUNT"]);
    is_refused(&array(0, 8, 1, 8, 1), &["SLURM_ARRAY_TASK_ID 0"]);
    is_refused(&array(4, 3, 3, 7, 2), &["SLURM_ARRAY_TASK_ID 4"]);
    is_refused(&array(0, 0, 0, 0, 1), &["SLURM_ARRAY_TASK_COUNT"]);
    is_refused(&array(0, 2, 0, 0, 0), &["SLURM_ARRAY_TASK_ID 0"]);
    is_refused(&array(most, most, most, most, most), &["SLURM_ARRAY_TASK_ID"]);
    is_refused("SLURM_ARRAY_TASK_ID=1", &["SLURM_ARRAY_TASK_COUNT is not"]);
    is_refused(
        "SLURM_ARRAY_TASK_ID=two SLURM_ARRAY_TASK_COUNT=3",
        &["SLURM_ARRAY_TASK_ID 'two' is not a whole number"],
    );
}

#[test]
fn tasks_of_srun_are_shards() {
    says("SLURM_PROCID=2 SLURM_STEP_NUM_TASKS=3 SLURM_NTASKS=3 SLURM_STEP_ID=0", "2/3: SLURM_PROCID says");
    is_refused("SLURM_PROCID=3 SLURM_STEP_NUM_TASKS=3", &["SLURM_PROCID 3", "SLURM_STEP_NUM_TASKS 3"]);
}

#[test]
fn tasks_of_srun_divide_the_shard_of_their_array_task() {
    let shards = (0..3).flat_map(|id| {
        (0..2).map(move |task| {
            let of_step = format!("SLURM_PROCID={task} SLURM_STEP_NUM_TASKS=2");
            found(&format!("{of_step} {}", array(id, 3, 0, 2, 1))).unwrap().unwrap()
        })
    });
    let expected = (0..6).map(|index| format!("{index}/6: SLURM_ARRAY_TASK_ID and SLURM_PROCID say"));
    assert!(shards.eq(expected));
}

#[test]
fn an_array_or_a_step_of_one_leaves_the_other() {
    says(&format!("SLURM_STEP_NUM_TASKS=1 {}", array(3, 8, 0, 7, 1)), "3/8: SLURM_ARRAY_TASK_ID says");
    says(&format!("SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2 {}", array(4, 1, 4, 4, 1)), "1/2: SLURM_PROCID says");
}

#[test]
fn a_batch_script_and_an_interactive_shell_draw_everything() {
    says_nothing("");
    says_nothing(&format!("{BATCH} SLURM_JOB_ID=4"));
    says_nothing(&format!("{BATCH} SLURM_NTASKS=2 SLURM_NPROCS=2"));
    // salloc's own step, as slurm.conf's use_interactive_step starts it.
    says_nothing("SLURM_PROCID=0 SLURM_NTASKS=3 SLURM_STEP_ID=4294967290 SLURM_STEP_NUM_TASKS=1");
    says_nothing("SLURM_NTASKS=3 SLURM_STEP_NUM_TASKS=3");
}

#[test]
fn pods_of_an_indexed_job_are_shards_if_they_know_their_count() {
    says("JOB_COMPLETION_INDEX=3 JOB_COMPLETIONS=8", "3/8: JOB_COMPLETION_INDEX says");
    says_nothing("JOB_COMPLETION_INDEX=0 JOB_COMPLETIONS=1");
    is_refused("JOB_COMPLETION_INDEX=3", &["JOB_COMPLETIONS is not", "deploy/kubernetes.yaml"]);
    is_refused("JOB_COMPLETION_INDEX=8 JOB_COMPLETIONS=8", &["JOB_COMPLETION_INDEX 8", "JOB_COMPLETIONS 8"]);
    is_refused("JOB_COMPLETION_INDEX=3 JOB_COMPLETIONS=", &["JOB_COMPLETIONS '' is not a whole number"]);
}

#[test]
fn ranks_are_shards_if_both_of_their_numbers_are_set() {
    says("RANK=5 WORLD_SIZE=16", "5/16: RANK says");
    says_nothing("RANK=0 WORLD_SIZE=1");
    says_nothing("RANK=major");
    is_refused("RANK=0 WORLD_SIZE=1000001", &["one of 1000001 shards", "at most 1000000 are supported"]);
    is_refused("RANK=0 WORLD_SIZE=0", &["RANK 0", "WORLD_SIZE 0"]);
    is_refused("RANK=-1 WORLD_SIZE=4", &["RANK '-1' is not a whole number from 0 to"]);
}

#[test]
fn several_sources_agree_or_are_refused() {
    let step = "SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2";
    says(&format!("{step} RANK=1 WORLD_SIZE=2"), "1/2: SLURM_PROCID says");
    says("SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=1 RANK=5 WORLD_SIZE=8", "5/8: RANK says");
    let reasons = ["SLURM_PROCID says that this is shard 1/2", "RANK says 9/16"];
    is_refused(&format!("{step} RANK=9 WORLD_SIZE=16"), &reasons);
}
