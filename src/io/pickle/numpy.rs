//! NumPy arrays inside pickles, in the three forms that NumPy writes: `_reconstruct` with a state (protocols 2 to 4),
//! `_frombuffer` (protocol 5), and `scalar`.

use std::borrow::Cow;

use super::{Id, Pickle, Value};

/// The classes and functions that pickles of arrays and scalars name, before and since NumPy 2.
pub const NUMPY: &[&str] = &[
    "_codecs encode",
    "numpy dtype",
    "numpy ndarray",
    "numpy.core.multiarray _reconstruct",
    "numpy.core.multiarray scalar",
    "numpy.core.numeric _frombuffer",
    "numpy._core.multiarray _reconstruct",
    "numpy._core.multiarray scalar",
    "numpy._core.numeric _frombuffer",
];

const RECONSTRUCT: &[&str] = &["numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"];
const SCALAR: &[&str] = &["numpy.core.multiarray scalar", "numpy._core.multiarray scalar"];
const BUFFER: &[&str] = &["numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer"];

/// An array, or a scalar as an array without dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<'a> {
    /// Kind and size of a value as NumPy writes it, with its byte order (`<f4`).
    pub dtype: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// Whether the first index runs fastest.
    pub fortran: bool,
    /// The values.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> Pickle<'a> {
    /// The array that a value stands for; none when it is something else or its parts contradict each other.
    pub fn array(&self, id: Id) -> Option<Array<'a>> {
        let array = if let Some(arguments) = self.arguments(id, SCALAR) {
            let [dtype, bytes] = arguments else { return None };
            Array { dtype: self.dtype(*dtype)?, shape: Vec::new(), fortran: false, bytes: self.raw(*bytes)? }
        } else if let Some(arguments) = self.arguments(id, BUFFER) {
            let [bytes, dtype, shape, order] = arguments else { return None };
            Array {
                dtype: self.dtype(*dtype)?,
                shape: self.sizes(*shape)?,
                fortran: self.text(*order)? == "F",
                bytes: self.raw(*bytes)?,
            }
        } else {
            self.arguments(id, RECONSTRUCT)?;
            let Value::Object { state: Some(state), .. } = self.value(id) else { return None };
            let [_version, shape, dtype, fortran, bytes] = self.members(*state)? else { return None };
            Array {
                dtype: self.dtype(*dtype)?,
                shape: self.sizes(*shape)?,
                fortran: *self.value(*fortran) == Value::Bool(true),
                bytes: self.raw(*bytes)?,
            }
        };
        let width: usize = array.dtype.get(2..)?.parse().ok()?;
        let count = array.shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent))?;
        (count.checked_mul(width)? == array.bytes.len()).then_some(array)
    }

    /// `numpy.dtype("f4", …)` with its state (version, byte order, …).
    fn dtype(&self, id: Id) -> Option<String> {
        let kind = self.text(*self.arguments(id, &["numpy dtype"])?.first()?)?;
        let Value::Object { state, .. } = self.value(id) else { return None };
        let order = match state {
            Some(state) => self.text(*self.members(*state)?.get(1)?)?,
            None => "<",
        };
        Some(format!("{order}{kind}"))
    }

    /// Bytes, or how protocol 2 writes them: a string of the characters U+0000 to U+00FF.
    fn raw(&self, id: Id) -> Option<Cow<'a, [u8]>> {
        if let Value::Bytes(range) = self.value(id) {
            return Some(Cow::Borrowed(&self.bytes[range.clone()]));
        }
        let [text, encoding] = self.arguments(id, &["_codecs encode"])? else { return None };
        if self.text(*encoding)? != "latin1" {
            return None;
        }
        let bytes: Option<Vec<u8>> = self.text(*text)?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        bytes.map(Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use crate::error::Code;

    fn array(bytes: &[u8]) -> Array<'_> {
        let (pickle, _) = read(bytes, NUMPY, "x", Code::St13).unwrap();
        pickle.array(pickle.root()).unwrap()
    }

    /// `pickle.dumps(np.arange(3, dtype=np.float32), protocol)` for protocols 2, 4 and 5.
    #[test]
    fn arrays_of_all_protocols_are_read() {
        let dtype2 = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb";
        let two = [
            &b"\x80\x02cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85c_codecs\nencode\nX\x01\x00\x00\x00bX\x06\x00\x00\x00latin1\x86R\x87R(K\x01K\x03\x85"[..],
            dtype2,
            b"\x89c_codecs\nencode\nX\x0d\x00\x00\x00\x00\x00\x00\x00\x00\x00\xc2\x80?\x00\x00\x00@X\x06\x00\x00\x00latin1\x86Rtb.",
        ]
        .concat();
        let four = [
            &b"\x80\x04cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01K\x03\x85"[..],
            dtype2,
            b"\x89C\x0c\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x00@tb.",
        ]
        .concat();
        let five = [
            &b"\x80\x05cnumpy._core.numeric\n_frombuffer\n(\x96\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x00@"[..],
            dtype2,
            b"K\x03\x85\x8c\x01CtR.",
        ]
        .concat();
        for bytes in [&two, &four, &five] {
            let array = array(bytes);
            assert_eq!((array.dtype.as_str(), &array.shape[..], array.fortran), ("<f4", &[3][..], false));
            assert_eq!(&*array.bytes, [0f32, 1.0, 2.0].map(f32::to_le_bytes).concat());
        }
    }

    #[test]
    fn arrays_must_agree_with_their_bytes() {
        let bytes = b"\x80\x05cnumpy._core.numeric\n_frombuffer\n(C\x04\x00\x00\x00\x00cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87RK\x03\x85\x8c\x01CtR.";
        let (pickle, _) = read(bytes, NUMPY, "x", Code::St13).unwrap();
        assert!(pickle.array(pickle.root()).is_none());
    }
}
