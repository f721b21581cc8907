//! Values as bytes and back, for files that only this program reads: bits are kept, NaN included, and a checksum goes last.
//!
//! Little-endian, without names: a reader must know what was written. For files that others read there are
//! [`super::npy`] and [`super::table`].

use ndarray::Array2;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::digest;

/// Length of the checksum at the end of a sealed file.
const DIGEST_BYTES: usize = 32;

/// A value that can be written as bytes and read again.
pub trait Binary: Sized {
    /// Appends the value.
    fn write(&self, to: &mut Vec<u8>);
    /// Takes a value from the front; none when the bytes are no such value.
    fn read(from: &mut &[u8]) -> Option<Self>;
}

/// Reads a value that must take up all of the bytes.
pub fn read_all<T: Binary>(mut bytes: &[u8]) -> Option<T> {
    let value = T::read(&mut bytes)?;
    bytes.is_empty().then_some(value)
}

/// `magic`, the body that `fill` appends, and a checksum of both.
pub fn seal(magic: &[u8], fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    fill(&mut bytes);
    let sum = digest(&bytes);
    bytes.extend_from_slice(&sum.0);
    bytes
}

/// The body of what [`seal`] made; none when magic or checksum are others.
pub fn unseal<'a>(magic: &[u8], bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
    let content = body.strip_prefix(magic)?;
    (digest(body).0 == *sum).then_some(content)
}

/// Appends a value that has a JSON form: names and records, where numbers are few.
pub fn write_json<T: Serialize>(value: &T, to: &mut Vec<u8>) {
    // Without a JSON form (a map whose keys are no strings) nothing is written, and nothing will be read.
    serde_json::to_string(value).unwrap_or_default().write(to);
}

/// Takes what [`write_json`] appended.
pub fn read_json<T: DeserializeOwned>(from: &mut &[u8]) -> Option<T> {
    serde_json::from_str(&String::read(from)?).ok()
}

/// [`Binary`] for a struct, field by field in the order given; a field that is not listed does not compile.
macro_rules! binary {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::io::binary::Binary for $name {
            fn write(&self, to: &mut Vec<u8>) {
                let $name { $($field),* } = self;
                $( $crate::io::binary::Binary::write($field, to); )*
            }

            fn read(from: &mut &[u8]) -> Option<Self> {
                Some($name { $($field: $crate::io::binary::Binary::read(from)?),* })
            }
        }
    };
}
pub(crate) use binary;

/// [`Binary`] by the JSON form.
macro_rules! binary_by_json {
    ($($name:ty),* $(,)?) => {
        $(impl $crate::io::binary::Binary for $name {
            fn write(&self, to: &mut Vec<u8>) {
                $crate::io::binary::write_json(self, to);
            }

            fn read(from: &mut &[u8]) -> Option<Self> {
                $crate::io::binary::read_json(from)
            }
        })*
    };
}
pub(crate) use binary_by_json;

fn take<'a>(from: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(n)?;
    *from = rest;
    Some(taken)
}

impl Binary for u8 {
    fn write(&self, to: &mut Vec<u8>) {
        to.push(*self);
    }

    fn read(from: &mut &[u8]) -> Option<u8> {
        Some(take(from, 1)?[0])
    }
}

impl Binary for usize {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&(*self as u64).to_le_bytes());
    }

    fn read(from: &mut &[u8]) -> Option<usize> {
        let bytes = take(from, 8)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    }
}

impl Binary for f64 {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.to_le_bytes());
    }

    fn read(from: &mut &[u8]) -> Option<f64> {
        Some(f64::from_le_bytes(take(from, 8)?.try_into().ok()?))
    }
}

impl Binary for bool {
    fn write(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }

    fn read(from: &mut &[u8]) -> Option<bool> {
        match u8::read(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Binary for String {
    fn write(&self, to: &mut Vec<u8>) {
        self.len().write(to);
        to.extend_from_slice(self.as_bytes());
    }

    fn read(from: &mut &[u8]) -> Option<String> {
        let len = usize::read(from)?;
        String::from_utf8(take(from, len)?.to_vec()).ok()
    }
}

impl<T: Binary> Binary for Option<T> {
    fn write(&self, to: &mut Vec<u8>) {
        self.is_some().write(to);
        self.iter().for_each(|value| value.write(to));
    }

    fn read(from: &mut &[u8]) -> Option<Option<T>> {
        if bool::read(from)? { T::read(from).map(Some) } else { Some(None) }
    }
}

impl<T: Binary> Binary for Box<T> {
    fn write(&self, to: &mut Vec<u8>) {
        (**self).write(to);
    }

    fn read(from: &mut &[u8]) -> Option<Box<T>> {
        T::read(from).map(Box::new)
    }
}

impl<T: Binary> Binary for Vec<T> {
    fn write(&self, to: &mut Vec<u8>) {
        self.len().write(to);
        self.iter().for_each(|value| value.write(to));
    }

    fn read(from: &mut &[u8]) -> Option<Vec<T>> {
        let len = usize::read(from)?;
        // Every value takes a byte at least: no more is asked for than the bytes are evidence for.
        let mut values = Vec::new();
        values.try_reserve_exact(len.min(from.len())).ok()?;
        for _ in 0..len {
            values.push(T::read(from)?);
        }
        Some(values)
    }
}

impl<A: Binary, B: Binary> Binary for (A, B) {
    fn write(&self, to: &mut Vec<u8>) {
        self.0.write(to);
        self.1.write(to);
    }

    fn read(from: &mut &[u8]) -> Option<(A, B)> {
        Some((A::read(from)?, B::read(from)?))
    }
}

/// Extents, then the values row by row, whatever their order in memory.
impl Binary for Array2<f64> {
    fn write(&self, to: &mut Vec<u8>) {
        self.dim().write(to);
        to.reserve(8 * self.len());
        self.iter().for_each(|value| value.write(to));
    }

    fn read(from: &mut &[u8]) -> Option<Array2<f64>> {
        let (rows, columns) = Binary::read(from)?;
        let bytes = take(from, usize::checked_mul(rows, columns)?.checked_mul(8)?)?;
        let value = |b: &[u8]| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
        Array2::from_shape_vec((rows, columns), bytes.chunks_exact(8).map(value).collect()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sample {
        name: String,
        values: Array2<f64>,
        more: Vec<Option<(usize, bool)>>,
        below: Option<Box<f64>>,
    }
    binary!(Sample { name, values, more, below });

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        let values = Array2::from_shape_vec((2, 3), vec![0.1, -0.0, f64::NAN, f64::INFINITY, 1e-308, 3.0]).unwrap();
        let more = vec![None, Some((7, true)), Some((usize::MAX, false))];
        // Column by column in memory: the bytes are those of the rows all the same.
        let values = values.t().as_standard_layout().t().to_owned();
        Sample { name: "ünï-脑".to_owned(), values, more, below: Some(Box::new(0.3)) }.write(&mut bytes);
        bytes
    }

    #[test]
    fn values_come_back_bit_by_bit() {
        let bytes = sample();
        let back: Sample = read_all(&bytes).unwrap();
        assert_eq!((back.name.as_str(), &back.more[1]), ("ünï-脑", &Some((7, true))));
        assert!(
            back.values[[0, 2]].is_nan() && back.values[[0, 1]].is_sign_negative() && back.values[[1, 1]] == 1e-308
        );
        assert!(back.values.is_standard_layout());
        let mut again = Vec::new();
        back.write(&mut again);
        assert_eq!(again, bytes);
    }

    #[test]
    fn no_prefix_is_a_value_and_nothing_may_follow() {
        let bytes = sample();
        assert!((0..bytes.len()).all(|n| read_all::<Sample>(&bytes[..n]).is_none()));
        assert!(read_all::<Sample>(&[&bytes[..], &[0]].concat()).is_none());
        // A count that the bytes are no evidence for asks for no memory.
        let claim = [&u64::MAX.to_le_bytes()[..], &[0; 8]].concat();
        assert!(read_all::<Vec<f64>>(&claim).is_none() && read_all::<Array2<f64>>(&claim).is_none());
        assert!(read_all::<String>(&claim).is_none());
    }

    #[test]
    fn a_seal_breaks_with_every_bit() {
        let whole = seal(b"MAGIC", |to| to.extend_from_slice(b"body"));
        assert_eq!(unseal(b"MAGIC", &whole), Some(&b"body"[..]));
        assert_eq!(unseal(b"MAGIK", &whole), None);
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(unseal(b"MAGIC", &flipped), None);
            }
            assert_eq!(unseal(b"MAGIC", &whole[..at]), None);
        }
    }
}
