//! Failures to create or write the output folder.

use super::outdir::{Outdir, save};
use super::{flat, names};
use std::fs;

#[test]
fn a_file_in_the_way_is_named() {
    let (outdir, inside) = (Outdir::new(), Outdir::new());
    fs::create_dir(inside.path()).unwrap();
    for (outdir, file) in [(&outdir, outdir.path()), (&inside, inside.path().join("samples"))] {
        fs::write(&file, "in the way").unwrap();
        let expected = format!("'{}' is a file, not a folder: choose another --outdir", file.display());
        assert_eq!(outdir.refusal(), expected);
    }
}

#[cfg(unix)]
#[test]
fn a_link_to_nothing_in_the_way_is_named() {
    let outdir = Outdir::new();
    std::os::unix::fs::symlink("/nowhere/at/all", outdir.path()).unwrap();
    let expected =
        format!("'{}' is a link to a missing folder or to itself: choose another --outdir", outdir.path().display());
    assert_eq!(outdir.refusal(), expected);
}

#[test]
fn a_failed_picture_is_named_and_leaves_nothing() {
    let outdir = Outdir::new();
    let mut folder = outdir.open();
    fs::remove_dir(outdir.path().join("samples")).unwrap();
    let error = format!("{:#}", save(&mut folder, &flat(8, 8, 1)).unwrap_err());
    let path = outdir.path().join("samples/00000.png");
    assert!(error.starts_with(&format!("cannot write '{}': ", path.display())), "{error}");
    assert_eq!(names(&outdir.path()), ["run.jsonl"]);
}

#[test]
fn a_picture_of_another_length_is_refused() {
    let mut picture = flat(8, 8, 1);
    picture.rgb.pop();
    let outdir = Outdir::new();
    let error = save(&mut outdir.open(), &picture).unwrap_err().to_string();
    assert_eq!(error, "a picture of 8x8 pixels has 191 values");
    assert!(outdir.files().is_empty());
}

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use crate::output::outdir::open;
    use crate::output::waves;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::Command;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_picture_has_the_permissions_of_any_new_file() {
        let outdir = Outdir::with(&["ordinary"]);
        let path = save(&mut outdir.open(), &flat(8, 8, 1)).unwrap();
        assert_eq!(mode(&path), mode(&outdir.path().join("ordinary")));
    }

    #[test]
    fn an_unwritable_folder_is_named() {
        let outdir = Outdir::with(&[]);
        fs::set_permissions(outdir.path(), fs::Permissions::from_mode(0o555)).unwrap();
        // The superuser may write to any folder.
        if fs::write(outdir.path().join("probe"), "").is_err() {
            let expected = format!(
                "cannot write to the folder '{}'; choose another --outdir: Permission denied (os error 13)",
                outdir.path().display()
            );
            assert_eq!(outdir.refusal(), expected);
        }
    }

    /// A file size limit simulates a full disk: the test runs itself again under one.
    #[test]
    fn a_full_disk_is_named_and_leaves_nothing() {
        const OUTDIR: &str = "TXT2IMG_TEST_FULL_OUTDIR";
        if let Some(outdir) = std::env::var_os(OUTDIR) {
            let error = save(&mut open(&outdir).unwrap(), &waves(512, 512)).unwrap_err();
            return println!("refused: {error:#}.");
        }
        let outdir = Outdir::new();
        let run = Command::new("sh")
            // With SIGXFSZ ignored, a write beyond the limit is an error and does not kill the process.
            .args([
                "-c",
                r#"trap '' XFSZ; ulimit -f 16; exec "$0" --nocapture a_full_disk_is_named_and_leaves_nothing"#,
            ])
            .arg(std::env::current_exe().unwrap())
            .env(OUTDIR, outdir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        let path = outdir.path().join("samples/00000.png");
        assert!(said.contains(&format!("refused: cannot write '{}': File too large", path.display())), "{said}");
        assert!(outdir.files().is_empty());
    }
}
