//! The seeds of a run, given or picked at random.

use crate::args::{Args, Seed, Sweep};
use crate::outdir::OutDir;
use crate::prompts::Position;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The most random seeds of a prompts file that a note names.
const MAX_SEEDS_NAMED: usize = 20;

/// The seeds of a run.
pub struct Seeds {
    /// The run's seed.
    pub run: u32,
    /// The seeds picked for prompts of a file, with the positions of the prompts.
    pub of_file: Vec<(Position, u32)>,
}

impl Seeds {
    /// Picks the run's seed if `--seed` asks for a random one, or takes that of the run to resume.
    pub fn new(args: &Args, notes: &mut Vec<String>) -> Self {
        let recorded = (args.resume && args.seed == Seed::Random).then(|| OutDir::last_seed(&args.outdir)).flatten();
        Self { run: recorded.unwrap_or_else(|| seed(args.seed, notes)), of_file: vec![] }
    }

    /// Returns the seed of a prompt at `at` in a file; picks one if `seed` is random.
    pub fn of_prompt(&mut self, at: Position, seed: Seed) -> u32 {
        match seed {
            Seed::Given(seed) => seed,
            Seed::Random => {
                let seed = random_seed();
                self.of_file.push((at, seed));
                seed
            }
        }
    }

    /// Adds a note with the seeds picked for a prompts file, so that the user can repeat the run.
    pub fn note(&self, args: &Args, notes: &mut Vec<String>) {
        let (Some(file), [_, ..]) = (&args.from_file, &self.of_file[..]) else { return };
        let named = self.of_file.iter().take(MAX_SEEDS_NAMED).map(|(at, seed)| format!("{seed} ({at})"));
        let rest = match self.of_file.len().saturating_sub(MAX_SEEDS_NAMED) {
            0 => String::new(),
            n => format!(" and {n} more, which are in the pictures' metadata and in --report"),
        };
        let named = named.collect::<Vec<_>>().join(", ");
        notes.push(format!("random seeds for prompts file '{}': {named}{rest}", file.display()));
    }

    /// Returns the flags to add to the command line to resume this run; `None` if it would pick other seeds.
    pub fn flags_to_resume(&self, args: &Args) -> Option<String> {
        let is_random = |cell: &Args| cell.seed == Seed::Random;
        if let Some(Sweep { columns, rows, cells }) = &args.swept {
            let sweeps_seeds = columns.name == "seed" || rows.as_ref().is_some_and(|rows| rows.name == "seed");
            if sweeps_seeds && cells.iter().any(is_random) {
                return None;
            }
        }
        if !self.of_file.is_empty() {
            return None;
        }
        let seed = is_random(args).then(|| format!("--seed {}", self.run));
        let resume = (!args.resume).then(|| "--resume".to_owned());
        Some(seed.into_iter().chain(resume).collect::<Vec<_>>().join(" "))
    }
}

/// Returns the seed; if it is random, picks one and adds a note on it.
pub fn seed(seed: Seed, notes: &mut Vec<String>) -> u32 {
    match seed {
        Seed::Given(seed) => seed,
        Seed::Random => {
            let seed = random_seed();
            notes.push(format!("the random seed is {seed}"));
            seed
        }
    }
}

fn random_seed() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}
