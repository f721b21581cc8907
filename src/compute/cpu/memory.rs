//! How much memory there is to use.

use std::path::Path;

/// Share of the available memory that is used when the user names no bound.
const SHARE: f64 = 0.6;
/// What is used where the system does not say what is available.
const UNKNOWN: u64 = 4 << 30;

/// 60 % of the memory that is available now (and that a control group allows), in whole GiB where that is above 1.
pub fn default_memory() -> u64 {
    let free = [meminfo(Path::new("/proc/meminfo")), control_group()].into_iter().flatten().min();
    let bytes = free.map_or(UNKNOWN, |free| (free as f64 * SHARE) as u64);
    if bytes > 1 << 30 { bytes >> 30 << 30 } else { bytes }
}

/// The most memory that this program has held so far, in bytes; none where the system does not say.
pub fn peak_memory() -> Option<u64> {
    field(Path::new("/proc/self/status"), "VmHWM:")
}

/// The memory of the machine, in bytes; none where the system does not say.
pub fn total_memory() -> Option<u64> {
    field(Path::new("/proc/meminfo"), "MemTotal:")
}

/// `MemAvailable`, in bytes.
fn meminfo(path: &Path) -> Option<u64> {
    field(path, "MemAvailable:")
}

/// A line `name:  number kB` of a file, in bytes.
fn field(path: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// What the control group (version 2) leaves of its limit.
fn control_group() -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(name)).ok()?.trim().parse().ok();
    let (limit, used): (u64, u64) = (read("memory.max")?, read("memory.current").unwrap_or(0));
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meminfo");
        std::fs::write(&path, "MemTotal:  10 kB\nMemAvailable:    2048 kB\n").unwrap();
        assert_eq!(meminfo(&path), Some(2 << 20));
        assert_eq!(meminfo(&dir.path().join("none")), None);
        assert!(default_memory() > 0);
    }
}
