//! Writes the table of roles in docs/security.md, or compares it with what is there.
//! That servers hold to it is tried in `broker`.
use ironbeat_auth::roles::{Role, Template};
use ironbeat_auth::streams;
use ironbeat_document as document;

const PREFIX: &str = "ib.v1";

/// Endpoints have a table of their own.
fn list(subjects: &[String], role: Role) -> String {
    let api = format!("{PREFIX}.api.");
    let (asked, others): (Vec<_>, Vec<_>) = subjects
        .iter()
        .filter(|subject| !subject.starts_with(&api) || subject.ends_with('>'))
        .partition(|subject| subject.starts_with("$JS.API.") && *subject != "$JS.API.>");
    let mut all: Vec<_> = others
        .into_iter()
        .map(|subject| {
            let subject = subject
                .replace("{{subject()}}", "KEY")
                .replace("{{name()}}", "NODE");
            format!("`{subject}`")
        })
        .collect();
    all.extend(of_streams(&asked));
    if let Some(rank) = role.person()
        && subjects
            .iter()
            .any(|subject| subject.starts_with(&api) && !subject.ends_with('>'))
    {
        let rank = format!("{rank:?}").to_lowercase();
        all.insert(0, format!("the endpoints of {rank}s"));
    }
    all.join(", ")
}

/// Each subject of JetStream's API once, with the streams for which it is allowed.
fn of_streams(asked: &[&String]) -> Vec<String> {
    let names: Vec<String> = streams::all(PREFIX).into_iter().map(|it| it.0).collect();
    let mut verbs: Vec<(String, Vec<&str>)> = vec![];
    for subject in asked {
        let tokens = subject.split('.');
        let stream = tokens
            .clone()
            .find_map(|token| names.iter().find(|name| *name == token));
        let stream = stream.expect("it is about a stream");
        let tokens: Vec<&str> = tokens
            .map(|token| if token == stream { "STREAM" } else { token })
            .collect();
        let verb = tokens.join(".");
        match verbs.iter_mut().find(|(known, _)| *known == verb) {
            Some((_, of)) => of.push(stream),
            None => verbs.push((verb, vec![stream])),
        }
    }
    let line = |(verb, of): (String, Vec<&str>)| {
        let lacks: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| !of.contains(name))
            .collect();
        let of = match lacks[..] {
            [] => "all".into(),
            [one] => format!("all but {one}"),
            _ => of.join(" "),
        };
        format!("`{verb}` ({of})")
    };
    verbs.into_iter().map(line).collect()
}

#[test]
fn the_table_of_roles_is_written_from_their_templates() {
    let rows = Role::ALL.map(|role| {
        let Template {
            publish,
            hear,
            subs,
            payload,
            ..
        } = role.template(PREFIX);
        assert!(publish.deny.is_empty());
        let mut hears = list(&hear.allow, role);
        if !hear.deny.is_empty() {
            let (queues, subjects): (Vec<_>, Vec<_>) =
                hear.deny.into_iter().partition(|deny| deny == "> >");
            let mut not: Vec<_> = subjects
                .iter()
                .map(|subject| format!("`{subject}`"))
                .collect();
            not.extend(queues.iter().map(|_| "in any queue group".to_string()));
            hears += &format!("; not {}", not.join(", "));
        }
        let mut bounds = vec![];
        if payload > 0 {
            bounds.push(format!("{} KiB a message", payload >> 10));
        }
        if subs > 0 {
            bounds.push(format!("{subs} subscriptions"));
        }
        let publish = list(&publish.allow, role);
        vec![role.to_string(), publish, hears, bounds.join(", ")]
    });
    let head = ["role", "may publish", "may hear", "bounds"];
    document::holds("docs/security.md", "roles", &document::table(&head, &rows)).unwrap();
}
