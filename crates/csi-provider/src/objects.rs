//! The parameter `objects` of a mount, with the variables filled for its pod.

use std::sync::Arc;

use scaivault_contract::{FileMode, RelativeFile};
use scaivault_csi_class::{Fill, read_objects};
use scaivault_render::{Source, Style};

use crate::failure::Failure;

/// One file of the volume.
#[derive(Debug)]
pub(crate) struct Object {
    /// The secrets or the dynamic credentials.
    pub(crate) source: Source,
    /// The path below the volume.
    pub(crate) file: RelativeFile,
    /// Its permission bits.
    pub(crate) mode: FileMode,
    /// Whether the file is omitted if its secret does not exist.
    pub(crate) is_optional: bool,
    /// The format or template.
    pub(crate) style: Style,
}

/// Parses the parameter and fills in the variables, or returns all problems.
pub(crate) fn read(text: Option<&str>, fill: Fill<'_>) -> Result<Vec<Arc<Object>>, Failure> {
    let objects = read_objects(text, fill).map_err(|faults| {
        let problems = faults.iter().map(ToString::to_string).collect();
        Failure::all_invalid(problems)
    })?;
    objects.into_iter().map(compile).collect()
}

fn compile(object: scaivault_csi_class::Object) -> Result<Arc<Object>, Failure> {
    let scaivault_csi_class::Object { source, file, mode, is_optional, template, encoding, format, .. } =
        object;
    let style = Style::new(&source, template, encoding, Some(format))
        .map_err(|error| Failure::invalid(format!("template: {error}")))?;
    Ok(Arc::new(Object { source, file, mode, is_optional, style }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_reported_at_once() {
        let fill = |text: &str, _| match text {
            "a/${x}" => Err("x is not a variable".to_owned()),
            text => Ok(text.to_owned()),
        };
        let text = "[{path: A, file: x}, {path: 'a/${x}', file: y}, {path: b/c, file: z, template: '{{ x'}]";
        let said = read(Some(text), &fill).unwrap_err().to_string();
        for expected in
            ["objects[0]: path: \"A\"", "objects[1]: path: x is not a variable", "objects[2]: template"]
        {
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }
}
