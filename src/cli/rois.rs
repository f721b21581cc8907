use clap::ValueEnum;

use crate::study::RoiFlags;

/// Regions of interest beside those of the study.
#[derive(Debug, clap::Args)]
pub(super) struct RoiArgs {
    /// Add a region of interest from a statistic map or mask, `name=PATH` or `name=PATH:threshold`; the threshold is a z,
    /// fdr=0.01, percentile=95 or top=2000 [default: the map's own, else 3.1]. May be given several times.
    #[arg(long = "roi", value_name = "NAME=PATH[:THRESHOLD]")]
    maps: Vec<String>,
    /// Add built-in regions: coordinates (spheres around published peaks for tom, moral, language and vision).
    #[arg(long, value_name = "SET")]
    rois: Option<Set>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Set {
    /// Spheres around published peaks.
    Coordinates,
}

impl RoiArgs {
    /// As the plan takes them.
    pub fn flags(&self) -> RoiFlags {
        RoiFlags { maps: self.maps.clone(), coordinates: matches!(self.rois, Some(Set::Coordinates)) }
    }
}
