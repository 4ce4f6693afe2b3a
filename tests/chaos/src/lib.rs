//! Real chaos: servers, workers and simulated machines on hosts of their own, jobs in flight, and one fault after the other.
//! What is well is judged by the operator's API and by what the machines saw, never by a look inside.
//!
//! | to find | look in |
//! |---|---|
//! | what is broken, and for how long | [`faults`] |
//! | what runs where, and how it is broken and mended | [`site`] |
//! | what operators ask for meanwhile | [`wave`], [`diary`] |
//! | what counts as well, lost and twice | [`judge`] |
pub mod diary;
pub mod faults;
pub mod judge;
pub mod report;
pub mod run;
pub mod site;
pub mod wave;
