//! Groups of the kernel's controllers, version 1, where they are mounted and may be written.
//!
//! Version 1, as its groups take threads one by one wherever they are.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

/// The share of a group of weight 100.
const USUAL_SHARES: u64 = 1024;
/// How often a removal is tried again while threads are on their way out.
const ATTEMPTS: u32 = 1_000;

/// A group and those below it; removed when dropped, which its threads must have left by then.
#[derive(Debug)]
pub struct Kernel {
    /// Parents first.
    paths: Vec<PathBuf>,
}

impl Kernel {
    /// Makes a group of the cpu controller where this process is.
    ///
    /// # Errors
    ///
    /// No controller of that version, or no right to write there.
    pub fn new(name: &str) -> Result<Self> {
        Self::of("cpu", name)
    }

    /// Makes a group of a controller where this process is.
    ///
    /// # Errors
    ///
    /// No controller of that version, or no right to write there.
    pub fn of(controller: &str, name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mount = mount(&mounts, controller)
            .with_context(|| format!("the {controller} controller, version 1, is not mounted"))?;
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let own = own(&groups, controller)
            .with_context(|| format!("this process is nowhere in the {controller} controller"))?;
        let path = mount.join(own).join(format!("{name}-{}", std::process::id()));
        let mut kernel = Self { paths: Vec::new() };
        kernel
            .create(path)
            .with_context(|| format!("no group can be made in the {controller} controller"))?;
        Ok(kernel)
    }

    /// Makes a group below that of a number, or below the first, and returns its number.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn add(&mut self, parent: usize) -> Result<usize> {
        let path = self.paths[parent].join(self.paths.len().to_string());
        self.create(path)
    }

    fn create(&mut self, path: PathBuf) -> Result<usize> {
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        self.paths.push(path);
        Ok(self.paths.len() - 1)
    }

    /// Sets the weight of a group, 100 being usual.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set_weight(&self, group: usize, weight: u64) -> Result<()> {
        self.write(group, "cpu.shares", weight * USUAL_SHARES / 100)
    }

    /// Sets how many processors a group may have, counted anew each `period`.
    ///
    /// # Errors
    ///
    /// What the kernel says; of less than 1 ms a period it has nothing good to say.
    pub fn set_quota(&self, group: usize, processors: f64, period: Duration) -> Result<()> {
        self.write(group, "cpu.cfs_period_us", period.as_micros())?;
        self.write(group, "cpu.cfs_quota_us", period.mul_f64(processors).as_micros())
    }

    /// Sets how many bytes a second a group of the blkio controller may read of a device, by its numbers.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn limit_reads(&self, group: usize, (major, minor): (u32, u32), rate: u64) -> Result<()> {
        let value = format!("{major}:{minor} {rate}");
        self.write(group, "blkio.throttle.read_bps_device", value)
    }

    /// Returns the file that a thread joins a group by: it writes `0` there.
    #[must_use]
    pub fn door(&self, group: usize) -> PathBuf {
        self.paths[group].join("tasks")
    }

    fn write(&self, group: usize, name: &str, value: impl ToString) -> Result<()> {
        let path = self.paths[group].join(name);
        fs::write(&path, value.to_string()).with_context(|| format!("writing {}", path.display()))
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        for path in self.paths.iter().rev() {
            remove(path).ok();
        }
    }
}

/// Moves the calling thread.
///
/// # Errors
///
/// What the kernel says.
pub fn enter(door: &Path) -> io::Result<()> {
    fs::write(door, "0")
}

/// Threads that have been joined may still be counted for a moment.
fn remove(path: &Path) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                thread::sleep(Duration::from_millis(1));
            }
            end => return end,
        }
    }
    fs::remove_dir(path)
}

/// Returns where a controller is mounted, by the lines of `/proc/self/mounts`.
fn mount(mounts: &str, controller: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let [_, path, "cgroup", options, ..] = fields[..] else { return None };
        options.split(',').any(|option| option == controller).then(|| path.into())
    })
}

/// Returns this process's group, by the lines of `/proc/self/cgroup`, without the leading slash.
fn own<'g>(groups: &'g str, controller: &str) -> Option<&'g str> {
    groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_there = controllers.split(',').any(|other| other == controller);
        is_there.then(|| path.trim_start_matches('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_is_found_among_others() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n\
                      cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0\n";
        assert_eq!(mount(mounts, "cpu"), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        let unified = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        assert_eq!(mount(unified, "cpu"), None);
        assert_eq!(own("3:cpuset:/a\n2:cpu,cpuacct:/b/c\n0::/\n", "cpu"), Some("b/c"));
        assert_eq!(own("0::/user.slice\n", "cpu"), None);
    }
}
