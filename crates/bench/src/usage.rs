//! CPU time and memory of processes, from /proc. Where there is none, nothing is known.

use std::fs;
use std::time::Duration;

/// Ticks of /proc/PID/stat in a second: part of Linux's interface to programs, whatever the kernel counts in.
const TICKS: u64 = 100;

/// What a process has used since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of all its threads, in user and in system mode.
    pub cpu: Duration,
    /// The most memory that was resident at a time.
    pub peak_bytes: u64,
}

impl Usage {
    /// Of a process that runs; none when it does not, or there is no /proc.
    #[must_use]
    pub fn of(process: u32) -> Option<Usage> {
        let file = |name| fs::read_to_string(format!("/proc/{process}/{name}")).ok();
        Some(Usage { cpu: cpu(&file("stat")?)?, peak_bytes: peak_bytes(&file("status")?)? })
    }

    /// Of this process.
    #[must_use]
    pub fn own() -> Option<Usage> {
        Usage::of(std::process::id())
    }

    /// With the CPU time since `before`. A peak is no difference: it stays.
    #[must_use]
    pub fn since(self, before: Usage) -> Usage {
        Usage { cpu: self.cpu.saturating_sub(before.cpu), ..self }
    }
}

/// Fields 14 and 15. The second, the program's name, is in brackets and may have blanks and brackets in it.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some(Duration::from_millis((user + system) * 1000 / TICKS))
}

fn peak_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_brackets_in_its_name_does_not_shift_the_fields() {
        let stat = "17 (a) (b c) S 1 17 17 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 9 0 100 1 2 3\n";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu("17 (a) S 1"), None);
    }

    #[test]
    fn the_peak_is_read_in_kib() {
        assert_eq!(peak_bytes("Name:\ta\nVmPeak:\t 9 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 7 kB\n"), Some(1234 * 1024));
        assert_eq!(peak_bytes("Name:\ta\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_memory() {
        assert!(Usage::own().unwrap().peak_bytes > 1 << 20);
        assert_eq!(Usage::of(u32::MAX), None);
    }
}
