//! Checks against the limits of the platform and the cluster.

use super::{Diagnostics, Inputs};
use crate::{
    annotations::{ExactKey, NamedKey, image_is_below},
    kube_version::KubeVersion,
    problem::{Code, Excerpt, Layer, Problem},
};

pub(super) fn check(inputs: &Inputs<'_, '_>, diagnostics: &mut Diagnostics<'_>) {
    if inputs.pod.is_windows() {
        diagnostics.problem(
            Code::Windows,
            None,
            None,
            "the pod is for Windows nodes, and the agent has no Windows image",
            "remove the annotations, or opt the pod out with mutation-mode: ignore",
        );
    }
    url(inputs, diagnostics);
    image(inputs, diagnostics);
    variables(inputs, diagnostics);
}

fn url(inputs: &Inputs<'_, '_>, diagnostics: &mut Diagnostics<'_>) {
    let Inputs { draft, settings, replaced_lists, .. } = *inputs;
    let (url, layer) = (&draft.url, draft.layer_of(ExactKey::Url));
    if layer.is_in_base() {
        return;
    }
    let allowed = !layer.is_bounded()
        || replaced_lists.urls
        || *url == settings.base.url
        || settings.config.allowed_urls.iter().any(|entry| url.is_below(entry));
    if !allowed {
        diagnostics.problems.push(refused(
            ExactKey::Url,
            layer,
            url.as_str(),
            "the platform's allow-list does not cover this URL",
            &settings.config.allowed_urls,
            "remove the annotation, or have the URL added to the injector's allowedUrls",
        ));
    } else if url.is_plain_http() && !settings.config.allow_http {
        diagnostics.problems.push(refused(
            ExactKey::Url,
            layer,
            url.as_str(),
            "http would send the token and the secrets in the clear",
            &[],
            "use https",
        ));
    }
}

fn image(inputs: &Inputs<'_, '_>, diagnostics: &mut Diagnostics<'_>) {
    let Inputs { draft, settings, replaced_lists, .. } = *inputs;
    if !replaced_lists.images
        && let Some(image) = &draft.image
        && draft.layer_of(ExactKey::Image).is_bounded()
        && !settings.config.allowed_images.iter().any(|entry| image_is_below(image, entry))
    {
        diagnostics.problems.push(refused(
            ExactKey::Image,
            draft.layer_of(ExactKey::Image),
            image,
            "the platform's allow-list does not cover this image",
            &settings.config.allowed_images,
            "remove the annotation, or have the image added to the injector's allowedImages",
        ));
    }
}

fn variables(inputs: &Inputs<'_, '_>, diagnostics: &mut Diagnostics<'_>) {
    let Inputs { draft, kube_version, .. } = *inputs;
    if kube_version.has_file_key_ref() {
        return;
    }
    for variable in draft.variables.keys() {
        diagnostics.named_problem(
            Code::KubeVersion,
            (NamedKey::InjectEnv, variable.as_str()),
            None,
            format!(
                "variables need Kubernetes {} on every node, and this cluster counts as {kube_version}",
                KubeVersion::FILE_KEY_REF
            ),
            format!(
                "read a file instead (inject-secret-<name>), upgrade the nodes, or offline set --kube-version {}",
                KubeVersion::FILE_KEY_REF
            ),
        );
    }
}

fn refused(
    key: ExactKey,
    layer: &Layer,
    value: &str,
    message: &'static str,
    list: &[String],
    fix: &'static str,
) -> Problem {
    let shown: Vec<&str> = list.iter().take(8).map(String::as_str).collect();
    Problem {
        code: Code::NotAllowed,
        key: Some(key.text().to_owned()),
        layer: layer.clone(),
        value: Some(Excerpt::new(value)),
        message: message.into(),
        allowed: (!shown.is_empty()).then(|| shown.join(", ").into()),
        fix: fix.into(),
    }
}
