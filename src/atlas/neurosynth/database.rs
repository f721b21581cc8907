use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result, Warning, first_five};
use crate::ids::Digest;
use crate::io::bounded::MAX_TABLE_BYTES;
use crate::io::records::{self, Records};

/// Rows of the transform from MNI to Talairach space (Lancaster et al. 2007), for other normalisations than SPM's and
/// FSL's own (`icbm_other2tal`): papers seldom say which they used, and it is the one that NiMARE takes.
const MNI_TO_TALAIRACH: [[f64; 4]; 4] = [
    [0.9357, 0.0029, -0.0072, -1.0423],
    [-0.0065, 0.9396, -0.0726, -1.3940],
    [0.0103, 0.0752, 0.8967, 3.6475],
    [0.0, 0.0, 0.0, 1.0],
];

/// The space that a study reports its peaks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// MNI.
    Mni,
    /// Talairach.
    Talairach,
    /// Not known; taken as MNI.
    Unknown,
}

/// A study.
#[derive(Debug, Clone, PartialEq)]
pub struct Study {
    /// Its PubMed id.
    pub id: String,
    /// Its title, where the database has titles.
    pub title: String,
    /// The space of its peaks.
    pub space: Space,
}

/// Studies and their peaks, in the file format that NeuroSynth and NeuroQuery share.
#[derive(Debug)]
pub struct Database {
    /// The folder.
    pub folder: PathBuf,
    /// What its files are named after, such as `neurosynth_version-7`.
    pub name: String,
    /// The files read so far, with their digests.
    pub files: Vec<(PathBuf, Digest)>,
    /// The studies, in the order of the metadata: rows of feature matrices follow them.
    pub studies: Vec<Study>,
    /// Peaks in MNI space (mm), in the order of the studies: those of study `s` are `peaks[starts[s]..starts[s + 1]]`.
    pub(super) peaks: Vec<[f64; 3]>,
    pub(super) starts: Vec<usize>,
    /// What was odd but usable.
    pub warnings: Vec<Warning>,
}

impl Database {
    /// Reads studies and peaks from `data-NAME_metadata.tsv[.gz]` and `data-NAME_coordinates.tsv[.gz]` in `folder`.
    ///
    /// # Errors
    /// `NS-01` when the folder does not hold the files of exactly one database, `NS-02` when a peak belongs to no study,
    /// `NS-03` for a damaged file, and those of tables (`SC-…`).
    pub fn open(folder: &Path) -> Result<Database> {
        let metadata = one(folder, "_metadata.tsv")?;
        let coordinates = one(folder, "_coordinates.tsv")?;
        let (name, other) = (stem(&metadata, "_metadata.tsv"), stem(&coordinates, "_coordinates.tsv"));
        if name != other {
            return Err(Error::new(
                Code::Ns01,
                folder.display(),
                format!("holds the studies of {name} and the peaks of {other}"),
            )
            .expected("the files of one database"));
        }
        let (text, metadata_digest) = records::read_text(&metadata, MAX_TABLE_BYTES, Code::Ns03)?;
        let studies = studies(&text, &metadata)?;
        let (text, coordinates_digest) = records::read_text(&coordinates, MAX_TABLE_BYTES, Code::Ns03)?;
        let (peaks, starts) = peaks(&text, &coordinates, &studies, &metadata)?;
        let silent = starts.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let mut warnings = Vec::new();
        if silent > 0 {
            let text =
                format!("{silent} of {} studies of {name} have no peak; they count as never active", studies.len());
            warnings.push(Warning::new("NS-02", text));
        }
        let files = vec![(metadata, metadata_digest), (coordinates, coordinates_digest)];
        Ok(Database { folder: folder.to_owned(), name, files, studies, peaks, starts, warnings })
    }

    /// Number of peaks.
    pub fn n_peaks(&self) -> usize {
        self.peaks.len()
    }

    /// Number of studies whose peaks were moved from Talairach space, and of those of unknown space.
    pub fn spaces(&self) -> (usize, usize) {
        let count = |space: Space| self.studies.iter().filter(|s| s.space == space).count();
        (count(Space::Talairach), count(Space::Unknown))
    }
}

/// The one file of a folder whose name is `data-…` with the given end, plain or compressed.
fn one(folder: &Path, end: &str) -> Result<PathBuf> {
    let found = files(folder, |name| {
        name.starts_with("data-") && (name.ends_with(end) || name.ends_with(&format!("{end}.gz")))
    })?;
    match &found[..] {
        [file] => Ok(file.clone()),
        [] => Err(Error::new(Code::Ns01, folder.display(), format!("has no file data-…{end}.gz"))
            .expected("the files of NeuroSynth or NeuroQuery under their own names")
            .hint("brainscore atlas fetch neurosynth-v7 brings them")),
        several => Err(Error::new(
            Code::Ns01,
            folder.display(),
            format!(
                "has {} files data-…{end}: {}",
                several.len(),
                first_five(several.iter().map(|f| crate::io::file_name(f)))
            ),
        )
        .expected("one database in a folder of its own")),
    }
}

/// The files of a folder whose names are wanted, in the order of their names.
pub(super) fn files(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| match folder.is_file() {
        true => Error::new(Code::Ns01, folder.display(), "is a file").expected("the folder of a database"),
        false => Error::io(folder.display(), "listing", e),
    })?;
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| wanted(&crate::io::file_name(p))).collect();
    found.sort();
    Ok(found)
}

/// A file's name between `data-` and its end.
fn stem(file: &Path, end: &str) -> String {
    let name = crate::io::file_name(file);
    let name = name.strip_prefix("data-").unwrap_or(&name);
    name.split(end).next().unwrap_or(name).to_owned()
}

fn studies(text: &str, path: &Path) -> Result<Vec<Study>> {
    let mut records = Records::new(text, b'\t', path)?;
    let id = records.column("id")?;
    let (space, title) = (records.optional("space"), records.optional("title"));
    let mut studies: Vec<Study> = Vec::new();
    let mut fields = Vec::new();
    while let Some(line) = records.next_into(&mut fields)? {
        let space = match space.map(|at| fields[at].trim().to_ascii_uppercase()).as_deref() {
            None | Some("MNI") => Space::Mni,
            Some("TAL") => Space::Talairach,
            Some("UNKNOWN" | "") => Space::Unknown,
            Some(other) => {
                return Err(Error::new(Code::Ns03, records.place(line), format!("names the space {other:?}"))
                    .expected("MNI, TAL or UNKNOWN"));
            }
        };
        let title = title.map_or_else(String::new, |at| fields[at].split_whitespace().collect::<Vec<_>>().join(" "));
        studies.push(Study { id: fields[id].trim().to_owned(), title, space });
    }
    if studies.is_empty() {
        return Err(Error::new(Code::Sc01, path.display(), "has a header only").expected("a row per study"));
    }
    Ok(studies)
}

/// Peaks by study, in MNI space.
fn peaks(text: &str, path: &Path, studies: &[Study], metadata: &Path) -> Result<(Vec<[f64; 3]>, Vec<usize>)> {
    // INVARIANT: the matrix is a constant of the program, and not singular.
    let to_mni = crate::io::nifti::inverse(&MNI_TO_TALAIRACH).expect("an invertible transform");
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(studies.len());
    for (at, study) in studies.iter().enumerate() {
        if let Some(first) = places.insert(&study.id, at) {
            let found = format!("the study {:?} stands twice, as rows {} and {}", study.id, first + 1, at + 1);
            return Err(Error::new(Code::Sc02, metadata.display(), found).expected("one row per study"));
        }
    }
    let mut records = Records::new(text, b'\t', path)?;
    let id = records.column("id")?;
    let axes = [records.column("x")?, records.column("y")?, records.column("z")?];
    let mut found: Vec<(usize, [f64; 3])> = Vec::new();
    let mut fields = Vec::new();
    while let Some(line) = records.next_into(&mut fields)? {
        let study = fields[id].trim();
        let Some(at) = places.get(study).copied() else {
            let what = format!("is a peak of study {study:?}, which {} does not hold", crate::io::file_name(metadata));
            return Err(Error::new(Code::Ns02, records.place(line), what).expected("peaks of known studies"));
        };
        let mut place = [0.0; 3];
        for (value, axis) in place.iter_mut().zip(axes) {
            *value = match fields[axis].trim().parse::<f64>() {
                Ok(v) if v.is_finite() => v,
                _ => {
                    let what = format!("holds {:?} as a coordinate", fields[axis]);
                    return Err(Error::new(Code::Sc11, records.place(line), what).expected("a finite number of mm"));
                }
            };
        }
        if studies[at].space == Space::Talairach {
            place = std::array::from_fn(|r| (0..3).map(|k| to_mni[r][k] * place[k]).sum::<f64>() + to_mni[r][3]);
        }
        found.push((at, place));
    }
    found.sort_by_key(|(study, _)| *study);
    let mut starts = vec![0; studies.len() + 1];
    found.iter().for_each(|(study, _)| starts[study + 1] += 1);
    (0..studies.len()).for_each(|s| starts[s + 1] += starts[s]);
    Ok((found.into_iter().map(|(_, place)| place).collect(), starts))
}
