//! Arguments that several commands take, as they are typed.
//! What they mean is in the core.
use ironbeat_common::inventory::BootMode;
use ironbeat_core::hints::Hints;

pub(super) fn boot_mode(text: &str) -> Result<BootMode, String> {
    match text {
        "bios" => Ok(BootMode::Bios),
        "uefi" => Ok(BootMode::Uefi),
        _ => Err("bios or uefi".into()),
    }
}

pub(super) fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off".into()),
    }
}

pub(super) fn hint(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a hint is key=value")?;
    Ok((key.trim().into(), value.trim().into()))
}

pub(super) fn skip(text: &str) -> Result<Hints, String> {
    let pairs = text.split(',').map(hint).collect::<Result<_, _>>()?;
    let hints = Hints(pairs);
    hints.check().map_err(|bad| bad.to_string())?;
    Ok(hints)
}

pub(super) fn hints(pairs: Vec<(String, String)>) -> anyhow::Result<Hints> {
    let hints = Hints(pairs.into_iter().collect());
    hints.check()?;
    Ok(hints)
}
