//! Composes files on threads for blocking work, because tenants write the templates, and probes and other
//! mounts must not wait for them.

use std::{num::NonZeroU64, sync::Arc};

use scaivault_client::{Secret, SecretData};
use scaivault_contract::TEMPLATE_FUEL;
use scaivault_render::{Content, RenderError, Style, TemplateError, render_within};
use tokio::{
    sync::{Mutex, Semaphore},
    task::spawn_blocking,
};

use crate::{
    failure::{Failure, FailureKind},
    objects::Object,
};

/// The step limit of all templates of one mount. Files without a template need no step limit: their number
/// and size are limited, and formatting a secret takes less time than the client needs to validate it.
const STEPS_OF_MOUNT: u64 = 5 * TEMPLATE_FUEL;
/// The number of bytes of a template, or of a secret that it gets, that count as a step.
const BYTES_OF_STEP: NonZeroU64 = NonZeroU64::new(16).unwrap();
/// The number of files that are composed concurrently.
const AT_ONCE: usize = 2;
/// Up to this size, files without a template are composed on the calling thread, because a thread switch
/// would cost more.
const LIGHT_MAX_BYTES: u64 = 16 * 1024;

/// The data of a file.
pub(crate) enum Input {
    Secret(Arc<Secret>),
    Lease(SecretData),
}

impl Input {
    fn content(&self) -> Content<'_> {
        match self {
            Self::Secret(secret) => Content { version: Some(secret.version), data: &secret.data },
            Self::Lease(data) => Content { version: None, data },
        }
    }
}

/// Composes the files of all mounts.
pub(crate) struct Renderer {
    turns: Arc<Semaphore>,
}

/// The steps that are left for the templates of a mount. Its files are composed one after another, so that a
/// mount with many files has only one place in the queue.
pub(crate) struct Steps(Mutex<u64>);

impl Steps {
    pub(crate) fn for_mount() -> Self {
        Self(Mutex::new(STEPS_OF_MOUNT))
    }
}

impl Renderer {
    pub(crate) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The bytes of a file.
    pub(crate) async fn render(
        &self,
        object: &Arc<Object>,
        read: Vec<Input>,
        steps: &Steps,
    ) -> Result<Vec<u8>, Failure> {
        let mut left = steps.0.lock().await;
        let template = match &object.style {
            Style::Template(template) => Some(template.text().len()),
            Style::Format(_) | Style::Decoded(_) => None,
        };
        let secrets = read.iter().map(|read| read.content().data.json().len());
        let bytes = secrets.chain(template).fold(0, |sum: u64, bytes| sum.saturating_add(bytes as u64));
        if template.is_some() {
            *left = left.checked_sub(bytes / BYTES_OF_STEP).ok_or_else(too_many_steps)?;
        }
        let allowed = *left;
        let rendered = if template.is_none() && bytes <= LIGHT_MAX_BYTES {
            compose(object, &read, &mut left)
        } else {
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            let (object, mut steps) = (Arc::clone(object), allowed);
            let composing = spawn_blocking(move || {
                // Held until the file is composed, even after the deadline of the mount.
                let _turn = turn;
                (compose(&object, &read, &mut steps), steps)
            });
            let (rendered, steps) = composing.await.map_err(|_| Failure::internal())?;
            *left = steps;
            rendered
        };
        rendered.map_err(|error| match error {
            RenderError::Template(TemplateError::OutOfFuel) if allowed < TEMPLATE_FUEL => too_many_steps(),
            error => {
                let kind = if error.is_absent() { FailureKind::NotFound } else { FailureKind::Invalid };
                Failure::new(kind, format!("{} -> {}: {error}", object.source, object.file))
            }
        })
    }
}

fn compose(object: &Object, read: &[Input], steps: &mut u64) -> Result<Vec<u8>, RenderError> {
    let contents: Vec<_> = read.iter().map(Input::content).collect();
    render_within(&object.source, &object.style, &contents, steps)
}

fn too_many_steps() -> Failure {
    Failure::invalid(format!(
        "the templates of the volume take more than {STEPS_OF_MOUNT} steps together (their own, and one for each {BYTES_OF_STEP} bytes of a \
         template and of the secrets that it gets); simplify the templates, use fields without a template, or use several volumes"
    ))
}

#[cfg(test)]
impl Renderer {
    /// All turns.
    pub(crate) async fn hold_turns(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.turns.acquire_many(u32::try_from(AT_ONCE).unwrap()).await.unwrap()
    }
}
