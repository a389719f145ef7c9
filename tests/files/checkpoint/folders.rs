//! Diffusers folders: variants, shards, `.bin` files and the hub's cache.

use super::*;
use txt2img::checkpoint::weight_files;

const UNET: &str = "unet/diffusion_pytorch_model";

/// Writes the small model as a folder. `name` maps the stem of each file to its name.
fn folder_named(name: impl Fn(&str) -> String) -> Folder {
    let folder = Folder::new();
    for (part, tensors) in parts(&contents(&nano())) {
        let stem = if part == "text_encoder" { "model" } else { "diffusion_pytorch_model" };
        folder.write(&format!("{part}/{}", name(stem)), &safetensors(&tensors, Stored::F32));
    }
    folder
}

/// Writes the small model as a folder with each part in two shards. `index` and `shard` map the stem, and the number of
/// the shard, to names.
fn sharded(index: impl Fn(&str) -> String, shard: impl Fn(&str, usize) -> String) -> Folder {
    let folder = Folder::new();
    for (part, tensors) in parts(&contents(&nano())) {
        let stem = if part == "text_encoder" { "model" } else { "diffusion_pytorch_model" };
        let half = tensors.len() / 2;
        let number = |i: usize| if i < half { 1 } else { 2 };
        let map: Vec<String> =
            tensors.keys().enumerate().map(|(i, name)| format!("{name:?}: {:?}", shard(stem, number(i)))).collect();
        for n in [1, 2] {
            let inner =
                tensors.clone().into_iter().enumerate().filter(|(i, _)| number(*i) == n).map(|(_, tensor)| tensor);
            folder.write(&format!("{part}/{}", shard(stem, n)), &safetensors(&inner.collect(), Stored::F32));
        }
        let text = format!(r#"{{"metadata": {{"total_size": 1}}, "weight_map": {{{}}}}}"#, map.join(", "));
        folder.write(&format!("{part}/{}", index(stem)), text.as_bytes());
    }
    folder
}

fn usual_shards() -> Folder {
    sharded(|stem| format!("{stem}.safetensors.index.json"), |stem, n| format!("{stem}-0000{n}-of-00002.safetensors"))
}

#[track_caller]
fn reads_as_nano(folder: &Folder) {
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert!(contents(&checkpoint) == without_schedule(contents(&nano())));
    // The model's hash covers exactly the files that it is read from.
    let files: BTreeSet<PathBuf> = weight_files(folder.path()).iter().map(|name| folder.path().join(name)).collect();
    assert_eq!(checkpoint.files().iter().cloned().collect::<BTreeSet<_>>(), files);
}

#[test]
fn a_text_encoder_of_new_transformers_reads_as_the_ckpt() {
    let mut parts = parts(&contents(&nano()));
    let bare = |(name, tensor): (String, _)| (name.strip_prefix("text_model.").unwrap().to_string(), tensor);
    parts[2].1 = std::mem::take(&mut parts[2].1).into_iter().map(bare).collect();
    reads_as_nano(&diffusers_folder(&parts));
}

#[test]
fn folders_of_one_variant_read_as_the_ckpt() {
    for variant in ["fp16", "bf16", "fp32", "non_ema", "ema"] {
        reads_as_nano(&folder_named(|stem| format!("{stem}.{variant}.safetensors")));
    }
}

#[test]
fn folders_of_bin_files_read_as_the_ckpt() {
    let torch = |stem: &str| if stem == "model" { "pytorch_model".to_string() } else { stem.to_string() };
    reads_as_nano(&folder_named(|stem| format!("{}.bin", torch(stem))));
    reads_as_nano(&folder_named(|stem| format!("{}.fp16.bin", torch(stem))));
    reads_as_nano(&sharded(
        |stem| format!("{}.bin.index.json", torch(stem)),
        |stem, n| format!("{}-0000{n}-of-00002.bin", torch(stem)),
    ));
}

#[test]
fn shards_read_as_the_ckpt() {
    reads_as_nano(&usual_shards());
}

/// Different libraries put the variant in different places of the name.
#[test]
fn shards_of_a_variant_read_as_the_ckpt() {
    for index in ["fp16.safetensors.index.json", "safetensors.index.fp16.json", "safetensors.fp16.index.json"] {
        let index = |stem: &str| format!("{stem}.{index}");
        reads_as_nano(&sharded(index, |stem, n| format!("{stem}.fp16-0000{n}-of-00002.safetensors")));
        reads_as_nano(&sharded(index, |stem, n| format!("{stem}-0000{n}-of-00002.fp16.safetensors")));
    }
}

#[test]
fn the_model_itself_is_preferred_to_its_variants() {
    let folder = usual_shards();
    for name in ["fp16.safetensors", "non_ema.safetensors", "bin"] {
        folder.write(&format!("{UNET}.{name}"), b"not to be read");
    }
    reads_as_nano(&folder);
}

#[test]
fn complete_weights_are_preferred_to_shards_of_which_some_are_missing() {
    let folder = folder_named(|stem| format!("{stem}.fp16.safetensors"));
    folder.write(&format!("{UNET}.safetensors.index.json"), br#"{"weight_map": {"a": "b.safetensors"}}"#);
    reads_as_nano(&folder);
}

#[test]
fn a_folder_of_shards_draws_the_same_picture() {
    assert!(picture(usual_shards().path()) == picture(&nano_path()));
}

#[test]
fn missing_shards_are_named() {
    let folder = usual_shards();
    fs::remove_file(folder.path().join(format!("{UNET}-00002-of-00002.safetensors"))).unwrap();
    let sentence = refusal(folder.path());
    let expected = "lists shards that are missing: 'diffusion_pytorch_model-00002-of-00002.safetensors'; \
                    download them too";
    assert!(sentence.ends_with(expected) && sentence.contains(".safetensors.index.json' lists"), "{sentence}");
}

#[test]
fn a_shard_without_the_tensor_that_the_index_promises_is_refused() {
    let folder = usual_shards();
    let first = folder.path().join(format!("{UNET}-00001-of-00002.safetensors"));
    fs::write(first, named(&["other"])).unwrap();
    let sentence = refusal(folder.path());
    let expected = "which lacks it; download both again";
    assert!(sentence.contains("index.json' expects tensor '") && sentence.ends_with(expected), "{sentence}");
}

/// They are refused even if the file exists.
#[test]
fn indices_that_lead_out_of_their_folder_are_refused() {
    let outside = Folder::new();
    let unet = &parts(&contents(&nano()))[0].1;
    let path = outside.write("unet.safetensors", &safetensors(unet, Stored::F32));
    let absolute = path.to_str().unwrap().replace('\\', "/");
    let folder = usual_shards();
    fs::copy(&path, folder.path().join("beside.safetensors")).unwrap();
    for name in [
        &*absolute,
        "../beside.safetensors",
        "x/../../beside.safetensors",
        ".",
        "..",
        "",
        "./a",
        "a/b",
        "a\\\\b",
        "C:a",
    ] {
        let index = format!(r#"{{"weight_map": {{"conv_in.weight": "{name}"}}}}"#);
        folder.write(&format!("{UNET}.safetensors.index.json"), index.as_bytes());
        let sentence = refusal(folder.path());
        assert!(sentence.contains("', which is not a file in its folder; download"), "{name}: {sentence}");
    }
}

#[test]
fn damaged_indices_are_refused() {
    let folder = usual_shards();
    let deep = format!(r#"{{"weight_map": {}"#, "[".repeat(100_000));
    for (text, because) in [
        ("", "is cut short or damaged (not a valid index: EOF"),
        ("[]", "is cut short or damaged (not a valid index: "),
        (r#"{"metadata": {}}"#, "is cut short or damaged (not a valid index: missing field `weight_map`"),
        (r#"{"weight_map": {"a": 3}}"#, "is cut short or damaged (not a valid index: invalid type"),
        (r#"{"weight_map": {}}"#, "is cut short or damaged (it names no files)"),
        (&deep, "is cut short or damaged (not a valid index: "),
    ] {
        folder.write(&format!("{UNET}.safetensors.index.json"), text.as_bytes());
        let sentence = refusal(folder.path());
        assert!(sentence.contains(&format!("index.json' {because}")), "{sentence}");
    }
    let huge = fs::File::create(folder.path().join(format!("{UNET}.safetensors.index.json"))).unwrap();
    huge.set_len(1 << 34).unwrap();
    let sentence = refusal(folder.path());
    assert!(sentence.contains("index.json' is too large for an index of shards"), "{sentence}");
}

#[test]
fn a_folder_may_lack_the_autoencoder_that_another_replaces() {
    let folder = diffusers_folder(&parts(&contents(&nano())));
    fs::remove_dir_all(folder.path().join("vae")).unwrap();
    let checkpoint = Checkpoint::open_with_vae(folder.path(), &nano_path()).unwrap();
    assert!(contents(&checkpoint) == without_schedule(contents(&nano())));
    assert!(refusal(folder.path()).starts_with("lacks vae/diffusion_pytorch_model.safetensors (or a .bin file"));
}

#[test]
fn a_file_may_lack_the_autoencoder_that_another_replaces() {
    let folder = Folder::new();
    let mut tensors = contents(&nano());
    tensors.retain(|name, _| !name.starts_with("first_stage_model."));
    let path = folder.write("no vae.safetensors", &safetensors(&tensors, Stored::F32));
    let checkpoint = Checkpoint::open_with_vae(&path, &nano_path()).unwrap();
    assert!(contents(&checkpoint) == contents(&nano()));
    let error = Checkpoint::open(&path).unwrap().check_complete().unwrap_err().to_string();
    assert!(error.ends_with("no vae.safetensors' has no VAE; name one with --vae"), "{error}");
}

#[test]
fn a_sharded_autoencoder_is_taken() {
    let checkpoint = nano().with_vae(&usual_shards().path().join("vae")).unwrap();
    assert!(contents(&checkpoint) == contents(&nano()));
}

#[test]
fn a_repository_in_the_hubs_cache_is_explained() {
    let folder = Folder::new();
    let model = folder.path().join("models--a--b");
    folder.write("models--a--b/snapshots/c0ffee/unet/x", b"");
    let sentence = refusal(&model);
    let expected = format!("give '{}', or a/b", model.join("snapshots/c0ffee").display());
    let start = "is a repository in the cache of a Hugging Face hub; give";
    assert!(sentence.starts_with(start), "{sentence}");
    for error in [nano().with_vae(&model).err(), Checkpoint::open_alone(&model).err()] {
        assert!(error.unwrap().to_string().contains(start));
    }
    assert!(sentence.ends_with(&expected), "{sentence}");
    folder.write("models--a--b/snapshots/decaf/unet/x", b"");
    let sentence = refusal(&model);
    assert!(
        sentence.ends_with(&format!("give a folder in '{}', or a/b", model.join("snapshots").display())),
        "{sentence}"
    );
}
