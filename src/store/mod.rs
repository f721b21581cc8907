//! Where things are kept: the run directory, and the cache of hidden states.

mod cache;
mod run_dir;

pub use cache::{CacheContent, StateCache, default_cache_folder};
pub use run_dir::{Owned, RunDir};
