use std::fmt;

/// The real voxel types of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datatype {
    /// Unsigned 8-bit integers.
    UInt8,
    /// Signed 8-bit integers.
    Int8,
    /// Unsigned 16-bit integers.
    UInt16,
    /// Signed 16-bit integers.
    Int16,
    /// Unsigned 32-bit integers.
    UInt32,
    /// Signed 32-bit integers.
    Int32,
    /// Unsigned 64-bit integers.
    UInt64,
    /// Signed 64-bit integers.
    Int64,
    /// 32-bit floating-point numbers.
    Float32,
    /// 64-bit floating-point numbers.
    Float64,
}

impl Datatype {
    /// The type that a header's code stands for, or the name of one that is not real, or nothing.
    pub(super) fn from_code(code: i16) -> Result<Datatype, &'static str> {
        use nifti::NiftiType as T;
        use num_traits::FromPrimitive as _;
        Ok(match T::from_i16(code) {
            Some(T::Uint8) => Datatype::UInt8,
            Some(T::Int8) => Datatype::Int8,
            Some(T::Uint16) => Datatype::UInt16,
            Some(T::Int16) => Datatype::Int16,
            Some(T::Uint32) => Datatype::UInt32,
            Some(T::Int32) => Datatype::Int32,
            Some(T::Uint64) => Datatype::UInt64,
            Some(T::Int64) => Datatype::Int64,
            Some(T::Float32) => Datatype::Float32,
            Some(T::Float64) => Datatype::Float64,
            Some(T::Complex64) => return Err("complex64"),
            Some(T::Complex128) => return Err("complex128"),
            Some(T::Complex256) => return Err("complex256"),
            Some(T::Float128) => return Err("float128"),
            Some(T::Rgb24) => return Err("RGB colours"),
            Some(T::Rgba32) => return Err("RGBA colours"),
            None => return Err("no type of the format"),
        })
    }

    /// Bytes of one voxel.
    pub fn bytes(self) -> usize {
        match self {
            Datatype::UInt8 | Datatype::Int8 => 1,
            Datatype::UInt16 | Datatype::Int16 => 2,
            Datatype::UInt32 | Datatype::Int32 | Datatype::Float32 => 4,
            Datatype::UInt64 | Datatype::Int64 | Datatype::Float64 => 8,
        }
    }

    /// Whether the voxels are whole numbers before scaling.
    pub fn is_integer(self) -> bool {
        !matches!(self, Datatype::Float32 | Datatype::Float64)
    }

    /// Decodes voxels of this type: raw · `slope` + `intercept` in float64, then rounded to the sample's type.
    pub(super) fn decode<T: Sample>(self, bytes: &[u8], big: bool, scale: Option<(f64, f64)>, out: &mut [T]) {
        macro_rules! values {
            ($raw:ty) => {{
                const N: usize = size_of::<$raw>();
                let raw = bytes.chunks_exact(N).map(|c| {
                    let mut word = [0; N];
                    word.copy_from_slice(c);
                    if big { <$raw>::from_be_bytes(word) } else { <$raw>::from_le_bytes(word) }
                });
                match scale {
                    None => out.iter_mut().zip(raw).for_each(|(o, r)| *o = T::from_f64(r as f64)),
                    Some((slope, intercept)) => {
                        out.iter_mut().zip(raw).for_each(|(o, r)| *o = T::from_f64(r as f64 * slope + intercept));
                    }
                }
            }};
        }
        match self {
            Datatype::UInt8 => values!(u8),
            Datatype::Int8 => values!(i8),
            Datatype::UInt16 => values!(u16),
            Datatype::Int16 => values!(i16),
            Datatype::UInt32 => values!(u32),
            Datatype::Int32 => values!(i32),
            Datatype::UInt64 => values!(u64),
            Datatype::Int64 => values!(i64),
            Datatype::Float32 => values!(f32),
            Datatype::Float64 => values!(f64),
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Datatype::UInt8 => "uint8",
            Datatype::Int8 => "int8",
            Datatype::UInt16 => "uint16",
            Datatype::Int16 => "int16",
            Datatype::UInt32 => "uint32",
            Datatype::Int32 => "int32",
            Datatype::UInt64 => "uint64",
            Datatype::Int64 => "int64",
            Datatype::Float32 => "float32",
            Datatype::Float64 => "float64",
        })
    }
}

/// A number that voxels are read into.
pub trait Sample: Copy + Default + Send + 'static {
    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
}

impl Sample for f32 {
    #[inline]
    fn from_f64(value: f64) -> f32 {
        value as f32
    }
}

impl Sample for f64 {
    #[inline]
    fn from_f64(value: f64) -> f64 {
        value
    }
}
