//! What a process costs, as the system counts it: CPU by thread, memory, bytes on disk.
//!
//! Not here: what is measured.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The value below which so many percent of the times lie, in microseconds; the times are sorted.
pub fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

/// CPU of this process so far, all threads.
pub fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}

/// What a process has cost so far.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// CPU of each thread that runs, by name.
    pub threads: BTreeMap<String, Duration>,
    /// The largest memory that it had, in MiB.
    pub rss_mib: f64,
}

/// What the process of this number has cost (Linux's /proc).
///
/// # Errors
/// If /proc cannot be read: there is no such process.
pub fn cost_of(process: &str) -> Result<Cost, std::io::Error> {
    Ok(Cost {
        threads: threads_of(process)?,
        rss_mib: peak_of(process)?,
    })
}

/// CPU so far of each thread of this process, by name (Linux's /proc).
///
/// # Errors
/// If /proc cannot be read.
pub fn thread_cpu() -> Result<BTreeMap<String, Duration>, std::io::Error> {
    threads_of("self")
}

fn threads_of(process: &str) -> Result<BTreeMap<String, Duration>, std::io::Error> {
    let mut threads: BTreeMap<String, Duration> = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?.path();
        // A thread may have ended since.
        let Ok(name) = std::fs::read_to_string(task.join("comm")) else {
            continue;
        };
        let name = name.trim().to_owned();
        let Ok(spent) = std::fs::read_to_string(task.join("schedstat")) else {
            continue;
        };
        let nanos = spent
            .split(' ')
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        *threads.entry(name).or_default() += Duration::from_nanos(nanos);
    }
    Ok(threads)
}

/// The largest memory that this process had, in MiB (Linux's /proc).
///
/// # Errors
/// If /proc cannot be read.
pub fn rss_mib() -> Result<f64, std::io::Error> {
    peak_of("self")
}

fn peak_of(process: &str) -> Result<f64, std::io::Error> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    Ok(kib.unwrap_or(0.0) / 1024.0)
}

/// Bytes of all files below a folder.
///
/// # Errors
/// If it cannot be looked at.
pub fn disk_bytes(folder: &Path) -> Result<u64, std::io::Error> {
    let mut bytes = 0;
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        let metadata = file.metadata()?;
        bytes += if metadata.is_dir() {
            disk_bytes(&file.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}
