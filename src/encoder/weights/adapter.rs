//! LoRA adapters (Hu et al. 2021, <https://arxiv.org/abs/2106.09685>) as PEFT saves them, merged into the weights that
//! they were trained on: W + scale · B A, with scale = alpha / r, or alpha / √r (Kalajdzievski 2023,
//! <https://arxiv.org/abs/2312.03732>). Formulas as in peft's `tuners/lora/layer.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::stored::Archive;
use super::{not_finite, prefix};
use crate::compute::cpu::{Operand, sgemm};
use crate::encoder::config::Config;
use crate::encoder::params::Param;
use crate::error::{Code, Error, Result, first_five};
use crate::ids::Digest;
use crate::io::{bounded, file_name};

/// Settings of PEFT that change what an adapter computes and are not implemented.
const MUST_BE_OFF: &[&str] = &["use_dora", "lora_bias", "use_qalora"];
const MUST_BE_ABSENT: &[&str] = &[
    "alora_invocation_tokens",
    "arrow_config",
    "corda_config",
    "kasa_config",
    "layer_replication",
    "lora_ga_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "velora_config",
];

/// An adapter beside the checkpoint that it changes.
#[derive(Debug)]
pub(crate) struct Adapter {
    config: (PathBuf, Digest),
    weights: (PathBuf, Digest),
    /// The folder of the checkpoint that it was trained on.
    pub base: PathBuf,
    alpha: f64,
    /// Scale by the square root of the rank.
    root: bool,
    /// The names of the tensors in the file.
    names: Vec<String>,
    /// What changes which parameter; known once the adapter is bound to an architecture.
    changes: BTreeMap<String, Change>,
    /// Linear maps are stored as (inputs, outputs).
    transposed: bool,
}

/// How a parameter is changed: the places of tensors in the adapter's file.
#[derive(Debug, Clone, Copy, Default)]
struct Change {
    a: Option<usize>,
    b: Option<usize>,
    /// The table of an embedding, whose parts are stored transposed.
    embedding: bool,
    /// Replaced altogether (a bias, or a module that was trained whole).
    whole: Option<usize>,
}

/// Notes where a part of a change stands in the file.
type Note = fn(&mut Change, usize);

/// The name of the parameter that a tensor changes, before wrappers are removed, and which part of the change it is.
fn role(name: &str) -> (String, Note) {
    let parts: [(&str, Note); 4] = [
        (".lora_A", |c, i| c.a = Some(i)),
        (".lora_B", |c, i| c.b = Some(i)),
        (".lora_embedding_A", |c, i| (c.a, c.embedding) = (Some(i), true)),
        (".lora_embedding_B", |c, i| (c.b, c.embedding) = (Some(i), true)),
    ];
    for (part, set) in parts {
        for end in [".weight", ".default.weight", "", ".default"] {
            if let Some(module) = name.strip_suffix(&format!("{part}{end}")) {
                return (format!("{module}.weight"), set);
            }
        }
    }
    let plain = name.replace(".base_layer.", ".").replace(".modules_to_save.default.", ".");
    (plain.replace(".original_module.", "."), |c, i| c.whole = Some(i))
}

impl Adapter {
    /// The adapter in a folder, if there is one.
    ///
    /// # Errors
    /// `ST-15` when it is of another kind, or its base is not to be found; `CF-06` for a setting that is not implemented.
    pub fn find(folder: &Path) -> Result<Option<Adapter>> {
        let path = folder.join("adapter_config.json");
        if !path.exists() {
            return Ok(None);
        }
        let config = Config::read_file(&path)?;
        let refuse = |found: String| Error::new(Code::St15, path.display(), found);
        let kind = config.text("peft_type")?.unwrap_or("LORA");
        if kind != "LORA" {
            return Err(refuse(format!("peft_type is {kind:?}"))
                .expected("LORA")
                .hint("Merge it in Python: merge_and_unload(), then save_pretrained(path)"));
        }
        MUST_BE_OFF.iter().try_for_each(|key| config.must_be_off(key))?;
        MUST_BE_ABSENT.iter().try_for_each(|key| config.must_be_absent(key))?;
        config.must_be_empty("alpha_pattern")?;
        // Other ways to begin also change the weights that the adapter is added to.
        config.flag_or("init_lora_weights", &["gaussian"])?;
        let weights = ["adapter_model.safetensors", "adapter_model.bin"].map(|name| folder.join(name));
        let weights = weights.into_iter().find(|path| path.exists()).ok_or_else(|| {
            refuse("stands without adapter_model.safetensors".to_owned()).expected("the adapter's tensors beside it")
        })?;
        let archive = Archive::open(&weights)?;
        Ok(Some(Adapter {
            config: (path.clone(), config.digest()),
            base: base(folder, &config)?,
            alpha: config.number("lora_alpha", 8.0)?,
            root: config.flag("use_rslora", false)?,
            names: archive.tensors().iter().map(|stored| stored.name.clone()).collect(),
            weights: (weights.clone(), bounded::digest(&weights)?),
            changes: BTreeMap::new(),
            transposed: false,
        }))
    }

    /// Its files with their digests.
    pub fn files(&self) -> Vec<(PathBuf, Digest)> {
        vec![self.config.clone(), self.weights.clone()]
    }

    /// What is merged, in words.
    pub fn describe(&self) -> String {
        let base = self.base.canonicalize().unwrap_or_else(|_| self.base.clone());
        format!("LoRA on {} tensors of {}", self.changes.len(), file_name(&base))
    }

    /// Finds out which parameters the adapter changes, and returns the names of those of its tensors that change none
    /// (a head, a pooler). `stem` stands before the names of task models; `transposed` says that the architecture stores
    /// linear maps as (inputs, outputs).
    ///
    /// # Errors
    /// Every part without its other, shapes that do not fit, values that are not finite; or nothing that belongs to this
    /// architecture.
    pub fn bind(
        &mut self,
        params: &[Param],
        stem: &str,
        transposed: bool,
    ) -> std::result::Result<Vec<String>, Vec<Error>> {
        self.transposed = transposed;
        let known: BTreeMap<&str, &Param> = params.iter().map(|p| (p.name.as_str(), p)).collect();
        let mut ignored = Vec::new();
        for (i, name) in self.names.iter().enumerate() {
            let (full, set) = role(name);
            match prefix::unwrapped(&full, stem, |name| known.contains_key(name)) {
                Some(param) => set(self.changes.entry(param.to_owned()).or_default(), i),
                None => ignored.push(name.clone()),
            }
        }
        let place = self.weights.0.display();
        if self.changes.is_empty() {
            let found = format!("changes no tensor of the encoder; it holds {}", first_five(&self.names));
            return Err(vec![Error::new(Code::St15, place, found).expected("an adapter of this architecture")]);
        }
        let mut merge = self.open().map_err(|e| vec![e])?;
        let mut problems = Vec::new();
        for name in self.changes.keys() {
            let param = known[name.as_str()];
            let mut values = vec![0f32; param.len()];
            problems.extend(merge.apply(param, &mut values).err());
            problems.extend(not_finite(&self.weights.0, name, &values));
        }
        if problems.is_empty() { Ok(ignored) } else { Err(problems) }
    }

    /// Opens the file, to merge from it.
    pub fn open(&self) -> Result<Merge<'_>> {
        Ok(Merge { adapter: self, archive: Archive::open(&self.weights.0)? })
    }
}

/// The folder of the base checkpoint: as `base_model_name_or_path` says, seen from the adapter's folder or from the one
/// around it; or a folder `base` inside the adapter's.
fn base(folder: &Path, config: &Config) -> Result<PathBuf> {
    let name = config.text("base_model_name_or_path")?.unwrap_or("base");
    let around = folder.canonicalize().ok().and_then(|f| f.parent().map(Path::to_owned));
    let places = [Some(folder.join(name)), around.map(|f| f.join(name)), Some(folder.join("base"))];
    places.into_iter().flatten().find(|place| place.join("config.json").is_file()).ok_or_else(|| {
        Error::new(Code::St15, folder.join("adapter_config.json").display(), format!("was trained on {name:?}, which is no folder here"))
            .expected("the base checkpoint as a folder")
            .hint("Put the base checkpoint (or a link to it) into a folder `base` inside the adapter's, or set base_model_name_or_path to its path")
    })
}

/// An adapter that is being merged.
pub(crate) struct Merge<'a> {
    adapter: &'a Adapter,
    archive: Archive,
}

impl Merge<'_> {
    /// Changes the values of a parameter, if the adapter has a change for it.
    pub fn apply(&mut self, param: &Param, values: &mut [f32]) -> Result<()> {
        let Some(change) = self.adapter.changes.get(&param.name).copied() else { return Ok(()) };
        let place = self.adapter.weights.0.display();
        let refuse = |found: String| Error::new(Code::St15, &place, found);
        if let Some(whole) = change.whole {
            let shape = &self.archive.tensors()[whole].shape;
            if *shape != param.shape {
                return Err(refuse(format!("replaces {:?} by a tensor of shape {shape:?}", param.name))
                    .expected(format!("{:?}", param.shape)));
            }
            values.copy_from_slice(&self.archive.read(whole)?);
        }
        let (a, b) = match (change.a, change.b) {
            (Some(a), Some(b)) => (a, b),
            (None, None) => return Ok(()),
            _ => return Err(refuse(format!("has one half of the change of {:?}", param.name)).expected("A and B")),
        };
        let (shape_a, shape_b) = (&self.archive.tensors()[a].shape, &self.archive.tensors()[b].shape);
        let fits = match (&shape_a[..], &shape_b[..], &param.shape[..]) {
            ([r, inputs], [outputs, s], [rows, columns]) if r == s && *r > 0 => {
                let turned = change.embedding || self.adapter.transposed;
                (if turned { (inputs, outputs) } else { (outputs, inputs) }) == (rows, columns)
            }
            _ => false,
        };
        if !fits {
            return Err(refuse(format!("changes {:?} by matrices {shape_b:?} and {shape_a:?}", param.name))
                .expected(format!("a product of shape {:?}", param.shape)));
        }
        let (rank, inputs, outputs) = (shape_a[0], shape_a[1], shape_b[0]);
        let scale = match self.adapter.root {
            true => self.adapter.alpha / (rank as f64).sqrt(),
            false => self.adapter.alpha / rank as f64,
        };
        let (a, b) = (self.archive.read(a)?, self.archive.read(b)?);
        let (a, b) = (Operand::new(&a, rank, inputs), Operand::new(&b, outputs, rank));
        if change.embedding || self.adapter.transposed {
            sgemm(scale as f32, a.t(), b.t(), 1.0, values, outputs);
        } else {
            sgemm(scale as f32, b, a, 1.0, values, inputs);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_an_adapter_have_roles() {
        let read = |name: &str| {
            let (param, set) = role(name);
            let mut change = Change::default();
            set(&mut change, 7);
            (param, change.a.is_some(), change.b.is_some(), change.embedding, change.whole.is_some())
        };
        let query = "base_model.model.q.weight".to_owned();
        assert_eq!(read("base_model.model.q.lora_A.weight"), (query.clone(), true, false, false, false));
        assert_eq!(read("base_model.model.q.lora_B.default.weight"), (query.clone(), false, true, false, false));
        assert_eq!(read("base_model.model.q.lora_embedding_B"), (query.clone(), false, true, true, false));
        assert_eq!(read("base_model.model.q.base_layer.weight"), (query, false, false, false, true));
    }
}
