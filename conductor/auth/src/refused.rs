//! What a server says when a login may not do something: an event of the connection, long after the call returned well.
//! Who waits for it, and who is told, is in the conductor and the command line.
use std::fmt;

/// A subject that the server refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    Publish(String),
    Hear(String),
}

impl Refused {
    /// From the text of the server's error; none: it is about something else.
    pub fn parse(error: &str) -> Option<Self> {
        let rest = error.split_once("Permissions Violation for ")?.1;
        let (what, rest) = rest.split_once(" to \"")?;
        let subject = rest.split_once('"').map_or(rest, |(subject, _)| subject);
        match what {
            "Publish" => Some(Self::Publish(subject.into())),
            "Subscription" => Some(Self::Hear(subject.into())),
            _ => None,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(subject) => write!(f, "permission to publish to {subject}"),
            Self::Hear(subject) => write!(f, "permission to listen on {subject}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_servers_are_understood() {
        let check = |text: &str, expected: Option<Refused>| {
            assert_eq!(Refused::parse(text), expected, "{text}");
        };
        check(
            r#"Permissions Violation for Publish to "ib.v1.api.bmc.raw""#,
            Some(Refused::Publish("ib.v1.api.bmc.raw".into())),
        );
        check(
            r#"nats: Permissions Violation for Subscription to ">""#,
            Some(Refused::Hear(">".into())),
        );
        check(
            r#"Permissions Violation for Subscription to "ib.v1.lookup" using queue "conductor""#,
            Some(Refused::Hear("ib.v1.lookup".into())),
        );
        check("maximum connections exceeded", None);
        check("Permissions Violation for Something", None);
    }
}
