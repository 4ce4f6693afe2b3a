//! Names of whole stories, as Ironic would tell them.
