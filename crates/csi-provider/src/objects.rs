//! The parameter `objects` of a mount, with the variables filled for its pod.

use scaivault_contract::{FileMode, RelativeFile};
use scaivault_csi_class::read_objects;
use scaivault_render::{Source, Style};

use crate::{attributes::Pod, failure::Failure, variables};

/// One file of the volume.
#[derive(Debug)]
pub(crate) struct Object {
    /// What is read.
    pub(crate) source: Source,
    /// Where it is written, below the volume.
    pub(crate) file: RelativeFile,
    /// Its permission bits.
    pub(crate) mode: FileMode,
    /// Whether it is left out if what it is read from does not exist.
    pub(crate) is_optional: bool,
    /// How it is written.
    pub(crate) style: Style,
}

/// Reads the parameter, with the variables filled for `pod`, or all that is wrong with it.
pub(crate) fn read(text: Option<&str>, pod: &Pod) -> Result<Vec<Object>, Failure> {
    let objects = read_objects(text, &|text| variables::fill(text, pod)).map_err(|faults| {
        let problems = faults.iter().map(ToString::to_string).collect();
        Failure::all_invalid(problems)
    })?;
    objects.into_iter().map(compile).collect()
}

fn compile(object: scaivault_csi_class::Object) -> Result<Object, Failure> {
    let scaivault_csi_class::Object { source, file, mode, is_optional, template, encoding, format, .. } =
        object;
    let style = Style::new(&source, template, encoding, Some(format))
        .map_err(|error| Failure::invalid(format!("template: {error}")))?;
    Ok(Object { source, file, mode, is_optional, style })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::tests::pod;

    #[test]
    fn variables_are_filled_with_names_of_the_pod() {
        let text = "[{path: 'db=a/${POD_NAME} api=c/d#key', file: e, template: '{{ secrets.db.data.x }}'}]";
        let objects = read(Some(text), &pod()).unwrap();
        assert_eq!(objects[0].source.to_string(), "db=a/web-0 api=c/d#key");
        assert!(matches!(objects[0].style, Style::Template(_)));
    }

    #[test]
    fn all_problems_are_said_at_once() {
        let said = read(Some("[{path: A, file: x}, {path: 'a/${POD_NAMES}', file: y}]"), &pod()).unwrap_err();
        let said = said.to_string();
        assert!(said.contains("objects[0]: path: \"A\"") && said.contains("objects[1]: path: "), "{said}");
        assert!(said.contains("did you mean"), "{said}");
    }
}
