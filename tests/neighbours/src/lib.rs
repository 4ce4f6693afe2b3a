//! Bad neighbours: each tries what it must not get, on a real nats-server, a real worker and a real agent.
//! Every attempt is made beside somebody who may do the same and gets it, so that no check is one that cannot fail.
//!
//! | to find | look in |
//! |---|---|
//! | who tries what | [`rows`], a file for each neighbour |
//! | what counts as refused, and what is printed | [`book`] |
//! | what runs | [`site`], [`lab`] |
//! | how one speaks with it | [`wire`], [`machine`], [`web`] |
pub mod book;
pub mod ear;
pub mod eyes;
pub mod jobs;
pub mod lab;
pub mod machine;
pub mod rows;
pub mod site;
pub mod web;
pub mod wire;
