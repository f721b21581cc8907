//! BOLD series after extraction: confounds as fMRIPrep writes them, filters, cleaning, the time between volumes;
//! events, the volumes that stand for a trial, single-trial estimates.
//!
//! Formulas and their order follow nilearn (`signal.clean`, `interfaces.fmriprep.load_confounds`,
//! <https://nilearn.github.io>) and SciPy (`signal.butter`, `signal.sosfiltfilt`).
//!
//! Not for: motion correction, slice timing, or anything else that happens to images before.

mod clean;
mod confounds;
mod entities;
mod events;
mod filter;
mod glm;
mod hrf;
mod spline;
mod timing;
mod window;

pub use clean::{Cleaned, Cleaning, Filter, Standardize, clean};
pub use confounds::{Confounds, Selection, Strategy};
pub use entities::Entities;
pub use events::{Event, EventColumns, Events, Twins, twins};
pub use glm::trial_betas;
pub use hrf::Response;
pub use timing::repetition_time;
pub use window::{Sample, Sampling, Window};
