//! The picture of our provision states, `docs/states.svg`: for each kind of work, from where it begins and where it leads.
//! What it shows is asked of the core, like the table.
use crate::Row;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The states of one kind of work.
const WORK: &[&[&str]] = &[
    &["verifying"],
    &["inspecting", "inspect wait"],
    &["cleaning", "clean wait", "clean hold"],
    &["adopting"],
    &["deploying", "wait call-back", "deploy hold"],
    &["servicing", "service wait", "service hold"],
    &["rescuing", "rescue wait"],
    &["unrescuing"],
    &["deleting"],
];

const LINE: usize = 24;
const GAP: usize = 26;
const LEFT: usize = 12;
const SIDE: usize = 280;
const MIDDLE: usize = 376;
const BOX: usize = 128;
const RIGHT: usize = 880;
const WIDTH: usize = RIGHT + SIDE + LEFT;

/// A place on either side of the work: the state, and what leads there or from there.
type Sides = BTreeMap<&'static str, Vec<&'static str>>;

/// As an operator types it, where it is a verb.
fn said(event: &'static str, state: &str) -> &'static str {
    match (event, state) {
        ("delete", _) => "undeploy",
        // Ironic's name for the end of a manual cleaning.
        ("manage", "cleaning" | "clean wait" | "clean hold") => "done, after clean",
        (_, _) => event,
    }
}

fn note(sides: &mut Sides, state: &'static str, event: &'static str) {
    let events = sides.entry(state).or_default();
    if !events.contains(&event) {
        events.push(event);
    }
}

pub fn svg(rows: &[Row]) -> String {
    let mut body = String::new();
    let mut top = LEFT;
    for work in WORK {
        top = draw_work(&mut body, rows, work, top) + GAP;
    }
    top = draw_rests(&mut body, rows, top);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

/// What begins this work on the left, where it ends on the right. Returns where it ends on the page.
fn draw_work(body: &mut String, rows: &[Row], work: &[&str], top: usize) -> usize {
    let (mut from, mut to) = (Sides::new(), Sides::new());
    for row in rows {
        let Some(next) = row.ours else { continue };
        match (work.contains(&row.state), work.contains(&next)) {
            (false, true) => note(&mut from, row.state, said(row.event, row.state)),
            (true, false) => note(&mut to, next, said(row.event, row.state)),
            (true, true) | (false, false) => {}
        }
    }
    let height = from.len().max(to.len()).max(1) * LINE;
    let middle = top + height / 2;
    let end = MIDDLE + work.len() * (BOX + 12) - 12;
    for (i, (state, events)) in from.iter().enumerate() {
        let y = top + i * LINE;
        label(body, LEFT, y, &format!("{state} · {}", events.join(", ")));
        arrow(body, (LEFT + SIDE, y + LINE / 2), (MIDDLE, middle));
    }
    for (i, (state, events)) in to.iter().enumerate() {
        let y = top + i * LINE;
        arrow(body, (end, middle), (RIGHT, y + LINE / 2));
        label(body, RIGHT, y, &format!("{} → {state}", events.join(", ")));
    }
    for (i, state) in work.iter().enumerate() {
        let (x, y) = (MIDDLE + i * (BOX + 12), middle - LINE / 2);
        let fill = match i {
            0 => "#cfe3f7",
            1 => "#e4eef9",
            _ => "#f7ecd0",
        };
        let _ = writeln!(
            body,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{BOX}\" height=\"{LINE}\" rx=\"4\" fill=\"{fill}\" stroke=\"#456\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{state}</text>",
            x + BOX / 2,
            y + 16
        );
    }
    top + height
}

/// What an operator changes without any work.
fn draw_rests(body: &mut String, rows: &[Row], top: usize) -> usize {
    let works = |state: &str| WORK.iter().any(|work| work.contains(&state));
    let rests = rows.iter().filter_map(|row| {
        let next = row.ours.filter(|next| !works(next) && !works(row.state))?;
        Some(format!("{} · {} → {next}", row.state, row.event))
    });
    let mut y = top;
    for words in rests {
        label(body, LEFT, y, &words);
        y += LINE;
    }
    y + LEFT
}

fn label(body: &mut String, x: usize, y: usize, words: &str) {
    let _ = writeln!(
        body,
        "<rect x=\"{x}\" y=\"{}\" width=\"{SIDE}\" height=\"{}\" rx=\"9\" fill=\"#f2f2f2\" stroke=\"#aaa\"/>\
         <text x=\"{}\" y=\"{}\">{words}</text>",
        y + 2,
        LINE - 4,
        x + 9,
        y + 16
    );
}

fn arrow(body: &mut String, (x1, y1): (usize, usize), (x2, y2): (usize, usize)) {
    let bend = (x1 + x2) / 2;
    let _ = writeln!(
        body,
        "<path d=\"M{x1} {y1} C{bend} {y1} {bend} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#678\"/>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ironic, ours, rows};
    use std::path::Path;

    #[test]
    fn the_picture_in_docs_is_what_the_core_does() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/states.svg");
        let now = svg(&rows());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &now).expect("write the picture");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == now,
            "docs/states.svg is not what the core does: UPDATE_DOCS=1 cargo test -p ironbeat-states"
        );
    }

    #[test]
    fn every_state_that_we_have_is_in_the_picture() {
        let picture = svg(&rows());
        for state in ironic::states() {
            let there = picture.contains(&format!("{state} ·"))
                || picture.contains(&format!("→ {state}<"))
                || picture.contains(&format!(">{state}<"));
            assert_eq!(there, ours::node_in(state).is_some(), "{state}");
        }
    }
}
