//! Where things are kept: the run directory, and the cache of hidden states.

mod cache;
mod run_dir;

pub use cache::{CacheContent, StateCache, default_cache_folder};
pub(crate) use run_dir::readable_by_all;
pub use run_dir::{RUN_ENTRIES, RunDir};
