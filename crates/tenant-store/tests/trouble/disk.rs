//! A disk of 1 MiB, to fill and to take away.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a file system in memory is mounted, until this is dropped.
pub(crate) struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts the disk. Whoever may not mount runs the test of this name once more, in a name space
    /// where they may; `None` says that it has passed there.
    pub(crate) fn mount(test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tenantry-test"])
            .arg(folder.path())
            .output()
            .unwrap();
        if mounted.status.success() {
            return Some(Self { folder });
        }
        let program = std::env::current_exe().unwrap();
        // Inside, the user is root already: a second refusal is an error, not a further attempt.
        let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        assert!(
            !is_root,
            "cannot mount: {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .arg(program)
            .args([test, "--exact", "--nocapture"])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "run this test as root, or let users have name spaces of their own: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes the disk `ro` or `rw`.
    pub(crate) fn remount(&self, mode: &str) {
        let options = format!("remount,bind,{mode}");
        let status = Command::new("mount")
            .args(["-o", &options])
            .arg(self.path())
            .status();
        assert!(status.unwrap().success());
    }

    /// Fills the disk but for a few pages, with a file that can be removed again.
    pub(crate) fn fill(&self) -> PathBuf {
        const LEFT: u64 = 10 * 4096;
        let path = self.path().join("ballast");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length - LEFT).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A connection may still be closing: the disk goes with the last of them.
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.folder.path())
            .status();
    }
}
