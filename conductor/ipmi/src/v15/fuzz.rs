//! A session of IPMI 1.5 without a login, for `crate::fuzz`. Nothing that ships calls it.
//! What must hold for it is asserted there.
use super::{Key, Session15};
use crate::window::Window;

/// As a BMC opened it for whoever has no password.
pub(crate) fn session() -> Session15 {
    Session15 {
        key: Key([0; 16]),
        id: 7,
        next_sequence: 1,
        window: Window::from(1),
    }
}
