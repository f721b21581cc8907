//! The kernels' texts and the names of what they define.

use crate::ids::Digest;
use crate::io::digest;

/// One file of `kernels/`.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// Its name, without `.cu`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
    /// The kernels in it.
    pub kernels: &'static [&'static str],
}

/// Stands in front of every file.
pub(super) const COMMON: &str = include_str!("../../../kernels/common.cuh");

macro_rules! sources {
    ($($name:literal: $($kernel:literal)*;)*) => {
        /// All of them.
        pub const SOURCES: &[Source] = &[$(Source {
            name: $name,
            text: include_str!(concat!("../../../kernels/", $name, ".cu")),
            kernels: &[$($kernel),*],
        }),*];
    };
}

sources! {
    "standardize": "column_moments_f32" "column_moments_f64" "standardise_f32" "standardise_f64";
    "fold_gram": "fold_gram_f32" "fold_gram_f64" "fold_products_f32" "fold_products_f64";
    "ridge_path": "ridge_errors_f32_64" "ridge_errors_f32_32" "ridge_errors_f64_64" "ridge_errors_f64_32" "ridge_noise"
        "ridge_choose" "ridge_refit_f32_64" "ridge_refit_f32_32" "ridge_refit_f64_64" "ridge_refit_f64_32"
        "ridge_coefficients_f64_64" "ridge_coefficients_f64_32" "ridge_narrow";
    "permute_scores": "sign_flip_scores" "relabel_scores";
    "parcellate": "parcellate_sums" "parcellate_solve";
    "pairwise": "pairwise_products_f32" "pairwise_products_f64" "pairwise_distances_f32" "pairwise_distances_f64";
    "encoder": "bias_activation" "gated" "add_norm" "masked_softmax" "rotate_half" "gather_rows" "add_rows"
        "neighbour_rows";
    "products": "linear_32" "linear_64" "attention_scores_32" "attention_scores_64" "attention_context_32"
        "attention_context_64";
}

/// Digest of what some of the files are compiled from.
pub(super) fn digest_of(names: &[&str]) -> Digest {
    let texts = SOURCES.iter().filter(|s| names.contains(&s.name)).map(|s| s.text);
    digest(std::iter::once(COMMON).chain(texts).collect::<Vec<_>>().join("\0").as_bytes())
}

/// The file that a kernel stands in.
pub(super) fn source_of(kernel: &str) -> Option<(usize, &'static Source)> {
    SOURCES.iter().enumerate().find(|(_, s)| s.kernels.contains(&kernel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_in_its_file() {
        for source in SOURCES {
            for kernel in source.kernels {
                assert!(source.text.contains(kernel), "{kernel} in {}.cu", source.name);
                assert_eq!(source_of(kernel).map(|(_, s)| s.name), Some(source.name));
            }
        }
    }
}
