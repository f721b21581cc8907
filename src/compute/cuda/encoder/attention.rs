//! Attention of packed texts: scores, terms of positions, softmax and context, each in one launch for all heads of as many
//! texts as fit.

use std::ops::Range;

use cudarc::driver::{CudaSlice, PushKernelArg};

use super::super::gpu::{Gpu, Grid, Lane, MOST_Y, NOTHING, extent};
use super::{Text, matrix, texts, values};
use crate::compute::operations::{Attending, Mask, Matrix, ScoreTerms};
use crate::error::Result;

/// Scores and terms that are on the card at a time (256 MiB); a single head of one text may need more.
pub(super) const MOST_SCORES: usize = 1 << 26;

/// Neighbouring texts, and heads, that are done at once.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    texts: Range<usize>,
    heads: Range<usize>,
}

/// Splits texts that need so many values per head into parts of at most `most` values and [`MOST_Y`] blocks.
fn parts(needs: &[usize], heads: usize, most: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut from = 0;
    while from < needs.len() {
        let (mut to, mut sum) = (from, 0);
        while to < needs.len() && heads * (sum + needs[to]) <= most && (to + 1 - from) * heads <= MOST_Y {
            sum += needs[to];
            to += 1;
        }
        if to > from {
            parts.push(Part { texts: from..to, heads: 0..heads });
        } else {
            // One text is too much: some of its heads at a time.
            to = from + 1;
            let each = (most / needs[from].max(1)).max(1);
            parts.extend((0..heads).step_by(each).map(|h| Part { texts: from..to, heads: h..heads.min(h + each) }));
        }
        from = to;
    }
    parts
}

/// What a launch works on.
struct Job<'a> {
    gpu: &'a Gpu,
    lane: &'a Lane,
    attending: &'a Attending<'a>,
    /// The part's texts.
    texts: CudaSlice<Text>,
    count: usize,
    heads: Range<usize>,
    /// The most tokens of a text, and the most rows of positions.
    longest: usize,
    reach: usize,
    tile: usize,
}

/// Rows of a matrix that heads have columns of.
struct Heads<'a> {
    matrix: &'a Matrix,
    first_column: usize,
    heads: usize,
}

/// DeBERTa's terms of a part: (heads, n, reach) of every text, as far as they take part.
#[derive(Default)]
struct OfPlaces {
    to: Option<CudaSlice<f32>>,
    from: Option<CudaSlice<f32>>,
    /// The row of every distance, and the place of the distance 0.
    places: Option<(CudaSlice<i32>, i32)>,
}

/// What each token attends to, (tokens, heads · size); at most `most` scores and terms at a time.
pub(super) fn run(gpu: &Gpu, lane: &Lane, qkv: &Matrix, attending: &Attending<'_>, most: usize) -> Result<Matrix> {
    let &Attending { ends, heads, groups, size, .. } = attending;
    assert!(qkv.columns == (heads + 2 * groups) * size && heads.is_multiple_of(groups), "queries, keys and values");
    let (mut texts, text_of) = texts(ends)?;
    assert!(text_of.len() == qkv.rows, "a text per token");
    let width = heads * size;
    if text_of.is_empty() {
        return Ok(matrix(lane.room::<f32>(0)?, 0, width));
    }
    let mut out = lane.room::<f32>(qkv.rows * width)?;
    let longest = texts.iter().map(|t| t.n as usize).max().unwrap_or(0);
    let mut terms = 0;
    if let ScoreTerms::Disentangled { positions, to, from, places } = attending.terms {
        terms = usize::from(to) + usize::from(from);
        assert!(groups == heads && positions.columns == terms * width, "positions for every head");
        assert!(places.len() + 1 >= 2 * longest && places.len() % 2 == 1, "a row for every distance");
        assert!(places.windows(2).all(|w| w[0] <= w[1]) && places.iter().all(|p| *p < positions.rows), "rows");
        for text in &mut texts {
            let (first, last) =
                (places[places.len() / 2 + 1 - text.n as usize], places[places.len() / 2 + text.n as usize - 1]);
            (text.first, text.reach) = (extent(first)?, extent(last + 1 - first)?);
        }
    }
    if let ScoreTerms::Bias(bias) = attending.terms {
        assert!(bias.rows == heads && bias.columns % 2 == 1 && bias.columns + 1 >= 2 * longest, "a bias per distance");
    }
    let need = |text: &Text| (text.n as usize) * (text.n as usize + terms * text.reach as usize);
    let needs: Vec<usize> = texts.iter().map(need).collect();
    for part in parts(&needs, heads, most) {
        let own = &mut texts[part.texts.clone()];
        let (mut scores, mut both) = (0u64, 0u64);
        for text in own.iter_mut() {
            (text.scores, text.terms) = (scores, both);
            scores += (part.heads.len() * text.n as usize * text.n as usize) as u64;
            both += (part.heads.len() * text.n as usize * text.reach as usize) as u64;
        }
        let tokens = own[0].start as usize..(own[own.len() - 1].start + own[own.len() - 1].n) as usize;
        let largest = own.iter().map(|t| t.n as usize).max().unwrap_or(0);
        let job = Job {
            gpu,
            lane,
            attending,
            texts: lane.upload(own)?,
            count: own.len(),
            heads: part.heads,
            longest: largest,
            reach: own.iter().map(|t| t.reach as usize).max().unwrap_or(0),
            tile: if largest <= 32 { 32 } else { 64 },
        };
        let list: Vec<i32> = text_of[tokens].iter().map(|t| t - text_of[own[0].start as usize]).collect();
        job.run(qkv, &lane.upload(&list)?, list.len(), (scores as usize, both as usize), &mut out)?;
    }
    Ok(matrix(out, qkv.rows, width))
}

impl Job<'_> {
    fn run(
        &self,
        qkv: &Matrix,
        text_of: &CudaSlice<i32>,
        tokens: usize,
        (scores, terms): (usize, usize),
        out: &mut CudaSlice<f32>,
    ) -> Result<()> {
        let &Attending { heads, groups, size, .. } = self.attending;
        let part = |column: usize, heads: usize| Heads { matrix: qkv, first_column: column * size, heads };
        let (queries, keys, v) = (part(0, heads), part(heads, groups), part(heads + groups, groups));
        let mut all = self.lane.room::<f32>(scores)?;
        self.scores(&queries, &keys, false, &mut all)?;
        let mut of = OfPlaces::default();
        if let ScoreTerms::Disentangled { positions, to: with_to, from: with_from, places: rows } = self.attending.terms
        {
            let term = |of: &Heads<'_>, which: usize| {
                let mut term = self.lane.room::<f32>(terms)?;
                let table = Heads { matrix: positions, first_column: which * heads * size, heads };
                self.scores(of, &table, true, &mut term).map(|()| term)
            };
            of.to = with_to.then(|| term(&queries, 0)).transpose()?;
            of.from = with_from.then(|| term(&keys, usize::from(with_to))).transpose()?;
            let rows: Vec<i32> = rows.iter().map(|r| extent(*r)).collect::<Result<_>>()?;
            of.places = Some((self.lane.upload(&rows)?, extent(rows.len() / 2)?));
        }
        self.softmax(&mut all, text_of, tokens, &of)?;
        self.context(&all, &v, out)
    }

    fn grid(&self, rows: usize, columns: usize) -> Result<Grid> {
        Grid::new(rows.div_ceil(self.tile) * columns.div_ceil(self.tile), self.count * self.heads.len())
    }

    /// scale · a bᵀ for every text and head of the part; b's rows are a text's, or those of a table of positions.
    fn scores(&self, a: &Heads<'_>, b: &Heads<'_>, places: bool, out: &mut CudaSlice<f32>) -> Result<()> {
        let (a_columns, a_at) = (extent(a.matrix.columns)?, extent(a.first_column)?);
        let (b_columns, b_at, b_heads) = (extent(b.matrix.columns)?, extent(b.first_column)?, extent(b.heads)?);
        let (first, own, all) = (extent(self.heads.start)?, extent(self.heads.len())?, extent(self.attending.heads)?);
        let (size, scale, of_places) = (extent(self.attending.size)?, self.attending.scale, i32::from(places));
        let kernel = self.gpu.kernel(&format!("attention_scores_{}", self.tile))?;
        let grid = self.grid(self.longest, if places { self.reach } else { self.longest })?;
        // SAFETY: attention_scores(a (tokens, a_columns), a_at, b (tokens or rows, b_columns), b_at, b_heads, first_head, heads,
        // all_heads, size, scale, texts, places, out); `run` has checked the extents, and `out` has the values that the
        // texts' offsets count up to.
        unsafe {
            self.lane.launch(&kernel, grid, |launch| {
                launch.arg(values(a.matrix)).arg(&a_columns).arg(&a_at);
                launch.arg(values(b.matrix)).arg(&b_columns).arg(&b_at).arg(&b_heads);
                launch.arg(&first).arg(&own).arg(&all).arg(&size).arg(&scale).arg(&self.texts).arg(&of_places).arg(out);
            })
        }
    }

    fn softmax(
        &self,
        scores: &mut CudaSlice<f32>,
        text_of: &CudaSlice<i32>,
        tokens: usize,
        of: &OfPlaces,
    ) -> Result<()> {
        let (mask, window) = match self.attending.mask {
            Mask::Full => (0, 0),
            Mask::Near(window) => (1, extent(window)?),
            Mask::Causal => (2, 0),
            Mask::CausalNear(window) => (3, extent(window)?),
        };
        let bias = match self.attending.terms {
            ScoreTerms::Bias(bias) => Some((values(bias), extent(bias.columns.div_ceil(2))?)),
            _ => None,
        };
        let (first, none) = (extent(self.heads.start)?, 0i32);
        let kernel = self.gpu.kernel("masked_softmax")?;
        // SAFETY: masked_softmax(scores, texts, text of each token, first_head, mask, window, bias (heads, 2 longest − 1) or
        // nothing, longest, to and from or nothing, places or nothing, middle); `run` has checked the extents.
        unsafe {
            self.lane.launch(&kernel, Grid::new(tokens, self.heads.len())?, |launch| {
                launch.arg(scores).arg(&self.texts).arg(text_of).arg(&first).arg(&mask).arg(&window);
                match &bias {
                    Some((bias, longest)) => launch.arg(*bias).arg(longest),
                    None => launch.arg(NOTHING).arg(&none),
                };
                for term in [&of.to, &of.from] {
                    match term {
                        Some(term) => launch.arg(term),
                        None => launch.arg(NOTHING),
                    };
                }
                match &of.places {
                    Some((places, middle)) => launch.arg(places).arg(middle),
                    None => launch.arg(NOTHING).arg(&none),
                };
            })
        }
    }

    fn context(&self, scores: &CudaSlice<f32>, v: &Heads<'_>, out: &mut CudaSlice<f32>) -> Result<()> {
        let (columns, at, v_heads) = (extent(v.matrix.columns)?, extent(v.first_column)?, extent(v.heads)?);
        let (first, own, all) = (extent(self.heads.start)?, extent(self.heads.len())?, extent(self.attending.heads)?);
        let size = extent(self.attending.size)?;
        let kernel = self.gpu.kernel(&format!("attention_context_{}", self.tile))?;
        // SAFETY: attention_context(scores, v (tokens, v_columns), v_at, v_heads, first_head, heads, all_heads, size, texts, out
        // (tokens, all_heads · size)); `run` has checked the extents.
        unsafe {
            self.lane.launch(&kernel, self.grid(self.longest, self.attending.size)?, |launch| {
                launch.arg(scores).arg(values(v.matrix)).arg(&columns).arg(&at).arg(&v_heads);
                launch.arg(&first).arg(&own).arg(&all).arg(&size).arg(&self.texts).arg(out);
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_every_text_and_head_once_and_stay_small() {
        let all = |needs: &[usize], heads, most| {
            let parts = parts(needs, heads, most);
            let mut seen = vec![0; needs.len() * heads];
            for part in &parts {
                let values: usize = needs[part.texts.clone()].iter().sum::<usize>() * part.heads.len();
                assert!(values <= most || (part.texts.len(), part.heads.len()) == (1, 1), "{part:?}");
                assert!(part.texts.len() * part.heads.len() <= MOST_Y);
                part.texts.clone().for_each(|t| part.heads.clone().for_each(|h| seen[t * heads + h] += 1));
            }
            assert!(seen.iter().all(|n| *n == 1), "{parts:?}");
            parts.len()
        };
        assert_eq!(all(&[4, 9, 1], 2, 28), 1);
        assert_eq!(all(&[4, 9, 1], 2, 27), 2);
        assert_eq!(all(&[100, 4], 3, 250), 3, "two heads, one head, the short text");
        assert_eq!(all(&[100], 3, 1), 3);
        assert_eq!(all(&vec![1; 40_000], 4, usize::MAX), 3, "no more blocks than a grid has");
        assert_eq!(all(&[], 4, 10), 0);
    }
}
