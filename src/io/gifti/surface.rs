use std::path::Path;

use super::{DataArray, read};
use crate::error::{Code, Error, Result};
use crate::ids::Digest;

/// A triangle mesh.
#[derive(Debug, Clone, PartialEq)]
pub struct Surface {
    /// Vertices (mm).
    pub points: Vec<[f64; 3]>,
    /// Triangles, as numbers of vertices.
    pub triangles: Vec<[u32; 3]>,
    /// Which half of the brain it is of, where the file says so.
    pub hemisphere: Option<Hemisphere>,
}

/// A half of the brain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hemisphere {
    /// Left.
    Left,
    /// Right.
    Right,
}

impl Hemisphere {
    /// Both, in the order in which files and flags name them.
    pub const BOTH: [Hemisphere; 2] = [Hemisphere::Left, Hemisphere::Right];

    /// `lh` or `rh`, as FreeSurfer's files are named.
    pub fn prefix(self) -> &'static str {
        if self == Hemisphere::Left { "lh" } else { "rh" }
    }

    /// `CortexLeft` or `CortexRight`, as GIFTI files say it.
    pub fn structure(self) -> &'static str {
        if self == Hemisphere::Left { "CortexLeft" } else { "CortexRight" }
    }
}

impl Surface {
    /// Reads a surface.
    ///
    /// # Errors
    /// `GI-03` for a file without points and triangles, with points that are not finite, or triangles of vertices that do
    /// not exist; those of [`read`].
    pub fn open(path: &Path) -> Result<(Surface, Digest)> {
        let (document, digest) = read(path)?;
        let fail = |found: String| Error::new(Code::Gi03, path.display(), found);
        let array = |intent: &str, what: &str| -> Result<&DataArray> {
            let found = document.arrays.iter().find(|a| a.intent == intent);
            let array =
                found.ok_or_else(|| fail(format!("holds no {what} ({intent})")).expected("a .surf.gii file"))?;
            match array.shape[..] {
                [n, 3] if n > 0 => Ok(array),
                _ => Err(fail(format!("has {what} of shape {:?}", array.shape)).expected("(n, 3)")),
            }
        };
        let points = array("NIFTI_INTENT_POINTSET", "points")?;
        let triangles = array("NIFTI_INTENT_TRIANGLE", "triangles")?;
        if let Some(at) = points.values.iter().position(|v| !v.is_finite()) {
            return Err(
                fail(format!("vertex {} has a coordinate of {}", at / 3, points.values[at])).expected("millimetres")
            );
        }
        let count = points.values.len() / 3;
        let odd =
            triangles.values.iter().position(|v| v.fract() != 0.0 || *v < 0.0 || *v >= count as f64 || v.is_nan());
        if let Some(at) = odd {
            return Err(fail(format!("triangle {} names vertex {}", at / 3, triangles.values[at]))
                .expected(format!("0 to {}", count - 1)));
        }
        let hemisphere = match points.named("AnatomicalStructurePrimary") {
            Some("CortexLeft") => Some(Hemisphere::Left),
            Some("CortexRight") => Some(Hemisphere::Right),
            _ => None,
        };
        let (corners, _) = triangles.values.as_chunks::<3>();
        let (places, _) = points.values.as_chunks::<3>();
        let triangles = corners.iter().map(|t| t.map(|v| v as u32)).collect();
        Ok((Surface { points: places.to_vec(), triangles, hemisphere }, digest))
    }
}
