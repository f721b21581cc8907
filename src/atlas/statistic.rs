use std::fmt;
use std::path::{Path, PathBuf};

use statrs::distribution::{ContinuousCDF, Normal};

use super::space::Resampler;
use super::{Grid, Interpolation};
use crate::error::{Code, Error, Result, Warning};
use crate::ids::Digest;
use crate::io::nifti::Reader;

/// Where a z map is cut that says nothing of its own threshold: one-sided p of about 0.001.
const USUAL_Z: f64 = 3.1;
/// A map without any value between 0 and this (one-sided p 0.05) was cut before it was saved.
const LEAST_CUT: f64 = 1.6449;

/// Which voxels of a statistic map count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// The map's own: its smallest positive value when it was thresholded before it was saved (or is a mask), else z ≥ 3.1.
    Own,
    /// Values of at least this.
    AtLeast(f64),
    /// Benjamini–Hochberg at this q over the one-sided p of z of all voxels that are neither 0 nor NaN.
    Fdr(f64),
    /// Values of at least this percentile (0 to 100) of the voxels that are neither 0 nor NaN.
    Percentile(f64),
    /// So many voxels with the largest values, and those that equal the last of them.
    Top(usize),
}

impl Threshold {
    /// Understands `3.1`, `fdr=0.01`, `percentile=95` and `top=2000`; nothing for anything else.
    pub fn parse(text: &str) -> Option<Threshold> {
        let text = text.trim();
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim(), value.trim()),
            None => ("z", text),
        };
        let number = || value.parse::<f64>().ok().filter(|v| v.is_finite());
        match name {
            "z" => number().filter(|v| *v > 0.0).map(Threshold::AtLeast),
            "fdr" => number().filter(|q| *q > 0.0 && *q < 1.0).map(Threshold::Fdr),
            "percentile" => number().filter(|p| (0.0..100.0).contains(p)).map(Threshold::Percentile),
            "top" => value.parse().ok().filter(|n| *n > 0).map(Threshold::Top),
            _ => None,
        }
    }

    /// What [`Threshold::parse`] takes, for messages.
    pub const FORMS: &'static str = "a number above 0 (z), fdr=0.01, percentile=95 or top=2000";
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Threshold::Own => f.write_str("own"),
            Threshold::AtLeast(z) => write!(f, "{z}"),
            Threshold::Fdr(q) => write!(f, "fdr={q}"),
            Threshold::Percentile(p) => write!(f, "percentile={p}"),
            Threshold::Top(n) => write!(f, "top={n}"),
        }
    }
}

/// Where a map is cut, and why there.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// Voxels of at least this count, with their value as weight.
    pub at: f64,
    /// The rule in words.
    pub rule: String,
}

/// A statistic map (z of a contrast or of a meta-analysis), a mask, or one label of an image of labels: one value per
/// voxel on a grid of its own.
#[derive(Debug, Clone)]
pub struct StatisticMap {
    path: PathBuf,
    digest: Digest,
    grid: Grid,
    values: Vec<f32>,
    warnings: Vec<Warning>,
}

impl StatisticMap {
    /// Reads a 3-D image. NaN and infinities count as 0.
    ///
    /// # Errors
    /// `RO-04` for an image of several volumes, and whatever the reader finds.
    pub fn open(path: &Path) -> Result<StatisticMap> {
        let mut reader = Reader::open(path)?;
        let header = reader.header();
        if header.volumes != 1 {
            return Err(Error::new(Code::Ro04, path.display(), format!("holds {} volumes", header.volumes))
                .expected("one statistic map or mask")
                .hint("Save the volume that you mean as an image of its own"));
        }
        let (grid, mut warnings) = (Grid::of(header), header.warnings.clone());
        let mut values: Vec<f32> = reader.buffer()?;
        reader.next_volume(&mut values)?;
        let mut cleared = 0;
        for value in values.iter_mut().filter(|v| !v.is_finite()) {
            (*value, cleared) = (0.0, cleared + 1);
        }
        if cleared > 0 {
            let name = crate::io::file_name(path);
            warnings.push(Warning::new(
                "RO-05",
                format!("{name} holds NaN or infinities in {cleared} voxels; they count as 0"),
            ));
        }
        let digest = match reader.digest() {
            Some(digest) => digest,
            None => crate::io::digest_file(path)?,
        };
        Ok(StatisticMap { path: path.to_owned(), digest, grid, values, warnings })
    }

    /// A map from values in memory; `path` names it in messages.
    pub fn new(path: &Path, grid: Grid, values: Vec<f32>) -> StatisticMap {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        StatisticMap { path: path.to_owned(), digest: crate::io::digest(&bytes), grid, values, warnings: Vec::new() }
    }

    /// The voxels of one label as a mask.
    ///
    /// # Errors
    /// `RO-05` when no voxel has it.
    pub fn of_label(mut self, label: i64) -> Result<StatisticMap> {
        let mut found = false;
        for value in &mut self.values {
            let is_it = f64::from(*value) == label as f64;
            found |= is_it;
            *value = f32::from(u8::from(is_it));
        }
        if !found {
            return Err(Error::new(Code::Ro05, self.path.display(), format!("has no voxel of label {label}"))
                .expected("a label that the image holds"));
        }
        Ok(self)
    }

    /// SHA-256 of the file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What was odd but usable.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Whether the voxels hold negative values, too: an ROI is made of the positive ones.
    pub fn has_negative(&self) -> bool {
        self.values.iter().any(|v| *v < 0.0)
    }

    /// Whether all positive voxels have one value: a mask.
    pub fn is_mask(&self) -> bool {
        let mut positive = self.values.iter().filter(|v| **v > 0.0);
        positive.next().is_some_and(|first| positive.all(|v| v == first))
    }

    fn positive(&self) -> impl Iterator<Item = f64> + '_ {
        self.values.iter().filter(|v| **v > 0.0).map(|v| f64::from(*v))
    }

    /// Where a threshold cuts this map. Percentiles, counts and false discovery rates are those of the map's own voxels,
    /// before it is taken to another grid.
    ///
    /// # Errors
    /// `RO-05` when nothing of the map is left.
    pub fn cut(&self, threshold: Threshold) -> Result<Cut> {
        let empty =
            |what: String| Error::new(Code::Ro05, self.path.display(), what).expected("voxels that belong to the ROI");
        let largest = self.positive().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            return Err(empty("has no voxel above 0".to_owned()));
        }
        let smallest = || self.positive().fold(f64::INFINITY, f64::min);
        let (at, rule) = match threshold {
            Threshold::Own if self.is_mask() => (largest, "mask".to_owned()),
            Threshold::Own if smallest() >= LEAST_CUT => (smallest(), "the map\u{2019}s own threshold".to_owned()),
            Threshold::Own => (USUAL_Z, format!("z of at least {USUAL_Z}, the map having no threshold of its own")),
            Threshold::AtLeast(z) => (z, format!("values of at least {z}")),
            Threshold::Fdr(q) => match self.fdr(q) {
                Some(z) => (z, format!("false discovery rate {q}")),
                None => return Err(empty(format!("has no voxel that a false discovery rate of {q} leaves"))),
            },
            Threshold::Percentile(p) => (self.percentile(p), format!("percentile {p}")),
            Threshold::Top(n) => (self.top(n), format!("the {n} largest voxels")),
        };
        if largest < at {
            let hint = match threshold {
                Threshold::Own => "Give it a threshold of its own, in the map\u{2019}s units",
                _ => "Lower the threshold",
            };
            return Err(empty(format!("has no voxel of {at} or more; its largest is {largest}")).hint(hint));
        }
        Ok(Cut { at, rule })
    }

    /// The smallest z that Benjamini–Hochberg calls at `q`; nothing when it calls none.
    fn fdr(&self, q: f64) -> Option<f64> {
        let mut z: Vec<f64> = self.values.iter().filter(|v| **v != 0.0).map(|v| f64::from(*v)).collect();
        z.sort_by(|a, b| b.total_cmp(a));
        let (normal, m) = (Normal::standard(), z.len() as f64);
        let last = z.iter().enumerate().rev().find(|(i, z)| normal.sf(**z) <= q * (i + 1) as f64 / m);
        last.map(|(_, z)| *z).filter(|z| *z > 0.0)
    }

    /// The nearest rank of a percentile among the voxels that are not 0, never below the smallest positive value.
    fn percentile(&self, p: f64) -> f64 {
        let mut values: Vec<f64> = self.values.iter().filter(|v| **v != 0.0).map(|v| f64::from(*v)).collect();
        values.sort_by(f64::total_cmp);
        let rank = (p / 100.0 * values.len() as f64).floor() as usize;
        let at = values[rank.min(values.len() - 1)];
        if at > 0.0 { at } else { self.positive().fold(f64::INFINITY, f64::min) }
    }

    /// The value of the `n`-th largest positive voxel, of the last one where there are fewer.
    fn top(&self, n: usize) -> f64 {
        let mut positive: Vec<f64> = self.positive().collect();
        positive.sort_by(|a, b| b.total_cmp(a));
        positive[n.min(positive.len()) - 1]
    }

    /// The ROI's weights on another grid: the map's value where it is at least `cut`, 0 elsewhere. A map is resampled
    /// trilinearly before it is cut, a mask by the nearest voxel.
    ///
    /// # Errors
    /// `RO-03` when the grids do not overlap, `RO-05` when no voxel of the grid is left.
    pub fn weights_on(&self, grid: &Grid, cut: &Cut) -> Result<Vec<f32>> {
        let place = self.path.display().to_string();
        let mut weights = vec![0f32; grid.voxels()];
        if grid.same_as(&self.grid) {
            weights.copy_from_slice(&self.values);
        } else {
            let how = if self.is_mask() { Interpolation::Nearest } else { Interpolation::Trilinear };
            let resampler = Resampler::new(&self.grid, grid, how, &place)
                .map_err(|e| e.under(Code::Ro03).hint("Are both in one space?"))?;
            resampler.each(&self.values, |_| true, |voxel, value| weights[voxel] = value);
        }
        // Interpolation rounds: a voxel of exactly the threshold stays in.
        let least = cut.at * (1.0 - 1e-6);
        weights.iter_mut().filter(|w| f64::from(**w) < least).for_each(|w| *w = 0.0);
        if weights.iter().all(|w| *w == 0.0) {
            return Err(Error::new(
                Code::Ro05,
                place,
                format!("has no voxel of {} or more on the atlas\u{2019}s grid", cut.at),
            )
            .expected(format!("some on {grid}")));
        }
        Ok(weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grid(shape: [usize; 3], zoom: f64) -> Grid {
        let affine = std::array::from_fn(|i| {
            std::array::from_fn(|j| match (i == j, i == 3) {
                (true, false) => zoom,
                (true, true) => 1.0,
                _ => 0.0,
            })
        });
        Grid { shape, affine }
    }

    fn map(values: &[f32]) -> StatisticMap {
        StatisticMap::new(Path::new("m.nii"), grid([values.len(), 1, 1], 2.0), values.to_vec())
    }

    #[test]
    fn thresholds_are_understood_and_written_alike() {
        for text in ["3.1", "fdr=0.01", "percentile=95", "top=2000"] {
            assert_eq!(Threshold::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Threshold::parse("z=2"), Some(Threshold::AtLeast(2.0)));
        for text in ["", "x", "0", "-1", "fdr=1", "fdr=0", "percentile=100", "top=0", "top=1.5", "nan", "map.nii"] {
            assert_eq!(Threshold::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_map_knows_its_own_threshold() {
        let own = |values: &[f32]| map(values).cut(Threshold::Own).map(|c| c.at);
        assert_eq!(own(&[0.0, 3.5, 4.0, 0.0, -2.0]).unwrap(), 3.5, "thresholded before");
        assert_eq!(own(&[0.1, 3.5, 4.0, 0.0]).unwrap(), 3.1, "not thresholded");
        assert_eq!(own(&[0.0, 0.25, 0.25]).unwrap(), 0.25, "a mask");
        assert_eq!(own(&[0.0, -1.0]).unwrap_err().code(), Code::Ro05);
        assert_eq!(own(&[0.2, 0.9, 0.5]).unwrap_err().code(), Code::Ro05, "probabilities need a threshold");
    }

    #[test]
    fn rules_pick_the_voxels_that_they_say() {
        let values: Vec<f32> = (1..=100).map(|v| v as f32 / 20.0).collect();
        let m = map(&values);
        let count = |t| {
            let cut = m.cut(t).unwrap();
            m.weights_on(&m.grid, &cut).unwrap().iter().filter(|w| **w > 0.0).count()
        };
        assert_eq!(count(Threshold::Top(7)), 7);
        assert_eq!(count(Threshold::Top(1000)), 100);
        assert_eq!(count(Threshold::Percentile(90.0)), 10);
        assert_eq!(count(Threshold::AtLeast(4.0)), 21);
        // scipy.stats.false_discovery_control(norm.sf(arange(1, 101) / 20)) <= 0.01 for 49 of the 100.
        assert_eq!(count(Threshold::Fdr(0.01)), 49);
        assert_eq!(map(&[0.5, 0.4, 0.3]).cut(Threshold::Fdr(0.01)).unwrap_err().code(), Code::Ro05);
    }

    #[test]
    fn grids_that_do_not_meet_are_refused() {
        let m = map(&[4.0, 5.0]);
        let mut far = grid([2, 1, 1], 2.0);
        far.affine[0][3] = 100.0;
        let cut = m.cut(Threshold::Own).unwrap();
        assert_eq!(m.weights_on(&far, &cut).unwrap_err().code(), Code::Ro03);
        assert_eq!(m.clone().of_label(7).unwrap_err().code(), Code::Ro05);
        assert_eq!(m.of_label(5).unwrap().values, [0.0, 1.0]);
    }

    proptest! {
        /// Nothing below the cut gets a weight, and what does keeps its value.
        #[test]
        fn weights_are_the_values_above_the_cut(values in proptest::collection::vec(-5f32..8.0, 2..60), z in 0.1f64..7.0) {
            let m = map(&values);
            let Ok(cut) = m.cut(Threshold::AtLeast(z)) else { return Ok(()) };
            let weights = m.weights_on(&m.grid, &cut).unwrap();
            for (w, v) in weights.iter().zip(&values) {
                let near = f64::from(*v) >= z * (1.0 - 1e-6);
                let as_said = if f64::from(*v) >= z { w == v } else { *w == 0.0 || near };
                prop_assert!(as_said);
            }
        }
    }
}
