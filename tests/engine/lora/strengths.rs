//! Strengths, several LoRAs, and the precision of their sum.

use super::{DIFFUSERS, LDM, Lora, SHAPE, Saved, both, difference, merged, nano_checkpoint, reference, weight};
use std::fs;
use std::sync::Arc;
use txt2img::checkpoint::lora::{LoraFile, LoraWeights, Loras};

const TEXT: &str = "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight";
const UNET: &str = "model.diffusion_model.input_blocks.3.1.proj_in.weight";

const ALL: [&str; 12] = [
    "dora_in",
    "dora_out",
    "full_diff",
    "locon",
    "locon_tucker",
    "loha",
    "lokr",
    "lora_kohya",
    "lora_ldm_names",
    "lora_no_alpha",
    "old_diffusers",
    "peft",
];

/// Asserts that no tensor of the small model is changed by these LoRAs.
#[track_caller]
fn changes_nothing(loras: Vec<(Arc<LoraFile>, LoraWeights)>) {
    let loras = Loras::new(loras);
    nano_checkpoint().names().for_each(|name| assert!(!loras.changes(name), "{name}"));
    // The model need not be loaded again.
    assert!(loras == Loras::default());
}

/// Opens a copy of a file, at another path.
fn copy(name: &str) -> Arc<LoraFile> {
    Saved::new(&fs::read(reference(name).path()).unwrap()).open().unwrap()
}

#[test]
fn a_strength_of_0_gives_the_model_to_the_bit() {
    changes_nothing(ALL.map(|name| (reference(name), both(0.))).into());
}

#[test]
fn opposite_strengths_of_a_file_give_the_model_to_the_bit() {
    for name in ALL {
        changes_nothing(vec![(reference(name), both(1.)), (reference(name), both(-1.))]);
        changes_nothing(vec![(reference(name), both(1.)), (copy(name), both(-1.))]);
        let halves = [0.5, -1., 0.5].map(|weight| (reference(name), both(weight)));
        changes_nothing(halves.into());
        // In f64, the sum is not 0.
        let tenths = [0.1, 0.2, -0.3].map(|weight| (reference(name), both(weight)));
        changes_nothing(tenths.into());
    }
}

#[test]
fn opposite_strengths_with_others_between_them_leave_the_others() {
    let others = || (reference("loha"), both(0.7));
    let loras = Loras::new([(reference("locon"), both(1.)), others(), (copy("locon"), both(-1.))]);
    assert!(loras == Loras::new([others()]));
    assert!(loras != Loras::new([(reference("loha"), both(0.6))]));
    assert!(loras != Loras::new([(reference("locon"), both(0.7))]));
}

#[test]
fn files_that_state_one_hash_but_differ_are_not_the_same() {
    let stated = |lora: Lora| lora.with_metadata("sshs_model_hash", "0123456789abcdef").open().unwrap();
    let module = format!("lora_unet_{}", DIFFUSERS.replace('.', "_"));
    let [one, other] = [stated(Lora::kohya()), stated(Lora::kohya().with_number(format!("{module}.alpha"), 2.))];
    assert_eq!(one.hash(), other.hash());
    assert!(Loras::new([(one, both(1.)), (other, both(-1.))]).changes(&weight(LDM)));
}

#[test]
fn strengths_of_a_file_are_added_up() {
    let strength = |strength| (reference("lora_kohya"), both(strength));
    assert_eq!(merged(&[strength(0.5), strength(0.5)], UNET), merged(&[strength(1.)], UNET));
    assert_eq!(merged(&[strength(1.), strength(-0.25)], UNET), merged(&[strength(0.75)], UNET));
}

#[test]
fn the_text_encoder_and_the_unet_have_strengths_of_their_own() {
    let with = |text, unet, name| merged(&[(reference("lora_kohya"), LoraWeights { text, unet })], name);
    let nano = nano_checkpoint();
    let [text, unet] = [TEXT, UNET].map(|name| nano.read_f32(name).unwrap());
    assert_eq!((with(0., 1., TEXT), with(1., 0., UNET)), (text, unet));
    assert_eq!(with(0.5, 7., TEXT), with(0.5, 0.5, TEXT));
    assert_eq!(with(7., 0.5, UNET), with(0.5, 0.5, UNET));
    assert_ne!(with(1., 1., TEXT), with(0.5, 1., TEXT));
}

#[test]
fn ten_files_at_once_add_the_sum_of_their_changes() {
    let files: Vec<_> = (0..10)
        .map(|n| {
            let module = format!("lora_unet_{}", DIFFUSERS.replace('.', "_"));
            let down = Lora::default().with(format!("{module}.lora_down.weight"), &[1 + n, SHAPE[1]]);
            (down.with(format!("{module}.lora_up.weight"), &[SHAPE[0], 1 + n]).open().unwrap(), 0.1 * (n as f64 - 3.5))
        })
        .collect();
    let loras = |files: &[(Arc<LoraFile>, f64)]| {
        let with_weight = |(file, strength): &(Arc<LoraFile>, f64)| (file.clone(), both(*strength));
        merged(&files.iter().map(with_weight).collect::<Vec<_>>(), &weight(LDM))
    };
    let base = loras(&[]);
    let mut expected: Vec<f64> = base.iter().map(|&x| f64::from(x)).collect();
    for file in &files {
        let alone = loras(std::slice::from_ref(file));
        for (sum, (x, base)) in expected.iter_mut().zip(alone.iter().zip(&base)) {
            *sum += f64::from(*x) - f64::from(*base);
        }
    }
    let reversed: Vec<_> = files.iter().rev().cloned().collect();
    for ours in [loras(&files), loras(&reversed)] {
        assert!(difference(&ours, &expected) <= 1e-6);
    }
}

#[test]
fn a_dora_normalizes_what_the_loras_before_it_have_changed() {
    let module = format!("lora_unet_{}", DIFFUSERS.replace('.', "_"));
    let dora = Lora::default()
        .with(format!("{module}.lora_down.weight"), &[2, SHAPE[1]])
        .with(format!("{module}.lora_up.weight"), &[SHAPE[0], 2])
        .with_numbers(format!("{module}.dora_scale"), &[SHAPE[0], 1], vec![2.; SHAPE[0]]);
    let strength = |lora: &Lora| (lora.open().unwrap(), both(1.));
    let rows = merged(&[strength(&Lora::kohya()), strength(&dora)], &weight(LDM));
    for row in rows.chunks(SHAPE[1]) {
        let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        assert!((norm - 2.).abs() < 1e-5, "{norm}");
    }
    assert_ne!(rows, merged(&[strength(&dora), strength(&Lora::kohya())], &weight(LDM)));
}

#[test]
fn a_small_change_survives_beside_large_weights() {
    let module = format!("lora_unet_{}", DIFFUSERS.replace('.', "_"));
    let diff = Lora::default().with_numbers(format!("{module}.diff"), &SHAPE, vec![1e-6; SHAPE[0] * SHAPE[1]]);
    let base = nano_checkpoint().read_f32(&weight(LDM)).unwrap();
    let expected: Vec<f32> = base.iter().map(|x| x + 1e-6).collect();
    assert_eq!(diff.merged(&weight(LDM), 1.), expected);
}
