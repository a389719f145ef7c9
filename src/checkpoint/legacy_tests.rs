//! Tests of torch's legacy format, with valid and hostile files that are written byte by byte.

use super::torch_tests::{dict, global, int, ints, open, refused, text, tuple, view};

const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

fn program(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

fn storage(kind: &str, key: &str, count: i32) -> Vec<u8> {
    let id = [text("storage"), global("torch", kind), text(key), text("cpu"), int(count), b"N".to_vec()];
    [&tuple(&id)[..], b"Q"].concat()
}

fn tensor(kind: &str, key: &str, count: i32) -> Vec<u8> {
    view(storage(kind, key, count), 0, &[count], &[1])
}

/// Returns a file of the state dictionary `state`, the keys of its storages, and the storages, each an element count
/// and bytes.
fn file(state: &[u8], keys: &[&str], storages: &[(u64, &[u8])]) -> Vec<u8> {
    with_machine(&dict(&[("little_endian", b"\x88".to_vec())]), state, keys, storages)
}

fn with_machine(machine: &[u8], state: &[u8], keys: &[&str], storages: &[(u64, &[u8])]) -> Vec<u8> {
    let keys: Vec<u8> = keys.iter().flat_map(|key| text(key)).collect();
    let keys = [b"](", &keys[..], b"e"].concat();
    let head = [MAGIC, &program(&int(1001)), &program(machine), &program(state), &program(&keys)].concat();
    let storage = |&(count, bytes): &(u64, &[u8])| [&count.to_le_bytes()[..], bytes].concat();
    [head, storages.iter().flat_map(storage).collect()].concat()
}

fn numbers(n: usize) -> Vec<u8> {
    (0..n).flat_map(|n| (n as f32).to_le_bytes()).collect()
}

/// Returns a file with storages of several types.
pub fn small_file() -> Vec<u8> {
    let state = [
        ("a", tensor("FloatStorage", "10", 3)),
        ("b", tensor("FloatStorage", "9", 2)),
        ("c", tensor("CharStorage", "8", 1)),
    ];
    file(&dict(&[("state_dict", dict(&state))]), &["10", "8", "9"], &[(3, &numbers(3)), (1, b"x"), (2, &numbers(2))])
}

#[test]
fn storages_are_found_in_the_order_of_their_keys() {
    let checkpoint = open(&small_file()).unwrap();
    assert_eq!(checkpoint.read_f32("a").unwrap(), [0., 1., 2.]);
    assert_eq!(checkpoint.read_f32("b").unwrap(), [0., 1.]);
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b", "c"]);
}

/// Unused storages must be skipped by their size.
#[test]
fn storages_of_odd_types_are_skipped() {
    for (kind, size) in
        [("ComplexFloatStorage", 8), ("ComplexDoubleStorage", 16), ("QInt32Storage", 4), ("BoolStorage", 1)]
    {
        let state = dict(&[("odd", tensor(kind, "1", 2)), ("a", tensor("FloatStorage", "2", 1))]);
        let odd = vec![7; 2 * size];
        let checkpoint = open(&file(&state, &["1", "2"], &[(2, &odd), (1, &numbers(1))])).unwrap();
        assert_eq!(checkpoint.read_f32("a").unwrap(), [0.], "{kind}");
    }
}

#[test]
fn storages_that_lie_about_their_place_are_refused() {
    let state = dict(&[("a", tensor("FloatStorage", "1", 2))]);
    let two = numbers(2);
    for (file, lie) in [
        (file(&state, &["1"], &[(3, &two)]), "storage 1 is cut short"),
        (file(&state, &["1"], &[(u64::MAX, &two)]), "storage 1 is cut short"),
        (file(&state, &["1"], &[(1 << 62, &two)]), "storage 1 is cut short"),
        (file(&state, &["1"], &[]), "storage 1 is cut short"),
        (file(&state, &["2"], &[(2, &two)]), "storage 2 holds numbers of an unknown size"),
        (file(&state, &["1", "1"], &[(1, &two[..4]), (2, &two)]), "storage 1 occurs twice"),
        (file(&state, &["1"], &[(1, &two[..4])]), "tensor 'a' has a storage that is cut short"),
        (file(&state, &[], &[]), "tensor 'a' has no storage"),
        (file(&dict(&[("a", tensor("OddStorage", "1", 2))]), &["1"], &[(2, &two)]), "of an unknown size"),
    ] {
        refused(
            &file,
            &format!(
                "is cut short or damaged ({}",
                if lie.starts_with("of") { "storage 1 holds numbers" } else { lie }
            ),
        );
    }
}

#[test]
fn broken_frames_are_refused() {
    refused(MAGIC, "is cut short or damaged (a sudden end at byte 0 of its pickle");
    let no_list = [MAGIC, &program(b"N"), &program(b"}"), &program(b"}"), &program(b"N")].concat();
    refused(&no_list, "is cut short or damaged (its list of storages is missing)");
    let bad_key = [MAGIC, &program(b"N"), &program(b"}"), &program(b"}"), &program(b"](K\x01e")].concat();
    refused(&bad_key, "is cut short or damaged (a storage without a name)");
    let big_endian = with_machine(&dict(&[("little_endian", b"\x89".to_vec())]), b"}", &[], &[]);
    refused(&big_endian, "was saved on a big-endian machine; convert it");
    refused(&file(&dict(&[]), &[], &[]), "holds no tensors");
    refused(&file(&ints(&[1]), &[], &[]), "holds a Python object, not a dictionary of tensors");
}
