//! What the driver and its libraries report, as this program's errors.

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;

use crate::error::{Code, Error};

/// An error of the driver while doing something.
pub(super) fn driver(doing: &str, cause: DriverError) -> Error {
    let memory = cause.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY;
    let code = if memory { Code::Gp01 } else { Code::Gp02 };
    Error::new(code, "the card", format!("{doing} failed: {:?}", cause.0)).hint(if memory {
        "Another program may hold the card's memory; --device cpu does without it"
    } else {
        "`brainscore doctor` checks the card; --device cpu does without it"
    })
}

/// An error of one of the libraries beside the driver.
pub(super) fn library(name: &str, doing: &str, cause: impl std::fmt::Debug) -> Error {
    Error::new(Code::Gp02, name, format!("{doing} failed: {cause:?}"))
        .hint("`brainscore doctor` checks the card; --device cpu does without it")
}
