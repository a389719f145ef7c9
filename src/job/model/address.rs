//! Advice for URLs given as paths.

use crate::checkpoint::hub::Repo;
use std::path::Path;

/// Returns advice on what to give instead, if a path is a URL.
pub fn hint(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    let address = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme))?;
    let hub = ["huggingface.co/", "www.huggingface.co/", "hf.co/"].iter().find_map(|host| address.strip_prefix(host));
    Some(match hub.and_then(repository) {
        Some(name) => format!("give {name} to download it from the Hugging Face hub"),
        None => {
            "download the file and give its path, or OWNER/NAME:FILE for a file on the Hugging Face hub".to_string()
        }
    })
}

/// Converts the path of a URL on the hub, OWNER/NAME[/resolve/REVISION/FILE] with `resolve`, `blob` or `tree`, to
/// OWNER/NAME[@REVISION][:FILE].
fn repository(path: &str) -> Option<String> {
    let path = path.split(['?', '#']).next()?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (id, rest) = parts.split_at_checked(2)?;
    let mut name = id.join("/");
    if let ["resolve" | "blob" | "tree", revision, file @ ..] = rest {
        if *revision != "main" {
            name += &format!("@{revision}");
        }
        if !file.is_empty() {
            name += &format!(":{}", file.join("/"));
        }
    }
    Repo::parse(&name).map(|_| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_hub_become_repository_names() {
        for (address, name) in [
            ("https://huggingface.co/a/b", "a/b"),
            ("https://huggingface.co/a/b/resolve/main/x.safetensors?download=true", "a/b:x.safetensors"),
            ("https://huggingface.co/a/b/blob/fp16/unet/x.bin", "a/b@fp16:unet/x.bin"),
            ("http://hf.co/a/b/tree/main", "a/b"),
        ] {
            assert_eq!(hint(Path::new(address)), Some(format!("give {name} to download it from the Hugging Face hub")));
        }
    }

    #[test]
    fn other_urls_get_advice_to_download() {
        for address in ["https://civitai.com/api/download/models/1", "https://huggingface.co/", "http://"] {
            assert!(hint(Path::new(address)).unwrap().starts_with("download the file"), "{address}");
        }
        assert_eq!(hint(Path::new("models/x.ckpt")), None);
    }
}
