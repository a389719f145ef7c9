//! Prompts that change during sampling, and several at once.

use super::contexts::context;
use super::{END, words};
use crate::support::{assert_close, compute_device, fixture, nano, nano_config, relative_rms};
use candle_core::{DType, Device, Tensor};
use txt2img::checkpoint::Checkpoint;
use txt2img::checkpoint::lora::Loras;
use txt2img::diffusion::EpsModel;
use txt2img::diffusion::guidance::Guidance;
use txt2img::diffusion::samplers::{Kind, SamplerConfig};
use txt2img::engine::{Batch, Conditions, Engine, Evaluation, Model, Observer, Phase, Preview, SeedNoise};
use txt2img::params::SamplingParams;
use txt2img::rng::Rng;
use txt2img::text::{Phases, Reading, Tokens};

const SCALE: f64 = 7.5;

/// Keeps the latents after each step, and the notes.
#[derive(Default)]
struct Kept {
    latents: Vec<Tensor>,
    notes: Vec<String>,
}

impl Observer for Kept {
    fn on_step(&mut self, _: usize, x: &Tensor, _: &Tensor, _: &Preview) -> anyhow::Result<()> {
        self.latents.push(x.clone());
        Ok(())
    }

    fn on_note(&mut self, note: &str) {
        self.notes.push(note.into());
    }
}

/// Draws a prompt and a negative prompt with the small model.
fn drawn((prompt, negative): (&str, &str), scale: f64, kind: Kind, steps: usize) -> Kept {
    let checkpoint = Checkpoint::open(&fixture("nano.ckpt")).unwrap();
    let (config, device) = (nano_config(), compute_device());
    let loras = Loras::default();
    let mut engine = Engine::load(&checkpoint, &config, &loras, &device, DType::F32, Reading::WEB_UI, &mut ()).unwrap();
    let sampler = SamplerConfig { kind, steps, ..SamplerConfig::default() };
    let params = SamplingParams { height: 64, width: 64, scale, sampler, ..SamplingParams::default() };
    let mut kept = Kept::default();
    let batch = Batch { prompts: vec![(prompt, negative)], params, input: None };
    engine.sample(&batch, &mut SeedNoise::new(Rng::default(), 7), &mut kept).unwrap();
    kept
}

/// Returns the latents after each of 4 steps of a sampler.
fn steps_of(prompt: &str, kind: Kind) -> Vec<Tensor> {
    drawn((prompt, ""), SCALE, kind, 4).latents
}

fn ddim(prompt: &str, scale: f64) -> Tensor {
    drawn((prompt, "a ball"), scale, Kind::Ddim, 4).latents.remove(3)
}

#[track_caller]
fn equal(ours: &Tensor, expected: &Tensor) {
    assert_close("equal", ours, expected, 0.);
}

/// Returns the first evaluations of a prompt's texts.
fn firsts(prompt: &str, steps: usize) -> Vec<(usize, Vec<(String, f64)>)> {
    let phases = Phases::of_prompt(prompt, Reading::WEB_UI, steps).unwrap();
    phases.iter().map(|phase| (phase.first, phase.subprompts)).collect()
}

#[test]
fn the_first_text_lasts_one_evaluation_longer_as_in_the_web_ui() {
    let one = |text: &str| vec![(text.to_owned(), 1.)];
    assert_eq!(firsts("[a:b:2]", 4), [(0, one("a")), (3, one("b"))]);
    assert_eq!(firsts("[a|b]", 4), [(0, one("a")), (2, one("b")), (3, one("a")), (4, one("b"))]);
    assert_eq!(firsts("[a:b:0]", 4), [(0, one("b"))]);
    let two = |a: &str, b: &str| vec![(a.to_owned(), 1.), (b.to_owned(), 0.5)];
    assert_eq!(firsts("[a:b:1] AND [c:d:2] :0.5", 4), [(0, two("a", "c")), (2, two("b", "c")), (3, two("b", "d"))]);
}

#[test]
fn and_is_a_word_of_a_negative_prompt() {
    let phases = Phases::of_negative("[a:b:2] AND c :0.5", Reading::WEB_UI, 4);
    let texts: Vec<_> = phases.iter().map(|phase| phase.subprompts).collect();
    assert_eq!(texts, [[("a AND c :0.5".to_owned(), 1.)], [("b AND c :0.5".to_owned(), 1.)]]);
}

#[test]
fn nothing_changes_without_the_flag() {
    for reading in [Reading::default(), Reading { web_ui: false, ..Reading::WEB_UI }] {
        let prompt = "[a:b:2] AND c :0.5";
        let phases: Vec<_> = Phases::of_prompt(prompt, reading, 4).unwrap().iter().collect();
        assert_eq!((phases.len(), &*phases[0].subprompts), (1, &[(prompt.to_owned(), 1.)][..]));
    }
}

#[test]
fn words_change_after_their_step() {
    let [plain, other, changing] = ["a cube", "a ball", "a [cube:ball:2]"].map(|prompt| steps_of(prompt, Kind::Ddim));
    (0..3).for_each(|i| equal(&changing[i], &plain[i]));
    assert!(relative_rms(&changing[3], &plain[3]) > 1e-4);
    assert!(relative_rms(&changing[3], &other[3]) > 1e-4);
    equal(&steps_of("a [cube:ball:0]", Kind::Ddim)[3], &other[3]);
    equal(&steps_of("a [cube:ball:1.5]", Kind::Ddim)[3], &plain[3]);
}

#[test]
fn negative_prompts_change_too() {
    let latents = |negative| drawn(("a cube", negative), SCALE, Kind::Ddim, 4).latents;
    let [plain, changing] = ["fog", "[fog:rain:2]"].map(latents);
    equal(&changing[2], &plain[2]);
    assert!(relative_rms(&changing[3], &plain[3]) > 1e-5);
}

#[test]
fn samplers_of_second_order_count_evaluations() {
    // Evaluations 0 to 4 are those of the first two steps and the first of the third.
    for kind in [Kind::Heun, Kind::Dpm2] {
        let [plain, half, whole] =
            ["a cube", "a [cube:ball:0.5]", "a [cube:ball:8]"].map(|prompt| steps_of(prompt, kind));
        equal(&half[1], &plain[1]);
        assert!(relative_rms(&half[2], &plain[2]) > 1e-6, "{kind:?}");
        equal(&whole[3], &plain[3]);
    }
}

#[test]
fn every_sampler_draws_changing_words() {
    for kind in [Kind::Plms, Kind::DpmSolver, Kind::Lms, Kind::Euler, Kind::EulerA, Kind::DpmPp2m] {
        let [plain, changing] = ["a cube", "a [cube|ball]"].map(|prompt| steps_of(prompt, kind));
        assert_eq!(plain.len(), changing.len());
        let difference = relative_rms(changing.last().unwrap(), plain.last().unwrap());
        assert!(difference.is_finite() && difference > 1e-5, "{kind:?}: {difference}");
    }
}

#[test]
fn a_change_to_the_same_words_changes_no_bit() {
    let plain = ddim("a cube", SCALE);
    for prompt in ["[a cube:a cube:2]", "a [cube|cube|cube]", "a cube[ in fog:1.5]", " a cube :1 "] {
        equal(&ddim(prompt, SCALE), &plain);
    }
}

#[test]
fn a_weight_scales_guidance() {
    equal(&ddim("a cube :0.5", 8.), &ddim("a cube", 4.));
    equal(&ddim("a cube AND a cube", 4.), &ddim("a cube", 8.));
    equal(&ddim("a cube :0.25 AND a cube :0.75", 4.), &ddim("a cube", 4.));
    equal(&ddim("a cube AND a ball :0", 4.), &ddim("a cube", 4.));
    equal(&ddim("a cube :0.5 AND a cube :0.5", 1.), &ddim("a cube", 1.));
    equal(&ddim("a cube :0", 4.), &ddim("a ball", 1.));
}

fn latents(batch: usize) -> Tensor {
    Rng::default().noise(1).randn_latents((batch, 8, 8, 4), &Device::Cpu).unwrap()
}

fn eps(denoiser: &dyn EpsModel, x: &Tensor) -> Tensor {
    denoiser.eps(x, 500., 0.5).unwrap()
}

/// Returns conditions of prompts with these numbers of words, with their weights.
fn conditions(model: &Model, uncond: usize, conds: &[(usize, f64)]) -> Conditions {
    let context = |n: usize| context(model, &words(n), Reading::WEB_UI);
    Conditions { uncond: Some(context(uncond)), conds: conds.iter().map(|&(n, weight)| (context(n), weight)).collect() }
}

fn composed<'a>(
    model: &'a Model,
    images: &[Conditions],
    guidance: Guidance,
    max_batch: usize,
) -> Box<dyn EpsModel + 'a> {
    let phase = Phase { first: 0, conditions: 0, guidance };
    let evaluation = Evaluation { max_batch, ..Evaluation::default() };
    model.denoiser_in_phases(vec![phase], vec![images.to_vec()], evaluation).unwrap()
}

#[test]
fn the_effects_of_subprompts_are_added() {
    let (model, x) = (nano(), latents(1));
    let many: Vec<(usize, f64)> = (1..=11).map(|n| (n, 0.3 - 0.05 * n as f64)).collect();
    for conds in [&[(1, 1.), (5, 0.5)][..], &[(1, -1.), (5, 0.5), (9, 2.)], &many] {
        for (scale, rescale) in [(7.5, 0.), (1., 0.), (0., 0.), (7.5, 0.7), (1., 0.7)] {
            let conditions = conditions(&model, 2, conds);
            let alone = |context: &Tensor| eps(&*model.denoiser(context, context, 1.).unwrap(), &x);
            let uncond = alone(conditions.uncond.as_ref().unwrap());
            let at_scale = |scale: f64| {
                conditions.conds.iter().fold(uncond.clone(), |sum, (cond, weight)| {
                    (sum + ((alone(cond) - &uncond).unwrap() * (weight * scale)).unwrap()).unwrap()
                })
            };
            let deviation =
                |x: &Tensor| x.flatten_all().unwrap().var(0).unwrap().sqrt().unwrap().to_scalar::<f32>().unwrap();
            let (guided, plain) = (at_scale(scale), at_scale(1.));
            let factor = rescale * f64::from(deviation(&plain) / deviation(&guided)) + 1. - rescale;
            let ours = eps(&*composed(&model, std::slice::from_ref(&conditions), Guidance { scale, rescale }, 1), &x);
            assert_close(&format!("{conds:?} at {scale}, {rescale}"), &ours, &(guided * factor).unwrap(), 1e-5);
        }
    }
}

#[test]
fn a_picture_does_not_depend_on_the_subprompts_of_its_neighbours() {
    let (model, x) = (nano(), latents(6));
    let images: Vec<Conditions> = [
        &[(5, 1.)][..],
        &[(5, 1.), (80, 0.5)],
        &[(9, 1.), (160, 0.5)],
        &[(5, 1.), (80, 0.5)],
        &[(3, 1.), (90, 0.5)],
        &[(1, 0.2), (2, 0.3), (3, 0.4), (4, 0.5)],
    ]
    .iter()
    .map(|conds| conditions(&model, 0, conds))
    .collect();
    for scale in [SCALE, 1.] {
        for max_batch in [1, 2, 3, usize::MAX] {
            let all = eps(&*composed(&model, &images, scale.into(), max_batch), &x);
            for (i, image) in images.iter().enumerate() {
                let alone = composed(&model, std::slice::from_ref(image), scale.into(), 1);
                let alone = eps(&*alone, &x.narrow(0, i, 1).unwrap());
                assert_close(&format!("picture {i}"), &all.narrow(0, i, 1).unwrap(), &alone, 1e-6);
            }
        }
    }
}

#[test]
fn each_text_is_encoded_once() {
    // A note for each text that is too long to be encoded whole.
    let long = words(Tokens::MAX_CHUNKS * Tokens::ROOM + 1);
    let prompt = format!("[a|b] [x:y:3] {long} AND a x {long} AND [b|a] {long}");
    let notes = drawn((&prompt, &format!("[a|b] {long}")), SCALE, Kind::Ddim, 5).notes;
    // a x, b x, b y (a y would follow); b, a, which are negative prompts as well.
    assert_eq!(notes.len(), 5, "{notes:?}");
}

#[test]
fn chunks_that_break_adds_are_padding() {
    let tokens = nano().read("BREAK a cube", Reading::WEB_UI).unwrap();
    assert_eq!(tokens.chunks(), 2);
    assert!(tokens.ids[1..Tokens::LENGTH].iter().all(|&id| id == END));
}
