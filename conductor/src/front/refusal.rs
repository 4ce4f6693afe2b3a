//! Why a question is not answered, with a code like HTTP's: what travels in the headers of a service error (ADR-32).
//! The core decides what is possible when.
use crate::drive::ReconcileError;
use crate::records::StoreError;

/// An HTTP-like code and the reason, which travel in the service error headers.
#[derive(Debug)]
pub struct ApiError {
    pub code: usize,
    pub why: String,
}

impl ApiError {
    /// As a header can carry it: one line of visible characters, and not too many.
    pub(super) fn one_line(&self) -> String {
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        self.why.chars().map(visible).take(1000).collect()
    }
}

pub(super) fn fail(code: usize, why: impl ToString) -> ApiError {
    ApiError {
        code,
        why: why.to_string(),
    }
}

impl From<ReconcileError> for ApiError {
    fn from(error: ReconcileError) -> Self {
        use ironbeat_core::decide::Rejected;
        match &error {
            ReconcileError::NoNode(_) => fail(404, error),
            ReconcileError::Rejected(Rejected::Invalid { .. }) => fail(400, error),
            ReconcileError::Rejected(_) => fail(409, error),
            ReconcileError::Store(StoreError::Claimed { .. } | StoreError::Full { .. }) => {
                fail(409, error)
            }
            ReconcileError::Idle { .. } => fail(ironbeat_ops::ASK_ANOTHER, error),
            ReconcileError::Store(_) | ReconcileError::Broken(..) | ReconcileError::Races(_) => {
                fail(503, error)
            }
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        ReconcileError::Store(error).into()
    }
}
