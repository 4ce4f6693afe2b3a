//! While a BMC's password is being changed: finds the one that is right, and sets the new one.
//! What follows from it for the record is the core's (`decide/password.rs`).
#[cfg(test)]
mod tests;

use super::act::look;
use super::{Bmcs, Permit, Stop, fault, login, permanent, transient};
use crate::records::logins::BmcLogin;
use ironbeat_core::decide::{BmcFault, BmcReport, Event};
use ironbeat_core::node::{BmcAccess, Candidate, SHORT_PASSWORD};
use ironbeat_ipmi::{Bmc, Error as IpmiError, ErrorKind, Secret};
use std::sync::atomic::{AtomicBool, Ordering};

/// "The channel this request came in on" (IPMI 2.0 §6.3).
const ANSWERING_CHANNEL: u8 = 0x0e;

/// Each password that a BMC may have was tried, until one was right.
pub(super) struct Tried {
    /// None: the BMC refused all.
    pub found: Option<Candidate>,
    /// With it; or the first refusal.
    pub access: Result<BmcAccess, BmcFault>,
}

impl Tried {
    /// For the record. None: it names no passwords.
    pub fn event(&self, login: &BmcLogin) -> Option<Event> {
        let (version, found) = (login.version.clone()?, self.found);
        Some(Event::PasswordFound { version, found })
    }
}

/// It may be the password. Some BMCs stay silent instead of saying so.
fn is_refusal(error: &IpmiError) -> bool {
    matches!(
        error.kind,
        ErrorKind::WrongPassword { .. } | ErrorKind::SilentLogin { .. }
    )
}

/// Each by a login of its own: a session that was opened with a password outlives it. The one that worked last comes first, since
/// a BMC may lock out whoever is wrong too often.
///
/// # Errors
/// When the BMC cannot be asked, for another reason than the password.
pub(super) async fn find(bmcs: &Bmcs, login: &BmcLogin) -> Result<Tried, BmcFault> {
    let candidates = login.secrets.candidates().into_iter();
    let mut each: Vec<(Candidate, BmcAccess)> = candidates
        .filter_map(|(candidate, _)| Some((candidate, login.with(candidate)?)))
        .collect();
    each.sort_by_key(|(_, access)| !bmcs.keeps(access));
    let mut refused = None;
    for (candidate, access) in each {
        let bmc = fresh(bmcs, &access).await?;
        match bmc.chassis_status().await {
            Ok(_) => {
                bmc.close().await;
                return Ok(Tried {
                    found: Some(candidate),
                    access: Ok(access),
                });
            }
            Err(error) if is_refusal(&error) => {
                refused.get_or_insert(fault(&error));
            }
            Err(error) => return Err(fault(&error)),
        }
    }
    let nothing = || permanent(format!("BMC {}: no password is on record", login.address()));
    Ok(Tried {
        found: None,
        access: Err(refused.unwrap_or_else(nothing)),
    })
}

/// Sets the next password, and proves by a login of its own that the BMC has all of it; one that keeps something else gets
/// the present one again. `told`: set before the BMC hears of it, or once it is known to have heard.
pub(super) async fn set(
    bmcs: &Bmcs,
    login: &BmcLogin,
    permit: &Permit<'_>,
    told: &AtomicBool,
) -> Result<BmcReport, Stop> {
    let at = login.address();
    let (Some(next), Some(to_be)) = (&login.secrets.next, login.with(Candidate::Next)) else {
        let what = format!("BMC {at}: no new password is on record");
        return Err(permanent(what).into());
    };
    permit.check("log in with the passwords on record")?;
    let tried = find(bmcs, login).await?;
    let access = tried.access?;
    let lease = bmcs.kept(&access).await?;
    if tried.found == Some(Candidate::Next) {
        // By an earlier try.
        told.store(true, Ordering::Relaxed);
        return look(&lease.bmc, permit).await;
    }
    permit.check("find the user")?;
    let user = lease.bmc.own_user(ANSWERING_CHANNEL).await?.id;
    permit.check("set the new password")?;
    told.store(true, Ordering::Relaxed);
    let answer = lease
        .bmc
        .set_password(user, &Secret::new(next.reveal()))
        .await;
    permit.check("log in with the new password")?;
    let proof = fresh(bmcs, &to_be).await?;
    match proof.chassis_status().await {
        Ok(status) => {
            proof.close().await;
            let power_on = status.power_on;
            return Ok(BmcReport { power_on });
        }
        Err(error) if is_refusal(&error) => {}
        Err(error) => return Err(error.into()),
    }
    answer?;
    let (kept, back) = put_back(bmcs, login, &lease.bmc, user, permit).await?;
    let what =
        format!("BMC {at}: it says that it has set the new password, and then refuses it{kept}");
    Err(match back {
        Ok(()) => permanent(format!("{what}; the old one is set again")),
        Err(error) => transient(format!(
            "{what}; the old one could not be set again: {error}"
        )),
    }
    .into())
}

async fn fresh(bmcs: &Bmcs, access: &BmcAccess) -> Result<Bmc, BmcFault> {
    let config = login::config(access, bmcs.timing).await?;
    Ok(bmcs.transport.bmc(config))
}

/// Over the session with the old password, or with the part of the new one that the BMC has kept. Says which part that is, and
/// whether the BMC was seen to accept the old one.
async fn put_back(
    bmcs: &Bmcs,
    login: &BmcLogin,
    old: &Bmc,
    user: u8,
    permit: &Permit<'_>,
) -> Result<(String, Result<(), IpmiError>), Stop> {
    let mut through = old.clone();
    let mut kept = String::new();
    if let Some(cut) = login.with(Candidate::NextCut) {
        permit.check("log in with the first part of the new password")?;
        let cut = fresh(bmcs, &cut).await?;
        if cut.chassis_status().await.is_ok() {
            kept = format!(": it has kept {SHORT_PASSWORD} characters of it");
            through = cut;
        }
    }
    permit.check("set the old password again")?;
    let password = Secret::new(login.secrets.password.reveal());
    if let Err(error) = through.set_password(user, &password).await {
        return Ok((kept, Err(error)));
    }
    let proof = fresh(bmcs, &login.present()).await?;
    let back = proof.chassis_status().await.map(drop);
    proof.close().await;
    Ok((kept, back))
}
