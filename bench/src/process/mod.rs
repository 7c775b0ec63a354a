//! What this process uses: allocations, memory, and processors.

use std::fs;
use std::time::Duration;

use crate::ALLOCATOR;
use crate::error::Result;

/// Returns how often memory was asked for, since the start.
pub(crate) fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

/// Returns how many bytes are in use on the heap.
pub(crate) fn heap() -> usize {
    let stats = ALLOCATOR.stats();
    // What a reallocation adds or takes away is counted in both already.
    stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated)
}

/// Returns the resident memory, in bytes.
pub(crate) fn resident() -> Result<u64> {
    status("VmRSS:")
}

/// Returns the most resident memory since [`forget_peak`], in bytes.
pub(crate) fn peak_resident() -> Result<u64> {
    status("VmHWM:")
}

/// Starts the search for the peak anew; see `clear_refs` in `proc(5)`.
pub(crate) fn forget_peak() -> Result<()> {
    Ok(fs::write("/proc/self/clear_refs", "5")?)
}

/// Returns how long processors have worked for this process, in hundredths of a second; see `proc(5)`.
pub(crate) fn processor_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // Behind the name of the program, which may hold anything, `utime` and `stime` are the 12th and 13th.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(10 * ticks))
}

fn status(field: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB"));
    let kibibytes = kibibytes.ok_or_else(|| format!("/proc/self/status has no {field}"))?;
    Ok(kibibytes.trim().parse::<u64>()? * 1024)
}

/// Returns how long a process of this machine has had a processor.
pub(crate) fn spent_by(process: i32) -> Result<Duration> {
    let path = format!("/proc/{process}/schedstat");
    let text = fs::read_to_string(path)?;
    let nanos = text.split_whitespace().next().unwrap_or_default();
    Ok(Duration::from_nanos(nanos.parse()?))
}
