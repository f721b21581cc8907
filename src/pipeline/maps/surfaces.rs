use std::path::PathBuf;

use crate::atlas::VoxelMap;
use crate::error::{Code, Error, Result};
use crate::ids::Digest;
use crate::io::file_name;
use crate::io::gifti::{Hemisphere, Surface};

/// Files of surfaces, left and right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurfaceFiles {
    /// Where values are sampled: the middle of the cortex, or its outer border where `white` gives the inner one.
    pub at: [PathBuf; 2],
    /// The inner border; values are then sampled halfway between both.
    pub white: Option<[PathBuf; 2]>,
    /// What pictures are drawn on, such as inflated surfaces; without it those of `at`.
    pub draw: Option<[PathBuf; 2]>,
}

/// A half of the brain: where values are sampled, and what they are drawn on.
pub(super) struct Half {
    pub hemisphere: Hemisphere,
    pub places: Vec<[f64; 3]>,
    pub drawn: Surface,
}

/// Both halves.
pub(super) struct Surfaces {
    pub halves: Vec<Half>,
    /// Names and digests of all files.
    pub inputs: Vec<(String, Digest)>,
}

impl Surfaces {
    /// Reads and checks all files.
    ///
    /// # Errors
    /// Those of [`Surface::open`]; `GI-03` for the wrong half, or files of different numbers of vertices.
    pub fn open(files: &SurfaceFiles) -> Result<Surfaces> {
        let (mut halves, mut inputs) = (Vec::new(), Vec::new());
        for (side, hemisphere) in Hemisphere::BOTH.into_iter().enumerate() {
            let mut open = |path: &PathBuf, expected: Option<usize>| -> Result<Surface> {
                let (surface, digest) = Surface::open(path)?;
                inputs.push((file_name(path), digest));
                let fail = |found: String| Error::new(Code::Gi03, path.display(), found);
                if surface.hemisphere.is_some_and(|h| h != hemisphere) {
                    return Err(
                        fail("is of the other half of the brain".to_owned()).expected("LEFT,RIGHT in this order")
                    );
                }
                match expected {
                    Some(n) if n != surface.points.len() => Err(fail(format!("has {} vertices", surface.points.len()))
                        .expected(format!("{n}, as {} has", file_name(&files.at[side])))),
                    _ => Ok(surface),
                }
            };
            let outer = open(&files.at[side], None)?;
            let n = Some(outer.points.len());
            let places = match &files.white {
                Some(white) => {
                    let inner = open(&white[side], n)?;
                    let middle = |(a, b): (&[f64; 3], &[f64; 3])| std::array::from_fn(|i| (a[i] + b[i]) / 2.0);
                    outer.points.iter().zip(&inner.points).map(middle).collect()
                }
                None => outer.points.clone(),
            };
            let drawn = match &files.draw {
                Some(draw) => open(&draw[side], n)?,
                None => outer,
            };
            halves.push(Half { hemisphere, places, drawn });
        }
        Ok(Surfaces { halves, inputs })
    }
}

impl Half {
    /// The values of a map at all vertices.
    pub fn sample(&self, map: &VoxelMap) -> Vec<Option<f64>> {
        self.places.iter().map(|place| map.at(*place)).collect()
    }
}
