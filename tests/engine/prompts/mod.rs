//! Extended prompts: emphasis, long prompts, wildcards, and prompts files.

mod composed;
mod contexts;
mod denoisers;
mod emphasis;
mod json;
mod large_files;
mod long;
mod web_ui;
mod wildcards;

use txt2img::text::{Reading, Tokenizer, Tokens};

const EMPHASIS: Reading = Reading { emphasis: true, long: false, web_ui: false };
const LONG: Reading = Reading { emphasis: false, long: true, web_ui: false };
const BOTH: Reading = Reading { emphasis: true, long: true, web_ui: false };

const START: u32 = 49406;
const END: u32 = 49407;

fn read(prompt: &str, reading: Reading) -> Tokens {
    Tokenizer::new().unwrap().tokenize(prompt, reading).unwrap()
}

fn words(n: usize) -> String {
    vec!["cube"; n].join(" ")
}
