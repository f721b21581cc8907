//! Where things are kept: the run directory, the units of runs that are not finished, and the cache of hidden states.

mod cache;
mod claims;
mod kept;
mod lock;
mod run_dir;
mod units;

pub use cache::{CacheContent, StateCache, default_cache_folder};
pub use claims::{Claims, Holding, Shard, holdings, open_claims};
pub use kept::{Kept, clear_kept, kept};
pub use lock::Lock;
pub use run_dir::{Owned, RECORD, RUN_ENTRIES, RunDir};
pub use units::{Command, Found, PlanDifference, UnitFolder, UnitsPlan, differences};
