//! Jumps ahead in the Mersenne Twister's sequence (Haramoto, Matsumoto, Nishimura, Panneton & L'Ecuyer 2008, "Efficient
//! jump ahead for F2-linear random number generators").
//!
//! Every bit of the sequence obeys one linear recurrence over GF(2) with the characteristic polynomial p. If t^d mod p
//! is the sum of t^i over some set of exponents i, then the word d steps ahead is the sum of the words i steps ahead.

use super::{M, MATRIX, N, twist};
use std::collections::BTreeSet;

/// The degree of p, which is the number of bits of the state; 31 bits of its first word are not used.
const DEGREE: usize = 32 * N - 31;

/// The coefficients of a polynomial over GF(2), 64 to a word, lowest first.
type Polynomial = Vec<u64>;

/// Returns the state `distance` words ahead. Of its first word only the top bit is correct, the only one the twister
/// uses.
pub fn ahead(state: &[u32; N], distance: u64) -> [u32; N] {
    let (power, words) = (power(distance), sequence(state));
    let mut end = [0; N];
    for i in (0..DEGREE).filter(|i| power[i / 64] >> (i % 64) & 1 == 1) {
        end.iter_mut().zip(&words[i..]).for_each(|(sum, word)| *sum ^= word);
    }
    end
}

/// Returns the words of the sequence from `state` on, as many as a polynomial of degree `DEGREE` - 1 needs.
fn sequence(state: &[u32; N]) -> Vec<u32> {
    let (mut state, mut words) = (*state, state.to_vec());
    while words.len() < DEGREE - 1 + N {
        twist(&mut state);
        words.extend(state);
    }
    words
}

/// Returns t^`exponent` mod p.
fn power(exponent: u64) -> Polynomial {
    let p = characteristic();
    let mut power = vec![0; DEGREE.div_ceil(64)];
    power[0] = 1;
    for i in (0..u64::BITS - exponent.leading_zeros()).rev() {
        power = square(&power, exponent >> i & 1);
        reduce(&mut power, &p);
    }
    power
}

/// Returns a²·t^`odd`, for `odd` 0 or 1. Over GF(2), coefficient i of a polynomial is coefficient 2i of its square.
fn square(a: &[u64], odd: u64) -> Polynomial {
    a.iter().flat_map(|&word| [spread(word as u32) << odd, spread((word >> 32) as u32) << odd]).collect()
}

/// Inserts a zero after each bit.
fn spread(word: u32) -> u64 {
    (0..u32::BITS).map(|i| u64::from(word >> i & 1) << (2 * i)).sum()
}

/// Reduces `a`, of less than twice the degree of p, modulo p: 64 coefficients at a time, highest first. This is
/// possible because the 64 coefficients after the leading one of p are zero.
fn reduce(a: &mut Polynomial, p: &BTreeSet<usize>) {
    for low in (0..DEGREE).step_by(64).rev() {
        let word = coefficients(a, low + DEGREE);
        p.iter().for_each(|term| add(a, low + term, word));
    }
    a.truncate(DEGREE.div_ceil(64));
}

/// Returns the 64 coefficients from that of t^`low` on.
fn coefficients(a: &[u64], low: usize) -> u64 {
    let pair = u128::from(a[low / 64 + 1]) << 64 | u128::from(a[low / 64]);
    (pair >> (low % 64)) as u64
}

/// Adds `word`·t^`low` to `a`.
fn add(a: &mut [u64], low: usize, word: u64) {
    let pair = u128::from(word) << (low % 64);
    a[low / 64] ^= pair as u64;
    a[low / 64 + 1] ^= (pair >> 64) as u64;
}

/// Returns the exponents of the terms of p (Matsumoto & Nishimura 1998, appendix A). With u = t^(N-1) + t^(M-1) and aᵢ
/// the bits of `MATRIX`, lowest first, p = t·u·(u³¹ + a₀u³⁰ + … + a₃₀) + a₃₁.
fn characteristic() -> BTreeSet<usize> {
    let mut p = BTreeSet::from([0]);
    for i in 0..u32::BITS {
        let by = |exponent| -> BTreeSet<usize> { p.iter().map(|term| term + exponent).collect() };
        let t = usize::from(i == 31);
        p = &by(N - 1 + t) ^ &by(M - 1 + t);
        if MATRIX >> i & 1 == 1 {
            p.insert(0);
        }
    }
    p
}
