//! docs/api.md, docs/schema and the table of policies follow from the types: compared here, or written with `UPDATE_DOCS`.
//! `src` has the types; the documents keep their own words around the tables.
use ironbeat_core::decide::Policy;
use ironbeat_core::index::{KEYS, Key};
use ironbeat_core::rules::{ATTRIBUTES, Deed, Operator, Signature};
use ironbeat_document as document;
use ironbeat_ops::ENDPOINTS;
use ironbeat_ops::happening::Happening;
use ironbeat_ops::request::schemas;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// As they are read: what may be left out is not required.
fn requests() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

/// As they are written: what is always there is required.
fn replies() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
}

fn document(about: &str, mut root: Value, definitions: Map<String, Value>) -> String {
    let fields = root.as_object_mut().expect("an object");
    let dialect = "https://json-schema.org/draft/2020-12/schema";
    fields.insert("$schema".into(), dialect.into());
    fields.insert("description".into(), about.into());
    fields.insert("$defs".into(), definitions.into());
    serde_json::to_string_pretty(&root).unwrap() + "\n"
}

#[test]
fn the_schema_of_requests_and_replies_is_written_from_the_types() {
    let (mut requests, mut replies) = (requests(), replies());
    let (mut bodies, mut answers) = (Map::new(), Map::new());
    for (endpoint, body, answer) in schemas(&mut requests, &mut replies) {
        let answer = match endpoint {
            "console.history" => json!({ "description": "Bytes as they are, and no JSON." }),
            _ => answer.to_value(),
        };
        bodies.insert(endpoint.into(), body.to_value());
        answers.insert(endpoint.into(), answer);
    }
    assert_eq!(bodies.len(), ENDPOINTS.len());
    let about = "The body of a request to each endpoint, as a property of that name.";
    let text = document(
        about,
        json!({ "properties": bodies }),
        requests.take_definitions(true),
    );
    document::is("docs/schema/requests.json", &text).unwrap();
    let about = "The reply of each endpoint, as a property of that name.";
    let text = document(
        about,
        json!({ "properties": answers }),
        replies.take_definitions(true),
    );
    document::is("docs/schema/replies.json", &text).unwrap();
}

#[test]
fn the_schema_of_happenings_is_written_from_the_types() {
    let mut happenings = replies();
    let root = Happening::json_schema(&mut happenings).to_value();
    let each = root["oneOf"].as_array().expect("an enum").iter();
    let row = |of: &Value| {
        let kind = &of["properties"]["kind"]["const"];
        let text = |value: &Value| {
            value
                .as_str()
                .expect("a kind with a doc comment")
                .to_string()
        };
        vec![format!("`{}`", text(kind)), text(&of["description"])]
    };
    let table = document::table(&["kind", "when"], &each.map(row).collect::<Vec<_>>());
    document::holds("docs/api.md", "happenings", &table).unwrap();
    let about = "The body of an event.";
    let text = document(about, root, happenings.take_definitions(true));
    document::is("docs/schema/happenings.json", &text).unwrap();
}

/// Not everybody reads Rust.
fn reply(name: &str) -> String {
    match name
        .strip_prefix("Vec<")
        .map(|rest| rest.trim_end_matches('>'))
    {
        Some("u8") => "bytes".into(),
        Some(each) => format!("list of `{each}`"),
        None if name == "Value" => "JSON".into(),
        None => format!("`{name}`"),
    }
}

/// The conductor configures it, but the core has the type, and its schema is here.
#[test]
fn the_table_of_policies_is_written_from_their_type() {
    let schema = requests().into_root_schema_for::<Policy>().to_value();
    let rows = document::options::<Policy>("", &schema, &[]);
    let table = document::table(&["option", "default", "meaning"], &rows);
    document::holds("docs/conductor.md", "policy", &table).unwrap();
}

#[test]
fn the_table_of_endpoints_is_written_from_the_questions() {
    let row = |endpoint: &ironbeat_ops::Endpoint| {
        vec![
            format!("`{}`", ironbeat_ops::subject::api("ib.v1", endpoint.name)),
            format!("{:?}", endpoint.role).to_lowercase(),
            endpoint.about.into(),
            format!("`{}`", endpoint.request),
            reply(endpoint.reply),
        ]
    };
    let head = ["subject", "role", "what it does", "request", "reply"];
    let rows: Vec<_> = ENDPOINTS.iter().map(row).collect();
    document::holds("docs/api.md", "endpoints", &document::table(&head, &rows)).unwrap();
}

#[test]
fn the_operators_guide_has_every_key_of_a_filter() {
    let row = |key: &Key| {
        let words = key.words();
        let values = words.map_or("any text".into(), |words| words.join(", "));
        vec![format!("`{}`", key.name), key.about.into(), values]
    };
    let rows: Vec<_> = KEYS.iter().map(row).collect();
    let table = document::table(&["key", "what it is", "values"], &rows);
    document::holds("docs/operator.md", "filters", &table).unwrap();
}

#[test]
fn what_rules_can_say_is_written_from_the_code() {
    let code = |text: &str| format!("`{text}`");
    let arguments = |signature: &Signature| {
        let required = signature.required.iter().map(|name| code(name));
        let optional = signature
            .optional
            .iter()
            .map(|name| format!("`{name}` (optional)"));
        required.chain(optional).collect::<Vec<_>>().join(", ")
    };
    let operators = Operator::ALL.map(|one| {
        vec![
            code(one.name()),
            arguments(&one.signature()),
            one.about().into(),
        ]
    });
    let table = document::table(&["condition", "arguments", "it holds when"], &operators);
    document::holds("docs/rules.md", "operators", &table).unwrap();
    let deeds = Deed::ALL.map(|one| {
        vec![
            code(one.name()),
            arguments(&one.signature()),
            one.about().into(),
        ]
    });
    let table = document::table(&["action", "arguments", "what it does"], &deeds);
    document::holds("docs/rules.md", "actions", &table).unwrap();
    let paths = ATTRIBUTES.iter().map(|(name, deep, about)| {
        let path = match deep {
            true => format!("`{name}/KEY…`"),
            false => code(name),
        };
        vec![path, about.to_string()]
    });
    let paths: Vec<Vec<String>> = paths.collect();
    let table = document::table(&["path", "what it is"], &paths);
    document::holds("docs/rules.md", "attributes", &table).unwrap();
}
