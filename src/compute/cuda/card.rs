//! Which cards there are.

#![allow(unsafe_code, reason = "asks the loader whether there is a driver, and the driver for its version and memory")]

use std::panic::catch_unwind;

use cudarc::driver::{CudaContext, result, sys};
use serde::Serialize;

use super::fault;
use crate::error::{Code, Error, Result};

/// A card as the driver describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Card {
    /// Its number.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (i32, i32),
    /// Multiprocessors.
    pub multiprocessors: usize,
    /// Bytes of memory.
    pub memory: u64,
}

impl Card {
    /// What its code is compiled for, e.g. `sm_90`.
    pub fn architecture(&self) -> String {
        format!("sm_{}{}", self.capability.0, self.capability.1)
    }
}

/// Whether the loader finds a driver.
fn has_driver() -> bool {
    // SAFETY: opens and closes a shared library by name; NVIDIA's driver runs no code of consequence when it is loaded.
    unsafe { sys::is_culib_present() }
}

/// The driver's version, e.g. 12040 for CUDA 12.4; none where there is no driver.
pub fn driver_version() -> Option<i32> {
    if !has_driver() {
        return None;
    }
    let mut version = 0;
    // SAFETY: writes one integer.
    let done = catch_unwind(std::panic::AssertUnwindSafe(|| unsafe { sys::cuDriverGetVersion(&mut version) })).ok()?;
    done.result().ok().map(|()| version)
}

/// All cards.
///
/// # Errors
/// `FL-01` when there is no driver or no card.
pub fn cards() -> Result<Vec<Card>> {
    let none = |found: &str| Error::new(Code::Fl01, "--device", found).expected("an NVIDIA card with its driver");
    if !has_driver() {
        return Err(none("no NVIDIA driver (libcuda) was found")
            .hint("Install the driver, or use --device cpu; `brainscore doctor` says what is there"));
    }
    let silent = "the NVIDIA driver found no card";
    result::init().map_err(|e| none(silent).source(e).hint("Is CUDA_VISIBLE_DEVICES set to hide it?"))?;
    let count = result::device::get_count().map_err(|e| fault::driver("counting cards", e))?;
    if count < 1 {
        return Err(none(silent).hint("Is CUDA_VISIBLE_DEVICES set to hide it?"));
    }
    (0..count as usize).map(describe).collect()
}

fn describe(number: usize) -> Result<Card> {
    let failed = |e| fault::driver("describing a card", e);
    let device = result::device::get(number as i32).map_err(failed)?;
    let attribute = |which| {
        // SAFETY: `device` comes from the driver.
        unsafe { result::device::get_attribute(device, which) }.map_err(failed)
    };
    use sys::CUdevice_attribute_enum as Attribute;
    Ok(Card {
        number,
        name: result::device::get_name(device).map_err(failed)?,
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.max(0) as usize,
        // SAFETY: as above.
        memory: unsafe { result::device::total_mem(device) }.map_err(failed)? as u64,
    })
}

/// The context of a card; `cards` has found it.
pub(super) fn context(card: &Card) -> Result<std::sync::Arc<CudaContext>> {
    CudaContext::new(card.number).map_err(|e| fault::driver("opening a card", e))
}
