//! What this machine has to compute with, and whether it computes rightly.

use std::path::PathBuf;

use serde::Serialize;

use crate::compute::cpu;
use crate::compute::device::Device;
use crate::error::Result;
use crate::store::default_cache_folder;

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct DoctorSpec {
    /// Which cards; [`Device::Cpu`] for none.
    pub device: Device,
    /// Check the kernels on every shape of the table, not on a few.
    pub thorough: bool,
    /// Measure kernels, too: rows, eigenvalues, targets, alphas.
    pub measure: Option<[usize; 4]>,
    /// Compile the kernels for these architectures, e.g. `sm_90`; needs NVRTC and no card.
    pub compile: Vec<String>,
    /// Where the compiled kernels go; they are only counted without it.
    pub into: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// Version of this program.
    pub version: String,
    /// Operating system and architecture.
    pub system: String,
    /// Processors that may be used.
    pub processors: usize,
    /// Instruction sets that the loops of this program have code for, of those that the processor has.
    pub processor_features: Vec<&'static str>,
    /// OpenBLAS: version and kernels in use.
    pub blas: String,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes that encoding models use unless told otherwise.
    pub default_memory: u64,
    /// The cache folder.
    pub cache: Option<PathBuf>,
    /// NVIDIA's driver and cards; none where the program was built without.
    pub cuda: Option<CudaFound>,
    /// Kernels compiled on request.
    pub compiled: Vec<Compiled>,
}

/// NVIDIA's driver, compiler and cards.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CudaFound {
    /// Version of the driver, e.g. 12040 for CUDA 12.4.
    pub driver: Option<i32>,
    /// Where the compiler of kernels (NVRTC) is and its version; or why there is none.
    pub compiler: Option<String>,
    /// The cards.
    #[cfg(feature = "cuda")]
    pub cards: Vec<CardFound>,
    /// Why nothing can be computed on a card, if so.
    pub missing: Option<String>,
    /// Every kernel against the CPU.
    #[cfg(feature = "cuda")]
    pub checks: Vec<crate::compute::cuda::check::Check>,
    /// How many of them failed.
    pub failed: usize,
    /// How fast kernels are on the first card, where that was asked.
    #[cfg(feature = "cuda")]
    pub measured: Vec<crate::compute::cuda::Measured>,
}

/// A card and what is free of it.
#[cfg(feature = "cuda")]
#[derive(Debug, Clone, Serialize)]
pub struct CardFound {
    /// As the driver describes it.
    #[serde(flatten)]
    pub card: crate::compute::cuda::Card,
    /// Bytes of memory that are free.
    pub free: u64,
    /// Which of cuBLAS and cuSOLVER are there; our own kernel and the CPU stand in for them.
    pub libraries: Vec<&'static str>,
}

/// A file of kernels, compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compiled {
    /// For which architecture.
    pub architecture: String,
    /// The file, without `.cu`.
    pub source: &'static str,
    /// Bytes of code.
    pub bytes: usize,
}

/// Looks, and checks.
///
/// # Errors
/// `FL-01` when a card was asked for by name and is not there; `GP-*` when it, or the compiler that `compile` needs, fails.
pub fn doctor(spec: &DoctorSpec) -> Result<Diagnosis> {
    cpu::single_threaded_blas();
    let cache = default_cache_folder();
    let cuda = look(spec, cache.as_deref().ok())?;
    Ok(Diagnosis {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        processor_features: features(),
        blas: cpu::blas_description(),
        memory: cpu::total_memory(),
        default_memory: cpu::default_memory(),
        cache: cache.ok(),
        cuda,
        compiled: compiled(spec)?,
    })
}

fn features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let has = [
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("fma", std::arch::is_x86_feature_detected!("fma")),
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ];
        has.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}

#[cfg(feature = "cuda")]
fn look(spec: &DoctorSpec, cache: Option<&std::path::Path>) -> Result<Option<CudaFound>> {
    use crate::compute::cuda::check::{Check, Extent, run};
    use crate::compute::cuda::{Cards, compiler, driver_version};

    let mut found = CudaFound { driver: driver_version(), ..CudaFound::default() };
    let named = matches!(spec.device, Device::Cuda(_));
    let mut unless_named = |missing: crate::error::Error| match named {
        true => Err(missing),
        false => {
            found.missing = Some(missing.to_string());
            Ok(())
        }
    };
    let checked = match spec.device {
        Device::Cpu => None,
        device => match Cards::open(device, cache) {
            Ok(cards) => match cards.gpus().iter().try_for_each(|gpu| gpu.memory().map(|_| ())) {
                Ok(()) => Some(cards),
                Err(e) => unless_named(e).map(|()| None)?,
            },
            Err(e) => unless_named(e).map(|()| None)?,
        },
    };
    found.compiler = match compiler() {
        Ok((place, (major, minor))) => Some(format!("NVRTC {major}.{minor} ({place})")),
        Err(_) => None,
    };
    if let Some(cards) = checked {
        for gpu in cards.gpus() {
            let (card, free) = (gpu.card().clone(), gpu.memory()?.0);
            found.cards.push(CardFound { card, free, libraries: gpu.libraries() });
        }
        found.checks = run(&cards, if spec.thorough { Extent::Thorough } else { Extent::Quick })?;
        if let (Some(gpu), Some([rows, k, targets, alphas])) = (cards.gpus().first(), spec.measure) {
            found.measured = gpu.measure(crate::compute::cuda::MeasuredShape { rows, k, targets, alphas })?;
        }
        found.failed = found.checks.iter().filter(|c| !Check::passed(c)).count();
    }
    Ok(Some(found))
}

#[cfg(not(feature = "cuda"))]
fn look(spec: &DoctorSpec, cache: Option<&std::path::Path>) -> Result<Option<CudaFound>> {
    match spec.device {
        Device::Cuda(_) => crate::compute::open(spec.device, cache).map(|_| None),
        _ => Ok(None),
    }
}

#[cfg(feature = "cuda")]
fn compiled(spec: &DoctorSpec) -> Result<Vec<Compiled>> {
    let mut all = Vec::new();
    for architecture in &spec.compile {
        for (source, bytes) in crate::compute::cuda::compile_all(architecture, spec.into.as_deref())? {
            all.push(Compiled { architecture: architecture.clone(), source, bytes });
        }
    }
    Ok(all)
}

#[cfg(not(feature = "cuda"))]
fn compiled(spec: &DoctorSpec) -> Result<Vec<Compiled>> {
    match spec.compile.is_empty() {
        true => Ok(Vec::new()),
        false => Err(crate::error::Error::new(
            crate::error::Code::Fl01,
            "--compile",
            "was given, but this program was built without CUDA",
        )
        .expected("a build with the cargo feature `cuda`")),
    }
}
