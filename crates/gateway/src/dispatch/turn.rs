//! Asking servers in turn for what none of them lists: what to say when none has it.
//!
//! Most servers say no more than that they do not have it, each in its own way, and then the gateway says it once. Where
//! one says anything else, or cannot be asked, that is what the client is told: the resource may well be there.

use bytes::Bytes;
use http::StatusCode;
use quorate_jsonrpc::{Frame, Id};
use quorate_mcp::codec::ErrorView;
use quorate_mcp::error::{INVALID_PARAMS, METHOD_NOT_FOUND, RESOURCE_NOT_FOUND, status_of};
use quorate_mcp::{Era, Fault};

use super::{Dispatched, Error, rejected};

/// The errors of servers that do not have it.
#[derive(Debug)]
pub(super) struct InVain {
    era: Era,
    told: Option<(StatusCode, Bytes)>,
}

// === impl InVain ===

impl InVain {
    /// Before any server was asked.
    pub(super) const fn new(era: Era) -> Self {
        Self { era, told: None }
    }

    /// Takes a server's answer that is no result. The first that says more than "not here" counts.
    pub(super) fn refused(&mut self, answer: &Frame) {
        let code = ErrorView::read(answer).map_or(INVALID_PARAMS, |error| error.code);
        let is_elsewhere = matches!(code, RESOURCE_NOT_FOUND | INVALID_PARAMS | METHOD_NOT_FOUND);
        if !is_elsewhere && self.told.is_none() {
            self.told = Some((status_of(code, self.era), answer.bytes().clone()));
        }
    }

    /// Takes that a server could not be asked.
    pub(super) fn failed(&mut self, fault: &Fault, id: Option<&Id>) {
        self.told.get_or_insert_with(|| (fault.http_status(self.era), fault.to_frame(self.era, id)));
    }

    /// What the client is told.
    ///
    /// # Errors
    /// [`Fault::ResourceNotFound`] where every server said that it has none.
    pub(super) fn answer(self, id: Option<&Id>, uri: &str) -> Result<Dispatched, Error> {
        match self.told {
            Some((status, body)) => Ok(Dispatched::Json { status, body }),
            None => Err(rejected(self.era, id, Fault::ResourceNotFound { uri: uri.to_owned() })),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_jsonrpc::{Limits, build};

    use super::*;

    fn answer(codes: &[i64], failed: bool) -> Result<String, String> {
        let (id, mut in_vain) = (Id::from(7), InVain::new(Era::Modern));
        for code in codes {
            let error = build::error(Some(&id), *code, "no", None);
            in_vain.refused(&Frame::parse(error, &Limits::ANSWER).expect("a frame"));
        }
        if failed {
            in_vain.failed(&Fault::OutcomeUnknown { server: "files".to_owned() }, Some(&id));
        }
        match in_vain.answer(Some(&id), "a:b") {
            Ok(Dispatched::Json { body, .. }) => Ok(String::from_utf8_lossy(&body).into_owned()),
            Ok(_) => Ok(String::new()),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    #[test]
    fn a_refusal_is_not_hidden_by_servers_that_do_not_have_it() {
        assert!(answer(&[-32002, -32602, -32601], false).is_err_and(|error| error.contains("a:b")));
        assert!(answer(&[], false).is_err());
        assert!(answer(&[-32002, -31005, 0], false).is_ok_and(|body| body.contains("-31005")));
        assert!(answer(&[-32002], true).is_ok_and(|body| body.contains("files")));
        assert!(answer(&[-31005], true).is_ok_and(|body| body.contains("-31005")), "the first that says more");
    }
}
