//! The agent's image, and the platform's allow-list of images.

use super::Reason;

/// Parses a container image reference. Only as strict as necessary to exclude anything else.
pub(crate) fn image(text: &str) -> Result<String, Reason> {
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let repository = name[slash..].split_once(':').map_or(name, |(last, _)| &name[..slash + last.len()]);
    // The host of a registry may have upper-case letters.
    let path = repository.split_once('/').map_or(repository, |(_, path)| path);
    let fits = !text.is_empty()
        && !path.contains(|c: char| c.is_ascii_uppercase())
        && text.len() <= 512
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "./:@_-".contains(c))
        // A `..` would lead out of the repository that an allow-list entry names.
        && text.trim_end_matches('/').split('/').all(|part| part.starts_with(|c: char| c.is_ascii_alphanumeric()));
    if fits { Ok(text.to_owned()) } else { Err("not an image".into()) }
}

/// Whether an allow-list entry matches an image: the same image; or, if the entry is a repository,
/// any tag, digest or sub-repository of it; or, if the entry is a host, any image on it. A host
/// without a port does not match other ports of that host.
pub(crate) fn image_is_below(image: &str, entry: &str) -> bool {
    let entry = entry.trim_end_matches('/');
    let next: &[char] = if entry.contains('/') { &['/', ':', '@'] } else { &['/'] };
    image.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_an_image_leads_out_of_another() {
        for text in ["agent", "r.example:5000/team/agent:1.0", "r.example/a@sha256:0", "r.example/"] {
            assert!(image(text).is_ok(), "{text}");
        }
        for text in
            ["", "r.example/a/../b", "r.example/./b", "r.example//b", "../b", "r.example/-b", "r.example/a b"]
        {
            assert!(image(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_allow_list_does_not_let_lookalikes_through() {
        assert!(image_is_below("r.example/team/agent:1", "r.example/team/agent"));
        assert!(image_is_below("r.example/team/agent@sha256:0", "r.example"));
        assert!(!image_is_below("r.example/team/agent-evil:1", "r.example/team/agent"));
        assert!(!image_is_below("r.example:5000/agent", "r.example"));
        assert!(!image_is_below("r.example:5000/agent", "r.example/"));
    }
}
