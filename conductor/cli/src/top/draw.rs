//! What `ironbeat top` shows, drawn from what it knows: made for 80 columns and 24 lines, and whatever more there is.
//! `fleet` orders the nodes; the time is handed in.
use super::fleet::{Fleet, How, is_failed};
use crate::out::visible_line;
use ironbeat_common::id::NodeId;
use ironbeat_core::explain::human;
use ironbeat_core::time::Time;
use ironbeat_ops::reply::WorkerInfo;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table, TableState, Wrap};
use std::cmp::Reverse;

/// Where the operator is, and what there is beside the fleet.
#[derive(Default)]
pub(super) struct Screen {
    pub filter: String,
    /// The filter is being typed.
    pub is_typing: bool,
    pub order: Vec<(How, NodeId)>,
    pub table: TableState,
    /// Events and changes of state in the last minute.
    pub rates: (usize, usize),
    pub stuck: usize,
    /// The NATS servers as far as this connection knows them.
    pub nats: String,
    /// What went wrong last, if it still does.
    pub trouble: Option<String>,
}

pub(super) fn draw(frame: &mut Frame<'_>, fleet: &Fleet, screen: &mut Screen, now: Time) {
    let rows = [
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(3),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ];
    let [title, states, workers, nats, nodes, foot] = Layout::vertical(rows).areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let (events, changes) = screen.rates;
    let said = format!(
        "ironbeat  {} nodes, {} stuck  {events} events/min, {changes} changes of state",
        fleet.len(),
        screen.stuck
    );
    frame.render_widget(Line::from(said).style(bold), title);
    let counts = fleet.states();
    let counts = counts
        .iter()
        .map(|(state, count)| format!("{state} {count}"));
    let counts = joined(counts.map(|it| visible_line(&it)), ", ");
    frame.render_widget(wrapped(format!("states: {counts}")), states);
    let each = joined(fleet.workers.iter().map(worker), ", ");
    frame.render_widget(wrapped(format!("workers: {each}")), workers);
    frame.render_widget(Line::from(visible_line(&screen.nats)), nats);
    table(frame, nodes, fleet, screen, now);
    frame.render_widget(Line::from(footer(screen)), foot);
}

fn wrapped(text: String) -> Paragraph<'static> {
    Paragraph::new(text).wrap(Wrap { trim: true })
}

fn joined(words: impl Iterator<Item = String>, between: &str) -> String {
    words.collect::<Vec<_>>().join(between)
}

/// `w1 ok`, or the first thing that is wrong with it.
fn worker(worker: &WorkerInfo) -> String {
    let dnsmasq = worker.dnsmasq.as_ref().filter(|it| *it != "ok");
    let wrong = worker.stands_by.iter().chain(&worker.records);
    let wrong = wrong.chain(&worker.lacks).chain(&worker.lacks_images);
    let mut wrong = wrong.chain(&worker.refused).chain(dnsmasq);
    let how = wrong.next().map_or("ok", |why| why);
    visible_line(&format!("{} {how}", worker.id))
}

fn table(
    frame: &mut Frame<'_>,
    area: ratatui::layout::Rect,
    fleet: &Fleet,
    screen: &mut Screen,
    now: Time,
) {
    // Only what can be seen is put into words: a fleet may have a hundred thousand nodes.
    let height = usize::from(area.height.saturating_sub(1)).max(1);
    let count = screen.order.len();
    let selected = screen
        .table
        .selected()
        .map(|it| it.min(count.saturating_sub(1)));
    let mut first = screen.table.offset().min(count.saturating_sub(height));
    if let Some(selected) = selected {
        first = first.clamp((selected + 1).saturating_sub(height), selected);
    }
    let seen = screen.order.iter().skip(first).take(height);
    let rows = seen.filter_map(|(how, id)| {
        let line = fleet.get(id)?;
        let past = match how {
            How::Stuck(Reverse(past)) if !is_failed(&line.state) => human(past.as_secs()),
            How::Stuck(_) | How::Busy(_) | How::Rests => "-".into(),
        };
        let style = match how {
            How::Stuck(_) => Style::new().add_modifier(Modifier::BOLD),
            How::Busy(_) => Style::new(),
            How::Rests => Style::new().add_modifier(Modifier::DIM),
        };
        let maintenance = if line.maintenance { "yes" } else { "-" };
        let age = human(now.since(line.since).as_secs());
        let cells = [
            &*line.name,
            &*line.state,
            &*age,
            &*past,
            maintenance,
            &*line.worker,
            &*line.error,
        ];
        Some(Row::new(cells.map(visible_line)).style(style))
    });
    let widths = [
        Constraint::Max(20),
        Constraint::Length(14),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(5),
        Constraint::Max(12),
        Constraint::Min(8),
    ];
    let head = ["NODE", "STATE", "FOR", "PAST", "MAINT", "WORKER", "ERROR"];
    let table = Table::new(rows, widths)
        .header(Row::new(head).style(Style::new().add_modifier(Modifier::REVERSED)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    // The widget sees one screen of rows, numbered from its top.
    let mut shown = TableState::new().with_selected(selected.map(|it| it - first));
    frame.render_stateful_widget(table, area, &mut shown);
    screen.table = TableState::new().with_offset(first).with_selected(selected);
}

fn footer(screen: &Screen) -> String {
    if screen.is_typing {
        return format!(
            "filter: {}_  (Enter keeps it, Esc drops it)",
            visible_line(&screen.filter)
        );
    }
    let keys = "q quits, arrows and pages move, / filters";
    match (&screen.trouble, &*screen.filter) {
        (Some(trouble), _) => visible_line(trouble),
        (None, "") => keys.into(),
        (None, filter) => format!("{keys}; filter: {} (Esc drops it)", visible_line(filter)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fleet::tests::{at, node};
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    fn worker(id: &str, stands_by: Option<&str>) -> WorkerInfo {
        serde_json::from_value(json!({
            "id": id, "url": "http://w", "version": "1", "started": at(0), "stands_by": stands_by,
        }))
        .unwrap()
    }

    fn drawn(fleet: &Fleet, screen: &mut Screen, width: u16, height: u16) -> Vec<String> {
        screen.order = fleet.ordered(&screen.filter, at(5000));
        screen.stuck = fleet.stuck(at(5000));
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| draw(frame, fleet, screen, at(5000)))
            .unwrap();
        let buffer = terminal.backend().buffer();
        let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
        let lines = cells.chunks(usize::from(width));
        lines
            .map(|line| line.concat().trim_end().to_string())
            .collect()
    }

    fn fleet() -> Fleet {
        let mut fleet = Fleet::default();
        let mut nodes = vec![
            node(1, "deploy failed", at(4000)),
            node(2, "clean wait", at(0)),
            node(3, "deploying", at(4900)),
        ];
        nodes.extend((10..60).map(|n| node(n, "active", at(0))));
        nodes[0].name = "evil".parse().ok();
        nodes[0].last_error = Some("no\u{1b}[2J space".into());
        fleet.read(nodes, at(5000));
        fleet.workers = vec![
            worker("w1", None),
            worker("w2", Some("its clock is 9 s ahead")),
        ];
        fleet
    }

    #[test]
    fn a_screen_of_80_by_24_has_counts_workers_and_stuck_nodes_first() {
        let mut screen = Screen {
            nats: "NATS: n1 10.0.0.1:4222 is up".into(),
            rates: (31, 4),
            ..Screen::default()
        };
        let lines = drawn(&fleet(), &mut screen, 80, 24);
        assert_eq!(lines.len(), 24);
        let title = "ironbeat  53 nodes, 2 stuck  31 events/min, 4 changes of state";
        assert_eq!(lines[0], title);
        assert!(
            lines[1].starts_with("states: active 50, clean wait 1"),
            "{lines:#?}"
        );
        assert!(
            lines[3].starts_with("workers: w1 ok, w2 its clock is 9 s ahead"),
            "{lines:#?}"
        );
        assert_eq!(lines[6], screen.nats);
        assert!(lines[7].starts_with("NODE"), "{lines:#?}");
        let words = |n: usize| lines[n].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(8)[..6], ["box2", "clean", "wait", "83", "min", "53"]);
        assert_eq!(
            words(9)[..6],
            ["evil", "deploy", "failed", "16", "min", "-"]
        );
        assert_eq!(words(10)[..4], ["box3", "deploying", "100", "s"]);
        assert!(lines[9].contains("no\\u001b"), "{lines:#?}");
        assert!(lines[23].starts_with("q quits"), "{lines:#?}");
    }

    #[test]
    fn the_selected_node_is_on_the_screen_wherever_it_is_in_the_list() {
        let (fleet, mut screen) = (fleet(), Screen::default());
        for (selected, name) in [(52, "box59"), (0, "box2"), (30, "box37"), (999, "box59")] {
            screen.table.select(Some(selected));
            let lines = drawn(&fleet, &mut screen, 80, 24);
            assert!(
                lines.iter().any(|line| line.starts_with(name)),
                "{selected}: {lines:#?}"
            );
        }
    }

    #[test]
    fn no_size_and_no_fleet_is_too_small() {
        for (width, height) in [(1, 1), (3, 5), (20, 8), (300, 100)] {
            let mut screen = Screen::default();
            screen.table.select(Some(7));
            drawn(&Fleet::default(), &mut screen, width, height);
            drawn(&fleet(), &mut screen, width, height);
        }
    }

    #[test]
    fn a_filter_is_shown_while_it_is_typed_and_as_long_as_it_holds() {
        let (fleet, mut screen) = (fleet(), Screen::default());
        (screen.filter, screen.is_typing) = ("evil".into(), true);
        let lines = drawn(&fleet, &mut screen, 80, 24);
        assert!(lines[23].starts_with("filter: evil_"), "{lines:#?}");
        assert!(
            lines[8].starts_with("evil") && lines[9].is_empty(),
            "{lines:#?}"
        );
        screen.is_typing = false;
        let lines = drawn(&fleet, &mut screen, 80, 24);
        assert!(lines[23].contains("filter: evil"), "{lines:#?}");
    }
}
