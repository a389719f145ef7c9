//! Checkpoints: every layout has the same content, and other files are refused in one sentence.

mod damage;
mod folders;
mod forms;
mod vae;
mod wild;

use candle_core::{DType, Device};
use half::{bf16, f16};
use safetensors::tensor::{Dtype as Stored, TensorView};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use txt2img::checkpoint::names::{self, Level};
use txt2img::checkpoint::{Checkpoint, Dtype};

fn nano_path() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nano.ckpt").into()
}

fn nano() -> Checkpoint {
    Checkpoint::open(&nano_path()).unwrap()
}

/// Shapes and values of the floating-point tensors, by name.
type Contents = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn contents(checkpoint: &Checkpoint) -> Contents {
    let float = |name: &&str| checkpoint.dtype(name) != Some(Dtype::I64);
    let tensor = |name: &str| (checkpoint.shape(name).unwrap().to_vec(), checkpoint.read_f32(name).unwrap());
    checkpoint.names().filter(float).map(|name| (name.to_string(), tensor(name))).collect()
}

fn safetensors(tensors: &Contents, dtype: Stored) -> Vec<u8> {
    let bytes = |numbers: &[f32]| -> Vec<u8> {
        let number = |&x: &f32| match dtype {
            Stored::F16 => f16::from_f32(x).to_le_bytes().to_vec(),
            Stored::BF16 => bf16::from_f32(x).to_le_bytes().to_vec(),
            Stored::F64 => f64::from(x).to_le_bytes().to_vec(),
            _ => x.to_le_bytes().to_vec(),
        };
        numbers.iter().flat_map(number).collect()
    };
    let tensors: Vec<_> = tensors.iter().map(|(name, (shape, x))| (name, shape.clone(), bytes(x))).collect();
    let views =
        tensors.iter().map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// Returns a `.safetensors` file with tensors of these names, full of zeros.
fn named(names: &[&str]) -> Vec<u8> {
    let tensor = |name: &&str| (name.to_string(), (vec![2, 9], vec![0.0; 18]));
    safetensors(&names.iter().map(tensor).collect(), Stored::F32)
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn open(bytes: &[u8]) -> anyhow::Result<Contents> {
    let folder = Folder::new();
    Checkpoint::open(&folder.write("model.ckpt", bytes)).map(|checkpoint| contents(&checkpoint))
}

/// Returns the error of opening a checkpoint, without the path at its start.
fn refusal(path: &Path) -> String {
    let Err(error) = Checkpoint::open(path) else { panic!("'{}' is opened", path.display()) };
    let sentence = format!("{error:#}");
    assert!(!sentence.contains('\n') && !sentence.ends_with('.'), "{sentence}");
    let start = format!("'{}", path.display());
    let rest = sentence.strip_prefix(&start).unwrap_or_else(|| panic!("{sentence}"));
    rest.trim_start_matches("' ").to_string()
}

fn refused(bytes: &[u8], because: &str) {
    let folder = Folder::new();
    let sentence = refusal(&folder.write("model.ckpt", bytes));
    assert!(sentence.starts_with(because), "{sentence}");
}

// Layouts

#[test]
fn a_ckpt_opens() {
    let nano = nano();
    assert_eq!(nano.path(), nano_path());
    assert_eq!(nano.names().count(), 553);
    assert!(nano.names().is_sorted());
    let name = "model.diffusion_model.input_blocks.0.0.weight";
    assert_eq!(nano.shape(name), Some(&[32, 4, 3, 3][..]));
    assert_eq!(nano.dtype(name), Some(Dtype::F16));
    assert!(nano.contains(name) && !nano.contains("model.diffusion_model"));
    assert_eq!(nano.read_f32("alphas_cumprod").unwrap()[..2], [0.99915, 0.998296]);
}

#[test]
fn tensors_are_copied_in_the_type_in_which_they_are_stored() {
    let nano = nano();
    assert!(nano.f16_names().eq(nano.names().filter(|name| nano.dtype(name) == Some(Dtype::F16))));
    // The ids of positions are integers.
    for name in nano.names().filter(|name| matches!(nano.dtype(name), Some(Dtype::F16 | Dtype::F32))) {
        let stored = nano.read_to(name, nano.shape(name).unwrap(), &Device::Cpu).unwrap();
        let dtype = if nano.dtype(name) == Some(Dtype::F16) { DType::F16 } else { DType::F32 };
        assert_eq!(stored.dtype(), dtype, "{name}");
        let numbers: Vec<f32> = stored.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!(numbers == nano.read_f32(name).unwrap(), "{name}");
    }
}

#[test]
fn a_checkpoint_goes_to_other_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Checkpoint>();
}

#[test]
fn safetensors_of_every_float_type_read_as_the_ckpt() {
    let nano = contents(&nano());
    for dtype in [Stored::F16, Stored::BF16, Stored::F32, Stored::F64] {
        let stored = |x: &f32| match dtype {
            Stored::F16 => f16::from_f32(*x).to_f32(),
            Stored::BF16 => bf16::from_f32(*x).to_f32(),
            _ => *x,
        };
        let read = open(&safetensors(&nano, dtype)).unwrap();
        assert!(read.keys().eq(nano.keys()));
        for (name, (shape, numbers)) in &nano {
            let expected: Vec<f32> = numbers.iter().map(stored).collect();
            assert!(read[name] == (shape.clone(), expected), "{name} as {dtype}");
        }
    }
}

/// Returns the parts of the small model under diffusers' names.
fn parts(nano: &Contents) -> [(&'static str, Contents); 3] {
    let level = |resnets, attention| Level { resnets, attention };
    let down = [level(1, true), level(1, true), level(1, false)];
    let up = [level(2, false), level(2, true), level(2, true)];
    let unet = names::unet(&down, &up);
    let vae = names::vae(&[level(1, false); 4], &[level(2, false); 4]);
    let layers = names::text_layers(|name| nano.contains_key(&format!("cond_stage_model.transformer.{name}")));
    let text_encoder = names::text_encoder(layers);
    [("unet", unet), ("vae", vae), ("text_encoder", text_encoder)].map(|(part, names)| {
        let tensor = |(ldm, diffusers): (String, _)| Some((diffusers, linear(&ldm, nano.get(&ldm)?.clone())));
        (part, names.into_iter().filter_map(tensor).collect())
    })
}

/// Reshapes the attention of the VAE, which in diffusers has matrices instead of 1×1 convolutions.
fn linear(ldm: &str, (mut shape, numbers): (Vec<usize>, Vec<f32>)) -> (Vec<usize>, Vec<f32>) {
    if ldm.contains(".attn_1.") {
        shape.truncate(2);
    }
    (shape, numbers)
}

fn diffusers_folder(parts: &[(&str, Contents)]) -> Folder {
    let folder = Folder::new();
    for (part, tensors) in parts {
        let file = if *part == "text_encoder" { "model" } else { "diffusion_pytorch_model" };
        folder.write(&format!("{part}/{file}.safetensors"), &safetensors(tensors, Stored::F32));
    }
    folder
}

fn without_schedule(nano: Contents) -> Contents {
    nano.into_iter().filter(|(name, _)| name.contains('.')).collect()
}

#[test]
fn a_diffusers_folder_reads_as_the_ckpt() {
    let nano = contents(&nano());
    let folder = diffusers_folder(&parts(&nano));
    let read = contents(&Checkpoint::open(folder.path()).unwrap());
    assert!(read == without_schedule(nano));
}

/// Writes a diffusers folder with the former names of attention layers.
fn old_diffusers_folder(nano: &Contents) -> Folder {
    let mut parts = parts(nano);
    let old = |name: String| {
        let renamed = [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];
        renamed.iter().fold(name, |name, (new, old)| name.replace(new, old))
    };
    let vae = std::mem::take(&mut parts[1].1);
    parts[1].1 = vae.into_iter().map(|(name, tensor)| (old(name), tensor)).collect();
    assert!(parts[1].1.keys().any(|name| name.contains("proj_attn")));
    diffusers_folder(&parts)
}

#[test]
fn an_old_diffusers_folder_reads_as_the_ckpt() {
    let nano = contents(&nano());
    let folder = old_diffusers_folder(&nano);
    let read = contents(&Checkpoint::open(folder.path()).unwrap());
    assert!(read == without_schedule(nano));
}

#[test]
fn every_layout_draws_the_same_picture() {
    let nano = contents(&nano());
    let files = Folder::new();
    let half = files.write("half.safetensors", &safetensors(&nano, Stored::F16));
    let full = files.write("full.safetensors", &safetensors(&nano, Stored::F32));
    let (new, old) = (diffusers_folder(&parts(&nano)), old_diffusers_folder(&nano));
    let expected = picture(&nano_path());
    for path in [&half, &full, new.path(), old.path()] {
        assert!(picture(path) == expected, "{}", path.display());
    }
}

/// Returns the file of the picture that the program draws with a checkpoint.
fn picture(checkpoint: &Path) -> Vec<u8> {
    let out = Folder::new();
    let mut txt2img = Command::new(env!("CARGO_BIN_EXE_txt2img"));
    txt2img.arg("--config").arg(nano_path().with_extension("yaml")).arg("--ckpt").arg(checkpoint);
    txt2img.args(["--H", "64", "--W", "64", "--ddim_steps", "2", "--n_samples", "1", "--n_iter", "1"]);
    txt2img.args(["--no_metadata", "--safety", "off"]);
    let output = txt2img.arg("--outdir").arg(out.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read(out.path().join("samples/00000.png")).unwrap()
}

#[test]
fn full_precision_is_preferred_to_half() {
    let mut parts = parts(&contents(&nano()));
    let folder = diffusers_folder(&parts);
    parts[0].1.get_mut("conv_in.bias").unwrap().1.fill(7.0);
    let half = safetensors(&parts[0].1, Stored::F16);
    folder.write("unet/diffusion_pytorch_model.fp16.safetensors", &half);
    let bias = || {
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        checkpoint.read_f32("model.diffusion_model.input_blocks.0.0.bias").unwrap()[0]
    };
    assert_ne!(bias(), 7.0);
    fs::remove_file(folder.path().join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    assert_eq!(bias(), 7.0);
}

#[test]
fn an_old_text_encoder_gets_its_new_names() {
    let text = "cond_stage_model.transformer.embeddings.token_embedding.weight";
    let read = open(&named(&[text, "model.diffusion_model.x"]));
    let name = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight";
    assert!(read.unwrap().contains_key(name));
}

// Files that are not checkpoints

#[test]
fn a_missing_tensor_is_named() {
    let error = nano().read_f32("model.x").unwrap_err().to_string();
    assert!(error.contains("nano.ckpt' has no tensor 'model.x'; is it a"), "{error}");
    let ids = "cond_stage_model.transformer.text_model.embeddings.position_ids";
    let error = nano().read_f32(ids).unwrap_err().to_string();
    assert!(error.contains("' as I64, not as floating point numbers"), "{error}");
}

#[test]
fn paths_that_cannot_be_read_are_refused() {
    let folder = Folder::new();
    assert!(refusal(&folder.path().join("model.ckpt")).starts_with("does not exist; check the path"));
    assert!(refusal(folder.path()).starts_with("is a folder, but not a diffusers model"));
}

#[cfg(unix)]
#[test]
fn devices_are_refused() {
    assert!(refusal(Path::new("/dev/null")).starts_with("is neither a file nor a folder"));
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.write("model.ckpt", b"PK");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read everything.
    if fs::read(&path).is_err() {
        assert!(refusal(&path).starts_with("cannot be read: permission denied; make"));
    }
}

#[test]
fn files_of_other_kinds_are_refused() {
    refused(b"", "is empty; download it again");
    refused(b"\n<!DOCTYPE html><html>", "is a web page, not a checkpoint; the download went to a login");
    refused(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:fe\nsize 4265380512\n",
        "is a git-lfs pointer to 4265380512 bytes, not the checkpoint itself; fetch it with git lfs pull",
    );
    refused(b"{\"format\": 1}", "is a JSON file, not a checkpoint; give a");
    refused("Entry not found: é".as_bytes(), "is a text file, not a checkpoint; give a");
    refused(&[0; 4096], "is of an unknown format, not a checkpoint; give a");
    refused(b"GGUF\x03\0\0\0", "is a GGUF file, not a checkpoint");
    refused(b"\x80\x04}.", "is a bare Python pickle, not a checkpoint");
    let old = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    refused(old, "is cut short or damaged (");
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    refused(&tar, "is a tar archive, not a checkpoint; unpack it");
}

#[test]
fn files_of_other_models_are_refused() {
    for (name, model) in [
        ("conditioner.embedders.0.transformer.x.weight", "a Stable Diffusion XL model"),
        ("cond_stage_model.model.positional_embedding", "a Stable Diffusion 2.x model"),
        ("model.diffusion_model.joint_blocks.0.x.weight", "a Stable Diffusion 3 model"),
        ("model.diffusion_model.double_blocks.0.x.weight", "a Flux model"),
        ("control_model.zero_convs.0.0.weight", "a ControlNet"),
        ("lora_unet_mid_block.lora_up.weight", "a LoRA (changes to a model, not a model)"),
        ("unet.mid_block.processor.to_q_lora.down.weight", "a LoRA (changes to a model, not a model)"),
        ("text_encoder.x.lora_linear_layer.up.weight", "a LoRA (changes to a model, not a model)"),
        ("lycoris_unet_mid_block.lokr_w1", "a LoRA (changes to a model, not a model)"),
        ("mid_block.to_q.hada_w1_a", "a LoRA (changes to a model, not a model)"),
        ("ip_adapter.1.to_k_ip.weight", "an IP-Adapter"),
        ("concept_embeds", "a safety checker"),
        ("vae.decoder.conv_in.weight", "a VAE alone"),
        ("embeddings.token_embedding.weight", "a text encoder alone"),
        ("encoder.layers.0.mlp.fc1.weight", "a text encoder alone"),
        ("cond_stage_model.transformer.text_model.x.weight", "a text encoder alone"),
        ("model.diffusion_model.out.0.weight", "a UNet alone"),
        ("diffusion_model.out.0.weight", "a UNet alone"),
        ("unet.mid_block.to_q.lora_A.weight", "a LoRA (changes to a model, not a model)"),
        ("emb_params", "a textual inversion (a word for a model, not a model)"),
        ("first_stage_model.encoder.conv_in.weight", "a VAE alone"),
        ("decoder.conv_in.weight", "a VAE alone"),
        ("down_blocks.0.resnets.0.conv1.weight", "a UNet alone"),
        ("text_model.final_layer_norm.weight", "a text encoder alone"),
    ] {
        let sentence = format!("is {model}; a full Stable Diffusion 1.x checkpoint is needed");
        refused(&named(&[name, "betas"]), &sentence);
    }
}

#[test]
fn models_of_other_shapes_are_refused() {
    let text = "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight";
    let input = "model.diffusion_model.input_blocks.0.0.weight";
    for (name, shape, model) in [
        (input, [32, 8], "an InstructPix2Pix model"),
        (text, [248, 2], "a model with a text encoder for long prompts (Long-CLIP)"),
        ("<cat>", [4, 768], "a textual inversion (a word for a model, not a model)"),
    ] {
        let tensor = (shape.to_vec(), vec![0.; shape[0] * shape[1]]);
        let mut tensors = Contents::from([(name.to_string(), tensor)]);
        if name == text {
            tensors.insert(input.to_string(), (vec![32, 4], vec![0.; 128]));
        }
        refused(&safetensors(&tensors, Stored::F32), &format!("is {model}; a full Stable Diffusion 1.x"));
    }
}

/// An incomplete checkpoint is described by the missing networks, not by the present ones.
#[test]
fn missing_networks_are_named() {
    let folder = Folder::new();
    let [unet, text, vae] =
        ["model.diffusion_model.x", "cond_stage_model.transformer.x", "first_stage_model.decoder.x"];
    for (names, lack) in [
        (&[unet, text][..], "has no VAE; name one with --vae"),
        (&[unet, vae], "has no text encoder; a full Stable Diffusion 1.x checkpoint is needed"),
        (&[text, vae], "has no UNet; a full Stable Diffusion 1.x checkpoint is needed"),
        (
            &[vae, "model_ema.decay"],
            "has no UNet and no text encoder; a full Stable Diffusion 1.x checkpoint is needed",
        ),
        (&["a"], "holds tensors, but no UNet, text encoder or VAE of Stable Diffusion; a full"),
    ] {
        let checkpoint = Checkpoint::open(&folder.write("model.ckpt", &named(names))).unwrap();
        let error = checkpoint.check_complete().unwrap_err().to_string();
        assert!(error.contains(&format!("model.ckpt' {lack}")), "{error}");
    }
    nano().check_complete().unwrap();
}

#[test]
fn incomplete_folders_are_refused() {
    let folder = diffusers_folder(&parts(&contents(&nano())));
    fs::remove_dir_all(folder.path().join("vae")).unwrap();
    let sentence = refusal(folder.path());
    assert!(sentence.starts_with("lacks vae/diffusion_pytorch_model.safetensors (or "), "{sentence}");
    folder.write("vae/diffusion_pytorch_model.bin", b"<html>");
    let sentence = refusal(folder.path());
    assert!(sentence.starts_with("/vae/diffusion_pytorch_model.bin' is a web page"), "{sentence}");
}

#[test]
fn folders_of_other_models_are_refused() {
    let folder = Folder::new();
    folder.write("text_encoder_2/model.safetensors", b"");
    assert!(refusal(folder.path()).starts_with("is a Stable Diffusion XL model; a full"));

    let mut parts = parts(&contents(&nano()));
    let embedding = "text_model.embeddings.token_embedding.weight".to_string();
    parts[2].1.insert(embedding, (vec![2, 1024], vec![0.0; 2048]));
    let folder = diffusers_folder(&parts);
    assert!(refusal(folder.path()).starts_with("is a Stable Diffusion 2.x model; a full"));
}

// Damaged .safetensors files

fn with_header(header: &str, n_data: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; n_data]].concat()
}

#[test]
fn damaged_safetensors_are_refused() {
    let whole = named(&["betas"]);
    let cut = &whole[..whole.len() - 10];
    refused(cut, "is cut short: its header announces 72 bytes of tensors and 62 are there; download");
    refused(&whole[..40], "is cut short or damaged: its header has 64 bytes and 32 are there; download");
    let huge = [&[0xff; 8][..], b"{}"].concat();
    refused(&huge, "is cut short or damaged: its header has 18446744073709551615 bytes and 2 are there");
    refused(&with_header("{\"a\": ", 0), "is cut short or damaged (its header is not valid: EOF");
    refused(&with_header("{}", 0), "holds no tensors; is it a");
    let tensor = |start: u64, end: u64| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":[{start},{end}]}}"#);
    let two = |a, b| with_header(&format!(r#"{{"a":{a},"b":{b}}}"#), 64);
    refused(&two(tensor(0, 8), tensor(4, 12)), "is cut short or damaged (its header is not valid: invalid offset");
    refused(&two(tensor(0, 8), tensor(8, 20)), "is cut short or damaged (its header is not valid: invalid shape");
    refused(&two(tensor(0, 8), tensor(u64::MAX - 8, u64::MAX)), "is cut short or damaged (its header");
}
