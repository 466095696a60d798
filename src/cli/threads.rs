//! How many threads a run may have: those of its affinity, fewer where a scheduler or a container gave fewer.

use std::path::{Path, PathBuf};

/// A number of threads and where it comes from.
#[derive(Debug, PartialEq, Eq)]
pub struct Threads {
    pub count: usize,
    pub reason: String,
}

/// Variables in which schedulers say how many cores a job has on its node; the first that is there counts.
const SCHEDULERS: [&str; 5] = ["SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NSLOTS", "LSB_DJOB_NUMPROC", "NCPUS"];

/// Looks at this process.
pub fn allowed() -> Threads {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let affinity = cores(&status).unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    choose(
        affinity,
        |name| std::env::var(name).ok(),
        quota(Path::new("/sys/fs/cgroup"), Path::new("/proc/self/cgroup")),
    )
}

fn choose(affinity: usize, variable: impl Fn(&str) -> Option<String>, quota: Option<usize>) -> Threads {
    let cores = if affinity == 1 { "1 core".to_string() } else { format!("{affinity} cores") };
    let mut chosen = Threads { count: affinity, reason: format!("{cores} by affinity") };
    let mut lower = |count: usize, reason: String| {
        if count < chosen.count {
            chosen = Threads { count, reason };
        }
    };
    let said = SCHEDULERS.iter().find_map(|name| {
        let count = variable(name)?.parse::<usize>().ok().filter(|&count| count > 0)?;
        Some((name, count))
    });
    if let Some((name, count)) = said {
        lower(count, format!("{name}={count}, of {cores} by affinity"));
    }
    if let Some(quota) = quota {
        lower(quota, format!("the cgroup's quota of CPU time, of {cores} by affinity"));
    }
    chosen
}

/// Cores of the line `Cpus_allowed_list: 0-3,8`.
fn cores(status: &str) -> Option<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
    };
    list.trim().split(',').map(count).sum::<Option<usize>>().filter(|&count| count > 0)
}

/// Whole cores of the tightest quota of this process's cgroup and of those around it, at least 1.
fn quota(root: &Path, own: &Path) -> Option<usize> {
    let groups = std::fs::read_to_string(own).unwrap_or_default();
    let mut least: Option<f64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let base = if controllers.is_empty() {
            root.to_path_buf()
        } else if controllers.split(',').any(|name| name == "cpu") {
            root.join(controllers)
        } else {
            continue;
        };
        let folder = base.join(path.trim_start_matches('/'));
        // In a container the path may be that of the host, and the quota that of the root.
        let around = folder.ancestors().take_while(|folder| folder.starts_with(&base)).map(Path::to_path_buf);
        for share in around.filter_map(|folder: PathBuf| share(&folder)) {
            least = Some(least.map_or(share, |least| least.min(share)));
        }
    }
    least.map(|share| (share.floor() as usize).max(1))
}

/// Cores' worth of time that one cgroup may have, in version 2 or 1.
fn share(folder: &Path) -> Option<f64> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let both = read("cpu.max").or_else(|| Some(read("cpu.cfs_quota_us")? + " " + &read("cpu.cfs_period_us")?))?;
    let mut numbers = both.split_whitespace().map(|number| number.parse::<f64>().ok().filter(|&number| number > 0.0));
    Some(numbers.next()?? / numbers.next()??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_affinity_scheduler_and_quota() {
        let none = |_: &str| None;
        assert_eq!(choose(8, none, None), Threads { count: 8, reason: "8 cores by affinity".into() });
        let slurm = |name: &str| (name == "SLURM_CPUS_ON_NODE").then(|| "2".to_string());
        assert_eq!(choose(8, slurm, Some(4)).reason, "SLURM_CPUS_ON_NODE=2, of 8 cores by affinity");
        assert_eq!(choose(1, slurm, None).reason, "1 core by affinity");
        assert_eq!(choose(8, none, Some(3)).count, 3);
        let task =
            |name: &str| name.starts_with("SLURM").then(|| if name.ends_with("TASK") { "1" } else { "4" }.into());
        assert_eq!(choose(8, task, None).count, 1, "cores of the task before those of the node");
        let odd = |_: &str| Some("2(x3)".to_string());
        assert_eq!(choose(8, odd, None).count, 8);
    }

    #[test]
    fn lists_of_cores() {
        assert_eq!(cores("Name:\tx\nCpus_allowed_list:\t0-3,8\n"), Some(5));
        assert_eq!(cores("Cpus_allowed_list:\t3-1\n"), None);
    }

    #[test]
    fn quotas_of_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let found = |groups: &str| {
            write("own", groups);
            quota(&folder.path().join("fs"), &folder.path().join("own"))
        };
        write("fs/a/b/cpu.max", "max 100000\n");
        write("fs/a/cpu.max", "250000 100000\n");
        assert_eq!(found("0::/a/b\n"), Some(2), "of a group around it");
        assert_eq!(found("0::/c\n"), None);
        write("fs/cpu,cpuacct/x/cpu.cfs_quota_us", "50000\n");
        write("fs/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
        assert_eq!(found("3:cpu,cpuacct:/x\n"), Some(1), "at least one");
        write("fs/cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n");
        assert_eq!(found("3:cpu,cpuacct:/x\n"), None);
    }
}
