//! What stands before the tensor names of an architecture: wrappers of task models, training frameworks and compilers.

use std::collections::BTreeSet;

/// Parts of a prefix that say nothing about the weights: `torch.compile` (`_orig_mod`), data parallel training
/// (`module`), adapters (`base_model.model`), Lightning modules (usually `model`) and common names of an attribute that
/// holds the encoder.
const WRAPPERS: &[&str] = &[
    "_orig_mod",
    "auto_model",
    "backbone",
    "base_model",
    "encoder",
    "language_model",
    "lm",
    "model",
    "module",
    "net",
    "network",
    "text_encoder",
    "transformer",
];

/// Whether a prefix consists of known wrappers and the family's own stem, each followed by a dot.
fn known(prefix: &str, stem: &str) -> bool {
    prefix.is_empty()
        || prefix
            .strip_suffix('.')
            .is_some_and(|parts| parts.split('.').all(|part| part == stem || WRAPPERS.contains(&part)))
}

/// The known prefixes under which any of the `probes` (names of parameters) is found among `names`, shortest first.
pub(super) fn candidates<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    probes: &[&str],
    stem: &str,
) -> Vec<&'a str> {
    let found: BTreeSet<(usize, &str)> = probes
        .iter()
        .flat_map(|&probe| names.clone().filter_map(move |name| name.strip_suffix(probe)))
        .filter(|prefix| known(prefix, stem))
        .map(|prefix| (prefix.len(), prefix))
        .collect();
    found.into_iter().map(|(_, prefix)| prefix).collect()
}

/// The name of a module inside an adapter, without the wrappers before it, when it names one of `params` (by `named`).
pub(super) fn unwrapped<'a>(module: &'a str, stem: &str, named: impl Fn(&str) -> bool) -> Option<&'a str> {
    let starts = std::iter::once(0).chain(module.match_indices('.').map(|(at, _)| at + 1));
    starts.into_iter().find(|at| known(&module[..*at], stem) && named(&module[*at..])).map(|at| &module[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_wrappers_count() {
        let names = ["model._orig_mod.bert.w", "bert.w", "teacher_net.w", "xw"];
        assert_eq!(candidates(names.into_iter(), &["w"], "bert"), ["bert.", "model._orig_mod.bert."]);
        assert_eq!(candidates(["w", "model.w"].into_iter(), &["w"], "bert"), ["", "model."]);
        let named = |name: &str| name == "encoder.layer.0.q";
        assert_eq!(unwrapped("base_model.model.bert.encoder.layer.0.q", "bert", named), Some("encoder.layer.0.q"));
        assert_eq!(unwrapped("base_model.model.classifier", "bert", named), None);
    }
}
