//! Where things are kept: the run directory, and the cache of hidden states.

mod cache;
mod kept;
mod run_dir;

pub use cache::{CacheContent, StateCache, default_cache_folder};
pub use kept::{Kept, clear_kept, kept};
pub use run_dir::{Owned, RunDir};
