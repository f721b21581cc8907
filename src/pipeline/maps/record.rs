use std::path::Path;

use serde::{Deserialize, Serialize};

use super::RECORD;
use crate::error::{Code, Error, Result, Warning};
use crate::ids::{Digest, Layer};
use crate::io::bounded;
use crate::io::gifti::Hemisphere;
use crate::plot::{BrainFigure, Figure};

/// Largest picture that is put into a report (4 MiB).
const MAX_PICTURE_BYTES: u64 = 4 << 20;
/// The table of all maps.
pub(super) const TABLE: &str = "maps.csv";
/// Where the atlas reaches.
pub(super) const ATLAS: &str = "atlas.nii.gz";

/// What the maps of a folder are: `maps.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapsRecord {
    /// File name of the atlas.
    pub atlas: String,
    /// Its digest.
    pub atlas_sha256: Digest,
    /// Number of its parcels.
    pub parcels: usize,
    /// Names and digests of the surfaces.
    #[serde(default)]
    pub surfaces: Vec<(String, Digest)>,
    /// False discovery rate of the masked differences.
    pub q: f64,
    /// The maps.
    pub maps: Vec<MapRecord>,
    /// Their pictures.
    pub pictures: Vec<PictureRecord>,
    /// What the user must know.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Version of the program.
    pub version: String,
}

/// One map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapRecord {
    /// The image.
    pub file: String,
    /// Values per vertex, left and right.
    #[serde(default)]
    pub surface_files: Vec<String>,
    /// Where it is defined, when not everywhere the atlas reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defined: Option<String>,
    /// `score`, `neglog`, `unique`, `best-layer`, `difference` or `difference-fdr`.
    pub kind: String,
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// Label of the checkpoint that was taken away from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Its layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Layer>,
    /// Score and unit.
    pub unit: String,
    /// Smallest value of a voxel.
    pub low: Option<f64>,
    /// Largest value of a voxel.
    pub high: Option<f64>,
    /// Parcels with a value.
    pub defined_parcels: usize,
    /// Parcels without.
    pub undefined_parcels: usize,
}

/// One picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureRecord {
    /// File name without its end: there is an SVG and a PNG.
    pub name: String,
    /// What stands under it in the report.
    pub caption: String,
    /// What it shows, in words.
    pub alt: String,
    /// Whether the report shows it.
    pub in_report: bool,
}

/// The names of all files of a folder of maps, by its record; none where it has none that can be understood, so that nothing
/// in it is taken for ours.
pub(super) fn files(folder: &Path) -> Vec<String> {
    let path = folder.join(RECORD);
    let read = bounded::read_text(&path, bounded::MAX_DOCUMENT_BYTES, "a record of maps", Code::Rr01).ok();
    let Some(record) = read.and_then(|(text, _)| serde_json::from_str::<MapsRecord>(&text).ok()) else {
        return Vec::new();
    };
    let mut names: Vec<String> = [RECORD, TABLE, ATLAS].map(str::to_owned).to_vec();
    for hemisphere in Hemisphere::BOTH {
        names.push(atlas_of(hemisphere));
    }
    for map in &record.maps {
        names.push(map.file.clone());
        names.extend(map.surface_files.iter().cloned());
        names.extend(map.defined.iter().cloned());
        let plain = map.file.trim_end_matches(".nii.gz");
        names.extend(Hemisphere::BOTH.map(|h| defined_of(h, plain)));
    }
    names.extend(record.pictures.iter().flat_map(|p| ["svg", "png"].map(|end| format!("{}.{end}", p.name))));
    names
}

/// Where the atlas reaches on half of the surface.
pub(super) fn atlas_of(half: Hemisphere) -> String {
    format!("{}.atlas.shape.gii", half.prefix())
}

/// Where a map is defined on half of the surface.
pub(super) fn defined_of(half: Hemisphere, map: &str) -> String {
    format!("{}.{map}_defined.shape.gii", half.prefix())
}

/// The pictures that a run's report shows; none where the run has no maps.
///
/// # Errors
/// `RR-01` for a record of maps that cannot be understood or whose pictures are gone.
pub(in crate::pipeline) fn pictures(run: &Path) -> Result<Vec<BrainFigure>> {
    let folder = run.join("maps");
    let path = folder.join(RECORD);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let (text, _) = bounded::read_text(&path, bounded::MAX_DOCUMENT_BYTES, "a record of maps", Code::Rr01)?;
    let unreadable = |found: String| {
        Error::new(Code::Rr01, path.display(), found).hint("Remove the folder and make the maps again: brainscore maps")
    };
    let record: MapsRecord =
        serde_json::from_str(&text).map_err(|e| unreadable(format!("cannot be understood: {e}")).source(e))?;
    let shown = record.pictures.into_iter().filter(|p| p.in_report);
    shown
        .map(|picture| {
            if picture.name.contains(['/', '\\']) {
                return Err(unreadable(format!("names a picture {:?}", picture.name)).expected("a plain name"));
            }
            let file = folder.join(format!("{}.svg", picture.name));
            let (svg, _) = bounded::read_text(&file, MAX_PICTURE_BYTES, "a picture", Code::Rr01)?;
            let figure = Figure { svg, png: Vec::new(), alt: picture.alt, points: Vec::new() };
            Ok(BrainFigure { file: format!("maps/{}.svg", picture.name), caption: picture.caption, figure })
        })
        .collect()
}
