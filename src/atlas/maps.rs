use std::path::{Path, PathBuf};

use super::space::Resampler;
use super::{Grid, Interpolation};
use crate::error::{Code, Error, Result, Warning, first_five};
use crate::ids::Digest;
use crate::io::bounded;
use crate::io::nifti::Reader;
use crate::io::table::{Number, Table};

/// Most maps or labels of an atlas.
const MAX_MAPS: usize = 65_535;

/// An atlas as its file describes it: 4-D soft maps, or a 3-D image of labels.
#[derive(Debug, Clone)]
pub struct Atlas {
    path: PathBuf,
    digest: Digest,
    grid: Grid,
    names: Vec<String>,
    kind: Kind,
    warnings: Vec<Warning>,
}

#[derive(Debug, Clone)]
enum Kind {
    /// One map per volume.
    Soft,
    /// Voxels hold the number of their parcel; these are the numbers, ascending.
    Labels(Vec<i64>),
}

impl Atlas {
    /// Opens an atlas: a 4-D image is taken as soft maps, a 3-D image of whole numbers as labels (0 is background).
    ///
    /// `labels` names the parcels: a `.txt` file with one name per line, or a table with a column of names (`name`,
    /// `label`, `difumo_names`, …) and, if it has one, a column of numbers (`component`, `index`, …) that count from 0 or 1.
    /// Without it parcels are called `parcel_1`, `parcel_2`, … by their place (or by their number in a label image).
    ///
    /// # Errors
    /// `RO-04` for a 3-D image of other than whole numbers; `RO-01` and `RO-02` for labels that do not fit.
    pub fn open(path: &Path, labels: Option<&Path>) -> Result<Atlas> {
        let mut reader = Reader::open(path)?;
        let header = reader.header();
        let (grid, count, soft) = (Grid::of(header), header.volumes, header.four_dimensional);
        let mut warnings = header.warnings.clone();
        let no_atlas = |found: String| Error::new(Code::Ro04, path.display(), found);
        let numbers = if soft {
            (1..=count as i64).collect()
        } else {
            let mut volume: Vec<f32> = reader.buffer()?;
            reader.next_volume(&mut volume)?;
            let odd = volume.iter().find(|v| v.fract() != 0.0 || **v < 0.0 || **v > 16_777_216.0 || v.is_nan());
            if let Some(value) = odd {
                return Err(no_atlas(format!("is a 3-D image that holds {value}"))
                    .expected("4-D maps, or a 3-D image of labels 0, 1, 2, …"));
            }
            let mut found: Vec<i64> = volume.iter().filter(|v| **v != 0.0).map(|v| *v as i64).collect();
            found.sort_unstable();
            found.dedup();
            found
        };
        if numbers.is_empty() || numbers.len() > MAX_MAPS {
            return Err(no_atlas(format!("holds {} parcels", numbers.len())).expected(format!("1 to {MAX_MAPS}")));
        }
        let names = match labels {
            Some(labels) => names(labels, &numbers, soft, path, &mut warnings)?,
            None => numbers.iter().map(|n| format!("parcel_{n}")).collect(),
        };
        let kind = if soft { Kind::Soft } else { Kind::Labels(numbers) };
        Ok(Atlas { path: path.to_owned(), digest: crate::io::digest_file(path)?, grid, names, kind, warnings })
    }

    /// The parcels' names, in the order of the maps.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// SHA-256 of the file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The grid of the file.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was odd but usable.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Whether the atlas is soft maps, not labels.
    pub fn is_soft(&self) -> bool {
        matches!(self.kind, Kind::Soft)
    }

    /// Numbers of the parcels of a label image, empty for soft maps.
    pub(super) fn numbers(&self) -> &[i64] {
        match &self.kind {
            Kind::Soft => &[],
            Kind::Labels(numbers) => numbers,
        }
    }
}

/// Names of the parcels `numbers`, from a file.
fn names(file: &Path, numbers: &[i64], soft: bool, atlas: &Path, warnings: &mut Vec<Warning>) -> Result<Vec<String>> {
    let (names, index) = if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("txt")) {
        let (text, _) = bounded::read_text(file, bounded::MAX_TABLE_BYTES, "a list of labels", Code::Sc06)?;
        (text.lines().map(|l| l.trim().to_owned()).collect(), None)
    } else {
        from_table(file)?
    };
    let mut rows: Vec<(Option<i64>, String)> = match index {
        Some(index) => index.into_iter().map(Some).zip(names).collect(),
        None => names.into_iter().map(|name| (None, name)).collect(),
    };
    // Tables of label images often name the background.
    if !soft {
        rows.retain(|(index, _)| *index != Some(0));
    }
    let place = file.display();
    let picked: Vec<String> = if rows.iter().all(|(index, _)| index.is_some()) && !soft {
        let missing: Vec<i64> =
            numbers.iter().filter(|n| !rows.iter().any(|(i, _)| *i == Some(**n))).copied().collect();
        if !missing.is_empty() {
            return Err(Error::new(
                Code::Ro01,
                place,
                format!("names no label {} of {}", first_five(&missing), atlas.display()),
            ));
        }
        let unused = rows.len() - numbers.len();
        if unused > 0 {
            let text = format!("{}: {unused} of its labels are not in the atlas", crate::io::file_name(file));
            warnings.push(Warning::new("RO-01", text));
        }
        numbers.iter().flat_map(|n| rows.iter().find(|(i, _)| *i == Some(*n)).map(|(_, name)| name.clone())).collect()
    } else {
        if rows.len() != numbers.len() {
            return Err(Error::new(Code::Ro01, place, format!("has {} labels", rows.len())).expected(format!(
                "{}, as {} has maps",
                numbers.len(),
                atlas.display()
            )));
        }
        rows.sort_by_key(|(index, _)| *index);
        let first = rows.first().and_then(|(index, _)| *index).unwrap_or(0);
        let gap = rows.iter().enumerate().find(|(i, (index, _))| index.is_some_and(|n| n != first + *i as i64));
        if let Some((_, (Some(index), _))) = gap {
            return Err(Error::new(Code::Ro02, place, format!("its numbers leave a gap or repeat before {index}"))
                .expected(format!("{} numbers in a row, from 0 or 1", numbers.len())));
        }
        if !(0..=1).contains(&first) {
            return Err(Error::new(Code::Ro02, place, format!("its numbers begin at {first}")).expected("0 or 1"));
        }
        rows.into_iter().map(|(_, name)| name).collect()
    };
    if let Some(row) = picked.iter().position(|name| name.is_empty()) {
        return Err(Error::new(Code::Ro02, place, format!("label {} is empty", row + 1)).expected("a name"));
    }
    let mut sorted: Vec<&String> = picked.iter().collect();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::new(Code::Ro02, place, format!("the label {:?} stands twice", pair[0]))
            .expected("one name per parcel"));
    }
    Ok(picked)
}

/// Columns that hold names, and numbers, in the label tables of the common atlases.
const NAME_COLUMNS: [&str; 8] = ["name", "label", "difumo_names", "names", "labels", "region", "roi", "parcel"];
const NUMBER_COLUMNS: [&str; 5] = ["component", "index", "number", "value", "id"];

fn from_table(file: &Path) -> Result<(Vec<String>, Option<Vec<i64>>)> {
    let table = Table::read(file)?;
    let column = |wanted: &[&str]| {
        wanted.iter().find_map(|w| table.names().find(|name| name.trim().to_lowercase() == *w).map(str::to_owned))
    };
    let Some(name) = column(&NAME_COLUMNS) else {
        return Err(Error::new(Code::Sc01, file.display(), "has no column of names")
            .expected(format!("one of {}", NAME_COLUMNS.join(", "))));
    };
    let names = table.texts(&name)?.into_iter().map(|t| t.unwrap_or_default().trim().to_owned()).collect();
    let Some(number) = column(&NUMBER_COLUMNS) else { return Ok((names, None)) };
    let index: Option<Vec<i64>> = table
        .numbers(&number)?
        .into_iter()
        .map(|n| match n {
            Number::Finite(v) if v.fract() == 0.0 && v.abs() < 1e9 => Some(v as i64),
            _ => None,
        })
        .collect();
    Ok((names, index))
}

/// The voxels of a grid that count.
#[derive(Debug, Clone)]
pub struct Mask {
    path: PathBuf,
    digest: Digest,
    grid: Grid,
    inside: Vec<bool>,
}

impl Mask {
    /// Reads a mask: every voxel that is neither 0 nor NaN is inside (in all volumes, should there be several).
    ///
    /// # Errors
    /// `NI-20` when no voxel is inside.
    pub fn open(path: &Path) -> Result<Mask> {
        let mut reader = Reader::open(path)?;
        let grid = Grid::of(reader.header());
        let mut volume: Vec<f32> = reader.buffer()?;
        let mut inside = vec![true; grid.voxels()];
        while reader.next_volume(&mut volume)? {
            inside.iter_mut().zip(&volume).for_each(|(i, v)| *i &= *v != 0.0 && !v.is_nan());
        }
        if !inside.contains(&true) {
            return Err(empty(path, "is empty"));
        }
        let digest = match reader.digest() {
            Some(digest) => digest,
            None => crate::io::digest_file(path)?,
        };
        Ok(Mask { path: path.to_owned(), digest, grid, inside })
    }

    /// SHA-256 of the file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The grid of the file.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The mask on another grid, by the nearest voxel.
    ///
    /// # Errors
    /// `NI-21` when the grids do not overlap; `NI-20` when nothing of the mask is left.
    pub fn on(&self, grid: &Grid) -> Result<Vec<bool>> {
        if grid.same_as(&self.grid) {
            return Ok(self.inside.clone());
        }
        let place = self.path.display().to_string();
        let resampler = Resampler::new(&self.grid, grid, Interpolation::Nearest, &place)?;
        let values: Vec<f32> = self.inside.iter().map(|i| f32::from(u8::from(*i))).collect();
        let mut inside = vec![false; grid.voxels()];
        resampler.each(&values, |_| true, |voxel, _| inside[voxel] = true);
        if inside.contains(&true) { Ok(inside) } else { Err(empty(&self.path, "has no voxel on the run's grid")) }
    }
}

fn empty(path: &Path, what: &str) -> Error {
    Error::new(Code::Ni20, path.display(), what).expected("a mask with voxels above 0")
}
