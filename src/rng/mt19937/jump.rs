//! Far along the Mersenne Twister without the words in between (Haramoto, Matsumoto, Nishimura, Panneton & L'Ecuyer 2008,
//! "Efficient jump ahead for F2-linear random number generators").
//!
//! Every bit of the sequence obeys one linear recurrence, whose characteristic polynomial is p. So where t^d mod p is a sum
//! of powers of t, the word d places on is the sum of the words as many places on as these powers say.

use std::collections::BTreeSet;

use super::{M, MATRIX, N, twist};

/// Of p: the bits of the state, as 31 of its first word do not count.
const DEGREE: usize = 32 * N - 31;

/// The coefficients of a polynomial over GF(2), 64 in a word.
type Polynomial = Vec<u64>;

/// The state `distance` words on. Of its first word only the top bit can be relied on, as is all the twister reads of it.
pub fn ahead(state: &[u32; N], distance: u64) -> [u32; N] {
    let (power, words) = (power(distance), sequence(state));
    let mut end = [0; N];
    for i in (0..DEGREE).filter(|i| power[i / 64] >> (i % 64) & 1 == 1) {
        end.iter_mut().zip(&words[i..]).for_each(|(sum, word)| *sum ^= word);
    }
    end
}

/// The words of the state and as many more as t^(DEGREE - 1) needs.
fn sequence(state: &[u32; N]) -> Vec<u32> {
    let (mut state, mut words) = (*state, state.to_vec());
    while words.len() < DEGREE - 1 + N {
        twist(&mut state);
        words.extend(state);
    }
    words
}

/// t^exponent mod p.
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

/// The square, times t where `odd` is 1: over GF(2) coefficient i of a polynomial is coefficient 2i of its square.
fn square(a: &[u64], odd: u64) -> Polynomial {
    a.iter().flat_map(|&word| [spread(word as u32) << odd, spread((word >> 32) as u32) << odd]).collect()
}

/// A zero after each bit.
fn spread(word: u32) -> u64 {
    (0..u32::BITS).map(|i| u64::from(word >> i & 1) << (2 * i)).sum()
}

/// a mod p, for an `a` of less than twice p's degree: cleared from the top, 64 coefficients at a time. This works as p has
/// none of the 64 terms after its first.
fn reduce(a: &mut Polynomial, p: &BTreeSet<usize>) {
    for low in (0..DEGREE).step_by(64).rev() {
        let word = coefficients(a, low + DEGREE);
        p.iter().for_each(|term| add(a, low + term, word));
    }
    a.truncate(DEGREE.div_ceil(64));
}

/// 64 of them, from that of t^low on.
fn coefficients(a: &[u64], low: usize) -> u64 {
    let pair = u128::from(a[low / 64 + 1]) << 64 | u128::from(a[low / 64]);
    (pair >> (low % 64)) as u64
}

/// Adds `word` times t^low.
fn add(a: &mut [u64], low: usize, word: u64) {
    let pair = u128::from(word) << (low % 64);
    a[low / 64] ^= pair as u64;
    a[low / 64 + 1] ^= (pair >> 64) as u64;
}

/// The exponents of p's terms (Matsumoto & Nishimura 1998, appendix A): with u = t^(N-1) + t^(M-1), and a the bits of the
/// matrix from the lowest, p = t·u·(u³¹ + a₀u³⁰ + … + a₃₀) + a₃₁.
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
