//! `--rng` against torch: `fixtures/modules/rng.json` holds the results of consecutive `torch.randn` calls of both
//! generators.

use serde_json::Value;
use std::time::{Duration, Instant};
use txt2img::rng::{Generator, Noise, Origin, PerImage, Rng, StreamPos};

#[test]
fn cuda_equals_torch_on_an_a100() {
    equals_torch("cuda", Rng::default(), 20);
}

#[test]
fn cpu_equals_torch() {
    equals_torch("cpu", Rng::Cpu, 24);
}

fn equals_torch(generator: &str, rng: Rng, n_cases: usize) {
    let vectors = vectors();
    let cases = vectors[generator].as_object().unwrap();
    assert_eq!(cases.len(), n_cases);
    for (name, case) in cases {
        let (seed, n) = seed_and_n(name);
        let mut noise = rng.noise(seed);
        let calls = ["call0", "call1", "call2"].map(|call| case[call].as_array());
        for expected in calls.into_iter().flatten() {
            let numbers = noise.randn(n);
            assert_eq!(numbers.len(), n, "{name}");
            for (at, expected) in case["at"].as_array().unwrap().iter().zip(expected) {
                let number = numbers[at.as_u64().unwrap() as usize];
                assert_close(&format!("{generator} {name}[{at}]"), number, expected.as_f64().unwrap());
            }
        }
    }
}

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/modules/rng.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Parses a case's name, such as `seed42.n16`.
fn seed_and_n(name: &str) -> (u64, usize) {
    let (seed, n) = name.strip_prefix("seed").unwrap().split_once(".n").unwrap();
    (seed.parse().unwrap(), n.parse().unwrap())
}

fn assert_close(what: &str, number: f32, expected: f64) {
    let error = (f64::from(number) - expected).abs() / expected.abs();
    assert!(error < 2e-6, "{what}: {number} is not {expected}: off by {error:e}");
}

#[test]
fn short_calls_do_not_depend_on_the_gpu() {
    let small: Rng = "cuda:20x1024".parse().unwrap();
    assert_eq!(small.noise(42).randn(20 * 1024), Rng::default().noise(42).randn(20 * 1024));
}

#[test]
fn long_calls_depend_on_the_gpu() {
    let small: Rng = "cuda:20x1024".parse().unwrap();
    assert_ne!(small.noise(42).randn(20 * 1024 + 1), Rng::default().noise(42).randn(20 * 1024 + 1));
}

#[test]
fn skipping_equals_drawing() {
    for rng in ["cuda", "cuda:1x256", "cpu"].map(|name| name.parse::<Rng>().unwrap()) {
        for n in [0, 1, 4, 15, 16, 17, 256, 1024, 1025, 5000] {
            let (mut drawn, mut skipped) = (rng.noise(7), rng.noise(7));
            drawn.randn(n);
            skipped.skip(n);
            assert_eq!(drawn.randn(20), skipped.randn(20), "{rng}, {n}");
        }
    }
}

#[test]
fn seek_restores_a_position() {
    for rng in ["cuda", "cuda:1x256", "cpu"].map(|name| name.parse::<Rng>().unwrap()) {
        for n in [1, 4, 5, 16, 1000, 5000] {
            let mut noise = rng.noise(7);
            noise.randn(n);
            let (position, expected) = (noise.position(), noise.randn(n));
            noise.seek(position);
            assert_eq!(noise.randn(n), expected, "{rng}, {n}");
            let mut fresh = rng.noise(7);
            fresh.seek(position);
            assert_eq!(fresh.randn(n), expected, "{rng}, {n}");
        }
    }
}

/// Advances by `words` in seeks that are too short to be jumps.
fn step(noise: &mut dyn Generator, words: u64) {
    const STRIDE: u64 = 100_003;
    let start = noise.position() / 2;
    let stops = (start..start + words).step_by(STRIDE as usize).skip(1).chain([start + words]);
    stops.for_each(|words| noise.seek(2 * words));
}

#[test]
fn jumps_equal_steps() {
    for (before, words) in [
        (0, 262_143),
        (2, 262_144),
        (623, 262_145),
        (1, 5_000_000),
        (623, 10_000_019),
        (624, 12_345_678),
        (1001, 100_000_007),
    ] {
        let (mut stepped, mut jumped) = (Rng::Cpu.noise(7), Rng::Cpu.noise(7));
        step(&mut *stepped, before);
        jumped.seek(2 * before);
        step(&mut *stepped, words);
        jumped.seek(2 * (before + words));
        assert_eq!(stepped.position(), jumped.position());
        assert_eq!(stepped.randn(2000), jumped.randn(2000), "{before}, then {words}");
    }
}

#[test]
fn seeking_past_a_hundred_thousand_images_is_fast() {
    let (end, start) = (150_000_000_000, Instant::now());
    let mut direct = Rng::Cpu.noise(7);
    direct.seek(end);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let mut by_stops = Rng::Cpu.noise(7);
    for stop in [20_000_001, 99_999_999_999, 77, 60_000_000_003, end] {
        by_stops.seek(stop);
    }
    assert_eq!(direct.randn(2000), by_stops.randn(2000));
}

#[test]
fn a_distant_position_includes_the_spare_normal() {
    let mut noise = Rng::Cpu.noise(7);
    noise.seek(80_000_000_000);
    noise.randn(3);
    let (position, expected) = (noise.position(), noise.randn(8));
    let mut fresh = Rng::Cpu.noise(7);
    fresh.seek(position);
    assert_eq!((position % 2, fresh.randn(8)), (1, expected));
}

#[test]
fn the_position_after_calls_is_computed_without_drawing() {
    for rng in ["cuda", "cuda:1x256", "cuda:3x512", "cpu"].map(|name| name.parse::<Rng>().unwrap()) {
        for n in (0..=40).chain([255, 1023, 1024, 1025, 4095, 4096, 16384, 1_000_001]) {
            for before in 0..3 {
                let mut noise = rng.noise(7);
                noise.randn(before); // on the CPU, one number leaves a spare normal
                let start = noise.position();
                for calls in 0..6 {
                    assert_eq!(rng.after(start, n, calls), noise.position(), "{rng}: {before}, then {calls} of {n}");
                    noise.skip(n);
                }
            }
        }
    }
}

#[test]
fn positions_past_the_end_do_not_panic() {
    let huge = Rng::Cuda { sms: u32::MAX, threads_per_sm: u32::MAX };
    for rng in [Rng::default(), Rng::Cpu, huge] {
        for n in [0, 1, 2, 15, 16, 17, usize::MAX - 1, usize::MAX] {
            for position in [0, 1, u64::MAX - 1, u64::MAX] {
                assert_eq!(rng.after(position, n, 0), position, "{rng}, {n}");
                rng.after(position, n, usize::MAX);
            }
        }
    }
}

#[test]
fn images_with_seeds_of_their_own_get_the_noise_of_these_seeds() {
    let alone = |seed| Rng::default().noise(seed).randn(100);
    let mut batch = PerImage::new(Rng::default(), &[1, 2].map(Origin::alone));
    assert_eq!(batch.randn(200), [alone(1), alone(2)].concat());
}

#[test]
fn an_image_redrawn_alone_gets_its_part_of_the_batch_noise() {
    for rng in [Rng::default(), Rng::Cpu] {
        let mut noise = rng.noise(1);
        noise.skip(300);
        let position = noise.position();
        let (start, later) = (noise.randn(300), noise.position());
        let (step, next) = (noise.randn(200), noise.randn(200));
        for index in 0..2 {
            let steps = (index == 1).then_some(StreamPos { position: later, of: 2 });
            let origin = Origin { seed: 1, start: StreamPos { position, of: 3 }, steps, index };
            origin.check().unwrap();
            let mut image = PerImage::new(rng, &[origin]);
            assert_eq!(image.randn(100), start[100 * index..][..100]);
            image.go_to_steps(&[origin]);
            if index == 1 {
                assert_eq!([image.randn(100), image.randn(100)], [&step[100..], &next[100..]]);
            }
        }
    }
}

const MAX_POSITION: u64 = 1 << 62;

#[test]
fn the_largest_valid_position_works() {
    for rng in [Rng::default(), Rng::Cpu] {
        let origin = Origin { start: StreamPos { position: MAX_POSITION, of: 2 }, index: 1, ..Origin::alone(1) };
        origin.check().unwrap();
        let mut noise = rng.noise(1);
        noise.seek(MAX_POSITION);
        assert_eq!(PerImage::new(rng, &[origin]).randn(100), noise.randn(200)[100..]);
        assert_eq!(noise.position(), rng.after(MAX_POSITION, 200, 1));
    }
}

#[test]
fn invalid_origins_are_refused() {
    let at = |position, of| StreamPos { position, of };
    let origin = |start, index| Origin { start, index, ..Origin::alone(1) };
    let bad_steps = Origin { steps: Some(at(MAX_POSITION + 1, 1)), ..Origin::alone(1) };
    for origin in [
        bad_steps,
        origin(at(MAX_POSITION + 1, 1), 0),
        origin(at(u64::MAX, 1), 0),
        origin(at(0, 3), 3),
        origin(at(0, usize::MAX), 0),
    ] {
        assert!(origin.check().is_err(), "{origin:?}");
    }
}

#[test]
fn an_empty_call_draws_nothing() {
    for rng in [Rng::default(), Rng::Cpu] {
        let (mut idle, mut fresh) = (rng.noise(42), rng.noise(42));
        assert!(idle.randn(0).is_empty());
        assert_eq!(idle.randn(100), fresh.randn(100), "{rng}");
    }
}

#[test]
fn the_distribution_is_standard_normal() {
    let n = 1_000_000;
    for rng in [Rng::default(), Rng::Cpu] {
        let numbers = rng.noise(42).randn(n);
        let moment = |k| numbers.iter().map(|&x| f64::from(x).powi(k)).sum::<f64>() / n as f64;
        for (k, expected) in [(1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)] {
            assert!((moment(k) - expected).abs() < 0.03, "{rng}: moment {k} is {}", moment(k));
        }
    }
}

#[test]
fn cuda_uses_all_64_bits_of_a_seed_and_the_cpu_32() {
    let (low, high) = (42, (1 << 32) + 42);
    assert_ne!(Rng::default().noise(low).randn(4), Rng::default().noise(high).randn(4));
    assert_eq!(Rng::Cpu.noise(low).randn(4), Rng::Cpu.noise(high).randn(4));
}

#[test]
fn a_gpu_without_threads_does_not_panic() {
    let nothing = Rng::Cuda { sms: 0, threads_per_sm: 0 };
    assert_eq!(nothing.noise(42).randn(256), Rng::default().noise(42).randn(256));
}

#[test]
fn names_are_parsed_as_they_are_printed() {
    assert_eq!(Rng::default(), Rng::Cuda { sms: 108, threads_per_sm: 2048 });
    for name in ["cuda", "cpu", "cuda:82x1536", "cuda:1x256", "cuda:1024x4096"] {
        assert_eq!(name.parse::<Rng>().unwrap().to_string(), name);
    }
    assert_eq!("cuda:108x2048".parse::<Rng>().unwrap(), Rng::default());
}

#[test]
fn unknown_names_are_refused() {
    for name in
        ["", "gpu", "CUDA", "cuda:", "cuda:82", "cuda:x", "cuda:82x", "cuda:-1x1536", "cuda:82x1536x1", "cpu:4x256"]
    {
        assert_eq!(
            name.parse::<Rng>().unwrap_err().to_string(),
            format!("'{name}' is not a random generator: use cuda, cpu or cuda:SMSxTHREADS, such as cuda:82x1536")
        );
    }
}

#[test]
fn gpu_sizes_out_of_range_are_refused() {
    for name in ["cuda:0x2048", "cuda:108x0", "cuda:108x255", "cuda:1025x2048", "cuda:108x4097", "cuda:4294967295x2048"]
    {
        assert_eq!(
            name.parse::<Rng>().unwrap_err().to_string(),
            format!(
                "'{name}' is not the size of a GPU: use 1 to 1024 multiprocessors and 256 to 4096 threads on each, such as cuda:82x1536"
            )
        );
    }
}
