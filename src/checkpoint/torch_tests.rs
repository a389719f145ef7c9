//! Tests of torch files, valid and hostile, that are written byte by byte.

use super::pickle::{Pickle, Value};
use super::{Checkpoint, Dtype};
use anyhow::Result;
use std::io::{Cursor, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

// Parts of a pickle

pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

pub fn int(n: i32) -> Vec<u8> {
    [b"J", &n.to_le_bytes()[..]].concat()
}

pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

pub fn ints(numbers: &[i32]) -> Vec<u8> {
    tuple(&numbers.iter().copied().map(int).collect::<Vec<_>>())
}

pub fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entry = |(key, value): &(&str, Vec<u8>)| [text(key), value.clone()].concat();
    let entries: Vec<_> = entries.iter().map(entry).collect();
    [b"}(", &entries.concat()[..], b"u"].concat()
}

pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

fn call(module: &str, name: &str, arguments: &[Vec<u8>]) -> Vec<u8> {
    [&global(module, name)[..], &tuple(arguments), b"R"].concat()
}

fn storage(kind: &str, key: &str, count: i32) -> Vec<u8> {
    let id = [text("storage"), global("torch", kind), text(key), text("cpu"), int(count)];
    [&tuple(&id)[..], b"Q"].concat()
}

pub fn view(storage: Vec<u8>, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let description = [storage, int(offset), ints(shape), ints(strides)];
    call("torch._utils", "_rebuild_tensor_v2", &description)
}

/// Returns a tensor in the storage of `file`.
pub fn tensor(offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    view(storage("FloatStorage", "0", 6), offset, shape, strides)
}

fn program(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

// Parts of a file

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(vec![]));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(*name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Returns a torch file of one storage with the numbers 0 to 5.
pub fn file(value: &[u8]) -> Vec<u8> {
    let numbers: Vec<_> = (0..6).flat_map(|n| (n as f32).to_le_bytes()).collect();
    archive(&[("any name/data.pkl", &program(value)), ("any name/data/0", &numbers)])
}

pub fn open(bytes: &[u8]) -> Result<Checkpoint> {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Checkpoint::open(file.path())
}

pub fn refused(bytes: &[u8], because: &str) {
    let Err(error) = open(bytes) else { panic!("opened, not refused: {because}") };
    let sentence = error.to_string();
    assert!(sentence.contains(because) && !sentence.contains('\n'), "{sentence}");
}

/// Returns a torch file with several kinds of values.
pub fn small_file() -> Vec<u8> {
    let state = dict(&[("a", tensor(0, &[2, 3], &[3, 1])), ("b", tensor(0, &[3, 2], &[1, 3]))]);
    file(&dict(&[("epoch", int(3)), ("state_dict", state)]))
}

// Valid files

#[test]
fn tensors_are_read_from_any_place_and_in_any_order() {
    let state = dict(&[
        ("whole", tensor(0, &[2, 3], &[3, 1])),
        ("transposed", tensor(0, &[3, 2], &[1, 3])),
        ("row", tensor(3, &[1, 3], &[99, 1])),
        ("column", tensor(1, &[2], &[3])),
        ("scalar", tensor(5, &[], &[])),
        ("none", tensor(0, &[0, 9], &[9, 1])),
    ]);
    let checkpoint = open(&file(&dict(&[("epoch", int(3)), ("state_dict", state)]))).unwrap();
    let read = |name| checkpoint.read_f32(name).unwrap();
    assert_eq!(read("whole"), [0., 1., 2., 3., 4., 5.]);
    assert_eq!(read("transposed"), [0., 3., 1., 4., 2., 5.]);
    assert_eq!(read("row"), [3., 4., 5.]);
    assert_eq!(read("column"), [1., 4.]);
    assert_eq!(read("scalar"), [5.]);
    assert!(read("none").is_empty());
    assert_eq!(checkpoint.shape("transposed"), Some(&[3, 2][..]));
}

#[test]
fn bare_dictionaries_and_parameters_are_read() {
    let a = tensor(0, &[6], &[1]);
    let parameter = call("torch._utils", "_rebuild_parameter", &[a.clone(), b"\x89".to_vec()]);
    let ordered = call("collections", "OrderedDict", &[]);
    let metadata = dict(&[("_metadata", dict(&[]))]);
    let entries = [text("a"), a, text("b"), parameter].concat();
    let state = [&ordered[..], b"(", &entries, b"u", &metadata, b"b"].concat();
    let checkpoint = open(&file(&state)).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(checkpoint.read_f32("a").unwrap(), checkpoint.read_f32("b").unwrap());
}

#[test]
fn a_tensor_of_an_odd_type_matters_only_when_asked_for() {
    let odd = view(storage("QInt8Storage", "0", 6), 0, &[6], &[1]);
    let state = dict(&[("odd", odd), ("a", tensor(0, &[6], &[1]))]);
    let checkpoint = open(&file(&state)).unwrap();
    assert_eq!(checkpoint.dtype("odd"), Some(Dtype::Other));
    assert!(checkpoint.read_f32("odd").is_err());
    assert!(checkpoint.read_f32("a").is_ok());
}

#[test]
fn every_protocol_makes_the_same_values() {
    let written = [
        &b"(lp0\nI1\naL2L\naS'a'\np1\naVb\na(dI1\nI2\nsa."[..],
        b"\x80\x02]q\x00(K\x01\x8a\x01\x02U\x01aX\x01\x00\x00\x00b}K\x01K\x02se.",
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01M\x02\x00\x8c\x01a\x8c\x01b}\x94K\x01K\x02se.",
    ];
    for bytes in written {
        let pickle = Pickle::parse(bytes).unwrap();
        let Value::List(list) = pickle.root else { panic!("{:?}", pickle.root) };
        let [one, two, a, b, dict] = pickle.items(list) else { panic!("{:?}", pickle.items(list)) };
        assert_eq!([one, two], [&Value::Int(1), &Value::Int(2)]);
        assert_eq!([a, b], [&Value::Str("a"), &Value::Str("b")]);
        assert_eq!(pickle.entries(*dict).unwrap(), [[Value::Int(1), Value::Int(2)]]);
    }
}

/// Asserts that a file with this root object has one tensor, `a`.
#[track_caller]
fn is_a(root: &[u8]) {
    let checkpoint = open(&file(root)).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a"]);
    assert_eq!(checkpoint.read_f32("a").unwrap(), [0., 1., 2., 3., 4., 5.]);
}

fn described(function: &str) -> Vec<u8> {
    let description = [storage("FloatStorage", "0", 6), int(0), ints(&[6]), ints(&[1])];
    [global("torch._utils", function), b"N".to_vec(), tuple(&description), b"}".to_vec()].concat()
}

#[test]
fn tensors_are_read_through_what_wraps_them() {
    let a = tensor(0, &[6], &[1]);
    let no = b"\x89".to_vec();
    let typed =
        |module: &str, name: &str| [&global(module, name)[..], b"(", &described("_rebuild_tensor_v2"), b"tR"].concat();
    let with_state = |tensor: Vec<u8>| call("torch._utils", "_rebuild_parameter_with_state", &[tensor, no.clone()]);
    for wrapped in [
        call("torch._utils", "_rebuild_parameter", &[a.clone(), no.clone()]),
        with_state(a.clone()),
        typed("torch._tensor", "_rebuild_from_type"),
        typed("torch._tensor", "_rebuild_from_type_v2"),
        with_state(typed("torch._tensor", "_rebuild_from_type_v2")),
    ] {
        is_a(&dict(&[("a", wrapped)]));
    }
}

#[test]
fn whatever_is_filled_like_a_dictionary_is_one() {
    let a = [text("a"), tensor(0, &[6], &[1])].concat();
    let made = [
        call("collections", "defaultdict", &[global("builtins", "list")]),
        call("somebody.elses", "StateDict", &[]),
        [&global("somebody.elses", "StateDict")[..], b")\x81"].concat(),
    ];
    for made in made {
        is_a(&[&made[..], &a, b"s"].concat());
        is_a(&[&made[..], b"(", &a, b"u}b"].concat());
    }
}

#[test]
fn the_dictionary_with_the_tensors_is_found() {
    let (a, b) = (tensor(0, &[6], &[1]), tensor(0, &[1], &[1]));
    let state = dict(&[("a", a.clone())]);
    for key in ["state_dict", "model", "module", "model_state_dict", "anything"] {
        is_a(&dict(&[("epoch", int(3)), (key, state.clone())]));
    }
    is_a(&dict(&[("model", dict(&[("state_dict", state.clone())]))]));
    let two = dict(&[("a", a.clone()), ("b", a.clone()), ("state_dict", dict(&[("c", b.clone())]))]);
    let checkpoint = open(&file(&dict(&[("rng", b.clone()), ("state_dict", two)]))).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
    let several = dict(&[("unet", state.clone()), ("vae", state.clone()), ("step", int(1))]);
    refused(&file(&several), "holds several dictionaries of tensors (under 'unet', 'vae'); save that of");
    let hypernetwork = [b"}(", &int(320)[..], &tuple(&[state.clone(), state]), b"u"].concat();
    refused(&file(&hypernetwork), "is a hypernetwork (changes to a model, not a model)");
}

#[test]
fn tensors_of_the_third_version_have_a_type_of_their_own() {
    let untyped = |count| {
        [&tuple(&[text("storage"), global("torch.storage", "UntypedStorage"), text("0"), text("cpu"), int(count)])[..], b"Q"].concat()
    };
    let view = |count, dtype, shape| {
        let no = b"\x89".to_vec();
        let parts = [untyped(count), int(0), ints(&[shape]), ints(&[1]), no.clone(), no, global("torch", dtype)];
        call("torch._utils", "_rebuild_tensor_v3", &parts)
    };
    let state = dict(&[("a", view(24, "float32", 6)), ("b", view(4, "float8_e5m2", 4)), ("c", view(24, "uint16", 6))]);
    let checkpoint = open(&file(&state)).unwrap();
    assert_eq!(checkpoint.read_f32("a").unwrap(), [0., 1., 2., 3., 4., 5.]);
    assert_eq!(checkpoint.read_f32("b").unwrap(), [0.; 4]);
    assert_eq!(checkpoint.dtype("c"), Some(Dtype::Other));
    for (count, dtype, shape) in [(23, "float32", 6), (24, "float32", 7), (24, "float8_e4m3fn", 25), (24, "float64", 4)]
    {
        refused(&file(&dict(&[("a", view(count, dtype, shape))])), "(tensor 'a' does not fit its storage)");
    }
    refused(&file(&dict(&[("a", view(25, "float8_e5m2", 1))])), "(tensor 'a' has a storage that is cut short)");
}

// Hostile files

#[test]
fn nothing_is_run() {
    let witness = std::env::temp_dir().join(format!("run by a pickle {}", std::process::id()));
    let command = format!("touch '{}'", witness.display());
    let code = format!("open({:?}, 'w')", witness.display().to_string());
    let attacks = [
        call("os", "system", &[text(&command)]),
        call("posix", "system", &[text(&command)]),
        call("builtins", "eval", &[text(&code)]),
        call("__builtin__", "exec", &[text(&code)]),
        [b"(", &text(&command)[..], b"ios\nsystem\n"].concat(),
        [&b"\x8c\x02os\x8c\x06system\x93"[..], &tuple(&[text(&command)]), b"\x81"].concat(),
    ];
    for attack in attacks {
        let state = dict(&[("a", tensor(0, &[6], &[1])), ("b", attack.clone())]);
        assert_eq!(open(&file(&state)).unwrap().names().collect::<Vec<_>>(), ["a"]);
        refused(&file(&attack), "holds a Python object, not a dictionary of tensors; save its");
    }
    assert!(!Path::new(&witness).exists());
}

#[test]
fn tensors_that_lie_about_their_place_are_refused() {
    let big = i32::MAX;
    for (tensor, lie) in [
        (tensor(0, &[7], &[1]), "does not fit its storage"),
        (tensor(1, &[6], &[1]), "does not fit its storage"),
        (tensor(-1, &[1], &[1]), "begins before its storage"),
        (tensor(0, &[-2], &[1]), "has a negative size"),
        (tensor(0, &[2], &[-1]), "has a negative size"),
        (tensor(0, &[2, 3], &[1]), "has a stride too many or too few"),
        (tensor(0, &[big], &[0]), "does not fit its storage"),
        (tensor(big, &[big, big, big], &[big, big, big]), "does not fit its storage"),
        (tensor(0, &[1; 9], &[1; 9]), "has 9 dimensions"),
        (view(storage("FloatStorage", "0", 7), 0, &[1], &[1]), "has a storage that is cut short"),
        (view(storage("FloatStorage", "0", -1), 0, &[1], &[1]), "has a storage that is cut short"),
        (view(storage("FloatStorage", "1", 6), 0, &[1], &[1]), "has no storage"),
        (view(int(0), 0, &[1], &[1]), "is described in an unknown way"),
    ] {
        let sentence = format!("is cut short or damaged (tensor 'a' {lie}); download it again");
        refused(&file(&dict(&[("a", tensor)])), &sentence);
    }
}

#[test]
fn archives_of_other_kinds_are_refused() {
    let a = file(&dict(&[("a", tensor(0, &[6], &[1]))]));
    refused(&a[..a.len() / 2], "is cut short or damaged (");
    refused(&archive(&[("word/document.xml", b"")]), "is a zip archive without a torch checkpoint");
    let pickle = program(&dict(&[]));
    refused(&archive(&[("x/data.pkl", &pickle)]), "holds no tensors; is it a");
    let big_endian = archive(&[("x/data.pkl", &pickle), ("x/byteorder", b"big")]);
    refused(&big_endian, "was saved on a big-endian machine");
    let inversion = dict(&[("string_to_token", dict(&[])), ("string_to_param", dict(&[]))]);
    refused(&file(&inversion), "is a textual inversion");
    let mut compressed = a.clone();
    for at in 0..a.len() - 12 {
        match &a[at..at + 4] {
            b"PK\x03\x04" => compressed[at + 8] = 8,
            b"PK\x01\x02" => compressed[at + 10] = 8,
            _ => {}
        }
    }
    refused(&compressed, "is compressed, which torch never does; load it with torch.load");
}

#[test]
fn broken_pickles_are_refused() {
    for (pickle, what) in [
        (&b"\xff."[..], "an unknown instruction 0xff at byte 2 of its pickle"),
        (b"", "an instruction that lacks its value at byte 2 of its pickle"),
        (b"N0(0(0(.", "an instruction that lacks its value"),
        (b"t", "the end of a group that has no beginning"),
        (b"h\x07", "a reference to nothing"),
        (b"}(Nu", "a key without a value"),
        (b"X\xff\xff\xff\xff", "a sudden end"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "a sudden end"),
        (b"cos", "a sudden end"),
    ] {
        refused(&file(pickle), &format!("is cut short or damaged ({what}"));
    }
}

/// The time to read deep, large or circular pickles is bounded by their length.
#[test]
fn bombs_do_not_go_off() {
    const N: usize = 1 << 20;
    let doubled = [&b"]"[..], &b"q\x000h\x00h\x00\x86".repeat(N / 8)].concat();
    let one_list = [&b"](lq\x00"[..], &b"h\x00a".repeat(N / 4)].concat();
    // A large dictionary of tensors under each of many keys, and a call in a call in a call.
    let large = [&b"}("[..], &[text("a"), tensor(0, &[1], &[1])].concat().repeat(N / 128), b"uq\x000"].concat();
    let many_references = [&large[..], b"}(", &b"U\x01ah\x00".repeat(N / 16), b"u"].concat();
    let parameter = global("torch._utils", "_rebuild_parameter");
    let wrapped = [b"}U\x01a", &parameter.repeat(N / 64)[..], b"N", &b"\x85R".repeat(N / 64), b"s"].concat();
    let began = Instant::now();
    for value in [
        [&b")"[..], &b"\x85".repeat(N)].concat(),
        b"]".repeat(N),
        b"(".repeat(N),
        [&b"("[..], &b"]".repeat(N), b"l"].concat(),
        [&b"]q\x00"[..], &b"2a".repeat(N / 2)].concat(),
        [&b"}q\x00"[..], &b"Nh\x00s".repeat(N / 4)].concat(),
        doubled,
        one_list,
        many_references,
        wrapped,
    ] {
        refused(&file(&value), "'");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
