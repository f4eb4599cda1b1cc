//! What can be answered from the system's memory, without waiting for a disk: then a request need not change threads,
//! which costs more than all the rest of its answer. Linux alone can say so; elsewhere nothing is quick.

use std::fs::File;
use std::path::Path;

#[cfg(target_os = "linux")]
mod system {
    use super::{File, Path};
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2, statfs};

    /// File systems on disks of this machine and in its memory, by their magic numbers: ext, XFS, Btrfs, F2FS, ZFS, tmpfs
    /// and overlays of these. To open a file of any other may mean to ask another machine.
    const LOCAL: [u32; 7] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1, 0x0102_1994, 0x794c_7630];

    pub fn is_local(root: &Path) -> bool {
        statfs(root).is_ok_and(|found| LOCAL.contains(&(found.f_type as u32)))
    }

    pub fn open(path: &Path) -> Option<File> {
        get(path, OFlags::RDONLY | OFlags::NONBLOCK)
    }

    pub fn exists(path: &Path) -> bool {
        get(path, OFlags::PATH).and_then(|file| file.metadata().ok()).is_some_and(|facts| facts.is_file())
    }

    fn get(path: &Path, how: OFlags) -> Option<File> {
        let where_it_is = ResolveFlags::CACHED | ResolveFlags::NO_SYMLINKS;
        openat2(CWD, path, how | OFlags::CLOEXEC, Mode::empty(), where_it_is).ok().map(File::from)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{File, Path};

    pub fn is_local(_: &Path) -> bool {
        false
    }

    pub fn open(_: &Path) -> Option<File> {
        None
    }

    pub fn exists(_: &Path) -> bool {
        false
    }
}

/// Returns whether files below a directory may be opened without asking another machine.
pub fn is_local(root: &Path) -> bool {
    system::is_local(root)
}

/// Opens a file if the system knows the way there by heart and no symbolic link is on it.
pub fn open(path: &Path) -> Option<File> {
    system::open(path)
}

/// Returns whether the system knows by heart that there is a file; false says nothing.
pub fn exists(path: &Path) -> bool {
    system::exists(path)
}
