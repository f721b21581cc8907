use std::sync::Arc;

use super::super::encoder::Stream;
use super::super::gpu::Gpu;
use super::{Check, ELEMENT, Extent, Noise, of_sum, wide};
use crate::compute::cpu::{self, Activation};
use crate::compute::operations::{Attending, Mask, Matrix, Operations as _, ScoreTerms};
use crate::error::Result;

/// Rows, width.
const QUICK: &[[usize; 2]] = &[[33, 65], [5, 768]];
const THOROUGH: &[[usize; 2]] = &[[1, 1], [31, 33], [32, 32], [33, 31], [300, 3], [3, 1000], [2, 1025]];
/// Rows, outputs, inputs.
const QUICK_PRODUCTS: &[[usize; 3]] = &[[33, 31, 65], [65, 100, 33]];
const THOROUGH_PRODUCTS: &[[usize; 3]] =
    &[[1, 1, 1], [31, 33, 32], [32, 32, 1], [33, 33, 31], [64, 65, 270], [1, 1000, 16], [1025, 33, 17], [33, 1025, 3]];

const ACTIVATIONS: [Activation; 6] = [
    Activation::GeluErf,
    Activation::GeluTanh,
    Activation::Relu,
    Activation::Silu,
    Activation::QuickGelu,
    Activation::Tanh,
];

/// Attention over texts of these lengths.
struct Texts {
    lengths: &'static [usize],
    /// Heads, those with keys and values of their own, and their width.
    heads: [usize; 3],
    mask: Mask,
    terms: Terms,
    /// Scores and terms at a time.
    most: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Terms {
    None,
    Bias,
    /// DeBERTa's: contents to positions, positions to contents.
    Disentangled(bool, bool),
}

const ALL: usize = usize::MAX;

const fn texts(lengths: &'static [usize], heads: [usize; 3], mask: Mask, terms: Terms, most: usize) -> Texts {
    Texts { lengths, heads, mask, terms, most }
}

const QUICK_TEXTS: &[Texts] = &[
    texts(&[33, 1, 31], [4, 2, 5], Mask::Causal, Terms::None, ALL),
    texts(&[33, 1], [2, 2, 9], Mask::Full, Terms::Disentangled(true, true), ALL),
    texts(&[31, 0, 32], [2, 2, 16], Mask::Near(3), Terms::Bias, ALL),
];
const THOROUGH_TEXTS: &[Texts] = &[
    texts(&[1], [1, 1, 1], Mask::Full, Terms::None, ALL),
    texts(&[32, 33], [3, 1, 33], Mask::CausalNear(2), Terms::None, ALL),
    texts(&[270, 2, 65], [2, 2, 64], Mask::Full, Terms::Bias, ALL),
    texts(&[270], [2, 1, 3], Mask::Near(40), Terms::None, ALL),
    texts(&[64, 31, 1], [2, 2, 8], Mask::Full, Terms::Disentangled(true, false), ALL),
    texts(&[31, 64, 1], [3, 3, 8], Mask::Full, Terms::Disentangled(false, true), 6000),
    // One head at a time, then several short texts.
    texts(&[33, 4, 5, 6], [4, 2, 5], Mask::Full, Terms::Bias, 1500),
    texts(&[33, 4, 5, 6], [4, 4, 5], Mask::Full, Terms::Disentangled(true, true), 5000),
];

pub(super) fn run(gpu: &Arc<Gpu>, extent: Extent) -> Result<Vec<Check>> {
    let stream = Stream::new(Arc::clone(gpu), 0, 0);
    let own = Stream::new(Arc::clone(gpu), 0, 0).with_own_products();
    let quick = extent == Extent::Quick;
    let mut checks = Vec::new();
    for shape in if quick { QUICK } else { THOROUGH } {
        checks.extend(elements(&stream, *shape)?);
        checks.extend(rows(&stream, *shape)?);
        checks.extend(norms(&stream, *shape)?);
        checks.push(turns(&stream, *shape)?);
    }
    for shape in if quick { QUICK_PRODUCTS } else { THOROUGH_PRODUCTS } {
        let kernel = if shape[0].min(shape[1]) <= 32 { "linear_32" } else { "linear_64" };
        checks.push(product(&own, *shape, kernel)?);
        checks.push(product(&stream, *shape, "linear")?);
    }
    for texts in if quick { QUICK_TEXTS } else { THOROUGH_TEXTS } {
        checks.extend(attention(&stream, texts)?);
    }
    Ok(checks)
}

fn back(stream: &Stream, matrix: Result<Matrix>) -> Result<Vec<f64>> {
    Ok(wide(&stream.download(&matrix?)?))
}

/// The bias and activation of products of one term, which have one rounding wherever they are computed.
fn elements(stream: &Stream, [rows, width]: [usize; 2]) -> Result<Vec<Check>> {
    let (x, w): (Vec<f32>, Vec<f32>) =
        (Noise(71).single(rows), Noise(70).single(width).iter().map(|v| 6.0 * v).collect());
    let bias = Noise(72).single(width);
    let double: Vec<f32> = Noise(73).single(2 * rows * width);
    let (on_x, on_w, on_bias) = (stream.upload(&x, 1)?, stream.upload(&w, 1)?, stream.upload(&bias, width)?);
    let on_double = stream.upload(&double, 2 * width)?;
    let mut checks = Vec::new();
    for activation in ACTIVATIONS {
        let shape = format!("{rows} × {width}, {activation:?}");
        let mut own: Vec<f32> = x.iter().flat_map(|x| w.iter().map(move |w| x * w)).collect();
        cpu::add_to_rows(&mut own, &bias);
        activation.apply(&mut own);
        let found = back(stream, stream.linear(&on_x, &on_w, Some(&on_bias), Some(activation)))?;
        checks.push(Check::new("bias_activation", shape.clone(), &found, &wide(&own), ELEMENT));
        let mut own = vec![0.0; rows * width];
        cpu::gated(&mut double.clone(), width, activation, &mut own);
        let found = back(stream, stream.gated(&on_double, activation))?;
        checks.push(Check::new("gated", shape, &found, &wide(&own), ELEMENT));
    }
    Ok(checks)
}

/// What copies and adds: exactly.
fn rows(stream: &Stream, [rows, width]: [usize; 2]) -> Result<Vec<Check>> {
    let (x, y, one) = (Noise(84).single(rows * width), Noise(85).single(rows * width), Noise(86).single(width));
    let (on_x, on_y) = (stream.upload(&x, width)?, stream.upload(&y, width)?);
    let shape = format!("{rows} × {width}");
    let exactly =
        |kernel, shape: &str, found: &[f64], own: &[f32]| Check::new(kernel, shape.to_owned(), found, &wide(own), 0.0);
    let named: Vec<u32> = (0..rows + 3).map(|i| (i * 7 % rows) as u32).collect();
    let own: Vec<f32> = named.iter().flat_map(|r| x[*r as usize * width..][..width].to_vec()).collect();
    let mut checks = vec![exactly("gather_rows", &shape, &back(stream, stream.gather(&on_x, &named))?, &own)];
    let own: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
    checks.push(exactly("add_rows", &shape, &back(stream, stream.add(&on_x, &on_y))?, &own));
    let mut own = x.clone();
    cpu::add_to_rows(&mut own, &one);
    let found = back(stream, stream.add(&on_x, &stream.upload(&one, width)?))?;
    checks.push(exactly("add_rows", &format!("{shape} and one row"), &found, &own));
    // Two texts, the first a third of the rows.
    let (ends, kernel) = ([rows / 3, rows], 3);
    let text = |row: usize| usize::from(row >= ends[0]);
    let around = |row: usize| (0..kernel).map(move |offset| (row + offset).checked_sub(kernel / 2));
    let own: Vec<f32> = (0..rows)
        .flat_map(|row| around(row).map(move |from| from.filter(|from| *from < rows && text(*from) == text(row))))
        .flat_map(|from| from.map_or(vec![0.0; width], |from| x[from * width..][..width].to_vec()))
        .collect();
    checks.push(exactly("neighbour_rows", &shape, &back(stream, stream.neighbours(&on_x, &ends, kernel))?, &own));
    Ok(checks)
}

fn norms(stream: &Stream, [rows, width]: [usize; 2]) -> Result<Vec<Check>> {
    let (x, residual) = (Noise(74).single(rows * width), Noise(75).single(rows * width));
    let (scale, shift) = (Noise(76).single(width), Noise(77).single(width));
    let (on_x, on_residual) = (stream.upload(&x, width)?, stream.upload(&residual, width)?);
    let both = stream.upload(&[&scale[..], &shift].concat(), width)?;
    let scale_alone = stream.upload(&scale, width)?;
    let mut checks = Vec::new();
    for (rms, with_residual) in [(false, true), (false, false), (true, true), (true, false)] {
        let norm = if rms { &scale_alone } else { &both };
        let found = back(stream, stream.norm(rms, &on_x, with_residual.then_some(&on_residual), norm, 1e-5))?;
        let mut own = x.clone();
        if with_residual {
            cpu::add(&mut own, &residual);
        }
        match rms {
            false => cpu::layer_norm(&mut own, width, &scale, &shift, 1e-5),
            true => cpu::rms_norm(&mut own, width, &scale, 1e-5),
        }
        let shape = format!("{rows} × {width}, {}", if rms { "root mean square" } else { "layer" });
        checks.push(Check::new("add_norm", shape, &found, &wide(&own), ELEMENT.max(of_sum(true, width))));
    }
    Ok(checks)
}

fn turns(stream: &Stream, [rows, width]: [usize; 2]) -> Result<Check> {
    let (heads, size) = (2, 2 * width.div_ceil(8));
    let columns = heads * size + 3;
    let x = Noise(78).single(rows * columns);
    let turns = Noise(79).single((rows + 1) * size);
    let ends = [rows / 3, rows];
    let (on_x, on_turns) = (stream.upload(&x, columns)?, stream.upload(&turns, size)?);
    let found = back(stream, stream.rotate(&on_x, &on_turns, &ends, heads))?;
    let mut own = x;
    for (row, values) in own.chunks_exact_mut(columns).enumerate() {
        let at = if row < ends[0] { row } else { row - ends[0] };
        values[..heads * size]
            .chunks_exact_mut(size)
            .for_each(|head| cpu::rotate(head, &turns[at * size..(at + 1) * size]));
    }
    Ok(Check::new("rotate_half", format!("{rows} rows, {heads} heads of {size}"), &found, &wide(&own), ELEMENT))
}

/// x wᵀ in float64.
fn product(stream: &Stream, [m, n, k]: [usize; 3], kernel: &'static str) -> Result<Check> {
    let (x, w) = (Noise(87).single(m * k), Noise(88).single(n * k));
    let found = back(stream, stream.linear(&stream.upload(&x, k)?, &stream.upload(&w, k)?, None, None))?;
    let own: Vec<f64> = x.chunks_exact(k).flat_map(|x| w.chunks_exact(k).map(move |w| dot(x, w))).collect();
    Ok(Check::new(kernel, format!("{m} × {k} by {n}"), &found, &own, of_sum(true, k)))
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Scores, softmax and context, against float64: what comes out of all three stands for each.
fn attention(stream: &Stream, of: &Texts) -> Result<Vec<Check>> {
    let [heads, groups, size] = of.heads;
    let mut tokens = 0;
    let ends: Vec<usize> = of.lengths.iter().map(|n| (tokens += n, tokens).1).collect();
    let longest = of.lengths.iter().max().copied().unwrap_or(0);
    let columns = (heads + 2 * groups) * size;
    let qkv = Noise(80).single(tokens * columns);
    let bias = Noise(81).single(heads * (2 * longest - 1));
    let (to, from) = match of.terms {
        Terms::Disentangled(to, from) => (to, from),
        Terms::None | Terms::Bias => (false, false),
    };
    let parts = usize::from(to) + usize::from(from);
    let reach = 11;
    let width = heads * size;
    let table = Noise(82).single(reach * parts.max(1) * width);
    let places: Vec<usize> =
        (0..2 * longest - 1).map(|d| (d + reach / 2 + 1).saturating_sub(longest).min(reach - 1)).collect();
    let on_bias = stream.upload(&bias, 2 * longest - 1)?;
    let on_table = stream.upload(&table, parts.max(1) * width)?;
    let terms = match of.terms {
        Terms::None => ScoreTerms::None,
        Terms::Bias => ScoreTerms::Bias(&on_bias),
        Terms::Disentangled(to, from) => ScoreTerms::Disentangled { positions: &on_table, to, from, places: &places },
    };
    let scale = 1.0 / (size as f32).sqrt();
    let attending = Attending { ends: &ends, heads, groups, size, scale, mask: of.mask, terms };
    let found = back(stream, stream.attention_in_parts(&stream.upload(&qkv, columns)?, &attending, of.most))?;

    let part = |token: usize, at: usize| &qkv[token * columns + at * size..][..size];
    let place = |which: usize, head: usize, distance: usize| {
        &table[places[distance] * parts * width + which * width + head * size..][..size]
    };
    let mut own = vec![0.0; tokens * width];
    for (start, n) in ends.iter().zip(of.lengths).map(|(end, n)| (end - n, *n)) {
        for (head, i) in (0..heads).flat_map(|head| (0..n).map(move |i| (head, i))) {
            let group = head * groups / heads;
            let seen = of.mask.visible(i, n);
            let score = |j: usize| {
                let (q, k) = (part(start + i, head), part(start + j, heads + group));
                let apart = longest - 1 + i - j;
                let mut score = dot(q, k);
                if to {
                    score += dot(q, place(0, head, apart));
                }
                if from {
                    score += dot(k, place(usize::from(to), head, apart));
                }
                let bias =
                    if of.terms == Terms::Bias { bias[head * (2 * longest - 1) + longest - 1 + j - i] } else { 0.0 };
                (f64::from(scale) * score + f64::from(bias)).exp()
            };
            let weights: Vec<f64> = seen.clone().map(score).collect();
            let total: f64 = weights.iter().sum();
            for (j, weight) in seen.zip(weights) {
                let out = &mut own[(start + i) * width + head * size..][..size];
                let v = part(start + j, heads + groups + group);
                out.iter_mut().zip(v).for_each(|(out, v)| *out += weight / total * f64::from(*v));
            }
        }
    }
    let kernels = match longest {
        ..=32 => ["attention_scores_32", "masked_softmax", "attention_context_32"],
        _ => ["attention_scores_64", "masked_softmax", "attention_context_64"],
    };
    let shape = format!("texts of {:?}, {heads} heads of {size}, {:?}, {:?}", of.lengths, of.mask, of.terms);
    let tolerance = ELEMENT.max(of_sum(true, longest + size));
    Ok(kernels.map(|kernel| Check::new(kernel, shape.clone(), &found, &own, tolerance)).into())
}
