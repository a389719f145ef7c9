//! `--embedding` and `--embedding_dir`: the textual inversions of a run.

use super::name_of;
use crate::args::Args;
use crate::checkpoint::Embedding;
use crate::human::counted;
use crate::job::Images;
use crate::job::files_below::files_below;
use crate::text::{Tokenizer, texts};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};

/// The extensions of embeddings in a folder.
pub const EXTENSIONS: [&str; 3] = ["pt", "bin", "safetensors"];

/// The most files of a folder. Each is read, and looked for in every prompt.
const MAX_FILES: usize = 10_000;

/// The most names in a note.
const MAX_NAMED: usize = 20;

/// The most pictures whose prompts are searched for names; more take too long.
const MAX_SEARCHED: usize = 10_000;

/// Reads the embeddings of the command line. `width`: the width of the text encoder's tokens.
///
/// # Errors
/// If a file of `--embedding` is not an embedding for the model, or two have the same name. In `--embedding_dir` such files
/// are left out with a note.
pub fn read(args: &Args, width: usize, notes: &mut Vec<String>) -> Result<Vec<Embedding>> {
    if args.embedding.is_empty() && args.embedding_dir.is_none() {
        return Ok(vec![]);
    }
    let mut tokenizer = Tokenizer::new()?;
    let mut embeddings = vec![];
    for value in &args.embedding {
        let (path, name) = file_and_name(value);
        let embedding = Embedding::open(&path, &name, width).context("--embedding")?;
        tokenizer.add_embedding(&embedding).context("--embedding")?;
        embeddings.push(embedding);
    }
    for path in args.embedding_dir.iter().map(|folder| files(folder)).collect::<Result<Vec<_>>>()?.concat() {
        let added = Embedding::open(&path, &name_of(&path), width).and_then(|embedding| {
            tokenizer.add_embedding(&embedding).with_context(|| format!("'{}'", path.display()))?;
            Ok(embedding)
        });
        match added {
            Ok(embedding) => embeddings.push(embedding),
            Err(error) => notes.push(format!("--embedding_dir leaves out a file: {error:#}")),
        }
    }
    let vectors = |embedding: &Embedding| format!("{} ({})", embedding.name(), counted(embedding.count(), "vector"));
    notes.push(format!("embeddings: {}", listed(embeddings.iter().map(vectors))));
    Ok(embeddings)
}

/// Returns a note on the embeddings that the prompts of a run contain, if there are any to contain.
///
/// # Errors
/// If the weights of emphasis multiply to infinity.
pub fn note(embeddings: &[Embedding], images: &Images) -> Result<Option<String>> {
    if embeddings.is_empty() {
        return Ok(None);
    }
    let tokenizer = Tokenizer::new()?.with_embeddings(embeddings)?;
    let (mut seen, mut found) = (HashSet::new(), BTreeSet::new());
    let searched = images.n_pictures().min(MAX_SEARCHED);
    for (image, params) in images.with_params().take(searched) {
        for text in texts((&image.prompt, image.negative), images.reading, &params.prompt_steps())? {
            if !seen.contains(&text) {
                found.extend(tokenizer.embeddings_in(&tokenizer.tokenize(&text, images.reading)?));
                seen.insert(text);
            }
        }
    }
    let prompts = match searched < images.n_pictures() {
        true => format!("the prompts of the first {searched} pictures"),
        false => "the prompts".to_owned(),
    };
    let names = found.into_iter().map(|i| embeddings[i].name().to_owned());
    Ok(Some(format!("embeddings in {prompts}: {}", listed(names))))
}

/// Splits the value of `--embedding`, FILE or FILE=NAME. An equals sign can be part of either.
pub fn file_and_name(value: &Path) -> (PathBuf, String) {
    let is_file = |file: &str| Path::new(file).exists();
    if !value.exists()
        && let Some(text) = value.to_str()
    {
        let mut splits = text.match_indices('=').map(|(at, _)| (&text[..at], &text[at + 1..]));
        let split = splits.clone().find(|(file, _)| is_file(file)).or_else(|| splits.next_back());
        if let Some((file, name)) = split {
            return (file.into(), name.into());
        }
    }
    (value.to_owned(), name_of(value))
}

/// Returns the files of a folder and those below that may be embeddings, sorted.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_embedding = |path: &PathBuf| {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        extension.is_some_and(|extension| EXTENSIONS.contains(&&*extension))
    };
    let found = files_below(folder).filter(|path| path.as_ref().map_or(true, is_embedding)).take(MAX_FILES + 1);
    let found = found.collect::<io::Result<Vec<_>>>();
    let mut found = found.with_context(|| format!("--embedding_dir: reading '{}'", folder.display()))?;
    if found.len() > MAX_FILES {
        bail!("--embedding_dir: '{}' has more than {MAX_FILES} files; give a smaller folder", folder.display());
    }
    found.sort();
    Ok(found)
}

/// Lists names, of which the last ones are counted if there are many.
fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    match names.len() {
        0 => "none".to_owned(),
        n if n > MAX_NAMED => format!("{} and {} more", names[..MAX_NAMED].join(", "), n - MAX_NAMED),
        _ => names.join(", "),
    }
}
