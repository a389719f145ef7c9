//! The sizes of the CPU's caches.
//!
//! They decide how work is divided into tasks, never the order in which numbers are added, so that results are the same on
//! all CPUs with an instruction set.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// The sizes of a core's caches, in bytes, but no more than [`LARGEST`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Caches {
    pub l2: usize,
    /// Shared with other cores.
    pub l3: usize,
}

/// The sizes from which larger blocks are no faster. They are assumed where the sizes cannot be read.
const LARGEST: Caches = Caches { l2: 1 << 20, l3: 32 << 20 };

impl Caches {
    /// Reads the sizes from a folder in which Linux describes each cache. Sizes that are missing, not plausible or larger than
    /// [`LARGEST`] are replaced by it. Without a third level, the second is the last one.
    fn read(folder: &Path) -> Self {
        let caches = || fs::read_dir(folder).into_iter().flatten().flatten().map(|cache| cache.path());
        let size = |level: &str| {
            let of_level = |cache: &Path| read(cache, "level").as_deref() == Some(level);
            let cache = caches().find(|cache| of_level(cache))?;
            let kib: usize = read(&cache, "size")?.strip_suffix('K')?.parse().ok()?;
            (kib >= 64).then(|| kib.saturating_mul(1 << 10))
        };
        let (l2, l3) = (size("2"), size("3"));
        Self {
            l2: l2.map_or(LARGEST.l2, |l2| l2.min(LARGEST.l2)),
            l3: l3.or(l2).map_or(LARGEST.l3, |l3| l3.min(LARGEST.l3)),
        }
    }
}

fn read(cache: &Path, name: &str) -> Option<String> {
    Some(fs::read_to_string(cache.join(name)).ok()?.trim().to_owned())
}

/// The sizes of this CPU's caches.
pub fn caches() -> Caches {
    static CACHES: OnceLock<Caches> = OnceLock::new();
    *CACHES.get_or_init(|| Caches::read(Path::new("/sys/devices/system/cpu/cpu0/cache")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a folder of caches, each with a level and a size, and reads it.
    fn read(caches: &[(&str, &str)]) -> Caches {
        let folder = tempfile::tempdir().unwrap();
        for (i, (level, size)) in caches.iter().enumerate() {
            let cache = folder.path().join(format!("index{i}"));
            fs::create_dir(&cache).unwrap();
            fs::write(cache.join("level"), format!("{level}\n")).unwrap();
            fs::write(cache.join("size"), format!("{size}\n")).unwrap();
        }
        Caches::read(folder.path())
    }

    #[test]
    fn sizes_are_read_from_the_system() {
        let caches = [("1", "32K"), ("1", "32K"), ("2", "256K"), ("3", "6144K")];
        assert_eq!(read(&caches), Caches { l2: 256 << 10, l3: 6 << 20 });
    }

    #[test]
    fn the_second_level_may_be_the_last() {
        assert_eq!(read(&[("1", "64K"), ("2", "4096K")]), Caches { l2: LARGEST.l2, l3: 4 << 20 });
    }

    #[test]
    fn sizes_that_are_missing_not_plausible_or_large_are_the_largest() {
        let large = &[("2", "2048K"), ("3", "99999999999999999K")];
        for caches in [&[][..], &[("2", "0K"), ("3", "huge")], &[("2", "99999999999999999999K")], large] {
            assert_eq!(read(caches), LARGEST);
        }
    }
}
