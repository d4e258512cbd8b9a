//! The positions in a text where variables are allowed.

use super::{Place, Variable, VariableFault};

/// The current position while a text is scanned.
pub(super) struct Position {
    place: Place,
    /// In a list of secrets, whether the position is in a path; in a dynamic secret, whether it is
    /// in an engine or a role.
    takes: bool,
    /// The current word, up to its `=`.
    word: String,
    /// Whether that word has a variable.
    has_variable: bool,
}

impl Position {
    pub(super) fn new(place: Place) -> Self {
        Self { place, takes: place != Place::Dynamic, word: String::new(), has_variable: false }
    }

    /// Moves past a literal.
    pub(super) fn pass(&mut self, literal: &str) -> Option<VariableFault> {
        let mut fault = None;
        for c in literal.chars() {
            match self.place {
                Place::Secrets => match c {
                    '=' if self.has_variable => fault = fault.or_else(|| Some(misplaced("an alias"))),
                    '=' => self.takes = true,
                    '#' | '@' => self.takes = false,
                    _ if c == ',' || c.is_ascii_whitespace() => {
                        self.takes = true;
                        self.has_variable = false;
                    }
                    _ => {}
                },
                Place::Dynamic => match c {
                    _ if c.is_ascii_whitespace() => {
                        self.word.clear();
                        self.takes = false;
                    }
                    '=' => self.takes = matches!(&*self.word, "engine" | "role"),
                    // No keyword is longer.
                    _ if self.word.len() < 8 => self.word.push(c),
                    _ => {}
                },
                Place::DynamicName | Place::Role | Place::PathGlob | Place::DynamicGlob | Place::RoleGlob => {
                }
            }
        }
        fault
    }

    /// The variable, if it is allowed at this position.
    pub(super) fn at<'t>(&mut self, variable: Variable<'t>) -> Result<Variable<'t>, VariableFault> {
        self.has_variable = true;
        if !self.takes {
            return Err(misplaced(match self.place {
                Place::Dynamic => "anything but engine= and role=",
                _ => "a field or a version",
            }));
        }
        match variable {
            Variable::Pod(_) if !self.place.takes_pod_variables() => Err(VariableFault::new(
                format!("{variable} is only known to the agent, which logs in before it fills it"),
                "use ${service-account}, ${namespace} or a label",
            )),
            _ => Ok(variable),
        }
    }
}

fn misplaced(part: &str) -> VariableFault {
    VariableFault::new(
        format!("a variable cannot be used in {part}"),
        "use variables in paths, dynamic engines and roles only",
    )
}
