use super::super::encoder::{Disentangled, Norm, ScoreTerms, Visible};
use super::super::gpu::Gpu;
use super::{Check, ELEMENT, Extent, Noise, of_sum, wide};
use crate::compute::cpu::{self, Activation};
use crate::error::Result;

/// Rows, width.
const QUICK: &[[usize; 2]] = &[[33, 65], [5, 768]];
const THOROUGH: &[[usize; 2]] = &[[1, 1], [31, 33], [32, 32], [33, 31], [300, 3], [3, 1000], [2, 1025]];
/// Tokens of a text.
const TEXTS: &[usize] = &[1, 31, 32, 33, 270];

const ACTIVATIONS: [Activation; 6] = [
    Activation::GeluErf,
    Activation::GeluTanh,
    Activation::Relu,
    Activation::Silu,
    Activation::QuickGelu,
    Activation::Tanh,
];

pub(super) fn run(gpu: &Gpu, extent: Extent) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for shape in if extent == Extent::Quick { QUICK } else { THOROUGH } {
        checks.extend(elements(gpu, *shape)?);
        checks.extend(norms(gpu, *shape)?);
        checks.push(turns(gpu, *shape)?);
    }
    for n in if extent == Extent::Quick { &TEXTS[3..4] } else { TEXTS } {
        for visible in [Visible::Full, Visible::Near(3), Visible::Causal, Visible::CausalNear(2)] {
            checks.push(softmax(gpu, *n, visible)?);
        }
    }
    Ok(checks)
}

fn elements(gpu: &Gpu, [rows, width]: [usize; 2]) -> Result<Vec<Check>> {
    let x: Vec<f32> = Noise(71).single(rows * width).iter().map(|v| 6.0 * v).collect();
    let bias = Noise(72).single(width);
    let double: Vec<f32> = Noise(73).single(2 * rows * width);
    let mut checks = Vec::new();
    for activation in ACTIVATIONS {
        let shape = format!("{rows} × {width}, {activation:?}");
        let mut own = x.clone();
        cpu::add_to_rows(&mut own, &bias);
        activation.apply(&mut own);
        let found = gpu.bias_activation(&x, &bias, Some(activation))?;
        checks.push(Check::new("bias_activation", shape.clone(), &wide(&found), &wide(&own), ELEMENT));
        let mut own = vec![0.0; rows * width];
        cpu::gated(&mut double.clone(), width, activation, &mut own);
        let found = gpu.gated(&double, width, activation)?;
        checks.push(Check::new("gated", shape, &wide(&found), &wide(&own), ELEMENT));
    }
    Ok(checks)
}

fn norms(gpu: &Gpu, [rows, width]: [usize; 2]) -> Result<Vec<Check>> {
    let (x, residual) = (Noise(74).single(rows * width), Noise(75).single(rows * width));
    let (scale, shift) = (Noise(76).single(width), Noise(77).single(width));
    let mut checks = Vec::new();
    for (rms, with_residual) in [(false, true), (false, false), (true, true), (true, false)] {
        let shift = (!rms).then_some(&shift[..]);
        let norm = Norm { scale: &scale, shift, rms, epsilon: 1e-5 };
        let found = gpu.add_norm(&x, with_residual.then_some(&residual[..]), norm)?;
        let mut own = x.clone();
        if with_residual {
            cpu::add(&mut own, &residual);
        }
        match shift {
            Some(shift) => cpu::layer_norm(&mut own, width, &scale, shift, 1e-5),
            None => cpu::rms_norm(&mut own, width, &scale, 1e-5),
        }
        let shape = format!("{rows} × {width}, {}", if rms { "root mean square" } else { "layer" });
        checks.push(Check::new("add_norm", shape, &wide(&found), &wide(&own), ELEMENT.max(of_sum(true, width))));
    }
    Ok(checks)
}

fn turns(gpu: &Gpu, [rows, width]: [usize; 2]) -> Result<Check> {
    let (heads, size) = (2, 2 * width.div_ceil(8));
    let columns = heads * size + 3;
    let x = Noise(78).single(rows * columns);
    let turns = Noise(79).single((rows + 1) * size);
    let positions: Vec<usize> = (0..rows).map(|r| (r * 7) % (rows + 1)).collect();
    let found = gpu.rotate(&x, columns, heads, &turns, size, &positions)?;
    let mut own = x;
    for (row, at) in own.chunks_exact_mut(columns).zip(&positions) {
        row[..heads * size]
            .chunks_exact_mut(size)
            .for_each(|head| cpu::rotate(head, &turns[at * size..(at + 1) * size]));
    }
    Ok(Check::new("rotate_half", format!("{rows} rows, {heads} heads of {size}"), &wide(&found), &wide(&own), ELEMENT))
}

/// With a relative bias in causal masks, and DeBERTa's terms in the others.
fn softmax(gpu: &Gpu, n: usize, visible: Visible) -> Result<Check> {
    let (heads, longest, reach) = (2, n + 2, n.min(9));
    let scores = Noise(80).single(heads * n * n);
    let bias = Noise(81).single(heads * (2 * longest - 1));
    let (to, from) = (Noise(82).single(heads * n * reach), Noise(83).single(heads * n * reach));
    let places: Vec<i32> = (0..2 * n - 1).map(|d| (d * reach / (2 * n - 1)) as i32).collect();
    let causal = matches!(visible, Visible::Causal | Visible::CausalNear(_));
    let terms = match causal {
        true => ScoreTerms { bias: Some((&bias, longest)), disentangled: None },
        false => {
            ScoreTerms { bias: None, disentangled: Some(Disentangled { to: &to, from: &from, places: &places, reach }) }
        }
    };
    let found = gpu.masked_softmax(&scores, heads, visible, terms)?;
    let mut own = scores;
    for head in 0..heads {
        for i in 0..n {
            for j in 0..n {
                let score = &mut own[(head * n + i) * n + j];
                let place = places[n - 1 + i - j] as usize;
                *score += match causal {
                    true => bias[head * (2 * longest - 1) + longest - 1 + j - i],
                    false => to[(head * n + i) * reach + place] + from[(head * n + j) * reach + place],
                };
            }
        }
    }
    for head in own.chunks_exact_mut(n * n) {
        cpu::softmax_rows(head, n, |i| match visible {
            Visible::Full => 0..n,
            Visible::Near(w) => i.saturating_sub(w)..n.min(i + w + 1),
            Visible::Causal => 0..i + 1,
            Visible::CausalNear(w) => (i + 1).saturating_sub(w)..i + 1,
        });
    }
    Ok(Check::new(
        "masked_softmax",
        format!("{n} tokens, {visible:?}"),
        &wide(&found),
        &wide(&own),
        ELEMENT.max(of_sum(true, n)),
    ))
}
