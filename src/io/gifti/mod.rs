//! GIFTI files: surfaces (`.surf.gii`) and values per vertex (`.func.gii`, `.shape.gii`), plain or as a whole in gzip.
//!
//! Nothing is believed before it was checked: the document must be XML without entities of its own, sizes are compared
//! with what the data decode to, never allocated from a claim, and a triangle that names a missing vertex is refused.
//!
//! Format: <https://www.nitrc.org/frs/download.php/2871/GIFTI_Surface_Format.pdf>. `GZipBase64Binary` is a zlib stream in
//! spite of its name. Not for: arrays in external files, label tables, CIFTI.

mod read;
mod surface;
mod write;

pub use read::{parse, read};
pub use surface::{Hemisphere, Surface};
pub use write::{scalars, write};

/// A document: its arrays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gifti {
    /// Names and values of the file.
    pub meta: Vec<(String, String)>,
    /// Its arrays.
    pub arrays: Vec<DataArray>,
}

/// One array.
#[derive(Debug, Clone, PartialEq)]
pub struct DataArray {
    /// What it holds, such as `NIFTI_INTENT_POINTSET`.
    pub intent: String,
    /// Its extents; values run row by row.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f64>,
    /// The type of number they were stored as.
    pub kind: Kind,
    /// Names and values of the array.
    pub meta: Vec<(String, String)>,
}

impl DataArray {
    /// A value of the array's own names.
    pub fn named(&self, name: &str) -> Option<&str> {
        self.meta.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// The types of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Unsigned 8-bit integers.
    UInt8,
    /// Signed 32-bit integers.
    Int32,
    /// 32-bit floating-point numbers.
    Float32,
    /// 64-bit floating-point numbers; beyond the standard, but written by some programs.
    Float64,
}

impl Kind {
    const ALL: [(Kind, &'static str); 4] = [
        (Kind::UInt8, "NIFTI_TYPE_UINT8"),
        (Kind::Int32, "NIFTI_TYPE_INT32"),
        (Kind::Float32, "NIFTI_TYPE_FLOAT32"),
        (Kind::Float64, "NIFTI_TYPE_FLOAT64"),
    ];

    fn name(self) -> &'static str {
        Kind::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// NumPy's name of the type, in the byte order given.
    fn descr(self, big: bool) -> String {
        let rest = match self {
            Kind::UInt8 => return "|u1".to_owned(),
            Kind::Int32 => "i4",
            Kind::Float32 => "f4",
            Kind::Float64 => "f8",
        };
        format!("{}{rest}", if big { '>' } else { '<' })
    }

    fn bytes(self) -> usize {
        match self {
            Kind::UInt8 => 1,
            Kind::Int32 | Kind::Float32 => 4,
            Kind::Float64 => 8,
        }
    }
}
