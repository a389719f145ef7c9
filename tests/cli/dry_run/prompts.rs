//! Truncated prompts, and expanded wildcards.

use super::{demo, job, somewhere};
use tempfile::TempDir;

fn long(last: &str) -> String {
    format!("{}{last}", "cube ".repeat(75))
}

#[test]
fn short_prompts_are_not_cut() {
    assert_eq!(somewhere(["--prompt", "a cube"]).values("words cut"), ["none"]);
}

#[test]
fn cut_words_are_listed_with_their_prompt() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("prompts.txt");
    std::fs::write(&file, format!("a cube\n{}\na ball\n{}\n", long("and a ball"), long("on grass"))).unwrap();
    let plan = demo(folder.path(), ["--from-file", file.to_str().unwrap()]);
    assert_eq!(plan.values("words cut"), ["prompt 2: and a ball", "prompt 4: on grass"]);
}

#[test]
fn negative_prompts_are_cut_too() {
    let plan = somewhere(["--prompt", "a cube", "--negative_prompt", &long("and fog")]);
    assert_eq!(plan.values("words cut"), ["prompt 1, negative prompt: and fog"]);
}

#[test]
fn long_prompts_are_not_cut() {
    assert_eq!(somewhere(["--long_prompt", "--prompt", &long("and a ball")]).values("words cut"), ["none"]);
}

#[test]
fn prompts_that_change_are_listed_as_they_begin() {
    let words = "cube ".repeat(1500);
    let prompt = format!("{words} [a ship:two boats:2] AND {words} [and|or]");
    let plan = somewhere(["--webui_prompts", "--prompt", &prompt, "--negative_prompt", "[fog:rain:2]"]);
    assert_eq!(plan.values("words cut"), ["prompt 1: a ship", "prompt 1: and"]);
}

#[test]
fn subprompts_are_counted() {
    let plan = somewhere(["--webui_prompts", "--prompt", "a cube AND a ball AND fog"]);
    assert_eq!(plan.values("subprompts"), ["up to 3; a UNet pass takes 2 times as long"]);
    let plan = somewhere(["--webui_prompts", "--scale", "1", "--prompt", "a cube AND a ball AND fog"]);
    assert_eq!(plan.values("subprompts"), ["up to 3; a UNet pass takes 4 times as long"]);
    assert!(somewhere(["--prompt", "a cube AND a ball"]).values("subprompts").is_empty());
}

#[test]
fn at_most_twenty_cut_prompts_are_listed() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("prompts.txt");
    let lines: Vec<String> = (0..50).map(|i| long(&format!("word {i}"))).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let plan = demo(folder.path(), ["--from-file", file.to_str().unwrap()]);
    let rows = plan.values("words cut");
    assert_eq!((rows.len(), rows[20]), (21, "and 30 more"));
}

#[test]
fn wildcards_are_chosen_as_in_the_run() {
    let flags = ["--wildcards", "--prompt", "a {red|green|blue} {cube|ball}", "--n_iter", "2", "--n_samples", "3"];
    let job = job(["--ckpt", "demo"].into_iter().chain(flags));
    let images = job.images.batches().flat_map(|batch| batch.images);
    let expected: Vec<String> = images.map(|image| format!("picture {}: {}", image.number + 1, image.prompt)).collect();
    assert_eq!(expected.len(), 6);
    assert_eq!(somewhere(flags).values("wording"), expected);
}

#[test]
fn a_prompt_stays_on_its_line() {
    let plan = somewhere(["--wildcards", "--prompt", "a cube\nmodel  mine\x1b[2J"]).to_string();
    assert_eq!(plan.lines().filter(|line| line.starts_with("model ")).count(), 1);
    assert!(!plan.contains('\x1b'));
}

#[test]
fn a_million_iterations_are_planned_quickly() {
    let plan = somewhere(["--n_iter", "1000000", "--n_samples", "1000000", "--H", "8", "--W", "8"]);
    assert_eq!(plan.values("pictures"), ["1000000000000"]);
}
