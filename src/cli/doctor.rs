use std::path::PathBuf;

use clap::ValueHint;
use serde_json::json;

use super::commands::threads;
use super::messages::say;
use crate::compute::device::Device;
use crate::error::{Problems, Status};
use crate::pipeline::{self, CudaFound, DoctorSpec};

pub(super) const EXAMPLES: &str = "\
Examples:
  brainscore doctor
      What this machine computes with. Where there is an NVIDIA card: every kernel against the CPU.
  brainscore doctor --device cuda:1 --thorough
      All shapes of the table, on the second card; exit status 5 when there is none or a kernel disagrees.
  brainscore doctor --compile sm_80,sm_90 --into kernels
      Compiles the kernels for these cards (needs NVRTC, no card); a folder `kernels` beside the program is used.";

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// What to look at: auto, cpu, cuda or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: Device,
    /// Check kernels on every shape of the table.
    #[arg(long)]
    pub thorough: bool,
    /// Measure kernels on a card with so many held-out rows, eigenvalues, targets and alphas.
    #[arg(long, value_name = "ROWS,K,TARGETS,ALPHAS", num_args = 0..=1, value_parser = shape, default_missing_value = "600,1000,30000,20")]
    pub measure: Option<[usize; 4]>,
    /// Compile the kernels for these architectures, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = architecture)]
    pub compile: Vec<String>,
    /// Folder for the compiled kernels.
    #[arg(long, value_name = "DIR", requires = "compile", value_hint = ValueHint::DirPath)]
    pub into: Option<PathBuf>,
    /// Number of threads [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print what was found as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Runs `doctor`. Status 5 when a kernel disagrees with the CPU; no card at all is no fault.
pub(super) fn run(args: &DoctorArgs) -> Result<Option<Status>, Problems> {
    threads(args.threads)?;
    let spec = DoctorSpec {
        device: args.device,
        thorough: args.thorough,
        measure: args.measure,
        compile: args.compile.clone(),
        into: args.into.clone(),
    };
    let found = pipeline::doctor(&spec)?;
    let failed = found.cuda.as_ref().is_some_and(|c| c.failed > 0);
    if args.json {
        say(&json!(found).to_string());
        return Ok(failed.then_some(Status::Device));
    }
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    say(&format!("brainscore  {} ({})", found.version, found.system));
    say(&format!("processor   {} threads; {}", found.processors, found.processor_features.join(", ")));
    say(&format!("OpenBLAS    {}", found.blas));
    let memory = found.memory.map_or("unknown".to_owned(), gib);
    say(&format!("memory      {memory}, of which encoding models use {} by default", gib(found.default_memory)));
    let cache = found.cache.as_ref().map_or("has no place".to_owned(), |folder| folder.display().to_string());
    say(&format!("cache       {cache}"));
    match &found.cuda {
        None => say("CUDA        this program was built without it"),
        Some(cuda) => say_cuda(cuda, args.device),
    }
    for code in &found.compiled {
        say(&format!("compiled    {}.cu for {}: {} bytes", code.source, code.architecture, code.bytes));
    }
    Ok(failed.then_some(Status::Device))
}

fn say_cuda(cuda: &CudaFound, device: Device) {
    let driver = cuda.driver.map_or("no NVIDIA driver".to_owned(), |v| format!("CUDA {}.{}", v / 1000, v % 1000 / 10));
    say(&format!("driver      {driver}"));
    say(&format!("compiler    {}", cuda.compiler.as_deref().unwrap_or("no NVRTC")));
    match &cuda.missing {
        Some(why) => say(&format!("cards       none can be used: {why}")),
        None if device == Device::Cpu => say("cards       not asked for"),
        None => say_cards(cuda),
    }
}

#[cfg(feature = "cuda")]
fn say_cards(cuda: &CudaFound) {
    for found in &cuda.cards {
        let card = &found.card;
        say(&format!(
            "card {}      {}, {}, {} multiprocessors, {} of {} MiB free; {}",
            card.number,
            card.name,
            card.architecture(),
            card.multiprocessors,
            found.free >> 20,
            card.memory >> 20,
            if found.libraries.is_empty() { "no cuBLAS, no cuSOLVER".to_owned() } else { found.libraries.join(", ") }
        ));
    }
    for check in cuda.checks.iter().filter(|c| !c.passed()) {
        say(&format!(
            "WRONG       {} ({}): {:.1e}, {:.1e} allowed",
            check.kernel, check.shape, check.error, check.tolerance
        ));
    }
    // The worst of each kernel, relative to what is allowed.
    let mut kernels: Vec<&'static str> = cuda.checks.iter().map(|c| c.kernel).collect();
    kernels.sort_unstable();
    kernels.dedup();
    for kernel in kernels {
        let own = || cuda.checks.iter().filter(|c| c.kernel == kernel);
        let worst = own().map(|c| c.error).fold(0.0, f64::max);
        say(&format!("kernel      {kernel}: largest error {worst:.1e} over {} shapes", own().count()));
    }
    for m in &cuda.measured {
        let of_product = m.of_product.map_or(String::new(), |share| format!(" ({:.0} % of a product)", 100.0 * share));
        say(&format!(
            "measured    {} ({}): {:.3} ms, {:.1} GB/s ({:.0} % of a copy), {:.2} TFLOP/s{of_product}",
            m.what,
            m.shape,
            1e3 * m.seconds,
            m.bytes_per_second / 1e9,
            100.0 * m.of_copy,
            m.flops_per_second / 1e12
        ));
    }
    say(&format!("checks      {} of {} agree with the CPU", cuda.checks.len() - cuda.failed, cuda.checks.len()));
}

#[cfg(not(feature = "cuda"))]
fn say_cards(_: &CudaFound) {}

fn architecture(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("sm_").filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_alphanumeric()));
    digits.map(|_| text.to_owned()).ok_or_else(|| "expected an architecture such as sm_90".to_owned())
}

fn shape(text: &str) -> Result<[usize; 4], String> {
    let numbers: Vec<usize> =
        text.split(',').filter_map(|n| n.parse().ok()).filter(|n| (1..1 << 24).contains(n)).collect();
    <[usize; 4]>::try_from(numbers).map_err(|_| "expected four numbers such as 600,1000,30000,20".to_owned())
}
