//! Where arithmetic runs. The only module with `unsafe` code: calls into BLAS and LAPACK, and into CUDA, each behind a safe
//! function that checks shapes.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod operations;
pub mod turns;

use std::path::Path;
use std::sync::Arc;

use device::{Accelerator, Device, Offload};

use crate::error::{Error, Result, Warning};

/// What a user's choice of device comes to: cards, or none for the CPU, and a warning where `auto` found none.
///
/// # Errors
/// `FL-01` when cards were asked for and there are none, or the program was built without them; `GP-*` when they cannot be
/// used. With [`Device::Auto`] these are the warning.
pub fn open(device: Device, cache: Option<&Path>) -> Result<(Option<Offload>, Option<Warning>)> {
    let opened = match device {
        Device::Cpu => return Ok((None, None)),
        _ => cards(device, cache),
    };
    match (opened, device) {
        (Ok(found), _) => Ok((Some(Offload::new(found, device == Device::Auto)), None)),
        (Err(e), Device::Auto) => Ok((None, Some(on_the_cpu(&e)))),
        (Err(e), _) => Err(e),
    }
}

/// That the CPU does what a card could not.
pub fn on_the_cpu(cause: &Error) -> Warning {
    Warning::new(cause.code().as_str(), format!("computed on the CPU: {}", cause.message()))
}

#[cfg(feature = "cuda")]
fn cards(device: Device, cache: Option<&Path>) -> Result<Arc<dyn Accelerator>> {
    Ok(Arc::new(cuda::Cards::open(device, cache)?))
}

#[cfg(not(feature = "cuda"))]
fn cards(device: Device, _cache: Option<&Path>) -> Result<Arc<dyn Accelerator>> {
    Err(Error::new(
        crate::error::Code::Fl01,
        "--device",
        format!("is {device}, but this program was built without CUDA"),
    )
    .expected("a build with the cargo feature `cuda`")
    .hint("Use --device cpu"))
}
