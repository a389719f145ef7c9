//! SHA-256 of files and diffusers folders.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use txt2img::checkpoint::model_sha256;
use txt2img::files::sha256;

const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// The hash of a million letters a, an example of FIPS 180.
const MILLION: &str = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, contents) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    folder
}

fn hash(path: impl AsRef<Path>) -> String {
    model_sha256(path.as_ref(), &|| true).unwrap().unwrap()
}

const MODEL: [(&str, &str); 3] = [
    ("unet/diffusion_pytorch_model.safetensors", "u"),
    ("text_encoder/model.safetensors", "t"),
    ("vae/diffusion_pytorch_model.bin", "v"),
];

#[test]
fn bytes_and_files_have_the_hashes_of_the_standard() {
    let a = "a".repeat(1_000_000);
    for (contents, expected) in [("", NOTHING), ("abc", ABC), (&a, MILLION)] {
        let folder = folder(&[("model.ckpt", contents)]);
        assert_eq!(hash(folder.path().join("model.ckpt")), expected);
        assert_eq!(sha256::of_bytes(contents.as_bytes()), expected);
    }
}

#[test]
fn a_file_of_many_pieces_is_hashed_whole() {
    let contents: String = (0..400_000).map(|number| format!("{number} ")).collect();
    let folder = folder(&[("model.ckpt", &contents)]);
    assert_eq!(hash(folder.path().join("model.ckpt")), sha256::of_bytes(contents.as_bytes()));
}

#[test]
fn it_stops_when_told_to() {
    let folder = folder(&[("model.ckpt", &"a".repeat(5 << 20))]);
    let path = folder.path().join("model.ckpt");
    let n_asked = Cell::new(0);
    let twice = || n_asked.replace(n_asked.get() + 1) < 2;
    assert_eq!(model_sha256(&path, &twice).unwrap(), None);
    assert_eq!(n_asked.get(), 3);
    assert_eq!(model_sha256(&path, &|| false).unwrap(), None);
}

#[test]
fn a_diffusers_folder_is_hashed_as_sha256sum_lists_it() {
    let listed = [
        ("t", "text_encoder/model.safetensors"),
        ("u", "unet/diffusion_pytorch_model.safetensors"),
        ("v", "vae/diffusion_pytorch_model.bin"),
    ];
    let lines: String =
        listed.iter().map(|(contents, name)| format!("{}  {name}\n", sha256::of_bytes(contents.as_bytes()))).collect();
    assert_eq!(hash(folder(&MODEL)), sha256::of_bytes(lines.as_bytes()));
    assert_eq!(model_sha256(folder(&MODEL).path(), &|| false).unwrap(), None);
}

#[test]
fn only_what_the_model_is_read_from_counts() {
    let ignored = [
        ("model_index.json", "{}"),
        ("unet/diffusion_pytorch_model.fp16.safetensors", "half"),
        ("vae/notes.txt", "x"),
        ("safety_checker/model.safetensors", "s"),
    ];
    assert_eq!(hash(folder(&[&MODEL[..], &ignored].concat())), hash(folder(&MODEL)));
    for changed in 0..3 {
        let mut files = MODEL;
        files[changed].1 = "other";
        assert_ne!(hash(folder(&files)), hash(folder(&MODEL)));
    }
}

#[test]
fn a_part_alone_has_a_hash() {
    let name = "diffusion_pytorch_model.safetensors";
    let expected = sha256::of_bytes(format!("{}  {name}\n", sha256::of_bytes(b"v")).as_bytes());
    assert_eq!(hash(folder(&[(name, "v")])), expected);
}

#[test]
fn what_cannot_be_hashed_is_named() {
    let empty = folder(&[("readme.md", "")]);
    let refusal = |path: &Path| format!("{:#}", model_sha256(path, &|| true).unwrap_err());
    let name = empty.path().display();
    let expected = format!("'{name}' holds no weights (unet/, vae/, text_encoder/); give a diffusers folder");
    assert_eq!(refusal(empty.path()), expected);
    let missing = refusal(&empty.path().join("missing.ckpt"));
    assert!(missing.starts_with(&format!("cannot read '{name}/missing.ckpt': ")), "{missing}");
}
