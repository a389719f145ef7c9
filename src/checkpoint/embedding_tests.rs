//! Tests of AUTOMATIC1111's textual inversions in torch files, written byte by byte.

use super::Embedding;
use super::torch_tests::{dict, file, global, tensor, text};
use std::io::Write;
use tempfile::NamedTempFile;

fn open(bytes: &[u8]) -> anyhow::Result<Embedding> {
    let mut file = NamedTempFile::new()?;
    file.write_all(bytes)?;
    Embedding::open(file.path(), "x", 3)
}

fn inversion(params: Vec<u8>) -> Vec<u8> {
    file(&dict(&[("string_to_token", dict(&[])), ("string_to_param", params), ("name", text("other"))]))
}

/// Returns a `ParameterDict` with a state.
fn parameter_dict(state: &[(&str, Vec<u8>)]) -> Vec<u8> {
    [&global("torch.nn.modules.container", "ParameterDict")[..], b")\x81", &dict(state), b"b"].concat()
}

#[test]
fn the_vectors_are_those_of_string_to_param() {
    let vectors = dict(&[("*", tensor(0, &[2, 3], &[3, 1]))]);
    let parameters = parameter_dict(&[("training", text("x")), ("_parameters", vectors.clone())]);
    for params in [vectors, parameters] {
        let embedding = open(&inversion(params)).unwrap();
        assert_eq!((embedding.count(), embedding.vectors()), (2, &[0., 1., 2., 3., 4., 5.][..]));
    }
}

#[test]
fn odd_dictionaries_are_refused() {
    let two = dict(&[("*", tensor(0, &[1, 3], &[3, 1])), ("+", tensor(3, &[1, 3], &[3, 1]))]);
    for (params, reason) in [
        (two, "holds 2 tensors, but an embedding is one"),
        (dict(&[]), "holds no vectors"),
        (parameter_dict(&[]), "holds no vectors"),
        (parameter_dict(&[("_parameters", text("none"))]), "holds no vectors"),
        // Strides of 0 are not more vectors than the file has.
        (dict(&[("*", tensor(0, &[75, 3], &[0, 1]))]), "does not fit its storage"),
        (dict(&[("*", tensor(0, &[1, 3], &[0, 1_000_000_000]))]), "does not fit its storage"),
    ] {
        let error = open(&inversion(params)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
