//! What an operator says of a node beyond its machine: class, owner, traits, notes. Bounds of each, and what is after a change.
//! `set` and `enroll` say when.
use super::answer::{Rejected, words};
use super::changes::{Changes, after, invalid, on_off, or_none};
use super::draft::Draft;
use crate::node::{
    Beside, BesideKind, Flagged, MAX_OWNER, MAX_RESOURCE_CLASS, MAX_TRAITS, Node, Notes, Rest,
    Trait, merge,
};
use crate::patch::{Clear, Patch};
use crate::time::Time;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What is in the record.
pub(super) fn apply(
    node: &mut Node,
    patch: &Patch,
    now: Time,
    changes: &mut Changes,
) -> Result<(), Rejected> {
    let class = patch.resource_class.as_ref();
    let class = after(patch, Clear::ResourceClass, class, &node.resource_class)?;
    check_text(
        "resource class",
        patch.resource_class.as_deref(),
        MAX_RESOURCE_CLASS,
    )?;
    changes.of("resource class", &node.resource_class, &class, or_none);
    node.resource_class = class;

    let owner = after(patch, Clear::Owner, patch.owner.as_ref(), &node.owner)?;
    check_text("owner", patch.owner.as_deref(), MAX_OWNER)?;
    changes.of("owner", &node.owner, &owner, or_none);
    node.owner = owner;

    let lessee = after(patch, Clear::Lessee, patch.lessee.as_ref(), &node.lessee)?;
    check_text("lessee", patch.lessee.as_deref(), MAX_OWNER)?;
    changes.of("lessee", &node.lessee, &lessee, or_none);
    node.lessee = lessee;

    let traits = new_traits(&node.traits, patch)?;
    changes.hidden("traits", node.traits != traits);
    node.traits = traits;

    let clean = after(
        patch,
        Clear::AutomatedClean,
        patch.automated_clean.as_ref(),
        &node.automated_clean,
    )?;
    changes.of("automated cleaning", &node.automated_clean, &clean, on_off);
    node.automated_clean = clean;

    let no_off = patch.disable_power_off.unwrap_or(node.disable_power_off);
    changes.of("power off", &node.disable_power_off, &no_off, |disabled| {
        if *disabled { "disabled" } else { "enabled" }.into()
    });
    node.disable_power_off = no_off;
    flags(node, patch, now, changes)
}

/// Each is said only where it can be kept.
fn flags(node: &mut Node, patch: &Patch, now: Time, changes: &mut Changes) -> Result<(), Rejected> {
    let refused = |verb: &str, state: String| Rejected::WrongState {
        verb: verb.into(),
        state,
    };
    let state = node.state.provision_state();
    let (protected, retired) = (patch.protected.as_deref(), patch.retired.as_deref());
    check_text("reason", protected, MAX_OWNER)?;
    check_text("reason", retired, MAX_OWNER)?;
    if protected.is_some() && !node.serves() {
        return Err(refused("protect", words(&node.state)));
    }
    if retired.is_some() && state == Rest::Available.name() {
        let state = format!("{state} (manage it first)");
        return Err(refused("retire", state));
    }
    let flagged = |reason: &str, before: &Option<Flagged>| Flagged {
        since: before.as_ref().map_or(now, |before| before.since),
        reason: reason.into(),
    };
    let show = |flag: &Option<Flagged>| {
        let reason = flag.as_ref().map(|flag| flag.reason.clone());
        reason.unwrap_or_else(|| "no".into())
    };
    let given = protected.map(|reason| flagged(reason, &node.protected));
    let flag = after(patch, Clear::Protected, given.as_ref(), &node.protected)?;
    changes.of("protected", &node.protected, &flag, show);
    node.protected = flag;
    let given = retired.map(|reason| flagged(reason, &node.retired));
    let flag = after(patch, Clear::Retired, given.as_ref(), &node.retired)?;
    changes.of("retired", &node.retired, &flag, show);
    node.retired = flag;
    Ok(())
}

/// It is shown on terminals, and compared letter by letter.
fn check_text(what: &str, text: Option<&str>, max: usize) -> Result<(), Rejected> {
    let Some(text) = text else { return Ok(()) };
    let characters = text.chars().count();
    if characters > max {
        return Err(invalid(format!(
            "the {what} has {characters} characters, at most {max}"
        )));
    }
    if text.trim().is_empty() {
        return Err(invalid(format!("the {what} is empty: clear it instead")));
    }
    match text.contains(char::is_control) {
        true => Err(invalid(format!("the {what} has a control character"))),
        false => Ok(()),
    }
}

fn new_traits(present: &[Trait], patch: &Patch) -> Result<Vec<Trait>, Rejected> {
    let Patch {
        traits: all,
        add_traits: add,
        remove_traits: remove,
        ..
    } = patch;
    if all.is_some() && patch.clear.contains(&Clear::Traits) {
        return Err(invalid("the traits are both given and cleared"));
    }
    if let Some(unknown) = remove.iter().find(|one| !present.contains(one)) {
        return Err(invalid(format!("the node has no trait {unknown}")));
    }
    let kept = match (all, patch.clear.contains(&Clear::Traits)) {
        (Some(all), _) => all.as_slice(),
        (None, true) => &[],
        (None, false) => present,
    };
    let kept = kept.iter().filter(|one| !remove.contains(one));
    let mut traits: Vec<Trait> = kept.chain(add).cloned().collect();
    traits.sort();
    traits.dedup();
    match traits.len() {
        ..=MAX_TRAITS => Ok(traits),
        count => Err(invalid(format!("{count} traits, at most {MAX_TRAITS}"))),
    }
}

/// What lies beside it.
pub(super) fn note(
    draft: &mut Draft<'_>,
    patch: &Patch,
    changes: &mut Changes,
) -> Result<(), Rejected> {
    let before = draft.ctx.notes.cloned().unwrap_or_default();
    let noted = noted(&before, patch)?;
    changes.hidden("description", before.description != noted.description);
    changes.hidden("properties", before.properties != noted.properties);
    changes.hidden("extra", before.extra != noted.extra);
    match noted.is_empty() {
        _ if noted == before => {}
        true => draft.node.beside.set(BesideKind::Notes, None),
        false => draft.put(Beside::Notes(noted)),
    }
    Ok(())
}

/// The notes after a patch.
pub(super) fn noted(before: &Notes, patch: &Patch) -> Result<Notes, Rejected> {
    let description = patch.description.as_ref();
    let description = after(patch, Clear::Description, description, &before.description)?;
    let mut noted = Notes {
        description: description.filter(|text| !text.trim().is_empty()),
        ..before.clone()
    };
    // With both, only what is given stays.
    if patch.clear.contains(&Clear::Properties) {
        noted.properties.clear();
    }
    if patch.clear.contains(&Clear::Extra) {
        noted.extra.clear();
    }
    merge(&mut noted.properties, &patch.properties);
    merge(&mut noted.extra, &patch.extra);
    match noted.check() {
        Ok(()) => Ok(noted),
        Err(why) => Err(invalid(why)),
    }
}

#[cfg(test)]
mod tests;
