//! A legacy session over a process of its own.
//!
//! The process is the session: it is started or taken from the spares for it, and ends with it. Messages pass as they
//! are, since nobody else speaks to the process. When the process ends, open requests fail with what became of it, and
//! later ones find the session lost: whoever keeps the session opens another leg.

use bytes::Bytes;
use quorate_jsonrpc::Frame;

use super::super::answer::{Answer, Awaits, FrameStream};
use super::super::error::Error;
use super::super::legacy::InitializeResult;
use super::super::shared::Hub;
use super::StdioEndpoint;
use super::connection::Connection;
use super::server::Use;

/// A session at a process.
#[derive(Debug)]
pub(in super::super) struct Session {
    connection: Connection,
}

// === impl Session ===

impl Session {
    /// Takes or starts a process and sends `initialize`.
    pub(in super::super) async fn open(
        endpoint: &StdioEndpoint,
        initialize: Bytes,
    ) -> Result<(Self, InitializeResult), Error> {
        let server = endpoint.server();
        let fresh = server.fresh(Use::Starting).await?;
        let connection = Connection::new(server, fresh, Hub::new(*server.limits()));
        let initialized = connection.initialize(initialize).await?;
        connection.employ(Use::Session);
        Ok((Self { connection }, initialized))
    }

    pub(in super::super) async fn request(&self, frame: Frame) -> Result<Answer, Error> {
        let inbox = self.connection.hub().register(&frame)?;
        self.connection.exchange(frame, inbox).await.map(Answer::Stream)
    }

    pub(in super::super) async fn notify(&self, message: Bytes) -> Result<(), Error> {
        if !self.connection.lives() {
            return Err(Error::SessionLost);
        }
        self.connection.send(message).await
    }

    pub(in super::super) fn listen(&self) -> Result<FrameStream, Error> {
        let inbox = self.connection.hub().listen()?;
        Ok(FrameStream::of_inbox(inbox, Awaits::Nothing, self.connection.limits(), None))
    }

    pub(in super::super) async fn close(&self) {
        self.connection.close().await;
    }
}
