//! How long work reports progress and learns that it should stop, without knowing who is listening.

use crate::error::Result;

/// Listens to long work. The command line shows a bar and hears Ctrl-C; library users may pass [`Quiet`].
pub trait Watch: Sync {
    /// A stage begins with `total` units of work (`unit` names them: "tokens", "fits").
    fn begin(&self, stage: &str, unit: &str, total: u64);
    /// `units` more are done.
    fn advance(&self, units: u64);
    /// The stage is over.
    fn end(&self);
    /// Something to know while the work goes on.
    fn tell(&self, _: &str) {}
    /// An error when the work should stop now. Long loops ask between units.
    fn check(&self) -> Result<()>;
}

/// Shows nothing and never stops.
pub struct Quiet;

impl Watch for Quiet {
    fn begin(&self, _: &str, _: &str, _: u64) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
    fn check(&self) -> Result<()> {
        Ok(())
    }
}
