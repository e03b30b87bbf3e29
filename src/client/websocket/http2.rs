//! Connecting by a WebSocket over HTTP/2: an extended CONNECT on a link (RFC 8441 §5), which other connections share.

use std::sync::Arc;

use http::{Method, Response, header};

use super::{Below, broken};
use crate::client::call::Call;
use crate::config::WEBSOCKET;
use crate::conn::{Conn, Transport};
use crate::error::Result;
use crate::websocket::{Upgrade, room_on_stream};

impl Call {
    /// Connects by a WebSocket on a link to the origin, which is made if there is none.
    pub(in crate::client) async fn upgrade_http2(&self) -> Result<(Conn, Response<()>)> {
        let transport = Transport::ExtendedConnect(WEBSOCKET.into());
        // The stream below, by its own method in errors.
        let call = Call { method: Method::CONNECT, transport, length: None, ..self.clone() };
        let mut retries = call.retries(true);
        loop {
            match self.ride_on_stream(&call).await {
                Err(error) => retries.after(error).await?,
                connected => return connected,
            }
        }
    }

    /// One attempt. `call` asks for the stream.
    async fn ride_on_stream(&self, call: &Call) -> Result<(Conn, Response<()>)> {
        let place = call.place().await?;
        let head = call.handshake()?;
        let stream = place.open(head.clone(), call.transport.clone());
        // It resets the stream where the answer is none.
        let (conn, response) = call.answered(Conn::new(Arc::clone(&stream))).await?;
        conn.on_drop(crate::conn::OnDrop::Reset);
        let what = call.name();
        // A CONNECT that was accepted has no content of a known length (RFC 9110 §9.3.6): the server has
        // taken it for another request.
        let messages = match response.headers().contains_key(header::CONTENT_LENGTH) {
            true => Err("with a content-length, as no WebSocket has".to_owned()),
            false => self.messages(&head, response.headers()),
        };
        let messages = messages.map_err(|why| broken(&what, response.status(), &why))?;
        self.check_ends(messages, &what)?;
        let info = Arc::clone(&stream.link);
        let buffers = stream.outbox.buffers();
        let (upgrade, shutdown) = Upgrade::onto_answered(conn, &stream);
        let below = Below {
            transport: Transport::WebSocketHttp2,
            info,
            room: room_on_stream(self.client.inner.dialer.config.window),
            buffers,
            upgrade,
            shutdown: Some(shutdown),
        };
        let (answer, ()) = response.into_parts();
        let stream = self.ride(head, answer.clone(), messages, below)?;
        Ok((Conn::new(stream), Response::from_parts(answer, ())))
    }
}
