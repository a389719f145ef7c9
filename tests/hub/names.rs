//! Names of repositories, and names that can only be paths.

use txt2img::checkpoint::hub::Repo;

fn parts(text: &str) -> Option<(String, String, Option<String>, Option<String>)> {
    Repo::parse(text).map(|repo| (repo.owner, repo.name, repo.revision, repo.file))
}

#[test]
fn repository_names_are_parsed() {
    let some = |text: &str| Some(text.to_string());
    let of = |owner: &str, name: &str| (owner.to_string(), name.to_string());
    for (text, (owner, name), revision, file) in [
        ("CompVis/stable-diffusion", of("CompVis", "stable-diffusion"), None, None),
        ("a/b@fp16", of("a", "b"), some("fp16"), None),
        ("a/b@refs/pr/4", of("a", "b"), some("refs/pr/4"), None),
        ("a/v1.5:x.ckpt", of("a", "v1.5"), None, some("x.ckpt")),
        ("a/b_c@main:sub dir/x.ckpt", of("a", "b_c"), some("main"), some("sub dir/x.ckpt")),
    ] {
        assert_eq!(parts(text), Some((owner, name, revision, file)), "{text}");
    }
    assert_eq!(Repo::parse("hub"), Some(Repo::stable_diffusion_1_5()));
    assert_eq!(Repo::stable_diffusion_1_5().to_string(), "stable-diffusion-v1-5/stable-diffusion-v1-5");
}

#[test]
fn paths_are_not_repository_names() {
    for text in [
        "",
        "/",
        "model",
        "model.ckpt",
        "models/foo.ckpt",
        "models/foo.CKPT",
        "models/foo.safetensors",
        "/a/b",
        "./a",
        "./a/b",
        "../b",
        "~/b",
        "a/b/c",
        "a/",
        "/b",
        "a//b",
        "a/b.",
        "a/.b",
        "a/b c",
        "C:\\models\\b",
        "C:/models/b",
        "a/b@",
        "a/b:",
        "a/b@../../x",
        "a/b@x/.y",
        "a/b:../x.ckpt",
        "a/b:/etc/passwd",
        "a/b:x/",
        "a/b:x\\y",
        "a/b\0",
        "models/ldm/stable-diffusion-v1/model.ckpt",
        "a/b:x\ny",
        "hub:x",
        "HUB",
    ] {
        assert_eq!(Repo::parse(text), None, "{text}");
    }
    assert_eq!(Repo::parse(&format!("a/{}", "b".repeat(97))), None);
}
