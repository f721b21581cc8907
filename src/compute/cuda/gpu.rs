//! A card that is open: two streams, its code, its libraries, and how a kernel is launched on it.

#![allow(unsafe_code, reason = "launches kernels; every argument is checked by the file that belongs to the kernel")]

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, OnceLock};

use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchArgs, LaunchConfig,
    ValidAsZeroBits,
};
use cudarc::nvrtc::Ptx;

use super::card::{self, Card, cards, driver_version};
use super::compile;
use super::dense::Dense;
use super::fault;
use super::sources::{SOURCES, source_of};
use crate::compute::device::Device;
use crate::compute::turns::Turns;
use crate::error::{Code, Error, Result};

/// Threads of a block; `THREADS` in `kernels/common.cuh`.
pub(super) const THREADS: usize = 256;
/// Largest grid along x, and along y and z (CUDA C++ Programming Guide, table of technical specifications).
const MOST_X: usize = i32::MAX as usize;
pub(super) const MOST_Y: usize = 65_535;
/// Streams of a card.
pub(super) const LANES: usize = 2;

/// An open card. Calls from several threads take turns on its two streams, so that one copies while the other computes.
pub struct Gpu {
    card: Card,
    context: Arc<CudaContext>,
    lanes: Turns<Lane>,
    modules: Vec<OnceLock<Arc<CudaModule>>>,
    cache: Option<PathBuf>,
    driver: Option<i32>,
}

/// One stream and the libraries that work on it. Fields are dropped in this order: the handles before their stream.
pub(super) struct Lane {
    pub(super) dense: Dense,
    pub(super) stream: Arc<CudaStream>,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu").field("card", &self.card).finish_non_exhaustive()
    }
}

impl Gpu {
    /// Opens a card; compiled kernels are kept below the folder `cache`.
    ///
    /// # Errors
    /// `GP-02` when the driver refuses.
    pub fn open(card: Card, cache: Option<&Path>) -> Result<Gpu> {
        let context = card::context(&card)?;
        Ok(Gpu {
            lanes: Turns::new((0..LANES).map(|_| Lane::open(&context)).collect::<Result<Vec<_>>>()?),
            modules: SOURCES.iter().map(|_| OnceLock::new()).collect(),
            cache: cache.map(Path::to_owned),
            driver: driver_version(),
            card,
            context,
        })
    }

    /// The card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Bytes that are free, and all.
    ///
    /// # Errors
    /// `GP-02` when the card fails.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let (free, all) = self.context.mem_get_info().map_err(|e| fault::driver("asking for free memory", e))?;
        Ok((free as u64, all as u64))
    }

    /// What does dense products and decompositions on the card.
    pub fn libraries(&self) -> Vec<&'static str> {
        self.lane().dense.names()
    }

    /// The next stream that is free, or the one whose turn it is.
    pub(super) fn lane(&self) -> MutexGuard<'_, Lane> {
        // INVARIANT: `open` makes them.
        self.lanes.take().expect("a card has streams")
    }

    /// The stream of this number, below [`LANES`].
    pub(super) fn lane_at(&self, number: usize) -> MutexGuard<'_, Lane> {
        // INVARIANT: `open` makes so many.
        self.lanes.at(number).expect("the number of a stream")
    }

    /// A kernel, compiled for the card the first time that its file is needed.
    pub(super) fn kernel(&self, name: &str) -> Result<CudaFunction> {
        let Some((place, source)) = source_of(name) else {
            return Err(fault::library("the kernels", "finding one", name));
        };
        let module = match self.modules[place].get() {
            Some(module) => module,
            None => {
                let load = |code: Vec<u8>| {
                    self.context.load_module(Ptx::from_binary(code)).map_err(|e| fault::driver("loading a kernel", e))
                };
                let made = compile::code(source, &self.card.architecture(), self.driver, self.cache.as_deref(), load)?;
                self.modules[place].get_or_init(|| made)
            }
        };
        module.load_function(name).map_err(|e| fault::driver("finding a kernel", e))
    }
}

/// The cards that work together: blocks of targets go round.
#[derive(Debug)]
pub struct Cards(Vec<Arc<Gpu>>);

impl Cards {
    /// Opens the cards that `device` names; none for [`Device::Cpu`].
    ///
    /// # Errors
    /// `FL-01` when there is no such card.
    pub fn open(device: Device, cache: Option<&Path>) -> Result<Cards> {
        let found = match device {
            Device::Cpu => Vec::new(),
            Device::Cuda(None) | Device::Auto => cards()?,
            Device::Cuda(Some(number)) => {
                let all = cards()?;
                let count = all.len();
                let Some(one) = all.into_iter().nth(number) else {
                    return Err(Error::new(
                        Code::Fl01,
                        "--device",
                        format!("is {device}, but cards are counted from 0"),
                    )
                    .expected(format!("a number below {count}")));
                };
                vec![one]
            }
        };
        // Code that cannot be had would be noticed only when the first kernel is needed.
        let opened: Vec<Arc<Gpu>> =
            found.into_iter().map(|card| Gpu::open(card, cache).map(Arc::new)).collect::<Result<_>>()?;
        opened.iter().try_for_each(|gpu| gpu.kernel("ridge_choose").map(|_| ()))?;
        Ok(Cards(opened))
    }

    /// The cards.
    pub fn gpus(&self) -> &[Arc<Gpu>] {
        &self.0
    }
}

impl Lane {
    fn open(context: &Arc<CudaContext>) -> Result<Lane> {
        let stream = context.new_stream().map_err(|e| fault::driver("opening a stream", e))?;
        Ok(Lane { dense: Dense::new(&stream), stream })
    }

    /// A copy on the card.
    pub(super) fn upload<T: DeviceRepr + ValidAsZeroBits>(&self, values: &[T]) -> Result<CudaSlice<T>> {
        if values.is_empty() {
            return self.zeros(1);
        }
        self.stream.clone_htod(values).map_err(|e| fault::driver("copying to the card", e))
    }

    /// Zeros on the card; at least one.
    pub(super) fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, count: usize) -> Result<CudaSlice<T>> {
        self.stream.alloc_zeros(count.max(1)).map_err(|e| fault::driver("taking memory", e))
    }

    /// Memory for values that a kernel writes before anything reads them; for at least one.
    pub(super) fn room<T: DeviceRepr + ValidAsZeroBits>(&self, count: usize) -> Result<CudaSlice<T>> {
        // SAFETY: whoever asks launches a kernel that writes all of it before anything else is done with it.
        unsafe { self.stream.alloc(count.max(1)) }.map_err(|e| fault::driver("taking memory", e))
    }

    /// Waits for all that the stream was given, and says whether any of it failed.
    pub(super) fn wait(&self) -> Result<()> {
        self.stream.synchronize().map_err(|e| fault::driver("a kernel", e))
    }

    /// The first `count` values of what lies on the card. Waits for all that the stream was given, and says whether any
    /// of it failed.
    pub(super) fn download<T: DeviceRepr + Default + Clone>(
        &self,
        from: &impl DevicePtr<T>,
        count: usize,
    ) -> Result<Vec<T>> {
        let mut values = vec![T::default(); from.len()];
        self.stream.memcpy_dtoh(from, &mut values).map_err(|e| fault::driver("copying from the card", e))?;
        self.wait()?;
        values.truncate(count);
        Ok(values)
    }

    /// Launches a kernel of [`THREADS`] threads per block over a grid and says whether the launch failed.
    ///
    /// # Safety
    /// The arguments are those that the kernel declares, in their order, and every buffer has the extents that it reads
    /// and writes.
    pub(super) unsafe fn launch<'a>(
        &'a self,
        kernel: &'a CudaFunction,
        grid: Grid,
        arguments: impl FnOnce(&mut LaunchArgs<'a>),
    ) -> Result<()> {
        let mut launch = self.stream.launch_builder(kernel);
        arguments(&mut launch);
        let config =
            LaunchConfig { grid_dim: (grid.x, grid.y, 1), block_dim: (THREADS as u32, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: passed on to the caller.
        unsafe { launch.launch(config) }.map(|_| ()).map_err(|e| fault::driver("launching a kernel", e))
    }
}

/// Blocks of a launch, within what every card takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    x: u32,
    y: u32,
}

impl Grid {
    /// `GP-01` beyond what a grid can have: the caller splits the work.
    pub(super) fn new(x: usize, y: usize) -> Result<Grid> {
        if x > MOST_X || y > MOST_Y {
            return Err(Error::new(Code::Gp01, "a launch", format!("needs {x} × {y} blocks"))
                .expected(format!("at most {MOST_X} × {MOST_Y}")));
        }
        Ok(Grid { x: x.max(1) as u32, y: y.max(1) as u32 })
    }

    /// A thread for each of `count` values.
    pub(super) fn over(count: usize) -> Result<Grid> {
        Grid::new(count.div_ceil(THREADS), 1)
    }
}

/// An extent as kernels take it.
pub(super) fn extent(value: usize) -> Result<i32> {
    i32::try_from(value).map_err(|e| {
        Error::new(Code::Gp01, "a launch", format!("has an extent of {value}"))
            .expected(format!("at most {}", i32::MAX))
            .source(e)
    })
}

/// A pointer to nothing, for what a kernel may do without.
pub(super) const NOTHING: &u64 = &0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_stay_within_a_cards_limits() {
        assert_eq!(Grid::over(0).unwrap(), Grid { x: 1, y: 1 });
        assert_eq!(Grid::over(257).unwrap(), Grid { x: 2, y: 1 });
        assert_eq!(Grid::over((1 << 31) * 256).unwrap_err().code(), Code::Gp01);
        assert_eq!(Grid::new(1, 65_536).unwrap_err().code(), Code::Gp01);
        assert_eq!(extent(1 << 31).unwrap_err().code(), Code::Gp01);
        assert_eq!(extent((1 << 31) - 1).unwrap(), i32::MAX);
    }
}
