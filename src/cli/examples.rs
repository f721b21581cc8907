//! What stands below the help of commands.

pub(super) const COMPARE: &str = "\
Examples:
  brainscore compare --demo --out demo-report
      Runs the whole job on the built-in study (no download) and writes a report.
  brainscore compare base=bert-base tuned=bert-moral untrained=untrained:0:bert-base --study study.toml --out results
      Compares two checkpoint folders and an untrained copy; the first one is the reference.
  brainscore compare --checkpoints list.toml --study study.toml --out results
      Compares many checkpoints, each with the base that the list names.
  brainscore check bert-base --study study.toml
      Reads and checks every input and the design; no checkpoint runs.";

pub(super) const REPORT: &str = "\
Examples:
  brainscore report results
      Draws figures and pages again from run.json; computes nothing.
  brainscore report monday tuesday --out both
      One comparison of all checkpoints of two runs with the same subjects, targets, folds and data; fits nothing again.";

pub(super) const FIT: &str = "\
Examples:
  brainscore fit --x layer3.npy --y sub-01.npy --y sub-02.npy --folds fold.npy --out fit
      scores.csv (feature_space, subject, target, cod, r, …), folds.parquet, fit.json.";

pub(super) const EXTRACT: &str = "\
Examples:
  brainscore extract bert-base --texts sentences.txt --out features
      features.npy (layers, texts, width), rows.csv, layer_names.json.
  brainscore extract bert-base --texts stimuli.csv --pooling tokens --layers 0,-1 --out states
      hidden_states.safetensors with the states of every token.
  brainscore extract bert-base --texts story.txt --pooling words --context causal:20 --out words
      features.npy with one vector per word, rows.csv with the words and where they stand.";

pub(super) const CHECK: &str = "\
Examples:
  brainscore check bert-base bert-moral --study study.toml
      Lists all problems of weights, tokenizers, tables and folds at once, what the run will take, and what makes its scores
      doubtful; exit status 1 when that is severe.
  brainscore check --checkpoints list.toml --study study.toml --json
      The same for many checkpoints, for scripts.";

pub(super) const INSPECT: &str = "\
Examples:
  brainscore inspect bert-base
      Family, layers, width, parameters, digests; or everything that is wrong with the folder.
  brainscore inspect tuned=bert-moral --json
      The same for scripts.";

pub(super) const CACHE: &str = "\
Examples:
  brainscore cache list
      What is kept, and how much of it.
  brainscore cache verify --cache-dir /scratch/states
      Reads every entry of hidden states there and removes damaged ones; they are computed again when they are needed.
  brainscore cache clear
      Removes all that can be made again; results are never kept there.";

pub(super) const PROGRESS: &str = "\
Examples:
  brainscore progress results
      How many units each share has finished, and what is left; `results` is what --out of the shares was.
  brainscore progress results --json
      The same for scripts.";

pub(super) const COMPLETIONS: &str = "\
Examples:
  brainscore completions bash > ~/.local/share/bash-completion/completions/brainscore
  brainscore completions zsh > ~/.zfunc/_brainscore
      For zsh the folder must be in $fpath.";
