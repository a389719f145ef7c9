//! The choice of files in a repository.

use super::*;

/// Returns the name of the file chosen from a repository with these files.
#[track_caller]
fn taken(files: &[&str], half: bool) -> String {
    let large = weights(1);
    let files: Vec<(&str, &[u8])> = files.iter().map(|file| (*file, &large[..])).collect();
    let pretend = Pretend::with(&files);
    let path = fetch(&pretend.seen(), &model(), half).unwrap();
    path.file_name().unwrap().to_str().unwrap().to_string()
}

#[test]
fn files_are_chosen_by_precision_then_by_format() {
    let full = "v1-5-pruned-emaonly.safetensors";
    let half = "v1-5-pruned-emaonly-fp16.safetensors";
    let all = ["README.md", "v1-5-pruned.ckpt", "v1-5-pruned.safetensors", "v1-5-pruned-emaonly.ckpt", full, half];
    assert_eq!(taken(&all, true), half);
    assert_eq!(taken(&all, false), full);
    assert_eq!(taken(&all[..5], true), full);
    assert_eq!(taken(&all[..3], true), "v1-5-pruned.safetensors");
    assert_eq!(taken(&["v1-5-pruned.ckpt", half], false), half);
    assert_eq!(taken(&["sd-v1-4-full-ema.ckpt", "sd-v1-4.ckpt", "x.yaml"], false), "sd-v1-4.ckpt");
    assert_eq!(taken(&["a-inpainting.safetensors", "b.ckpt"], false), "b.ckpt");
}

#[test]
fn without_a_single_file_a_diffusers_model_is_downloaded() {
    let (model, text) = ("diffusion_pytorch_model", "text_encoder/model");
    let names = [
        format!("unet/{model}.safetensors"),
        format!("unet/{model}.fp16.safetensors"),
        format!("unet/{model}.bin"),
        format!("vae/{model}.bin"),
        format!("vae/{model}.fp16.safetensors"),
        format!("{text}.safetensors"),
        "safety_checker/model.safetensors".to_string(),
    ];
    let large = weights(1);
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (&name[..], &large[..])).collect();
    for (half, chosen) in [(true, [1, 4, 5]), (false, [0, 3, 5])] {
        let pretend = Pretend::with(&files);
        let folder = fetch(&pretend.seen(), &super::model(), half).unwrap();
        assert_eq!(folder, cached(&pretend, &format!("snapshots/{COMMIT}")));
        let there: Vec<usize> = (0..names.len()).filter(|&i| folder.join(&names[i]).exists()).collect();
        assert_eq!(there, chosen);
        let offline = Hub { offline: true, ..pretend.seen() };
        assert_eq!(fetch(&offline, &super::model(), half).unwrap(), folder);
    }
}

/// Returns the indices of the files downloaded from a repository with these files.
#[track_caller]
fn fetched(names: &[&str], half: bool) -> Vec<usize> {
    let large = weights(1);
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &large[..])).collect();
    let pretend = Pretend::with(&files);
    let folder = fetch(&pretend.seen(), &model(), half).unwrap();
    let offline = Hub { offline: true, ..pretend.seen() };
    assert_eq!(fetch(&offline, &model(), half).unwrap(), folder);
    (0..names.len()).filter(|&i| folder.join(names[i]).exists()).collect()
}

#[test]
fn shards_are_downloaded_with_their_index() {
    let names = [
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
        "vae/diffusion_pytorch_model-00001-of-00002.safetensors", // 2 of 2 is missing
        "vae/diffusion_pytorch_model.safetensors.index.json",
        "vae/diffusion_pytorch_model.bin",
        "text_encoder/pytorch_model-00001-of-00001.bin",
        "text_encoder/pytorch_model.bin.index.json",
        "model-00001-of-00001.safetensors", // not a single-file model
    ];
    assert_eq!(fetched(&names, false), [0, 1, 2, 5, 6, 7]);
}

#[test]
fn variants_are_downloaded_if_there_is_nothing_else() {
    let names = [
        "unet/diffusion_pytorch_model.bf16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "vae/diffusion_pytorch_model.non_ema.safetensors",
        "text_encoder/model.fp16-00001-of-00001.safetensors",
        "text_encoder/model.safetensors.index.fp16.json",
        "text_encoder/model.bf16.safetensors",
        "diffusion_pytorch_model.bf16.safetensors", // not a single-file model
    ];
    for half in [true, false] {
        assert_eq!(fetched(&names, half), [0, 2, 3, 4], "{half}");
    }
}

#[test]
fn configs_of_a_diffusers_model_are_downloaded_with_it() {
    let weights_of = ["unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"];
    let configs =
        ["scheduler/scheduler_config.json", "unet/config.json", "vae/config.json", "text_encoder/config.json"];
    let others = ["tokenizer/merges.txt", "safety_checker/config.json"];
    let large = weights(1);
    let mut files: Vec<(&str, &[u8])> = weights_of.map(|name| (name, &large[..])).into();
    files.push(("text_encoder/model.safetensors", &large));
    files.extend(configs.iter().chain(&others).map(|name| (*name, &b"{}"[..])));
    let pretend = Pretend::with(&files);
    let folder = fetch(&pretend.seen(), &model(), false).unwrap();
    assert!(configs.iter().all(|name| folder.join(name).exists()));
    assert!(!others.iter().any(|name| folder.join(name).exists()));
}

#[test]
fn a_repository_without_a_model_is_refused() {
    let pretend = Pretend::with(&[("README.md", b"x"), ("lora/a.safetensors", b"x"), ("unet/config.json", b"{}")]);
    assert_eq!(
        refusal(&pretend.seen(), &model()),
        "'someone/model' holds neither a single-file checkpoint nor a diffusers model ('README.md', \
         'lora/a.safetensors', 'unet/config.json'); give another repository"
    );
}
