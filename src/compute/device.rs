//! Which device computes, and what is asked of one that is not the CPU.
//!
//! A task goes to a card where it is worth the way there and back: permutations, products of rows and encoders from
//! [`LEAST_WORK`] multiplications on, some milliseconds of the CPU's; decompositions by their order, maps by their weights per voxel. The
//! search of alphas always does. Nobody has measured the break-even on a card yet.

use std::fmt::{self, Debug};
use std::ops::Range;
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::cpu::{Real, Spectrum, eigh};
use super::operations::Operations;
use crate::error::{Code, Error, Result, Warning};
use crate::stats::permuter::{FlipFamily, Permuter, RelabelFamily, Tally};

/// The device that a user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// Every NVIDIA card, or one of them; nothing else will do.
    Cuda(Option<usize>),
    /// Every NVIDIA card where there is one, else the processor, with a warning.
    Auto,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(None) => f.write_str("cuda"),
            Device::Cuda(Some(card)) => write!(f, "cuda:{card}"),
            Device::Auto => f.write_str("auto"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Device, String> {
        match text {
            "cpu" => Ok(Device::Cpu),
            "auto" => Ok(Device::Auto),
            "cuda" => Ok(Device::Cuda(None)),
            other => match other.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(card)) => Ok(Device::Cuda(Some(card))),
                _ => Err("expected cpu, cuda, cuda:N or auto".to_owned()),
            },
        }
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Device, String> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> String {
        device.to_string()
    }
}

/// One or more cards that take work. Whatever they return nothing or an error of theirs for, the CPU does.
///
/// # Errors
/// All of them: `GP-01` for too little memory, `GP-02` when a card fails.
pub trait Accelerator: Debug + Send + Sync {
    /// What it is, for the record.
    fn describe(&self) -> String;
    /// The eigendecomposition of a symmetric matrix of which the lower triangle counts; nothing where the CPU should do it.
    ///
    /// # Errors
    /// `GP-01` for too little memory, `GP-02` when the card fails, `NU-01` when the solver does not converge.
    fn eigh(&self, matrix: ArrayView2<'_, f64>) -> Result<Option<Spectrum<f64>>>;
    /// Takes over the factor of one training set.
    ///
    /// # Errors
    /// As the trait's.
    fn ridge_path(&self, factor: &PathFactor<'_>) -> Result<Box<dyn RidgePath>>;
    /// The tally of sign flips.
    fn sign_flips(&self, family: &FlipFamily<'_>) -> Result<Tally>;
    /// The tally of relabelings.
    fn relabelings(&self, family: &RelabelFamily<'_>) -> Result<Tally>;
    /// Inner products of all rows (rows, rows), in float64.
    fn products(&self, rows: ArrayView2<'_, f64>) -> Result<Array2<f64>>;
    /// The streams that encoders run on: of those cards whose results have the same bits.
    fn streams(&self) -> Vec<Arc<dyn Operations>>;
    /// Takes over a sparse map.
    fn sparse_map(&self, map: &SparseMap<'_>) -> Result<Box<dyn MapSums>>;
}

/// Does `range` in blocks of `width`, one after the other, and in narrower ones (down to `fewest`) from where memory runs
/// out: others may use the card, and what was free a moment ago is taken.
///
/// # Errors
/// Those of `work`; `GP-01` only for a block of `fewest`.
pub fn in_blocks<T>(
    range: Range<usize>,
    (mut width, fewest): (usize, usize),
    mut work: impl FnMut(Range<usize>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut parts = Vec::new();
    let mut from = range.start;
    width = width.clamp(1, range.len().max(1));
    while from < range.end || parts.is_empty() {
        let block = from..range.end.min(from + width);
        match work(block.clone()) {
            Ok(found) => {
                from = block.end;
                parts.push(found);
            }
            Err(e) if e.code() == Code::Gp01 && width > fewest => width = (width / 2).max(fewest),
            Err(e) => return Err(e),
        }
    }
    Ok(parts)
}

/// Cards at work for one run, and what became of them. Copies share their state.
#[derive(Debug, Clone)]
pub struct Offload {
    cards: Arc<dyn Accelerator>,
    /// Whether the CPU may take over when they fail.
    replaceable: bool,
    lost: Arc<OnceLock<Warning>>,
    /// What went wrong where it could not be returned.
    failed: Arc<Mutex<Option<Error>>>,
}

impl Offload {
    /// Work goes to `cards`; where they fail the CPU takes over if it is `replaceable`, and does the rest of the run.
    pub fn new(cards: Arc<dyn Accelerator>, replaceable: bool) -> Offload {
        Offload { cards, replaceable, lost: Arc::default(), failed: Arc::default() }
    }

    /// What the cards are, for the record.
    pub fn describe(&self) -> String {
        self.cards.describe()
    }

    /// That the CPU took over, and why.
    pub fn lost(&self) -> Option<&Warning> {
        self.lost.get()
    }

    /// Does something on the cards; nothing where the CPU has to.
    ///
    /// # Errors
    /// Those of the cards, unless the CPU may take over; and those that are the numbers'.
    pub fn attempt<T>(&self, work: impl FnOnce(&dyn Accelerator) -> Result<T>) -> Result<Option<T>> {
        if self.lost.get().is_some() {
            return Ok(None);
        }
        match work(&*self.cards) {
            Ok(done) => Ok(Some(done)),
            Err(e) if self.replaceable && is_of_cards(&e) => {
                self.lost.get_or_init(|| super::on_the_cpu(&e));
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// The eigendecomposition of a symmetric matrix, as [`eigh`]: float64 on the cards where they have a solver.
    ///
    /// # Errors
    /// As [`eigh`] and [`Offload::attempt`].
    pub fn eigh<T: Real>(offload: Option<&Offload>, matrix: Array2<T>) -> Result<Spectrum<T>> {
        if let Some(offload) = offload.filter(|_| T::ROUNDOFF == f64::ROUNDOFF && matrix.nrows() >= LEAST_ORDER) {
            let done = offload.attempt(|cards| {
                let wide = matrix.mapv(|v| v.wide());
                if let Some(bad) = wide.iter().find(|v| !v.is_finite()) {
                    return Err(Error::new(Code::Nu01, "eigendecomposition", format!("the Gram matrix holds {bad}"))
                        .expected("finite values"));
                }
                cards.eigh(wide.view())
            })?;
            if let Some(Spectrum { values, vectors }) = done.flatten() {
                return Ok(Spectrum { values: values.mapv(T::of), vectors: vectors.mapv(T::of) });
            }
        }
        eigh(matrix)
    }
}

impl Offload {
    /// Inner products of all rows, by the cards or by BLAS.
    ///
    /// # Errors
    /// Those of [`Offload::attempt`].
    pub fn products(offload: Option<&Offload>, rows: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        let (n, columns) = rows.dim();
        let sent = offload.filter(|_| worth([n, n, columns]));
        let done = sent.map(|offload| offload.attempt(|cards| cards.products(rows))).transpose()?;
        Ok(done.flatten().unwrap_or_else(|| rows.dot(&rows.t())))
    }

    /// The streams for an encoder of so many multiplications; none where the CPU runs it.
    pub fn streams(offload: Option<&Offload>, multiplications: usize) -> Vec<Arc<dyn Operations>> {
        let sent = offload.filter(|offload| multiplications >= LEAST_WORK && offload.lost.get().is_none());
        sent.map(|offload| offload.cards.streams()).unwrap_or_default()
    }

    /// What failed in a place that could not say so: the CPU stood in there, and must not where only cards will do.
    ///
    /// # Errors
    /// The first such failure, once.
    pub fn check(&self) -> Result<()> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    fn or_keep<T>(&self, done: Result<Option<T>>) -> Option<T> {
        done.unwrap_or_else(|error| {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            None
        })
    }
}

/// Failures are kept for [`Offload::check`].
impl Permuter for Offload {
    fn flips(&self, family: &FlipFamily<'_>) -> Option<Tally> {
        let (units, members) = family.scaled.dim();
        if !worth([units, members, family.patterns]) {
            return None;
        }
        self.or_keep(self.attempt(|cards| cards.sign_flips(family)))
    }

    fn relabelings(&self, family: &RelabelFamily<'_>) -> Option<Tally> {
        let (units, outcomes) = family.residuals.dim();
        if !worth([units, outcomes, family.orders.count() * family.directions.nrows()]) {
            return None;
        }
        self.or_keep(self.attempt(|cards| cards.relabelings(family)))
    }
}

/// Fewest multiplications of a task that is sent to a card.
pub const LEAST_WORK: usize = 1 << 25;

fn worth(extents: [usize; 3]) -> bool {
    extents.into_iter().fold(1usize, usize::saturating_mul) >= LEAST_WORK
}

/// Smaller matrices are decomposed before they would have been copied.
const LEAST_ORDER: usize = 256;

fn is_of_cards(error: &Error) -> bool {
    matches!(error.code(), Code::Gp01 | Code::Gp02 | Code::Gp03)
}

/// The factor of a training set: predictions are `projected · diag(1 / (values + alpha)) · vectorsᵀ · right`.
#[derive(Debug, Clone, Copy)]
pub struct PathFactor<'a> {
    /// Eigenvectors in columns (dimension, k).
    pub vectors: ArrayView2<'a, f64>,
    /// Eigenvalues (k).
    pub values: &'a [f64],
    /// Held-out rows in their coordinates (rows, k).
    pub projected: ArrayView2<'a, f64>,
    /// Multiply in float32; the number is the expected square of a prediction's rounding error, in units of float32
    /// roundoff, over Σ_j (P_j Q_j / (s_j + alpha))².
    pub single: Option<f64>,
}

/// What the rows of one fold say about every alpha.
#[derive(Debug, Clone, PartialEq)]
pub struct PathErrors {
    /// Squared error (alphas, targets).
    pub sse: Array2<f64>,
    /// Expected square of the rounding error of all predictions, in units of float32 roundoff (alphas, targets); 0 in
    /// float64.
    pub noise: Array2<f64>,
}

/// The factor of a training set on a device.
pub trait RidgePath: Debug + Send + Sync {
    /// Squared errors of held-out rows for every alpha and target of a block.
    ///
    /// `right` (dimension, targets) is the system's right-hand side, each `truth` (rows, targets) what the rows of its range
    /// should be. `block` numbers the block of targets: neighbouring ones go to different cards.
    ///
    /// # Errors
    /// As [`Accelerator::ridge_path`].
    fn errors(
        &self,
        alphas: &[f64],
        right: ArrayView2<'_, f64>,
        held_out: &[(Range<usize>, Array2<f64>)],
        block: usize,
    ) -> Result<Vec<PathErrors>>;
}

/// A sparse matrix of columns (parcels) over rows (voxels), kept by column.
#[derive(Debug, Clone, Copy)]
pub struct SparseMap<'a> {
    /// Rows.
    pub rows: usize,
    /// Where the entries of each column start; one more than columns.
    pub starts: &'a [u64],
    /// Row of each entry.
    pub at: &'a [u32],
    /// Weight of each entry.
    pub weights: &'a [f32],
}

/// A sparse map on a device.
pub trait MapSums: Debug + Send + Sync {
    /// Weighted sums over the entries of every column, for each row of `volumes` (volumes, rows), in float64: (volumes,
    /// columns).
    ///
    /// # Errors
    /// As [`Accelerator::sparse_map`].
    fn sums(&self, volumes: ArrayView2<'_, f32>) -> Result<Array2<f64>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named() {
        for name in ["cpu", "cuda", "cuda:3", "auto"] {
            assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
        }
        for bad in ["gpu", "cuda:", "cuda:-1", "cuda:x", "", "CPU"] {
            assert!(bad.parse::<Device>().is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&Device::Cuda(Some(1))).unwrap(), "\"cuda:1\"");
    }

    #[test]
    fn blocks_are_halved_where_memory_runs_out_and_nothing_is_done_twice() {
        let fewest = 32;
        let full = || Error::new(Code::Gp01, "the card", "is full");
        let limited = |most: usize| {
            in_blocks(10..1010, (400, fewest), |block| if block.len() > most { Err(full()) } else { Ok(block) })
        };
        for most in [400, 399, 150, fewest] {
            let parts = limited(most).unwrap();
            assert!(parts.iter().all(|p| p.len() <= most), "{most}");
            assert_eq!(parts.into_iter().flatten().collect::<Vec<_>>(), (10..1010).collect::<Vec<_>>(), "{most}");
        }
        assert_eq!(limited(fewest - 1).unwrap_err().code(), Code::Gp01);
        assert_eq!(in_blocks(0..0, (4, 1), |block| Ok(block.len())).unwrap(), [0], "an empty range is one empty block");
        let lost = Error::new(Code::Gp02, "the card", "is lost");
        let mut once = Some(lost);
        assert_eq!(in_blocks(0..9, (3, 1), |_| Err::<(), _>(once.take().unwrap())).unwrap_err().code(), Code::Gp02);
    }
}
