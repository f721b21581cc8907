//! BOLD series after extraction: confounds as fMRIPrep writes them, filters, cleaning, the time between volumes.
//!
//! Formulas and their order follow nilearn (`signal.clean`, `interfaces.fmriprep.load_confounds`,
//! <https://nilearn.github.io>) and SciPy (`signal.butter`, `signal.sosfiltfilt`).
//!
//! Not for: motion correction, slice timing, or anything else that happens to images before.

mod clean;
mod confounds;
mod filter;
mod spline;
mod timing;

pub use clean::{Cleaned, Cleaning, Filter, Standardize, clean};
pub use confounds::{Confounds, Selection, Strategy};
pub use timing::repetition_time;
