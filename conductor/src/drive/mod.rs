//! What happens when something happened: `reconcile` (load, decide, save) → `act` (one arm per effect).
//! Only `reconcile` changes a node's record; where events come from is `front` and `loops`.
pub mod act;
pub mod reconcile;
pub mod worker;
