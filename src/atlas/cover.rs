use std::sync::atomic::{AtomicBool, Ordering};

use super::Atlas;
use super::projector::{Entries, labels, soft};
use crate::error::{Result, Warning};
use crate::watch::Watch;

impl Atlas {
    /// What each map weighs at the `wanted` voxels of the atlas's own grid, m_p(v) > 0: voxel and weight, map by map. The
    /// maps are read one after the other; only these entries are kept.
    ///
    /// Values below 0 count as 0, with a warning: a weighted mean over maps has no meaning with them.
    ///
    /// # Errors
    /// `IN-01` when the file changed, and whatever the reader finds.
    pub fn weights_at(&self, wanted: &[bool], watch: &dyn Watch) -> Result<(Vec<Entries>, Vec<Warning>)> {
        let negative = AtomicBool::new(false);
        let pick = |data: &[f32]| -> Entries {
            let mut entries = Entries::new();
            for (voxel, value) in data.iter().enumerate().filter(|(voxel, _)| wanted[*voxel]) {
                if *value > 0.0 {
                    entries.push((voxel as u32, *value));
                } else if *value < 0.0 {
                    negative.store(true, Ordering::Relaxed);
                }
            }
            entries
        };
        let mut warnings = Vec::new();
        let maps = if self.is_soft() { soft(self, &pick, &mut warnings, watch)? } else { labels(self, &pick)? };
        if negative.into_inner() {
            let name = crate::io::file_name(self.path());
            warnings.push(Warning::new("RO-06", format!("{name} holds values below 0; they count as 0")));
        }
        Ok((maps, warnings))
    }
}
