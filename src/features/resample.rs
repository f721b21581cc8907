use std::path::Path;

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::timeline::Timeline;
use crate::bold::Response;
use crate::error::{Code, Error, Result, Warning};
use crate::ids::Digest;
use crate::io::table::Table;

/// Lobes of the Lanczos kernel.
const LOBES: f64 = 3.0;

/// When the words of a narrative were heard or read.
#[derive(Debug, Clone)]
pub struct Words {
    onsets: Vec<f64>,
    offsets: Vec<f64>,
    digest: Digest,
}

impl Words {
    /// Reads a table with the columns `onset` and `offset` (s, on the recording's clock), one row per word.
    ///
    /// # Errors
    /// `SC-11` for a cell that is no finite number, `EV-05` for a word that ends before it begins.
    pub fn read(path: &Path) -> Result<Words> {
        let table = Table::read(path)?;
        let (onsets, offsets) = (table.finite_numbers("onset")?, table.finite_numbers("offset")?);
        Words::new(onsets.into_iter().zip(offsets).collect(), table.digest(), &|row| table.place(row))
    }

    /// Words by their onsets and offsets (s); `place` says where one stands.
    ///
    /// # Errors
    /// `EV-05` for a word that ends before it begins.
    pub fn new(times: Vec<(f64, f64)>, digest: Digest, place: &dyn Fn(usize) -> String) -> Result<Words> {
        let (onsets, offsets): (Vec<f64>, Vec<f64>) = times.into_iter().unzip();
        if let Some(row) = (0..onsets.len()).find(|i| offsets[*i] < onsets[*i]) {
            let found = format!("the word begins at {} s and ends at {} s", onsets[row], offsets[row]);
            return Err(Error::new(Code::Ev05, place(row), found).expected("an end after the beginning"));
        }
        Ok(Words { onsets, offsets, digest })
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.onsets.len()
    }

    /// Whether there is no word.
    pub fn is_empty(&self) -> bool {
        self.onsets.is_empty()
    }

    /// SHA-256 of the table.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    fn middle(&self, word: usize) -> f64 {
        (self.onsets[word] + self.offsets[word]) / 2.0
    }

    /// The words whose middle lies in each volume.
    pub fn in_volumes(&self, timeline: &Timeline) -> Vec<Vec<usize>> {
        let mut volumes = vec![Vec::new(); timeline.volumes()];
        for word in 0..self.len() {
            if let Some(volume) = timeline.volume_of(self.middle(word)) {
                volumes[volume].push(word);
            }
        }
        volumes
    }

    /// As [`Words::in_volumes`]; a warning for those that lie in none.
    ///
    /// # Errors
    /// `EV-06` when no word lies within the volumes.
    fn by_volume(&self, timeline: &Timeline, place: &str) -> Result<(Vec<Vec<usize>>, Option<Warning>)> {
        let volumes = self.in_volumes(timeline);
        let outside = self.len() - volumes.iter().map(Vec::len).sum::<usize>();
        let (first, end) = (timeline.start(0), timeline.start(timeline.volumes()));
        if outside == self.len() {
            let last = self.onsets.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
            let error =
                Error::new(Code::Ev06, place, format!("no word lies within the volumes; the last begins at {last} s"))
                    .expected(format!("words between {first} and {end} s"));
            let hint = if last > 20.0 * end { "It looks like milliseconds" } else { "Is --first-volume right?" };
            return Err(error.hint(hint));
        }
        let text = format!("{place}: {outside} of {} words lie outside the volumes and are left out", self.len());
        Ok((volumes, (outside > 0).then(|| Warning::new("EV-06", text))))
    }
}

/// How word features become features of volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The sum over words whose middle lies in the volume.
    Sum,
    /// Their mean; 0 where there is no word.
    Mean,
    /// Lanczos interpolation from the words' middles to the volumes' middles: 3 lobes, cutoff 1 / TR (LeBel et al. 2023,
    /// <https://doi.org/10.1038/s41597-023-02437-z>). Σ_w k((t − m_w) / TR) f_w with
    /// k(x) = 3 sin(πx) sin(πx/3) / (πx)² for |x| ≤ 3.
    Lanczos,
    /// Words as boxes of their duration convolved with the SPM canonical response, at the start of each volume.
    Hrf,
}

/// Features of volumes, and what was odd.
#[derive(Debug)]
pub struct Resampled {
    /// Volumes × features.
    pub x: Array2<f64>,
    /// Words that lie outside all volumes.
    pub warning: Option<Warning>,
}

/// Takes features of words (words × features) to the volumes of a timeline.
///
/// A word belongs to the run in which its middle lies, and has no influence on another. All methods are linear: a volume's
/// features are a weighted sum of those of a few words.
///
/// # Errors
/// `RS-07` when there is not one row per word, `EV-06` when no word lies within the volumes, `FL-02` for `Hrf` on a run of
/// a single volume; `place` names the words.
pub fn resample(
    words: &Words,
    features: ArrayView2<'_, f64>,
    timeline: &Timeline,
    method: Method,
    place: &str,
) -> Result<Resampled> {
    if features.nrows() != words.len() {
        return Err(Error::new(
            Code::Rs07,
            place,
            format!("has {} words for {} rows of features", words.len(), features.nrows()),
        )
        .expected("one row per word"));
    }
    let (by_volume, warning) = words.by_volume(timeline, place)?;
    let weights = match method {
        Method::Sum => by_volume.iter().map(|list| list.iter().map(|w| (*w, 1.0)).collect()).collect(),
        Method::Mean => {
            let share = |list: &Vec<usize>| list.iter().map(|w| (*w, 1.0 / list.len() as f64)).collect();
            by_volume.iter().map(share).collect()
        }
        Method::Lanczos => lanczos(words, timeline, &by_volume),
        Method::Hrf => hrf(words, timeline, &by_volume)?,
    };
    let mut x = Array2::zeros((timeline.volumes(), features.ncols()));
    x.outer_iter_mut().into_par_iter().zip(&weights).for_each(|(mut row, weights)| {
        let _: &Vec<(usize, f64)> = weights;
        for (word, weight) in weights {
            row.scaled_add(*weight, &features.row(*word));
        }
    });
    Ok(Resampled { x, warning })
}

/// For each volume the words that matter, with their weights.
type Weights = Vec<Vec<(usize, f64)>>;

fn lanczos(words: &Words, timeline: &Timeline, by_volume: &[Vec<usize>]) -> Weights {
    let step = timeline.repetition_time();
    let reach = LOBES as usize + 1;
    timeline
        .runs()
        .flat_map(|(first, end)| (first..end).map(move |volume| (first, end, volume)))
        .map(|(first, end, volume)| {
            let middle = timeline.start(volume) + step / 2.0;
            let near = volume.saturating_sub(reach).max(first)..(volume + reach + 1).min(end);
            by_volume[near]
                .iter()
                .flatten()
                .map(|word| (*word, kernel((middle - words.middle(*word)) / step)))
                .filter(|(_, weight)| *weight != 0.0)
                .collect()
        })
        .collect()
}

fn kernel(x: f64) -> f64 {
    use std::f64::consts::PI;
    if x == 0.0 {
        1.0
    } else if x.abs() > LOBES {
        0.0
    } else {
        LOBES * (PI * x).sin() * (PI * x / LOBES).sin() / (PI * PI * x * x)
    }
}

fn hrf(words: &Words, timeline: &Timeline, by_volume: &[Vec<usize>]) -> Result<Weights> {
    let mut weights = Weights::new();
    for (first, end) in timeline.runs() {
        if end - first < 2 {
            return Err(Error::new(Code::Fl02, "--run-starts", format!("the run at volume {first} has one volume"))
                .expected("at least 2 for --method hrf"));
        }
        // Times within the run, with the roundings of a subtraction.
        let times: Vec<f64> = (first..end).map(|v| timeline.start(v) - timeline.start(first)).collect();
        let response = Response::new(&times);
        let start = timeline.start(first);
        let spans: Vec<(usize, usize, usize)> = by_volume[first..end]
            .iter()
            .flatten()
            .map(|word| {
                let (begin, length) = (words.onsets[*word] - start, words.offsets[*word] - words.onsets[*word]);
                let (on, off) = response.span(begin, length);
                (*word, on, off)
            })
            .collect();
        for volume in 0..times.len() {
            let weigh = |(word, on, off): &(usize, usize, usize)| (*word, response.weight(volume, *on, *off));
            weights.push(spans.iter().map(weigh).filter(|(_, weight)| *weight != 0.0).collect());
        }
    }
    Ok(weights)
}
